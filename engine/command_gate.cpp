// gate: exit 0 only if the migration is measured complete; for CI and for other migration tools.

#include <boost/json/array.hpp>

#include "engine/commands.h"
#include "engine/gate.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<int> gate(CommandContext& context, GateOptions options) {
  auto connection = co_await context.connect_to_state();
  auto const loaded = co_await find_migration(*connection, options.file_or_name);
  Teller teller(context.teller_options());
  std::function<bool()> const never = [] { return false; };
  auto const reading = co_await measure_gate(context, *connection, loaded.migration, never, teller);
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
