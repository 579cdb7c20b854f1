#include "engine/sync_guard.h"

#include <algorithm>
#include <set>
#include <variant>

#include "engine/state_store.h"
#include "engine/step_runner.h"
#include "planner/recipe.h"
#include "planner/step_detail.h"
#include "planner/step_order.h"

namespace pgbackfill::engine {

namespace {

// Names that a step other than add_column may yet make.
bool may_come(Failure const& failure, planner::Migration const& migration) {
  static std::set<std::string> const missing = {"42703", "42P01", "42883", "42704"};
  bool const makes_names = std::any_of(
      migration.expand.begin(), migration.expand.end(),
      [](planner::SchemaStep const& step) { return !std::holds_alternative<planner::AddColumn>(step.detail->kind); });
  return makes_names && missing.contains(failure.sqlstate);
}

}  // namespace

asio::awaitable<Result<std::string>> check_sync(PgConnection& connection, planner::Migration const& migration) {
  auto const& install = migration.sync->install;
  auto const facts = co_await read_step_facts(connection, install);
  if (!facts) co_return facts.error();
  auto statements = planner::spelling_statements_after(migration.expand, install, *facts);
  // A step may make the table.
  if (statements.empty()) co_return std::string();
  statements.insert(statements.begin(), "BEGIN");
  statements.emplace_back("ROLLBACK");
  std::size_t const last = statements.size() - 2;
  auto const results = co_await connection.pipeline(std::move(statements), Deadlines());
  auto const placed = planner::sync_steps(migration).front();
  std::string const where = step_name(placed) + ": ";
  if (!results && connection.is_usable()) {
    auto const ended = co_await connection.query("ROLLBACK", Deadlines());
    if (!ended) co_return ended.error();
    if (may_come(results.error(), migration)) co_return std::string();
    co_return where + results.error().message;
  }
  if (!results) co_return results.error();
  auto const& row = results->at(last).rows.at(0);
  if (row.at(1)) co_return where + *row.at(1);
  auto const problem = planner::spelled_problem(install, row.at(0).value_or(""));
  co_return problem.empty() ? problem : where + problem;
}

// A swap of columns that has begun has switched the trigger off.
asio::awaitable<Result<bool>> has_swapped(PgConnection& connection, planner::Migration const& migration) {
  for (auto const& placed : planner::contract_steps(migration)) {
    auto const* swap = std::get_if<planner::SwapColumn>(&placed.step.detail->kind);
    if (swap == nullptr || swap->sync_of.empty()) continue;
    auto const claim =
        co_await connection.query(state::find_claim(migration.name, placed.phase, placed.position), Deadlines());
    if (!claim) co_return claim.error();
    if (!claim->rows.empty()) co_return true;
  }
  co_return false;
}

// The claim is made in the transaction of the swap.
asio::awaitable<Result<bool>> has_swapped_tables(PgConnection& connection, planner::Migration const& migration) {
  for (auto const& placed : planner::contract_steps(migration)) {
    if (!planner::is_table_swap(placed.step)) continue;
    auto const claim =
        co_await connection.query(state::find_claim(migration.name, placed.phase, placed.position), Deadlines());
    if (!claim) co_return claim.error();
    co_return !claim->rows.empty();
  }
  co_return false;
}

asio::awaitable<Result<SyncGuard>> read_sync_guard(PgConnection& connection, planner::Migration const& migration) {
  if (!migration.sync) co_return SyncGuard::kNone;
  auto const tables = co_await has_swapped_tables(connection, migration);
  if (!tables) co_return tables.error();
  if (*tables) co_return SyncGuard::kEnded;
  auto const ending = co_await connection.query(
      state::find_claim(migration.name, planner::kSyncPhase, planner::kSyncRemove), Deadlines());
  if (!ending) co_return ending.error();
  auto const ended = co_await connection.query(
      state::step_done(migration.name, planner::kSyncPhase, planner::kSyncRemove), Deadlines());
  if (!ended) co_return ended.error();
  if (!ending->rows.empty() || !ended->rows.empty()) co_return SyncGuard::kEnded;
  auto const swapped = co_await has_swapped(connection, migration);
  if (!swapped) co_return swapped.error();
  if (*swapped) co_return SyncGuard::kEnded;
  auto const recorded = co_await connection.query(
      state::step_done(migration.name, planner::kSyncPhase, planner::kSyncInstall), Deadlines());
  if (!recorded) co_return recorded.error();
  if (recorded->rows.empty()) co_return SyncGuard::kMissing;
  auto const facts = co_await read_step_facts(connection, migration.sync->install);
  if (!facts) co_return facts.error();
  auto const recipe = planner::recipe_for(migration.sync->install, *facts);
  auto const proof = co_await connection.query(recipe.proof, Deadlines());
  if (!proof) co_return proof.error();
  bool const is_same = !proof->rows.empty() && proof->rows.front().front() == recorded->at(0, 1);
  co_return is_same ? SyncGuard::kHolds : SyncGuard::kChanged;
}

}  // namespace pgbackfill::engine
