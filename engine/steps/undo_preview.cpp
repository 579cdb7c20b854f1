#include "engine/steps/undo_preview.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/step_answers.h"
#include "engine/steps/step_runner.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipe.h"
#include "planner/steps/step_objects.h"

namespace pgbackfill::engine {

namespace {

std::string place_of(planner::PlacedStep const& placed) {
  if (placed.phase != planner::kSyncPhase) return fmt::format("{} step {}", placed.phase, placed.position + 1);
  return placed.position == planner::kSyncInstall ? "sync" : "end of sync";
}

// "sync: {...}" says itself what it is.
std::string name_of(UndoneStep const& step) {
  bool const says_place = step.text.starts_with(step.place + ":");
  return (says_place ? "" : step.place + ": ") + neutralised(step.text);
}

asio::awaitable<Rows> ask(PgConnection& connection, std::string statement) {
  auto rows = value_or_throw(co_await query_read_only(connection, std::move(statement)), "looking at the steps");
  co_return rows;
}

void preview_sql(planner::RunSql const& run, UndoneStep& undone) {
  if (run.down) {
    undone.statements.push_back(*run.down);
  } else {
    undone.stays = "it has no `down:`";
    undone.is_lost = true;
  }
}

asio::awaitable<void> preview_recipe(PgConnection& connection, planner::SchemaStep step,
                                     std::optional<std::string> before, std::string proof, UndoneStep& undone) {
  if (!before) {
    undone.stays = "it was so before this migration";
    co_return;
  }
  auto facts = value_or_throw(co_await read_step_facts(connection, step), "reading the table of a step");
  facts.is_claimed = true;
  facts.before = *before;
  auto const recipe = planner::recipe_for(step, facts);
  if (recipe.undo.empty()) {
    undone.stays = recipe.no_way_back.empty() ? "there is nothing to undo" : recipe.no_way_back;
    undone.is_lost = !recipe.no_way_back.empty();
    co_return;
  }
  auto const check = co_await ask(connection, planner::undo_check_sql(step, facts, proof, false));
  bool const is_gone = state::row_as<UndoChecked>(check.rows.at(0)).is_gone;
  auto const needed = co_await ask(connection, planner::needs_sql(recipe.undo));
  for (std::size_t action = 0; action < recipe.undo.size(); ++action) {
    if (!is_gone && needed.at(0, action) == "t") undone.statements.push_back(recipe.undo[action].sql);
  }
  if (undone.statements.empty()) undone.stays = "nothing of it is there any more";
}

}  // namespace

asio::awaitable<std::vector<UndoneStep>> preview_undo(PgConnection& connection, std::string migration,
                                                      std::vector<planner::PlacedStep> steps) {
  std::reverse(steps.begin(), steps.end());
  std::vector<UndoneStep> list;
  for (auto const& placed : steps) {
    auto const done = co_await ask(connection, state::step_done(migration, placed.phase, placed.position));
    auto const claim = co_await ask(connection, state::find_claim(migration, placed.phase, placed.position));
    if (done.rows.empty() && claim.rows.empty()) continue;
    UndoneStep undone;
    undone.place = place_of(placed);
    undone.text = placed.step.text;
    undone.is_recorded = !done.rows.empty();
    if (auto const* run = std::get_if<planner::RunSql>(&placed.step.detail->kind)) {
      preview_sql(*run, undone);
    } else {
      std::optional<std::string> before;
      if (auto const claimed = state::first_as<state::Claim>(claim)) before = claimed->before;
      auto const recorded = state::first_as<state::DoneStep>(done);
      std::string proof = recorded ? recorded->proof.value_or("") : "";
      co_await preview_recipe(connection, placed.step, std::move(before), std::move(proof), undone);
    }
    list.push_back(std::move(undone));
  }
  co_return list;
}

std::string undo_text(std::vector<UndoneStep> const& steps) {
  std::string text;
  for (auto const& step : steps) {
    text += fmt::format("  {}{}\n", name_of(step), step.is_recorded ? "" : " (cut short)");
    for (auto const& statement : step.statements) text += "    " + neutralised(statement) + "\n";
    if (!step.stays.empty()) text += fmt::format("    stays: {}\n", neutralised(step.stays));
  }
  return text;
}

std::string loss_text(std::vector<UndoneStep> const& steps) {
  std::string lost;
  std::string possible;
  for (auto const& step : steps) {
    std::string const name = "\n  " + name_of(step);
    if (step.is_lost) lost += name + ": " + neutralised(step.stays);
    if (step.statements.empty()) continue;
    possible += name;
    for (auto const& statement : step.statements) possible += "\n    " + neutralised(statement);
  }
  std::string text;
  if (!lost.empty()) text += "\ncannot come back:" + lost;
  if (!possible.empty()) text += "\ncould be taken back by hand, in this order:" + possible;
  return text;
}

}  // namespace pgbackfill::engine
