// verify: runs the checks of a migration; exit 0 only if all of them hold.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "engine/commands.h"
#include "engine/verify.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<int> verify(CommandContext& context, VerifyOptions options) {
  auto connection = co_await context.connect_to_state();
  auto const loaded = co_await find_migration(*connection, options.file_or_name);
  auto const& name = loaded.migration.name;
  if (loaded.migration.verify.empty()) {
    throw CommandError{kExitUsage, name + " has no section `verify:`: there is nothing to check"};
  }
  auto const results = co_await run_checks(*connection, loaded.migration);
  auto const failed = std::count_if(results.begin(), results.end(), [](CheckResult const& one) { return !one.holds; });
  if (context.is_json()) {
    boost::json::object document;
    document["migration"] = name;
    document["holds"] = failed == 0;
    document["checks"] = json_of(results);
    context.print(document);
  } else {
    std::string text;
    for (auto const& one : results)
      text += fmt::format("{} {}: {}\n", one.holds ? "ok    " : "FAILED", one.check, one.text);
    text += fmt::format("{}: {} of {} check(s) hold\n", name, results.size() - static_cast<std::size_t>(failed),
                        results.size());
    context.print(text);
  }
  co_return failed == 0 ? kExitDone : kExitGateClosed;
}

}  // namespace

int verify_command(CommandContext& context, VerifyOptions const& options) {
  return context.run(verify(context, options));
}

}  // namespace pgbackfill::engine
