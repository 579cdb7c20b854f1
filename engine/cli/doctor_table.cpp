// The table of a file, and what was left over from before.

#include <fmt/format.h>

#include "engine/base/text.h"
#include "engine/cli/doctor.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/step_check.h"
#include "engine/view/console.h"
#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"
#include "planner/model/work_kind.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_identifier;
using planner::quote_qualified;

// Columns of state::overviews().
constexpr std::size_t kNameColumn = 0;
constexpr std::size_t kStatusColumn = 5;
constexpr std::size_t kReasonColumn = 6;
constexpr std::size_t kQuarantinedColumn = 22;
constexpr std::size_t kProcessesColumn = 23;

std::string oid_list(planner::TableFacts const& table) {
  std::vector<std::string> oids;
  for (auto const& leaf : table.leaves) oids.push_back(std::to_string(leaf.oid));
  return planner::join(oids, ", ");
}

}  // namespace

namespace {

struct InvalidIndex {
  std::string schema;
  std::string name;
  std::string table;
  std::int64_t bytes = 0;
};

struct TableStorage {
  bool has_room = false;  // by fillfactor
  bool is_vacuumed = false;
  std::int64_t indexes = 0;
  std::int64_t dead_rows_to_vacuum = 0;
};

struct IndexedColumn {
  std::string index;
  std::string column;
};

}  // namespace

asio::awaitable<void> Doctor::check_indexes() {
  auto const rows = co_await ask(
      "indexes", fmt::format("SELECT n.nspname, c.relname, i.indrelid::regclass::text, pg_relation_size(c.oid) FROM "
                             "pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = "
                             "c.relnamespace WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (SELECT 1 FROM "
                             "pg_stat_progress_create_index p WHERE p.index_relid = c.oid) ORDER BY 4 DESC LIMIT {}",
                             kListed));
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("indexes", Finding::kPass, "none is invalid");
  for (auto const& index : state::rows_as<InvalidIndex>(*rows)) {
    std::string const name = quote_qualified(index.schema, index.name);
    add("index", Finding::kWarn,
        fmt::format("{} on {} is invalid ({}): every write pays for it, no query uses it", name, index.table,
                    human_bytes(index.bytes)),
        fmt::format("`DROP INDEX CONCURRENTLY {0}`, or `REINDEX INDEX CONCURRENTLY {0}`", name));
  }
}

asio::awaitable<void> Doctor::check_jobs() {
  auto const there = co_await ask("jobs", state::has_version());
  if (!there || !state::value_as<bool>(*there)) co_return;
  auto const version = co_await ask("jobs", state::read_version());
  auto const layout = version ? state::first_as<state::LayoutVersion>(*version) : std::nullopt;
  if (!layout || layout->version != kStateVersion) co_return;
  auto const rows = co_await ask("jobs", state::overviews(""));
  if (!rows) co_return;
  auto const before = checks_.size();
  for (auto const& row : rows->rows) {
    std::string const name = *row[kNameColumn];
    std::string const status = row[kStatusColumn].value_or("");
    std::string const look = fmt::format("`pgbackfill status {}` says more", name);
    if (status == "running" && row[kProcessesColumn] == "0") {
      add("job", Finding::kWarn, name + " is running by its status, but no process holds a range of it",
          look + "; run it again, or cancel it");
    } else if (status == "failed") {
      add("job", Finding::kWarn, fmt::format("{} failed: {}", name, row[kReasonColumn].value_or("")), look);
    } else if (row[kQuarantinedColumn].value_or("0") != "0") {
      add("job", Finding::kWarn, fmt::format("{} has {} rows set aside", name, *row[kQuarantinedColumn]), look);
    }
  }
  if (checks_.size() == before) {
    add("jobs", Finding::kPass,
        rows->rows.empty() ? "no migration ran here yet"
                           : fmt::format("{} known, none is stuck or failed", rows->rows.size()));
  }
}

