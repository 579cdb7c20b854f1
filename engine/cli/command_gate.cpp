// gate: exit 0 only if the migration is measured complete; for CI and for other migration tools.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>
#include <optional>

#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "engine/run/job_setup.h"
#include "engine/steps/recorded_steps.h"
#include "engine/verify/gate.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

// A contract takes away what the gate would read: then the record says that the gate was open when it began.
asio::awaitable<int> gate_by_record(CommandContext& context, PgConnection& connection, planner::Migration migration,
                                    CommandError unmeasured, EventSink& sink) {
  auto const steps = planner::contract_steps(migration);
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(connection, migration.name), "reading the steps that are done");
  auto const done = std::count_if(steps.begin(), steps.end(),
                                  [&](planner::PlacedStep const& step) { return is_recorded(recorded, step); });
  if (done == 0) throw unmeasured;
  bool const is_past = done == std::ssize(steps);
  if (is_past) {
    GateReading reading;
    reading.has_backfill = migration.backfill.has_value();
    reading.job_exists = true;
    reading.status = "complete";
    auto const now = std::chrono::steady_clock::now();
    co_await keep_reading(connection, migration.name, reading, now, sink);
  }
  std::string const text =
      is_past ? migration.name +
                    " is past `complete`: its gate was open when the contract steps ran, and they took "
                    "away what it would read"
              : fmt::format(
                    "`complete` of {0} was cut short, so that its gate cannot be measured any more; "
                    "`pgbackfill complete {0}` goes on",
                    migration.name);
  if (context.is_json()) {
    boost::json::array reasons;
    if (!is_past) reasons.emplace_back(text);
    context.print(boost::json::object{
        {"migration", migration.name}, {"open", is_past}, {"reasons", reasons}, {"by_record", true}});
  } else {
    context.print(text + "\n");
  }
  co_return is_past ? kExitDone : kExitGateClosed;
}

asio::awaitable<int> gate(CommandContext& context, GateOptions options) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  auto const loaded = co_await find_migration(*connection, options.file_or_name, SourceUse::kRun);
  co_await context.adopt_settings_aloud(*connection, loaded.migration.name);
  Teller teller(context.teller_options());
  std::function<bool()> const never = [] { return false; };
  GateReading reading;
  std::optional<CommandError> unmeasured;
  auto const began = std::chrono::steady_clock::now();
  try {
    reading = co_await measure_gate(context, *connection, loaded.migration, never, teller);
  } catch (CommandError const& error) {
    if (error.is_passing || error.is_locked) throw;
    unmeasured = error;
  }
  if (unmeasured) {
    int const code = co_await gate_by_record(context, *connection, loaded.migration, *unmeasured, teller);
    co_return code;
  }
  co_await keep_reading(*connection, loaded.migration.name, reading, began, teller);
  if (context.is_json()) {
    boost::json::array reasons;
    for (auto const& reason : reading.reasons()) reasons.emplace_back(reason);
    boost::json::object document;
    document["migration"] = loaded.migration.name;
    document["open"] = reading.is_open();
    document["reasons"] = std::move(reasons);
    document["status"] = reading.status;
    document["open_ranges"] = reading.open_ranges;
    document["deferred"] = reading.deferred;
    document["quarantined"] = reading.quarantined;
    document["where_tells_nothing"] = reading.where_tells_nothing;
    if (reading.remaining >= 0) document["remaining"] = reading.remaining;
    document["uncopied"] = reading.uncopied;
    document["left_in_children"] = reading.is_left_in_children;
    boost::json::array writers;
    for (auto const& writer : reading.writers) writers.emplace_back(writer);
    document["writers"] = std::move(writers);
    document["checks"] = json_of(reading.checks);
    context.print(document);
  } else {
    context.print(gate_text(loaded.migration.name, reading) + "\n");
  }
  co_return reading.is_open() ? kExitDone : kExitGateClosed;
}

}  // namespace

int gate_command(CommandContext& context, GateOptions const& options) {
  return context.run(gate(context, options));
}

}  // namespace pgbackfill::engine
