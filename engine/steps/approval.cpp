#include "engine/steps/approval.h"

#include <fmt/format.h>

#include "engine/base/command_error.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/step_check.h"
#include "engine/steps/step_runner.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

asio::awaitable<Result<std::optional<Approval>>> read_approval(PgConnection& connection, std::string migration,
                                                               std::string plan) {
  auto const rows = co_await connection.query(state::find_approval(migration, plan), Deadlines());
  if (!rows) co_return rows.error();
  std::optional<Approval> approval;
  auto stored = state::first_as<state::StoredApproval>(*rows);
  if (!stored) co_return approval;
  approval.emplace();
  approval->holds = planner::covers(stored->plan, plan);
  approval->who = fmt::format("{} ({}@{})", stored->role, stored->user, stored->host);
  approval->plan_hash = std::move(stored->plan_hash);
  approval->plan = std::move(stored->plan);
  approval->reason = std::move(stored->reason);
  approval->at = std::move(stored->at);
  co_return approval;
}

asio::awaitable<std::vector<std::string>> destructive_steps(PgConnection& connection, std::string migration,
                                                            std::vector<planner::PlacedStep> steps) {
  std::vector<std::string> texts;
  for (auto const& placed : steps) {
    std::string const reason = planner::destructive_reason(placed.step);
    if (reason.empty()) continue;
    std::string statement = state::step_done(migration, placed.phase, placed.position);
    auto const done =
        value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "reading the steps that are done");
    if (done.rows.empty()) texts.push_back(step_name(placed) + ": " + reason);
  }
  co_return texts;
}

asio::awaitable<Result<std::string>> read_contract_plan(PgConnection& connection, planner::Migration migration) {
  auto recorded = co_await read_recorded_steps(connection, migration.name);
  if (!recorded) co_return recorded.error();
  auto answers = co_await ask_all_steps(connection, migration, std::move(*recorded));
  if (!answers) co_return answers.error();
  std::erase_if(*answers, [](StepAnswer const& answer) { return answer.placed.phase != "contract"; });
  co_return planner::contract_plan(planner::contract_steps(migration), companion_lines(*answers));
}

asio::awaitable<void> require_agreement(PgConnection& connection, std::string migration,
                                        std::vector<planner::PlacedStep> steps, std::vector<std::string> companions,
                                        bool yes, Owner owner) {
  auto const destructive = co_await destructive_steps(connection, migration, steps);
  std::string const plan = planner::contract_plan(steps, companions);
  auto const approval = value_or_throw(co_await read_approval(connection, migration, plan), "looking for an approval");
  bool const is_approved = approval && approval->holds;
  // Steps that need nobody's agreement, and have one, still do no more than was agreed to.
  bool const is_about_others = approval && !is_approved && planner::has_same_steps(approval->plan, plan);
  if (destructive.empty() && !is_about_others) co_return;
  if (yes || is_approved) {
    std::string by = is_approved ? "approved " + approval_text(*approval) : "by --yes";
    for (auto const& line : companions) by += "; " + line;
    std::string statement = state::record_event(std::nullopt, migration, "agreed", by, owner);
    value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "recording the agreement");
    co_return;
  }
  std::string text =
      destructive.empty()
          ? fmt::format("complete would run steps of {} that were approved for something else:", migration)
          : fmt::format("complete would run {} step(s) of {} that somebody has to agree to:", destructive.size(),
                        migration);
  for (auto const& step : destructive) text += "\n  " + step;
  for (auto const& line : companions) text += "\n  " + line;
  if (approval) {
    text += fmt::format(
        "\nthey were approved {}, but the contract steps, what they are about, or what goes "
        "with them, are not the same any more:",
        approval_text(*approval));
    for (auto const& change : planner::plan_changes(approval->plan, plan)) text += "\n  " + change;
  }
  text += fmt::format("\n`pgbackfill approve {}` records who agrees{}; or say --yes", migration,
                      approval ? " to what they are now" : "");
  throw CommandError{kExitGateClosed, text};
}

}  // namespace pgbackfill::engine
