// The settings of a session that the meaning of SQL depends on: those that our statements need, and those under which
// the SQL of a migration file runs, whichever host sends it.
//
// Our statements run with search_path = pg_catalog, pg_temp, so that nothing that somebody has put into another schema
// takes the place of a function or an operator, and with fixed forms of dates, floats and bytes, so that the text of a
// key means the same everywhere. The file's SQL runs as it would in psql: under the settings of the role and the
// database. They are recorded when a migration first runs, and hold for its triggers, batches and checks from then on.
//
// Pure text and values; PgConnection sends it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::engine {

// A statement, and whose SQL is in it: that decides under which settings it runs.
struct Statement {
  Statement(std::string text) : sql(std::move(text)) {}  // NOLINT: most statements are ours, and texts
  Statement(char const* text) : sql(text) {}             // NOLINT

  std::string sql;
  bool is_users = false;
};

// SQL of the file, or ours around it. What is ours in it must name schemas, also of operators: OPERATOR(pg_catalog.=).
Statement users_sql(std::string sql);

// Statements of ours.
std::vector<Statement> our_sql(std::vector<std::string> statements);

// Name and value, as set_config() takes them.
using SessionSettings = std::map<std::string, std::string>;

// What unqualified names of tables mean in the file's SQL.
struct NameSpace {
  std::string schemas;     // text of current_schemas(true)
  std::string creates_in;  // current_schema(); empty: none
};

// One row, for the two functions below. Safe under any search_path.
std::string read_settings_sql();
// Name and value of settings with a dot in their names, which extensions and applications define: those of the role and
// the database, and `named`, which the client asked for. Ours.
std::string read_custom_settings_sql(std::vector<std::string> const& named);

// Of the session: an error ends a statement, not the connection. Ours.
std::string survive_errors_sql();

SessionSettings settings_of(std::vector<std::optional<std::string>> const& row);
NameSpace name_space_of(std::vector<std::optional<std::string>> const& row);

// Names of settings with a dot that an `options` of libpq sets: "-c app.tenant=7 --app.mode=x".
std::vector<std::string> custom_names(std::string_view options);

// "SELECT set_config(...)" that makes a transaction ours; `session` is what the session has by itself.
std::string our_settings_sql(SessionSettings const& session, NameSpace const& names);
// The way back: what ours changed, and where the recorded settings are others than the session's. Empty: nothing to do.
std::string users_settings_sql(SessionSettings const& session, SessionSettings const& recorded);

// Of the session, until it ends.
std::string session_setting_sql(std::string const& name, std::string const& value);

// What is tried out and rolled back: the file's SQL, and a last statement of ours that looks at what came of it.
std::vector<Statement> tried_out(std::vector<std::string> statements);
// The same without BEGIN and ROLLBACK, for a transaction that is open.
std::vector<Statement> to_try(std::vector<std::string> statements);

// JSON, and back; nothing where that is not an object of texts.
std::string to_json(SessionSettings const& settings);
std::optional<SessionSettings> settings_from_json(std::string const& text);

// Those recorded settings that the session has otherwise.
SessionSettings others_than(SessionSettings const& session, SessionSettings const& recorded);

// What a process is told whose settings are not those of the job: "TimeZone is 'UTC' here; 'Europe/Berlin' is used".
std::vector<std::string> differences(SessionSettings const& session, SessionSettings const& recorded);

}  // namespace pgbackfill::engine
