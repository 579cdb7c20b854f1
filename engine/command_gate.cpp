// gate: exit 0 only if the migration is measured complete; for CI and for other migration tools.

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <optional>

#include "engine/commands.h"
#include "engine/gate.h"
#include "engine/job_setup.h"
#include "planner/step_order.h"

namespace pgbackfill::engine {

namespace {

// A contract takes away what the gate would read: then the record says that the gate was open when it began.
asio::awaitable<int> gate_by_record(CommandContext& context, PgConnection& connection, planner::Migration migration,
                                    CommandError unmeasured) {
  auto const steps = planner::contract_steps(migration);
  std::size_t done = 0;
  for (auto const& step : steps) {
    std::string statement = state::step_done(migration.name, step.phase, step.position);
    auto const rows = value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "reading the steps");
    done += rows.rows.empty() ? 0 : 1;
  }
  if (done == 0) throw unmeasured;
  bool const is_past = done == steps.size();
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
  auto connection = co_await context.connect_to_state();
  auto const loaded = co_await find_migration(*connection, options.file_or_name);
  Teller teller(context.teller_options());
  std::function<bool()> const never = [] { return false; };
  GateReading reading;
  std::optional<CommandError> unmeasured;
  try {
    reading = co_await measure_gate(context, *connection, loaded.migration, never, teller);
  } catch (CommandError const& error) {
    unmeasured = error;
  }
  if (unmeasured) {
    int const code = co_await gate_by_record(context, *connection, loaded.migration, *unmeasured);
    co_return code;
  }
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
