#include "engine/steps/other_migrations.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <variant>

#include "engine/base/command_error.h"
#include "engine/pg/catalog.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/file/migration_file.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/other_migrations.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::engine {

namespace {

using planner::TableName;

struct Others {
  std::vector<planner::Need> needs;
  std::vector<planner::SyncColumns> syncs;
  std::vector<planner::RowChanges> changes;
  std::vector<planner::KeptCopy> copies;
};

struct TableIds {
  std::string own;
  std::string root;  // of its partitions: what they are partitions of
};

using Ids = std::map<std::pair<std::string, std::string>, TableIds>;

struct SyncTrigger {
  std::string function;
  std::string name;
};

struct IndexColumn {
  std::string schema;
  std::string table;
  std::string name;
  bool is_unique = false;
};

// Row triggers by the function that they call; a trigger that is switched off reads nothing.
asio::awaitable<std::map<std::string, std::string>> read_sync_triggers(PgConnection& connection) {
  std::string question =
      "SELECT f.proname, g.tgname FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid JOIN "
      "pg_catalog.pg_namespace n ON n.oid = f.pronamespace WHERE n.nspname = 'pgbackfill' AND g.tgtype & 1 = 1 AND "
      "g.tgparentid = 0 AND f.prosrc <> " +
      planner::quote_literal(planner::sync_body_off());
  auto const rows = value_or_throw(co_await query_read_only(connection, std::move(question)),
                                   "looking for the triggers of other migrations");
  std::map<std::string, std::string> triggers;
  for (auto const& trigger : state::rows_as<SyncTrigger>(rows)) triggers[trigger.function] = trigger.name;
  co_return triggers;
}

// Nothing where this version cannot read the file: it says nothing of what it needs.
std::optional<planner::Migration> migration_of(std::string const& name, std::string const& file,
                                               std::string const& source) {
  auto parsed = planner::parse_migration(source, file, planner::given_of_name(name));
  return std::move(parsed.migration);
}

planner::OpenParts open_parts(planner::Migration const& migration, state::OtherMigration const& other) {
  planner::OpenParts open;
  std::string const& status = other.job_status;
  open.has_job = !status.empty() && status != state::status_name(JobStatus::kComplete) &&
                 status != state::status_name(JobStatus::kCancelled);
  std::set<std::string> const done(other.recorded.begin(), other.recorded.end());
  open.indexes = other.indexes;
  open.key = other.key;
  // What was rolled back, or only stands there, has no contract to come.
  bool const has_begun = !done.empty() || !status.empty();
  if (!has_begun) return open;
  for (auto& placed : planner::contract_steps(migration)) {
    bool const is_open = !done.contains(fmt::format("{} {}", placed.phase, placed.position));
    if (is_open && placed.phase != planner::kSyncPhase) open.contract.push_back(std::move(placed));
  }
  return open;
}

asio::awaitable<Others> read_others(PgConnection& connection, std::string migration) {
  Others others;
  auto const there =
      value_or_throw(co_await query_read_only(connection, state::has_version()), "reading the state schema");
  if (!state::value_as<bool>(there)) co_return others;
  auto const rows = value_or_throw(co_await query_read_only(connection, state::other_migrations(migration)),
                                   "reading the other migrations");
  auto const triggers = co_await read_sync_triggers(connection);
  for (auto const& row : state::rows_as<state::OtherMigration>(rows)) {
    auto const other = migration_of(row.name, row.file, row.source);
    if (!other) continue;
    auto open = open_parts(*other, row);
    auto const trigger = triggers.find(planner::sync_function_name(other->name));
    open.has_sync = other->sync && trigger != triggers.end();
    for (auto& need : planner::needs_of(*other, open)) others.needs.push_back(std::move(need));
    if (open.has_job) {
      for (auto& change : planner::row_changes_of(*other)) others.changes.push_back(std::move(change));
    }
    if (!open.has_sync) continue;
    auto copy = planner::kept_copy_of(*other);
    if (copy) others.copies.push_back(std::move(*copy));
    auto columns = planner::sync_columns_of(*other);
    columns.trigger = trigger->second;
    if (!columns.table.name.empty()) others.syncs.push_back(std::move(columns));
  }
  co_return others;
}

// Both of each, in the order of the map.
std::string ids_sql(Ids const& ids) {
  std::vector<std::string> columns;
  for (auto const& [name, id] : ids) {
    auto const oid = planner::oid_of(name.first, name.second);
    columns.push_back(fmt::format(
        "({0})::pg_catalog.oid::text, coalesce(pg_catalog.pg_partition_root({0})::pg_catalog.oid, ({0}))::text", oid));
  }
  return fmt::format("SELECT {}", planner::join(columns, ", "));
}

// Of tables that are there.
asio::awaitable<Ids> read_ids(PgConnection& connection, std::vector<TableName> tables) {
  Ids ids;
  for (auto const& table : tables) ids[{table.schema, table.name}] = {};
  if (ids.empty()) co_return ids;
  auto const row =
      value_or_throw(co_await query_read_only(connection, ids_sql(ids)), "looking for the tables of other migrations");
  std::size_t column = 0;
  for (auto& [name, id] : ids) {
    id.own = row.rows.front()[column++].value_or("");
    id.root = row.rows.front()[column++].value_or("");
  }
  co_return ids;
}

planner::SameTable same_by(Ids const& ids) {
  return [&ids](TableName const& one, TableName const& other, bool exactly) {
    auto const& left = ids.at({one.schema, one.name});
    auto const& right = ids.at({other.schema, other.name});
    bool const is_own = !left.own.empty() && left.own == right.own;
    return exactly ? is_own : is_own || (!left.root.empty() && left.root == right.root);
  };
}

// Which columns an index has that is to go; of DROP INDEX in SQL the index alone is known.
std::string index_columns_sql(planner::Taking const& taking) {
  std::string const which =
      taking.is_primary_key ? "i.indisprimary" : "c.relname = " + planner::quote_literal(taking.index);
  std::string const whose = taking.table.name.empty()
                                ? "pg_catalog.pg_table_is_visible(c.oid)"
                                : "i.indrelid = " + planner::oid_of(taking.table.schema, taking.table.name);
  return fmt::format(
      "SELECT n.nspname, t.relname, a.attname, i.indisunique AND i.indpred IS NULL FROM pg_catalog.pg_index i JOIN "
      "pg_catalog.pg_class c ON c.oid = "
      "i.indexrelid "
      "JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace CROSS "
      "JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k (number, "
      "place) JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.place <= "
      "i.indnkeyatts AND {} AND {} ORDER BY i.indexrelid, k.place",
      which, whose);
}

asio::awaitable<void> find_index_columns(PgConnection& connection, std::vector<planner::Taking>& takings) {
  for (auto& taking : takings) {
    if (taking.index.empty() && !taking.is_primary_key) continue;
    auto const rows = value_or_throw(co_await query_read_only(connection, index_columns_sql(taking)),
                                     "looking for an index that is to go");
    for (auto const& column : state::rows_as<IndexColumn>(rows)) {
      taking.index_columns.push_back(column.name);
      taking.is_unique = column.is_unique;
      if (taking.table.name.empty()) taking.table = {column.schema, column.table};
    }
  }
  std::erase_if(takings, [](planner::Taking const& taking) { return taking.table.name.empty(); });
}

asio::awaitable<std::vector<std::string>> hold_against(PgConnection& connection, std::string migration,
                                                       std::vector<planner::Taking> takings) {
  if (takings.empty()) co_return std::vector<std::string>();
  auto const others = co_await read_others(connection, std::move(migration));
  if (others.needs.empty()) co_return std::vector<std::string>();
  co_await find_index_columns(connection, takings);
  std::vector<TableName> tables;
  for (auto const& taking : takings) tables.push_back(taking.table);
  for (auto const& need : others.needs) tables.push_back(need.table);
  auto const ids = co_await read_ids(connection, std::move(tables));
  co_return planner::conflicts(takings, others.needs, same_by(ids));
}

}  // namespace

