#include "engine/plan/coming_columns.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/session_settings.h"
#include "engine/plan/batch_sample.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/step_order.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

namespace {

constexpr char kCopy[] = "pg_temp.pgbackfill_probe";
constexpr char kReadOnlySession[] = "25006";
// Bytes of a row in the copy, 0 without rows.
constexpr char kRowWidth[] =
    "SELECT coalesce(pg_catalog.avg(pg_catalog.pg_column_size(p.*)), 0) FROM pg_temp.pgbackfill_probe p";

std::vector<planner::AddColumn> coming_columns(planner::Migration const& migration) {
  std::vector<planner::AddColumn> columns;
  for (auto const& placed : planner::expand_steps(migration)) {
    auto const* add = std::get_if<planner::AddColumn>(&placed.step.detail->kind);
    if (add != nullptr && add->table == migration.backfill->table) columns.push_back(*add);
  }
  return columns;
}

std::string make_copy(planner::WorkTarget const& target, bool is_measured) {
  // What keeps entries costs time.
  char const* const more = is_measured ? " INCLUDING INDEXES" : "";
  return "CREATE TEMP TABLE pgbackfill_probe (LIKE " + target.relation + " INCLUDING DEFAULTS INCLUDING GENERATED" +
         more + ")";
}

std::vector<std::string> names_to_copy(planner::Migration const& migration,
                                       std::vector<planner::ColumnFacts> const& columns) {
  auto const coming = coming_columns(migration);
  std::vector<std::string> names;
  for (auto const& column : columns) {
    bool const is_coming = std::any_of(coming.begin(), coming.end(),
                                       [&](planner::AddColumn const& add) { return add.column == column.name; });
    if (!is_coming && !column.generated) names.push_back(column.name);
  }
  return names;
}

// Of the last three statements but one: the width before, the batch, the width after; then ROLLBACK.
PlannedSample sample_of_copy(std::vector<Rows> const& results) {
  auto const from_end = [&](std::size_t back) -> Rows const& { return results.at(results.size() - back); };
  auto sample = sample_of(state::value_as<std::string>(from_end(3)));
  sample.is_of_copy = true;
  auto const before = state::value_as<double>(from_end(4));
  auto const after = state::value_as<double>(from_end(2));
  sample.bytes_more_per_row = std::max(after - before, 0.0);
  return sample;
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

asio::awaitable<std::optional<PlannedSample>> try_on_copy(PgConnection& connection, planner::Migration const& migration,
                                                          planner::WorkTarget target, planner::Interval interval,
                                                          std::vector<planner::ColumnFacts> columns, bool with_sample) {
  auto const& backfill = *migration.backfill;
  bool const names_itself = backfill.kind == planner::WorkKind::kSql || backfill.kind == planner::WorkKind::kCopy;
  if (names_itself || connection.is_standby() || target.key.is_by_block()) co_return std::nullopt;
  bool const is_measured = with_sample && !backfill.compute;
  std::vector<std::string> statements = {make_copy(target, is_measured)};
  if (is_measured) {
    statements.emplace_back("SET LOCAL statement_timeout = 10000");
    statements.push_back(planner::copied_rows_sql(target, interval, kCopy, names_to_copy(migration, columns)));
  }
  for (auto const& add : coming_columns(migration)) {
    statements.push_back(std::string("ALTER TABLE ") + kCopy + " ADD COLUMN IF NOT EXISTS " +
                         planner::quote_identifier(add.column) + " " + add.type);
  }
  if (is_measured) statements.emplace_back(kRowWidth);
  target.relation = kCopy;
  target.traits.works_through_parent = target.traits.reads_through_parent = false;
  char const* const explain = is_measured ? "EXPLAIN (ANALYZE, FORMAT JSON) " : "EXPLAIN ";
  statements.push_back(explain + planner::plain_work(target, interval));
  statements.emplace_back(is_measured ? kRowWidth : "SELECT 1");  // the last one is ours
  auto const tried = co_await connection.pipeline(tried_out(std::move(statements)), Deadlines());
  if (tried) {
    if (!is_measured) co_return std::nullopt;
    co_return sample_of_copy(*tried);
  }
  auto const failure = tried.error();
  if (!connection.is_usable()) throw_failure(failure, "trying the batch on a copy of the table");
  value_or_throw(co_await connection.script("ROLLBACK", Deadlines()), "ending the attempt");
  // Another step may make what is missing; a role that may not make temporary tables learns it from its run.
  bool const may_come = is_missing_name(failure.sqlstate) && planner::has_sql_in_expand(migration);
  bool const cannot_try = failure.sqlstate == kReadOnlySession || failure.sqlstate == "42501" ||
                          failure.trouble == planner::Trouble::kLockTimeout;
  if (may_come || cannot_try) co_return std::nullopt;
  throw CommandError{kExitUsage, planner::to_string({backfill.position,
                                                     "once the expand steps have run, the server would refuse "
                                                     "the batch: " +
                                                         failure.message})};
}

}  // namespace pgbackfill::engine
