#include "engine/steps/sync_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <variant>

#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/step_answers.h"
#include "engine/steps/step_runner.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipe.h"
#include "planner/steps/step_order.h"
#include "planner/steps/sync_sql.h"

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

// A standby makes no temporary table.
bool is_read_only(Failure const& failure) {
  return failure.sqlstate == "25006";
}

// "at depends on TimeZone by ..." with the values that the settings have.
std::vector<std::string> notes_of(std::string const& lines, SessionSettings const& settings) {
  std::vector<std::string> notes;
  for (auto const& line : planner::sync_spelling_lines(lines)) {
    if (line.empty()) continue;
    std::string values;
    for (auto const& [name, value] : settings) {
      bool const is_named = line.find(" " + name) != std::string::npos;
      if (is_named) values += (values.empty() ? "" : ", ") + name + " = '" + value + "'";
    }
    notes.push_back(fmt::format(
        "sync: {}; it is not IMMUTABLE: trigger, batches and checks compute it under the settings that are recorded "
        "when the migration first runs{}, and not under those of whoever writes",
        line, values.empty() ? "" : ", here " + values));
  }
  return notes;
}

}  // namespace

asio::awaitable<Result<SyncLook>> check_sync(PgConnection& connection, planner::Migration const& migration) {
  SyncLook look;
  auto const& install = migration.sync->install;
  auto const facts = co_await read_step_facts(connection, install);
  if (!facts) co_return facts.error();
  auto statements = planner::spelling_statements_after(migration.expand, install, *facts);
  // A step may make the table.
  if (statements.empty()) co_return look;
  std::size_t const last = statements.size();
  auto tried = tried_out(std::move(statements));
  auto const results = co_await connection.pipeline(std::move(tried), Deadlines());
  auto const placed = planner::sync_steps(migration).front();
  std::string const where = step_name(placed) + ": ";
  if (!results && connection.is_usable()) {
    auto const ended = co_await connection.query("ROLLBACK", Deadlines());
    if (!ended) co_return ended.error();
    bool const is_unknown = may_come(results.error(), migration) || is_read_only(results.error());
    if (!is_unknown) look.problem = where + results.error().message;
    co_return look;
  }
  if (!results) co_return results.error();
  auto const spelled = state::row_as<Spelled>(results->at(last).rows.at(0));
  look.notes = notes_of(spelled.notes.value_or(""), connection.session_settings());
  auto const problem =
      spelled.refusal ? *spelled.refusal : planner::spelled_problem(install, spelled.text.value_or(""));
  if (!problem.empty()) look.problem = where + problem;
  co_return look;
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
  auto const installed = state::first_as<state::DoneStep>(*recorded);
  if (!installed) co_return SyncGuard::kMissing;
  auto const facts = co_await read_step_facts(connection, migration.sync->install);
  if (!facts) co_return facts.error();
  auto const recipe = planner::recipe_for(migration.sync->install, *facts);
  auto const proof = co_await connection.query(recipe.proof, Deadlines());
  if (!proof) co_return proof.error();
  bool const is_same = !proof->rows.empty() && state::value_as<std::optional<std::string>>(*proof) == installed->proof;
  co_return is_same ? SyncGuard::kHolds : SyncGuard::kChanged;
}

}  // namespace pgbackfill::engine