asio::awaitable<void> Doctor::check_size(planner::Backfill const& backfill, planner::TableFacts const& table) {
  auto const rows = co_await ask(
      "size", fmt::format("SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE "
                          "oid IN ({})",
                          oid_list(table)));
  if (!rows) co_return;
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  for (auto const& leaf : table.leaves) {
    count += leaf.rows_estimated;
    bytes += leaf.bytes;
  }
  std::string text =
      fmt::format("{}: about {} rows, {} with indexes, {} without", quote_qualified(table.schema, table.name),
                  human_count(count), human_bytes(state::value_as<std::int64_t>(*rows)), human_bytes(bytes));
  if (table.leaves.size() > 1) text += fmt::format(", in {} partitions", table.leaves.size());
  add("table", Finding::kPass, text);
  auto const& traits = planner::traits_of(backfill.kind);
  if (traits.takes_room) {
    add("disk", Finding::kUnseen, "free disk space cannot be read through SQL",
        "look at it on the server (df), for the table and for WAL");
  }
  add("growth", Finding::kPass, fmt::format(fmt::runtime(traits.growth), human_bytes(bytes)));
}

void Doctor::note_keys(Preflight const& preflight) {
  if (preflight.keys.empty()) return;
  auto const& key = preflight.keys.front();
  if (key.is_by_block()) {
    return add("key", Finding::kPass, "no usable key: it is paged by physical blocks",
               "a primary key makes batches even, and lets the job be checked row by row");
  }
  std::vector<std::string> columns;
  for (auto const& column : key.columns) columns.push_back(quote_identifier(column.name));
  add("key", Finding::kPass, fmt::format("index {}: {}", quote_identifier(key.index), planner::join(columns, ", ")));
}

void Doctor::note_triggers(planner::Backfill const& backfill, planner::TableFacts const& table) {
  if (!planner::traits_of(backfill.kind).writes_table) return;
  std::vector<std::string> names;
  for (auto const& trigger : table.triggers) {
    bool const fires = trigger.enabled != 'D' && planner::may_fire(backfill.kind, trigger);
    if (fires && !trigger.is_of_leaf) names.push_back(quote_identifier(trigger.name));
  }
  if (names.empty()) return add("triggers", Finding::kPass, "none fires on the rows that change");
  bool const are_skipped = backfill.triggers == planner::TriggerMode::kSkip;
  add("triggers", are_skipped ? Finding::kPass : Finding::kWarn,
      fmt::format("{} fire on the rows that change{}", planner::join(names, ", "),
                  are_skipped ? ", but the file says to skip them" : ""),
      are_skipped ? "" : "if they must not, write `triggers: skip` (needs the right to set session_replication_role)");
}

asio::awaitable<void> Doctor::check_updates(planner::Backfill const& backfill, planner::TableFacts const& table) {
  std::vector<std::string> columns;
  for (auto const& assignment : backfill.assignments) columns.push_back(assignment.column);
  auto const indexed = co_await ask(
      "updates",
      fmt::format(
          "SELECT DISTINCT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN "
          "pg_am m ON m.oid = c.relam JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = ANY ({0}) "
          "WHERE i.indrelid IN ({1}) AND NOT (m.amname = 'brin' AND "
          "current_setting('server_version_num')::int >= 160000) AND (a.attnum = ANY (i.indkey) OR EXISTS "
          "(SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND "
          "d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum)) ORDER "
          "BY 1, 2 LIMIT {2}",
          planner::text_array(columns), oid_list(table), kListed));
  auto const options = co_await ask(
      "updates",
      fmt::format(
          "SELECT bool_and(coalesce((SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) o WHERE "
          "o.option_name = 'fillfactor'), 100) < 100), bool_and(coalesce((SELECT o.option_value::boolean FROM "
          "pg_options_to_table(c.reloptions) o WHERE o.option_name = 'autovacuum_enabled'), true)), "
          "max((SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)), "
          "max(coalesce((SELECT o.option_value::float8 FROM pg_options_to_table(c.reloptions) o WHERE "
          "o.option_name = 'autovacuum_vacuum_scale_factor'), "
          "current_setting('autovacuum_vacuum_scale_factor')::float8) * greatest(c.reltuples, 0) + "
          "coalesce((SELECT o.option_value::float8 FROM pg_options_to_table(c.reloptions) o WHERE o.option_name "
          "= 'autovacuum_vacuum_threshold'), current_setting('autovacuum_vacuum_threshold')::float8))::bigint "
          "FROM pg_class c WHERE c.oid IN ({})",
          oid_list(table)));
  if (!indexed || !options) co_return;
  auto const storage = state::row_as<TableStorage>(options->rows.at(0));
  std::string const entries =
      fmt::format("each changed row gets a new entry in {}",
                  storage.indexes == 1 ? "the index" : fmt::format("all {} indexes", storage.indexes));
  for (auto const& [index, column] : state::rows_as<IndexedColumn>(*indexed)) {
    add("updates", Finding::kWarn,
        fmt::format("index {} uses column {}: {}", quote_identifier(index), quote_identifier(column), entries),
        "if queries can do without it meanwhile, drop it first and create it again in contract");
  }
  bool const has_room = storage.has_room;
  if (indexed->rows.empty() && storage.indexes != 0) {
    add("updates", has_room ? Finding::kPass : Finding::kWarn,
        has_room ? std::string("no index uses a changed column, and pages have room: most updates are cheap (HOT)")
                 : "fillfactor is 100, so full pages have no room for new versions of rows: there " + entries,
        has_room ? ""
                 : fmt::format("`ALTER TABLE {} SET (fillfactor = 90)` helps pages written from now on, not those that "
                               "are full",
                               quote_qualified(table.schema, table.name)));
  }
  bool const vacuums = storage.is_vacuumed;
  add("autovacuum", vacuums ? Finding::kPass : Finding::kWarn,
      vacuums ? fmt::format("comes to the table after {} dead rows", human_count(storage.dead_rows_to_vacuum))
              : std::string("is off for the table: dead rows of the backfill stay"),
      vacuums ? ""
              : fmt::format("`ALTER TABLE {} RESET (autovacuum_enabled)`", quote_qualified(table.schema, table.name)));
}

