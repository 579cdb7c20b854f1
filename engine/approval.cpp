#include "engine/approval.h"

#include <fmt/format.h>

#include "engine/command_context.h"
#include "engine/step_runner.h"
#include "planner/contract_plan.h"

namespace pgbackfill::engine {

asio::awaitable<Result<std::optional<Approval>>> read_approval(PgConnection& connection, std::string migration,
                                                               std::string plan) {
  auto const rows = co_await connection.query(state::find_approval(migration, plan), Deadlines());
  if (!rows) co_return rows.error();
  std::optional<Approval> approval;
  if (rows->rows.empty()) co_return approval;
  approval.emplace();
  approval->holds = rows->at(0, 0) == "t";
  approval->plan_hash = rows->at(0, 1);
  approval->plan = rows->at(0, 2);
  approval->reason = rows->at(0, 3);
  approval->who = fmt::format("{} ({}@{})", rows->at(0, 4), rows->at(0, 5), rows->at(0, 6));
  approval->at = rows->at(0, 7);
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

asio::awaitable<void> require_agreement(PgConnection& connection, std::string migration,
                                        std::vector<planner::PlacedStep> steps, bool yes, Owner owner) {
  auto const destructive = co_await destructive_steps(connection, migration, steps);
  if (destructive.empty()) co_return;
  std::string const plan = planner::contract_plan(steps);
  auto const approval = value_or_throw(co_await read_approval(connection, migration, plan), "looking for an approval");
  bool const is_approved = approval && approval->holds;
  if (yes || is_approved) {
    std::string const by = is_approved ? "approved " + approval_text(*approval) : "by --yes";
    std::string statement = state::record_event(std::nullopt, migration, "agreed", by, owner);
    value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "recording the agreement");
    co_return;
  }
  std::string text =
      fmt::format("complete would run {} step(s) of {} that somebody has to agree to:", destructive.size(), migration);
  for (auto const& step : destructive) text += "\n  " + step;
  if (approval) {
    text += fmt::format("\nthey were approved {}, but the contract steps are not the same any more:",
                        approval_text(*approval));
    for (auto const& change : planner::plan_changes(approval->plan, plan)) text += "\n  " + change;
  }
  text += fmt::format("\n`pgbackfill approve {}` records who agrees{}; or say --yes", migration,
                      approval ? " to what they are now" : "");
  throw CommandError{kExitGateClosed, text};
}

std::string approval_text(Approval const& approval) {
  return fmt::format("by {} at {}{}", approval.who, approval.at, approval.reason.empty() ? "" : ": " + approval.reason);
}

}  // namespace pgbackfill::engine
