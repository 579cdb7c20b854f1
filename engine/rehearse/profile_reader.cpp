#include "engine/rehearse/profile_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/rehearse/commit_latency.h"
#include "engine/rehearse/profile_sql.h"
#include "engine/rehearse/schema_dump.h"
#include "engine/rehearse/work_cost.h"
#include "engine/state/typed_rows.h"
#include "planner/fill/named_tables.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::TableProfile;

// Partitions among them. More are no migration of a table any more, but of a database.
constexpr std::size_t kMostTables = 10'000;
constexpr auto kCatalogPatience = 60s;
constexpr auto kSamplePatience = 20s;

struct Taken {
  Oids oids;  // in the order of `tables`
  std::vector<TableProfile> tables;
  std::vector<bool> may_read;
};

class ProfileReader {
 public:
  ProfileReader(CommandContext& context, PgConnection& connection, ProfileTerms terms)
      : context_(context), connection_(connection), terms_(terms) {}

  asio::awaitable<Profile> take(LoadedMigration loaded);

 private:
  asio::awaitable<Rows> ask(std::string sql, std::string doing);
  asio::awaitable<void> find_tables(planner::Migration const& migration);
  asio::awaitable<void> read_tables();
  asio::awaitable<void> read_columns();
  asio::awaitable<void> read_constraints();
  asio::awaitable<void> read_widths();
  asio::awaitable<std::vector<WritesRow>> read_writes();
  asio::awaitable<void> read_server();
  asio::awaitable<void> measure_commits();
  asio::awaitable<void> read_work(LoadedMigration loaded);
  TableProfile* table_of(std::uint32_t oid);
  void sum_partitions();
  void measure_all();

  CommandContext& context_;
  PgConnection& connection_;
  ProfileTerms terms_;
  Oids named_;
  Taken taken_;
  Profile profile_;
};

asio::awaitable<Rows> ProfileReader::ask(std::string sql, std::string doing) {
  // Bounds of partitions and statistics are texts in the session's time zone.
  std::vector<Statement> statements = {"SELECT set_config('TimeZone', 'UTC', true)", std::move(sql)};
  auto rows = co_await read_only(connection_, std::move(statements), kCatalogPatience);
  co_return value_or_throw(std::move(rows), doing);
}

asio::awaitable<void> ProfileReader::find_tables(planner::Migration const& migration) {
  auto const names = planner::named_tables(migration);
  if (names.empty()) {
    throw CommandError{kExitUsage, migration.file + ": it names no table, so there is nothing to profile"};
  }
  auto const found = co_await ask(named_oids_sql(names), "looking for the tables");
  named_ = state::column_as<std::uint32_t>(found);
  if (migration.backfill && named_.empty()) {
    throw CommandError{kExitUsage, fmt::format("{}: none of its tables is in this database: {}", migration.file,
                                               planner::shown(migration.backfill->table))};
  }
  auto const referring = co_await ask(referring_oids_sql(named_), "looking for foreign keys");
  taken_.oids = named_;
  for (auto const oid : state::column_as<std::uint32_t>(referring)) taken_.oids.push_back(oid);
  for (std::size_t before = 0; before != taken_.oids.size();) {
    before = taken_.oids.size();
    auto const grown = co_await ask(grown_oids_sql(taken_.oids), "looking for partitions and foreign keys");
    taken_.oids = state::column_as<std::uint32_t>(grown);
    if (taken_.oids.size() > kMostTables) {
      throw CommandError{kExitUsage,
                         fmt::format("{}: its tables, with partitions and what foreign keys refer to, are more than {}",
                                     migration.file, kMostTables)};
    }
  }
}

TableProfile* ProfileReader::table_of(std::uint32_t oid) {
  auto const found = std::find(taken_.oids.begin(), taken_.oids.end(), oid);
  return found == taken_.oids.end() ? nullptr : &taken_.tables[static_cast<std::size_t>(found - taken_.oids.begin())];
}

asio::awaitable<void> ProfileReader::read_tables() {
  auto const rows = co_await ask(tables_sql(taken_.oids), "reading the tables");
  taken_.oids.clear();
  for (auto const& row : state::rows_as<TableRow>(rows)) {
    TableProfile table;
    table.table = {row.schema, row.name};
    table.kind = row.kind;
    table.parent = {row.parent_schema, row.parent_name};
    table.partition_bound = row.partition_bound;
    table.partition_key = row.partition_key;
    table.rows = row.rows;
    table.heap_bytes = row.heap_bytes;
    table.index_bytes = row.index_bytes;
    table.toast_bytes = row.toast_bytes;
    table.fillfactor = row.fillfactor;
    table.dead_rows = row.dead_rows;
    table.is_touched = std::find(named_.begin(), named_.end(), row.oid) != named_.end();
    taken_.oids.push_back(row.oid);
    taken_.tables.push_back(std::move(table));
    taken_.may_read.push_back(row.may_read);
  }
}

