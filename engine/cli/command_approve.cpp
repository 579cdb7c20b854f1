// approve: records who agrees to the contract steps of a migration, and to which.

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "engine/app/control.h"
#include "engine/base/command_error.h"
#include "engine/cli/commands.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<int> approve(CommandContext& context, ApproveOptions options) {
  auto connection = co_await context.connect_to_state(StateUse::kWrites);
  auto loaded = co_await find_migration(context, *connection, options.file_or_name, SourceUse::kShown);
  auto const name = loaded.migration.name;
  auto const approved = co_await approve_contract(*connection, std::move(loaded), options.reason, "", context.owner());
  if (context.is_json()) {
    boost::json::array reasons;
    for (auto const& reason : approved.destructive) reasons.emplace_back(reason);
    boost::json::object document;
    document["migration"] = name;
    document["plan"] = approved.plan;
    document["plan_hash"] = approved.plan_hash;
    document["destructive"] = std::move(reasons);
    document["approved_by"] = approved.who;
    document["approved_at"] = approved.at;
    document["reason"] = options.reason;
    context.print(document);
    co_return kExitDone;
  }
  std::string text = approved.plan;
  for (auto const& reason : approved.destructive) text += "! " + reason + "\n";
  text += fmt::format("approved for {} by {} at {}; SHA-256 of these steps: {}\n", name, approved.who, approved.at,
                      approved.plan_hash);
  text += fmt::format("`pgbackfill complete {}` runs them, if the gate is open\n", name);
  context.print(text);
  co_return kExitDone;
}

}  // namespace

int approve_command(CommandContext& context, ApproveOptions const& options) {
  return context.run(approve(context, options));
}

}  // namespace pgbackfill::engine
