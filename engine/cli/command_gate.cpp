// gate: exit 0 only if the migration is measured complete; for CI and for other migration tools.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>
#include <optional>

#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/process/listed_files.h"
#include "engine/run/job_setup.h"
#include "engine/steps/recorded_steps.h"
#include "engine/verify/gate.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// With --wait.
constexpr auto kBetweenLooks = 1'000ms;
constexpr int kRestPerLook = 9;

boost::json::object json_of(std::string const& name, GateReading const& reading) {
  boost::json::array reasons;
  for (auto const& reason : reading.reasons()) reasons.emplace_back(reason);
  boost::json::object document;
  document["migration"] = name;
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
  return document;
}

// One look: whether it is open, and what to say.
struct Look {
  bool is_open = false;
  std::string text;
  boost::json::object document;
};

// A contract takes away what the gate would read: then the record says that the gate was open when it began.
asio::awaitable<Look> look_by_record(PgConnection& connection, planner::Migration migration, CommandError unmeasured,
                                     EventSink& sink) {
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
  boost::json::array reasons;
  if (!is_past) reasons.emplace_back(text);
  boost::json::object document{
      {"migration", migration.name}, {"open", is_past}, {"reasons", reasons}, {"by_record", true}};
  Look found{is_past, text, std::move(document)};
  co_return found;
}

asio::awaitable<Look> measure(CommandContext& context, std::string file_or_name, EventSink& sink) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  auto loaded = co_await find_migration(context, *connection, std::move(file_or_name), SourceUse::kRun);
  auto const& name = loaded.migration.name;
  co_await context.adopt_settings_aloud(*connection, name);
  take_inputs(loaded);
  co_await bind_only_keys(*connection, loaded);
  std::function<bool()> const is_stopping = [&context] { return context.interrupts().is_asked(); };
  GateReading reading;
  std::optional<CommandError> unmeasured;
  auto const began = std::chrono::steady_clock::now();
  try {
    reading = co_await measure_gate(context, *connection, loaded.migration, is_stopping, sink);
  } catch (CommandError const& error) {
    if (error.is_passing || error.is_locked) throw;
    unmeasured = error;
  }
  Look found;
  if (unmeasured) {
    found = co_await look_by_record(*connection, loaded.migration, *unmeasured, sink);
  } else {
    co_await keep_reading(*connection, name, reading, began, sink);
    found = {reading.is_open(), gate_text(name, reading), json_of(name, reading)};
  }
  co_return found;
}

// What never ran is not complete, whether it is asked for by its name or by its file.
asio::awaitable<Look> look(CommandContext& context, std::string file_or_name, EventSink& sink) {
  CommandError unknown;
  try {
    auto measured = co_await measure(context, file_or_name, sink);
    co_return measured;
  } catch (CommandError const& error) {
    if (!error.never_ran) throw;
    unknown = error;
  }
  std::string const name = name_of(context, file_or_name);
  boost::json::array reasons;
  reasons.emplace_back(unknown.text);
  boost::json::object document{{"migration", name}, {"open", false}, {"reasons", std::move(reasons)}};
  Look found{false, fmt::format("the gate of {} is closed: {}", name, unknown.text), std::move(document)};
  co_return found;
}

// A server that is away for a moment ends no wait.
asio::awaitable<Look> look_patiently(CommandContext& context, GateOptions options, EventSink& sink) {
  auto const give_up_at = std::chrono::steady_clock::now() + options.wait;
  std::function<bool()> const is_stopping = [&context] { return context.interrupts().is_asked(); };
  while (true) {
    auto const began = std::chrono::steady_clock::now();
    Look found;
    std::optional<CommandError> away;
    try {
      found = co_await look(context, options.file_or_name, sink);
    } catch (CommandError const& error) {
      if (!error.is_passing && !error.is_locked) throw;
      away = error;
    }
    auto const now = std::chrono::steady_clock::now();
    bool const is_over = now >= give_up_at;
    if (away && is_over) throw *away;
    if (found.is_open || is_over) co_return found;
    // Counting what is left reads the table: most of the time nobody does.
    auto const pause = std::max<std::chrono::steady_clock::duration>(kBetweenLooks, kRestPerLook * (now - began));
    auto const rest = std::chrono::ceil<std::chrono::milliseconds>(std::min(pause, give_up_at - now));
    bool const slept = co_await sleep_unless_stopped(rest, is_stopping);
    if (!slept) throw CommandError{kExitResumable, "interrupted while the gate was closed"};
  }
}

asio::awaitable<int> gate(CommandContext& context, GateOptions options) {
  Teller teller(context.teller_options());
  auto found = co_await look_patiently(context, std::move(options), teller);
  if (context.is_json()) {
    context.print(std::move(found.document));
  } else {
    context.print(found.text + "\n");
  }
  co_return found.is_open ? kExitDone : kExitGateClosed;
}

}  // namespace

int gate_command(CommandContext& context, GateOptions const& options) {
  return context.run(gate(context, options));
}

}  // namespace pgbackfill::engine