std::vector<double> numbers_of(std::vector<std::string> const& texts) {
  std::vector<double> numbers;
  for (auto const& text : texts) numbers.push_back(std::strtod(text.c_str(), nullptr));
  return numbers;
}

asio::awaitable<void> ProfileReader::read_columns() {
  auto const rows = co_await ask(columns_of_tables_sql(taken_.oids), "reading the columns");
  for (auto& row : state::rows_as<ColumnRow>(rows)) {
    planner::ColumnProfile column;
    column.name = row.name;
    column.type = row.type;
    column.plain = row.plain;
    column.is_array = row.is_array;
    column.is_not_null = row.is_not_null;
    column.is_generated = row.is_generated;
    column.labels = std::move(row.labels);
    column.max_length = row.max_length;
    column.max_digits = row.max_digits;
    column.is_analyzed = row.is_analyzed;
    column.null_share = row.null_share;
    column.width = row.width;
    column.distinct = row.distinct;
    column.correlation = row.correlation;
    column.elements = row.elements;
    column.common_shares = numbers_of(row.common_shares);
    column.common_values = std::move(row.common_values);
    column.bounds = std::move(row.bounds);
    if (auto* table = table_of(row.table)) table->columns.push_back(std::move(column));
  }
}

asio::awaitable<void> ProfileReader::read_constraints() {
  auto const keys = co_await ask(unique_keys_sql(taken_.oids), "reading the unique keys");
  for (auto& row : state::rows_as<KeyRow>(keys)) {
    if (auto* table = table_of(row.table)) table->unique_keys.push_back(std::move(row.columns));
  }
  auto const foreign = co_await ask(foreign_keys_sql(taken_.oids), "reading the foreign keys");
  for (auto& row : state::rows_as<ForeignKeyRow>(foreign)) {
    auto* table = table_of(row.table);
    if (table == nullptr) continue;
    table->foreign_keys.push_back(
        {row.name, std::move(row.columns), {row.parent_schema, row.parent_name}, std::move(row.parent_columns)});
  }
  auto const checks = co_await ask(checks_sql(taken_.oids), "reading the checks");
  for (auto& row : state::rows_as<CheckRow>(checks)) {
    if (auto* table = table_of(row.table)) table->checks.push_back({row.name, row.definition, std::move(row.columns)});
  }
}

asio::awaitable<void> ProfileReader::read_widths() {
  for (std::size_t index = 0; index < taken_.tables.size(); ++index) {
    auto& table = taken_.tables[index];
    if (table.kind != "r" || table.rows == 0) continue;
    auto sql = widths_sql(table);
    if (sql.empty()) continue;
    if (!taken_.may_read[index]) {
      profile_.notes.push_back(planner::shown(table.table) +
                               ": this role may not read it, so that the lengths of its "
                               "texts are averages; GRANT SELECT would tell them");
      continue;
    }
    std::vector<Statement> statements = {std::move(sql)};
    auto const rows = co_await read_only(connection_, std::move(statements), kSamplePatience);
    if (!rows) {
      profile_.notes.push_back(planner::shown(table.table) +
                               ": the lengths of its texts are averages: " + neutralised(rows.error().message));
      continue;
    }
    for (auto const& row : state::rows_as<WidthRow>(*rows)) {
      for (auto& column : table.columns) {
        if (column.name != row.column) continue;
        for (auto const width : numbers_of(row.widths)) column.widths.push_back(static_cast<std::int64_t>(width));
        column.stored_share = row.stored_share;
      }
    }
  }
}

asio::awaitable<std::vector<WritesRow>> ProfileReader::read_writes() {
  auto const rows = co_await ask(writes_sql(taken_.oids), "reading the counters of writes");
  co_return state::rows_as<WritesRow>(rows);
}

struct ServerRow {
  std::int64_t version = 0;
  std::string now;
  double seconds = 0;
  std::int64_t replicas = 0;
};

