// approve: records who agrees to the contract steps of a migration, and to which.

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/approval.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<int> approve(CommandContext& context, ApproveOptions options) {
  auto connection = co_await context.connect_to_state(StateUse::kWrites);
  auto const loaded = co_await find_migration(context, *connection, options.file_or_name, SourceUse::kShown);
  auto const& name = loaded.migration.name;
  auto const steps = planner::contract_steps(loaded.migration);
  if (steps.empty()) throw CommandError{kExitUsage, name + " has no contract steps: there is nothing to approve"};
  std::string const plan =
      value_or_throw(co_await read_contract_plan(*connection, loaded.migration), "asking what goes with the steps");
  auto const destructive = co_await destructive_steps(*connection, name, steps);
  std::string statement = state::approve(name, plan, options.reason, context.owner());
  auto const recorded =
      value_or_throw(co_await connection->query(std::move(statement), Deadlines()), "recording the approval");
  auto const made = state::row_as<state::MadeApproval>(recorded.rows.at(0));
  std::string const who = fmt::format("{} ({}@{})", made.role, made.user, made.host);
  if (context.is_json()) {
    boost::json::array reasons;
    for (auto const& reason : destructive) reasons.emplace_back(reason);
    boost::json::object document;
    document["migration"] = name;
    document["plan"] = plan;
    document["plan_hash"] = made.plan_hash;
    document["destructive"] = std::move(reasons);
    document["approved_by"] = who;
    document["approved_at"] = made.at;
    document["reason"] = options.reason;
    context.print(document);
    co_return kExitDone;
  }
  std::string text = plan;
  for (auto const& reason : destructive) text += "! " + reason + "\n";
  text += fmt::format("approved for {} by {} at {}; SHA-256 of these steps: {}\n", name, who, made.at, made.plan_hash);
  text += fmt::format("`pgbackfill complete {}` runs them, if the gate is open\n", name);
  context.print(text);
  co_return kExitDone;
}

}  // namespace

int approve_command(CommandContext& context, ApproveOptions const& options) {
  return context.run(approve(context, options));
}

}  // namespace pgbackfill::engine
