#include "engine/process/listed_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>
#include <variant>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/pg/sql_environment.h"
#include "engine/state/typed_rows.h"
#include "planner/file/migration_file.h"
#include "planner/keys/key_choice.h"
#include "planner/model/csv.h"
#include "planner/model/sql_text.h"
#include "planner/work/listed_rows.h"

namespace pgbackfill::engine {

namespace {

using planner::Problem;

void refuse(std::vector<Problem> const& problems) {
  if (!problems.empty()) throw CommandError{kExitUsage, planner::to_lines(problems) + "\nnothing was touched"};
}

[[noreturn]] void refuse(planner::SourcePosition const& position, std::string text) {
  throw CommandError{kExitUsage, planner::to_string({position, std::move(text)}) + "; nothing was touched"};
}

// A pipe has no size, and a folder can be opened, but not read.
std::string read_csv(std::string const& path, planner::SourcePosition const& position) {
  std::ifstream stream(path, std::ios::binary);
  std::string text;
  std::string part(64 * 1024, '\0');
  while (stream && text.size() <= planner::kMostCsvBytes) {
    stream.read(part.data(), static_cast<std::streamsize>(part.size()));
    text.append(part, 0, static_cast<std::size_t>(stream.gcount()));
  }
  if (!stream.eof() && text.size() <= planner::kMostCsvBytes) {
    refuse(position, neutralised(path) + " cannot be read; it has to be there for every command that runs the SQL");
  }
  if (text.size() > planner::kMostCsvBytes) {
    refuse(position, fmt::format("{} has more than {} MiB; put its rows into a table of your own, and read that",
                                 neutralised(path), planner::kMostCsvBytes / (1024 * 1024)));
  }
  return text;
}

template <class T>
T value_or_refuse(std::variant<T, std::vector<Problem>> read) {
  if (auto const* problems = std::get_if<std::vector<Problem>>(&read)) refuse(*problems);
  return std::move(std::get<T>(read));
}

void require_environment(LoadedMigration const& loaded) {
  std::vector<Problem> problems;
  for (auto const& variable : loaded.environment) {
    char const* const value = std::getenv(variable.name.c_str());
    if (value == nullptr || *value == '\0') {
      problems.push_back({variable.position, fmt::format("SQL reads ${{{}}}, and the variable {} of the environment is "
                                                         "not set, or empty; nothing was touched",
                                                         variable.name, variable.name)});
    } else if (valid_utf8(value) != value) {
      problems.push_back({variable.position, fmt::format("the variable {} is no valid UTF-8", variable.name)});
    }
  }
  if (!problems.empty()) throw CommandError{kExitUsage, planner::to_lines(problems)};
}

// As seen from the folder of the migration file.
std::string path_of(planner::FromFile const& from, std::string const& migration_file) {
  return (std::filesystem::path(migration_file).parent_path() / from.csv).lexically_normal().string();
}

planner::Prepared with_rows(planner::Prepared prepared, std::string const& migration_file) {
  auto const& from = *prepared.from;
  auto const path = path_of(from, migration_file);
  auto const file = planner::parse_csv(read_csv(path, from.position), path);
  planner::ListedTerms const terms{path, from.columns, true, prepared.key, true};
  auto rows = value_or_refuse(planner::read_listed_rows(file, terms));
  keep_value(rows.variable, std::move(rows.json));
  prepared.query = planner::listed_rows_sql(from.columns, rows.variable, false);
  return prepared;
}

bool is_same_key(planner::Key const& one, planner::Key const& other) {
  auto const is_same = [](planner::KeyColumn const& left, planner::KeyColumn const& right) {
    return left.name == right.name && left.type == right.type && left.order_collation == right.order_collation;
  };
  return one.columns.size() == other.columns.size() &&
         std::equal(one.columns.begin(), one.columns.end(), other.columns.begin(), is_same);
}

// The key that all rows of the table have, whichever partition they are in.
planner::Key key_of_table(planner::TableFacts const& table, planner::Backfill const& backfill) {
  std::optional<planner::Key> key;
  for (auto const& leaf : table.leaves) {
    auto choice = planner::choose_key(leaf, backfill);
    if (auto const* refusal = std::get_if<planner::Refusal>(&choice)) refuse(backfill.position, refusal->text);
    auto& found = std::get<planner::Key>(choice);
    if (key && !is_same_key(*key, found)) {
      refuse(backfill.position, "partitions of the table are paged by different keys, so that a file cannot list them");
    }
    if (!key) key = std::move(found);
  }
  if (!key) refuse(backfill.position, "the table has no partition yet, and so no rows whose keys could be listed");
  return std::move(*key);
}

}  // namespace

void take_inputs(LoadedMigration& loaded) {
  require_environment(loaded);
  for (auto& prepared : loaded.prepared) {
    if (!prepared.from) continue;
    bool const is_read =
        prepared.query != planner::listed_rows_sql(prepared.from->columns, planner::kUnreadFile, false);
    if (is_read) continue;
    auto read = with_rows(prepared, loaded.migration.file);
    loaded.migration.backfill = planner::with_query(std::move(*loaded.migration.backfill), prepared, read);
    prepared = std::move(read);
  }
}

planner::OnlyKeys read_only_keys(std::string const& file) {
  auto keys = planner::parse_csv(read_csv(file, {}), file);
  refuse(keys.problems);
  if (keys.rows.empty()) refuse({file, 1, 1}, "there are no keys in the file");
  return planner::only_keys_of(std::move(keys), file);
}

asio::awaitable<void> bind_only_keys(PgConnection& connection, LoadedMigration& loaded) {
  auto const& name = loaded.migration.name;
  if (planner::parts_of_name(name).only_keys.empty()) co_return;
  auto& backfill = *loaded.migration.backfill;
  if (!backfill.only_keys.empty()) co_return;
  if (!loaded.only_keys) {
    throw CommandError{kExitUsage,
                       fmt::format("{} is a job of some keys alone, which its name does not tell: give the file of the "
                                   "migration and --only-keys FILE instead of the name",
                                   name)};
  }
  auto const facts = value_or_throw(co_await read_table_facts(connection, backfill.table), "looking for the table");
  if (!facts) {
    refuse(backfill.position, "table " + planner::quote_qualified(backfill.table.schema, backfill.table.name) +
                                  " does not exist; --only-keys has to know the columns of its key");
  }
  auto const key = key_of_table(*facts, backfill);
  auto columns = planner::columns_of_key(key);
  if (auto const* why = std::get_if<std::string>(&columns)) refuse({loaded.only_keys->file, 0, 0}, *why);
  auto const& of_key = std::get<std::vector<planner::ListedColumn>>(columns);
  std::vector<std::string> names;
  for (auto const& column : of_key) names.push_back(column.name);
  planner::ListedTerms const terms{loaded.only_keys->file, of_key, false, names, false};
  auto rows = value_or_refuse(planner::read_listed_rows(loaded.only_keys->keys, terms));
  auto prepared = planner::prepared_keys(of_key, rows);
  keep_value(rows.variable, std::move(rows.json));
  backfill.only_keys = planner::in_place_of(prepared);
  // There may be many, and they are on their way.
  loaded.only_keys->keys.rows.clear();
  for (auto& one : loaded.prepared) {
    if (one.name == planner::kOnlyKeysName) one = prepared;
  }
}

std::optional<std::int64_t> count_of_keys(LoadedMigration const& loaded) {
  auto const identity = planner::parts_of_name(loaded.migration.name).only_keys;
  if (identity.empty()) return std::nullopt;
  return std::strtoll(identity.c_str(), nullptr, 10);
}

namespace {

// planner::missing_keys_sql(): behind it the columns of one of them.
struct MissingKeys {
  std::int64_t count = 0;
};

}  // namespace

asio::awaitable<std::string> missing_keys_text(PgConnection& connection, planner::WorkTarget target,
                                               std::int64_t keys) {
  auto const rows =
      value_or_throw(co_await query_read_only(connection, planner::missing_keys_sql(target)), "looking for the keys");
  auto const counted = state::first_as<MissingKeys>(rows);
  if (!counted) co_return "";
  std::vector<std::string> shown;
  for (auto const& row : rows.rows) {
    planner::KeyValue key;
    for (auto& value : state::rest_as<std::optional<std::string>, MissingKeys>(row)) key.push_back(value.value_or(""));
    shown.push_back(planner::to_string(key));
  }
  std::int64_t const missing = counted->count;
  bool const has_more = missing > static_cast<std::int64_t>(shown.size());
  co_return fmt::format("no row of {} has {} of the {} keys: {}{}",
                        target.is_partition ? target.parent : target.relation, human_count(missing), human_count(keys),
                        planner::join(shown, ", "), has_more ? ", ..." : "");
}

}  // namespace pgbackfill::engine
