#include "engine/plan/coming_columns.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/session_settings.h"
#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/step_order.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

namespace {

constexpr char kCopy[] = "pg_temp.pgbackfill_probe";
constexpr char kReadOnlySession[] = "25006";

std::vector<planner::AddColumn> coming_columns(planner::Migration const& migration) {
  std::vector<planner::AddColumn> columns;
  for (auto const& placed : planner::expand_steps(migration)) {
    auto const* add = std::get_if<planner::AddColumn>(&placed.step.detail->kind);
    if (add != nullptr && add->table == migration.backfill->table) columns.push_back(*add);
  }
  return columns;
}

}  // namespace

std::optional<Preflight> with_coming_columns(planner::Migration const& migration, Preflight preflight) {
  if (!preflight.only_missing_names || preflight.missing_table) return std::nullopt;
  auto& table = preflight.table;
  for (auto const& add : coming_columns(migration)) {
    planner::ColumnFacts column;
    column.name = add.column;
    column.type = column.declared_type = add.type;
    column.not_null = add.is_not_null;
    for (auto& leaf : table.leaves) leaf.columns.push_back(column);
  }
  auto const& backfill = *migration.backfill;
  preflight.problems = planner::check_against_table(backfill, table, preflight.keys);
  if (!preflight.problems.empty() || preflight.keys.size() != table.leaves.size()) return std::nullopt;
  for (std::size_t leaf = 0; leaf < preflight.keys.size(); ++leaf) {
    preflight.targets[leaf] =
        planner::make_work_target(backfill, table, table.leaves[leaf], preflight.keys[leaf], preflight.traits);
  }
  return preflight;
}

asio::awaitable<void> try_on_copy(PgConnection& connection, planner::Migration const& migration,
                                  planner::WorkTarget target, planner::Interval interval) {
  auto const& backfill = *migration.backfill;
  bool const names_itself = backfill.kind == planner::WorkKind::kSql || backfill.kind == planner::WorkKind::kCopy;
  if (names_itself || connection.is_standby() || target.key.is_by_block()) co_return;
  std::vector<std::string> statements = {"CREATE TEMP TABLE pgbackfill_probe (LIKE " + target.relation +
                                         " INCLUDING DEFAULTS INCLUDING GENERATED)"};
  for (auto const& add : coming_columns(migration)) {
    statements.push_back(std::string("ALTER TABLE ") + kCopy + " ADD COLUMN IF NOT EXISTS " +
                         planner::quote_identifier(add.column) + " " + add.type);
  }
  target.relation = kCopy;
  target.traits.works_through_parent = target.traits.reads_through_parent = false;
  statements.push_back("EXPLAIN " + planner::plain_work(target, interval));
  statements.emplace_back("SELECT 1");  // the last one is ours
  auto const tried = co_await connection.pipeline(tried_out(std::move(statements)), Deadlines());
  if (tried) co_return;
  auto const failure = tried.error();
  if (!connection.is_usable()) throw_failure(failure, "trying the batch on an empty copy of the table");
  value_or_throw(co_await connection.script("ROLLBACK", Deadlines()), "ending the attempt");
  // Another step may make what is missing; a role that may not make temporary tables learns it from its run.
  bool const may_come = is_missing_name(failure.sqlstate) && planner::has_sql_in_expand(migration);
  bool const cannot_try = failure.sqlstate == kReadOnlySession || failure.sqlstate == "42501" ||
                          failure.trouble == planner::Trouble::kLockTimeout;
  if (may_come || cannot_try) co_return;
  throw CommandError{kExitUsage, planner::to_string({backfill.position,
                                                     "once the expand steps have run, the server would refuse "
                                                     "the batch: " +
                                                         failure.message})};
}

}  // namespace pgbackfill::engine
