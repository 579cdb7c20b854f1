#include "engine/pg/session_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>
#include <utility>

#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_literal;

// What an expression, an assignment or the name of an object can depend on, in every version from 13 on. Settings of
// plans, timeouts and logs are not among them; row_security is always off (a policy fails a batch, it never shrinks
// it).
constexpr std::array kReadSettings = {"search_path",
                                      "DateStyle",
                                      "IntervalStyle",
                                      "TimeZone",
                                      "timezone_abbreviations",
                                      "extra_float_digits",
                                      "bytea_output",
                                      "xmlbinary",
                                      "xmloption",
                                      "lc_monetary",
                                      "lc_numeric",
                                      "lc_time",
                                      "default_text_search_config",
                                      "standard_conforming_strings",
                                      "backslash_quote",
                                      "array_nulls",
                                      "transform_null_equals",
                                      "quote_all_identifiers"};

constexpr std::string_view kOwnSchema = "\"$user\"";

// Not only pg_catalog: pg_temp is searched first where it is not named.
SessionSettings const& our_settings() {
  static SessionSettings const settings = {{"search_path", "pg_catalog, pg_temp"},
                                           {"DateStyle", "ISO, YMD"},
                                           {"IntervalStyle", "postgres"},
                                           {"extra_float_digits", "3"},
                                           {"bytea_output", "hex"},
                                           {"standard_conforming_strings", "on"},
                                           {"array_nulls", "on"},
                                           {"transform_null_equals", "off"},
                                           {"quote_all_identifiers", "off"}};
  return settings;
}

bool is_custom(std::string_view name) {
  return name.find('.') != std::string_view::npos && !name.starts_with("pgbackfill.");
}

std::string set_config(std::string const& name, std::string const& value) {
  return fmt::format("pg_catalog.set_config({}, {}, true)", quote_literal(name), quote_literal(value));
}

std::string select(std::vector<std::string> const& calls) {
  return calls.empty() ? "" : "SELECT " + planner::join(calls, ", ");
}

std::string value_in(SessionSettings const& settings, std::string const& name) {
  auto const found = settings.find(name);
  return found == settings.end() ? "" : found->second;
}

}  // namespace

Statement users_sql(std::string sql) {
  Statement statement(std::move(sql));
  statement.is_users = true;
  return statement;
}

std::vector<Statement> our_sql(std::vector<std::string> statements) {
  return {std::make_move_iterator(statements.begin()), std::make_move_iterator(statements.end())};
}

std::string read_settings_sql() {
  std::vector<std::string> calls;
  for (std::string const name : kReadSettings) calls.push_back(fmt::format("pg_catalog.current_setting('{}')", name));
  calls.emplace_back("pg_catalog.current_schemas(true)");
  calls.emplace_back("pg_catalog.current_schema()");
  calls.emplace_back("pg_catalog.quote_ident(current_user)");
  return select(calls);
}

std::string read_custom_settings_sql(std::vector<std::string> const& named) {
  return "SELECT n.name, current_setting(n.name, true) FROM (SELECT lower(split_part(c.setting, '=', 1)) FROM "
         "pg_db_role_setting d CROSS JOIN unnest(d.setconfig) c (setting) WHERE d.setdatabase IN (0, (SELECT oid FROM "
         "pg_database WHERE datname = current_database())) AND d.setrole IN (0, (SELECT oid FROM pg_roles WHERE "
         "rolname "
         "= session_user)) UNION SELECT lower(s.name) FROM pg_settings s WHERE s.context = 'user' AND s.source <> "
         "'default' UNION SELECT lower(unnest(" +
         planner::text_array(named) +
         "))) n (name) WHERE n.name LIKE '%.%' AND n.name NOT LIKE 'pgbackfill.%' AND current_setting(n.name, true) IS "
         "NOT NULL AND NOT EXISTS (SELECT FROM pg_settings s WHERE lower(s.name) = n.name AND s.context <> 'user')";
}

std::string survive_errors_sql() {
  return "SELECT pg_catalog.set_config(s.name, 'off', false) FROM pg_catalog.pg_settings s WHERE s.name "
         "OPERATOR(pg_catalog.=) "
         "'exit_on_error' AND s.setting OPERATOR(pg_catalog.=) 'on'";
}

