// init, pause, resume, cancel, set: one change of the state each, with an event that says who made it.

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "engine/app/control.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/steps/subscribers.h"
#include "engine/view/console.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<int> init(CommandContext& context, InitOptions options) {
  auto connection = co_await context.connect();
  std::vector<planner::SchemaStep> const none;
  co_await require_subscribers_ready(*connection, none, options.subscribers_ready);
  std::string const done = co_await context.ensure_state(*connection);
  context.print(done.empty() ? "schema pgbackfill was there already, at the right version\n" : done + "\n");
  co_return kExitDone;
}

asio::awaitable<int> control(CommandContext& context, ControlOptions options, JobStatus status) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  std::string const name = co_await find_name(context, *connection, options.file_or_name);
  ControlOutcome outcome;
  if (options.retry_quarantine) {
    outcome = co_await retry_quarantine(*connection, name, context.owner());
  } else {
    StatusOrder order;
    order.status = status;
    order.reason = options.reason;
    order.pause_for = options.pause_for;
    outcome = co_await change_status(*connection, name, std::move(order), context.owner());
  }
  context.print(outcome.text + "\n");
  co_return outcome.is_done ? kExitDone : kExitFailed;
}

void list_settings(CommandContext const& context, std::string const& name, std::vector<SettingLine> const& lines) {
  if (context.is_json()) {
    boost::json::array settings;
    for (auto const& line : lines) {
      settings.push_back({{"key", line.key},
                          {"value", valid_utf8(line.value)},
                          {"origin", line.origin},
                          {"bounds", line.bounds},
                          {"help", line.help}});
    }
    return context.print(boost::json::object{{"migration", valid_utf8(name)}, {"settings", std::move(settings)}});
  }
  std::vector<std::vector<std::string>> cells;
  for (auto const& line : lines) {
    cells.push_back({line.key, neutralised(line.value), line.origin, line.bounds, line.help});
  }
  std::vector<TableColumn> const columns = {{"KEY", false, false, 0},
                                            {"VALUE", false, true, 0},
                                            {"FROM", false, false, 0},
                                            {"TAKES", false, true, 1},
                                            {"MEANING", false, true, 2}};
  context.print(planner::join(table_lines(columns, cells, standard_output().view), "\n") + "\n");
}

asio::awaitable<int> set(CommandContext& context, SetOptions options) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  std::string const name = co_await find_name(context, *connection, options.file_or_name);
  if (options.assignments.empty()) {
    auto const lines = co_await read_settings(*connection, name, context.config());
    list_settings(context, name, lines);
    co_return kExitDone;
  }
  auto const outcome =
      co_await change_settings(*connection, name, options.assignments, context.config(), context.owner());
  context.print(outcome.text + "\n");
  co_return kExitDone;
}

}  // namespace

int init_command(CommandContext& context, InitOptions const& options) {
  return context.run(init(context, options));
}

int pause_command(CommandContext& context, ControlOptions const& options) {
  return context.run(control(context, options, JobStatus::kPaused));
}

int resume_command(CommandContext& context, ControlOptions const& options) {
  return context.run(control(context, options, JobStatus::kRunning));
}

int cancel_command(CommandContext& context, ControlOptions const& options) {
  return context.run(control(context, options, JobStatus::kCancelled));
}

int set_command(CommandContext& context, SetOptions const& options) {
  return context.run(set(context, options));
}

}  // namespace pgbackfill::engine