// Of indexes that the work does not page by; else it is refused.
void Doctor::note_collations(planner::TableFacts const& table) {
  for (auto const& leaf : table.leaves) {
    for (auto const& index : leaf.indexes) {
      auto doubt = planner::order_doubt({index.name, index.columns}, leaf);
      if (!doubt.empty()) add("collation", Finding::kWarn, std::move(doubt));
    }
  }
}

asio::awaitable<void> Doctor::check_steps(planner::Migration migration) {
  if (migration.expand.empty() && migration.contract.empty()) co_return;
  RecordedSteps recorded;
  auto const there = co_await ask("steps", state::has_version());
  if (there && state::value_as<bool>(*there)) {
    auto known = co_await read_recorded_steps(*connection_, migration.name);
    if (!known) co_return add("steps", Finding::kWarn, failure_text(known.error()));
    recorded = std::move(*known);
  }
  auto const answers = co_await ask_all_steps(*connection_, std::move(migration), std::move(recorded));
  if (!answers) co_return add("steps", Finding::kWarn, failure_text(answers.error()));
  auto const problems = refusals_of(*answers);
  for (auto const& problem : problems) add("steps", Finding::kFail, planner::to_string(problem));
  if (problems.empty()) {
    add("steps", Finding::kPass,
        "rights, names and what depends on them: the server refuses none that can be asked "
        "about");
  }
}

asio::awaitable<void> Doctor::check_file(LoadedMigration loaded) {
  auto const& migration = loaded.migration;
  add("file", Finding::kPass, fmt::format("{} can be read: migration {}", migration.file, migration.name));
  auto const role = co_await ask("role", "SELECT current_setting('is_superuser')");
  bool const is_super = role && state::value_as<std::string>(*role) == "on";
  bool const is_mirror = migration.backfill && !migration.backfill->mirror_key.empty();
  if (is_super && is_mirror) {
    add("sync", Finding::kWarn,
        "the trigger function of `mirror:` would run with the rights of a superuser for everybody who writes the table",
        "run pgbackfill as a role that has just the rights it needs");
  }
  co_await check_steps(migration);
  if (!migration.backfill) co_return;
  auto const preflight = co_await check_backfill(*connection_, *migration.backfill);
  if (!preflight) co_return add("file", Finding::kWarn, failure_text(preflight.error()));
  bool const may_come = may_come_with_expand(*preflight, migration);
  for (auto const& problem : preflight->problems) {
    add("file", may_come ? Finding::kWarn : Finding::kFail, planner::to_string(problem),
        may_come ? "right if the expand steps make it: `pgbackfill run` checks again after them" : "");
  }
  for (auto const& warning : preflight->warnings) add("work", Finding::kWarn, warning);
  auto const& table = preflight->table;
  if (table.leaves.empty()) co_return;
  co_await check_size(*migration.backfill, table);
  note_keys(*preflight);
  if (preflight->problems.empty()) note_collations(table);
  note_triggers(*migration.backfill, table);
  if (migration.backfill->kind == planner::WorkKind::kUpdate) co_await check_updates(*migration.backfill, table);
}

}  // namespace pgbackfill::engine