SessionSettings settings_of(std::vector<std::optional<std::string>> const& row) {
  SessionSettings settings;
  for (std::size_t index = 0; index < kReadSettings.size(); ++index) {
    settings[kReadSettings[index]] = row.at(index).value_or("");
  }
  // Somebody else's "$user" is another schema.
  std::string& path = settings["search_path"];
  std::size_t const at = path.find(kOwnSchema);
  if (at != std::string::npos) path.replace(at, kOwnSchema.size(), row.at(kReadSettings.size() + 2).value_or(""));
  return settings;
}

NameSpace name_space_of(std::vector<std::optional<std::string>> const& row) {
  return {row.at(kReadSettings.size()).value_or("{}"), row.at(kReadSettings.size() + 1).value_or("")};
}

std::vector<std::string> custom_names(std::string_view options) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at < options.size();) {
    std::size_t const end = std::min(options.find(' ', at), options.size());
    std::string_view word = options.substr(at, end - at);
    at = end + 1;
    if (word.starts_with("--")) word.remove_prefix(2);
    if (word.starts_with("-c")) word.remove_prefix(2);
    std::size_t const equals = word.find('=');
    if (equals == std::string_view::npos) continue;
    auto const name = word.substr(0, equals);
    if (is_custom(name)) names.emplace_back(name);
  }
  return names;
}

std::string our_settings_sql(SessionSettings const& session, NameSpace const& names) {
  std::vector<std::string> calls;
  for (auto const& [name, value] : our_settings()) {
    if (value_in(session, name) != value) calls.push_back(set_config(name, value));
  }
  // For names without a schema, which planner looks up in these.
  calls.push_back(set_config("pgbackfill.schemas", names.schemas));
  calls.push_back(set_config("pgbackfill.schema", names.creates_in));
  // Questions to the catalog are long texts over few rows: compiling them takes seconds, running them milliseconds.
  calls.push_back(set_config("jit", "off"));
  // A role's own would end the session with the first row that cannot be changed.
  calls.push_back(set_config("exit_on_error", "off"));
  return select(calls);
}

std::string users_settings_sql(SessionSettings const& session, SessionSettings const& recorded) {
  std::vector<std::string> calls;
  for (auto const& [name, value] : recorded) {
    bool const was_ours = our_settings().contains(name) && value_in(our_settings(), name) != value;
    if (was_ours || value_in(session, name) != value) calls.push_back(set_config(name, value));
  }
  return select(calls);
}

std::string session_setting_sql(std::string const& name, std::string const& value) {
  return fmt::format("SELECT pg_catalog.set_config({}, {}, false)", quote_literal(name), quote_literal(value));
}

std::vector<Statement> to_try(std::vector<std::string> statements) {
  std::vector<Statement> tried;
  for (auto& statement : statements) {
    // What only keeps something for the last one is ours too.
    bool const is_ours =
        &statement == &statements.back() || statement.starts_with("SELECT pg_catalog.set_config('pgbackfill.");
    tried.push_back(is_ours ? Statement(std::move(statement)) : users_sql(std::move(statement)));
  }
  return tried;
}

std::vector<Statement> tried_out(std::vector<std::string> statements) {
  auto tried = to_try(std::move(statements));
  tried.insert(tried.begin(), Statement("BEGIN"));
  tried.emplace_back("ROLLBACK");
  return tried;
}

std::string to_json(SessionSettings const& settings) {
  boost::json::object document;
  for (auto const& [name, value] : settings) document[name] = value;
  return boost::json::serialize(document);
}

std::optional<SessionSettings> settings_from_json(std::string const& text) {
  boost::system::error_code error;
  auto const document = boost::json::parse(text, error);
  if (error || !document.is_object()) return std::nullopt;
  SessionSettings settings;
  for (auto const& [name, value] : document.as_object()) {
    if (!value.is_string()) return std::nullopt;
    std::string const key(name);
    bool const is_known =
        std::find(kReadSettings.begin(), kReadSettings.end(), std::string_view(key)) != kReadSettings.end();
    if (!is_known && !is_custom(key)) return std::nullopt;
    settings[key] = std::string(value.as_string());
  }
  return settings;
}

SessionSettings others_than(SessionSettings const& session, SessionSettings const& recorded) {
  SessionSettings others;
  for (auto const& [name, value] : recorded) {
    if (value_in(session, name) != value) others[name] = value;
  }
  return others;
}

std::vector<std::string> differences(SessionSettings const& session, SessionSettings const& recorded) {
  std::vector<std::string> texts;
  for (auto const& [name, value] : others_than(session, recorded)) {
    texts.push_back(fmt::format("{} is '{}' here; '{}' is used", name, value_in(session, name), value));
  }
  return texts;
}

}  // namespace pgbackfill::engine