asio::awaitable<std::vector<std::string>> others_that_need(PgConnection& connection, std::string migration,
                                                           std::vector<planner::PlacedStep> steps) {
  auto takings = planner::takings_of(steps);
  co_return co_await hold_against(connection, std::move(migration), std::move(takings));
}

asio::awaitable<std::vector<std::string>> others_that_need_undone(PgConnection& connection, std::string migration,
                                                                  std::vector<planner::PlacedStep> steps) {
  auto takings = planner::takings_of_undo(steps);
  co_return co_await hold_against(connection, std::move(migration), std::move(takings));
}

asio::awaitable<std::vector<std::string>> others_with_copies(PgConnection& connection, planner::Migration migration,
                                                             bool is_over) {
  auto const others = co_await read_others(connection, migration.name);
  std::vector<planner::RowChanges> mine;
  if (!is_over) mine = planner::row_changes_of(migration);
  auto const own_copy = planner::kept_copy_of(migration);
  std::vector<planner::KeptCopy> own_copies;
  if (own_copy) own_copies.push_back(*own_copy);
  std::vector<TableName> tables;
  for (auto const& change : mine) tables.push_back(change.table);
  for (auto const& change : others.changes) tables.push_back(change.table);
  for (auto const& copy : own_copies) tables.push_back(copy.table);
  for (auto const& copy : others.copies) tables.push_back(copy.table);
  auto const ids = co_await read_ids(connection, std::move(tables));
  auto const is_same = same_by(ids);
  auto texts = planner::copy_conflicts(mine, others.copies, is_same);
  for (auto& text : planner::copy_conflicts(others.changes, own_copies, is_same)) texts.push_back(std::move(text));
  co_return texts;
}

asio::awaitable<std::string> place_sync_trigger(PgConnection& connection, planner::Migration& migration) {
  auto const mine = planner::sync_columns_of(migration);
  if (mine.table.name.empty()) co_return std::string();
  auto others = co_await read_others(connection, migration.name);
  std::vector<TableName> tables = {mine.table};
  for (auto const& other : others.syncs) tables.push_back(other.table);
  auto const ids = co_await read_ids(connection, std::move(tables));
  auto const is_same = same_by(ids);
  std::erase_if(others.syncs,
                [&](planner::SyncColumns const& other) { return !is_same(mine.table, other.table, false); });
  auto place = planner::place_sync(mine, others.syncs);
  if (!place.problem.empty()) co_return std::move(place.problem);
  auto install = std::get<planner::InstallSync>(migration.sync->install.detail->kind);
  install.trigger = std::move(place.trigger);
  migration.sync->install.detail = std::make_shared<planner::StepDetail>(planner::StepDetail{std::move(install)});
  co_return std::string();
}

}  // namespace pgbackfill::engine