asio::awaitable<void> ProfileReader::read_server() {
  auto const rows = co_await ask(
      "SELECT current_setting('server_version_num'), to_char(now() AT TIME ZONE 'UTC', "
      "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), extract(epoch FROM now()), (SELECT count(*) FROM pg_stat_replication)",
      "reading the server's version");
  auto const server = state::row_as<ServerRow>(rows.rows.front());
  profile_.server_version = server.version;
  profile_.taken_at = server.now;
  profile_.taken_at_seconds = server.seconds;
  profile_.replicas = server.replicas;
  auto const settings = co_await ask(profiled_settings_sql(), "reading the settings");
  for (auto const& row : state::rows_as<SettingRow>(settings)) profile_.settings[row.name] = row.value;
}

asio::awaitable<void> ProfileReader::measure_commits() {
  auto const median = co_await median_commit(connection_);
  if (median) {
    profile_.commit_milliseconds = *median;
  } else {
    profile_.notes.push_back("what a commit costs is not known: " + neutralised(median.error().message));
  }
}

// What `plan` finds out about the work; a migration that the server would refuse is no reason to have no profile.
asio::awaitable<void> ProfileReader::read_work(LoadedMigration loaded) {
  if (!loaded.migration.backfill) co_return;
  std::string trouble;
  try {
    auto const cost = co_await measure_work(connection_, std::move(loaded), terms_.with_sample);
    if (cost.plan.backfill) profile_.work_rows = cost.plan.backfill->rows;
    profile_.batch = cost.batch;
    profile_.matching_share = cost.matching_share;
  } catch (CommandError const& error) {
    trouble = error.text;
  }
  if (!trouble.empty()) profile_.notes.push_back("the work could not be looked at: " + neutralised(trouble));
}

// Of a partitioned table the server may know nothing by itself.
void ProfileReader::sum_partitions() {
  for (auto& table : taken_.tables) {
    if (table.kind == "p") table.rows = 0;
  }
  for (auto const& leaf : taken_.tables) {
    if (leaf.kind == "p") continue;
    for (auto above = leaf.parent; !above.name.empty();) {
      auto const found = std::find_if(taken_.tables.begin(), taken_.tables.end(),
                                      [&](TableProfile const& table) { return table.table == above; });
      if (found == taken_.tables.end()) break;
      found->rows += leaf.rows;
      above = found->parent;
    }
  }
}

void ProfileReader::measure_all() {
  for (auto& table : taken_.tables) {
    for (auto& column : table.columns) planner::measure_values(column, profile_.taken_at_seconds);
    if (terms_.values == KeptValues::kNone) table = planner::without_values(std::move(table));
  }
}

asio::awaitable<Profile> ProfileReader::take(LoadedMigration loaded) {
  profile_.values = terms_.values;
  profile_.migration = loaded.migration.name;
  co_await read_server();
  co_await find_tables(loaded.migration);
  co_await read_tables();
  auto const before = co_await read_writes();
  auto const began = std::chrono::steady_clock::now();
  co_await read_columns();
  co_await read_constraints();
  co_await read_widths();
  co_await measure_commits();
  std::vector<planner::TableName> names;
  for (auto const& table : taken_.tables) names.push_back(table.table);
  if (!names.empty()) profile_.schema = co_await dump_schema(context_.options().dsn, std::move(names));
  co_await read_work(std::move(loaded));
  auto const passed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  std::function<bool()> const is_stopping = [this] { return context_.interrupts().is_asked(); };
  if (passed < terms_.between_readings) {
    auto const rest = terms_.between_readings - passed;
    co_await sleep_unless_stopped(rest, is_stopping);
  }
  auto const after = co_await read_writes();
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  for (auto const& now : after) {
    auto* table = table_of(now.table);
    auto const then =
        std::find_if(before.begin(), before.end(), [&](WritesRow const& row) { return row.table == now.table; });
    if (table == nullptr || then == before.end()) continue;
    table->inserts_per_second = std::max(0.0, static_cast<double>(now.inserted - then->inserted) / seconds);
    table->updates_per_second = std::max(0.0, static_cast<double>(now.updated - then->updated) / seconds);
    table->deletes_per_second = std::max(0.0, static_cast<double>(now.deleted - then->deleted) / seconds);
  }
  sum_partitions();
  measure_all();
  profile_.tables = std::move(taken_.tables);
  co_return std::move(profile_);
}

}  // namespace

asio::awaitable<Profile> take_profile(CommandContext& context, PgConnection& connection, LoadedMigration loaded,
                                      ProfileTerms terms) {
  ProfileReader reader(context, connection, terms);
  co_return co_await reader.take(std::move(loaded));
}

}  // namespace pgbackfill::engine
