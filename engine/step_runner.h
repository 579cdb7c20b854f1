// Runs the sql: steps of a phase, each at most once: a step and the note that it is done are one transaction.
//
// Every attempt is under a short lock_timeout, so that a step that waits for a lock never makes traffic queue behind it
// for long; between attempts it backs off with jitter. A step that cannot run in a transaction (CONCURRENTLY, VACUUM)
// runs by itself and is noted afterwards.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <string>
#include <vector>

#include "engine/events.h"
#include "engine/pg_connection.h"
#include "engine/state_store.h"
#include "planner/migration.h"

namespace pgbackfill::engine {

struct StepTerms {
  std::string migration;
  std::string phase;  // expand or contract
  Owner owner;
  std::chrono::milliseconds patience{1'800'000};  // for all attempts of one step
  std::function<bool()> is_stopping;
  std::function<double()> random;
};

enum class StepsEnd { kDone, kStopped, kFailed };

struct StepsOutcome {
  StepsEnd end = StepsEnd::kDone;
  int ran = 0;
  std::string reason;
};

asio::awaitable<StepsOutcome> run_steps(PgConnection& connection, std::vector<planner::SqlStep> const& steps,
                                        StepTerms const& terms, EventSink& sink);

// Runs `down` of the steps that are done, last first. Steps without `down` are named and left as they are.
asio::awaitable<StepsOutcome> undo_steps(PgConnection& connection, std::vector<planner::SqlStep> const& steps,
                                         StepTerms const& terms, EventSink& sink);

}  // namespace pgbackfill::engine
