// Brings the steps of a phase about, in their order, and takes them back, last first.
//
// A typed step is a recipe (planner/steps/recipe.h): before each statement the catalog is asked what is there, so that
// a repeat goes on from the truth, whatever ended the run before. What a step is about to make is claimed in the state
// first; rollback and the clearing away after a failure touch nothing without a claim. An `sql:` step runs at most
// once: it and the note that it is done are one transaction, unless it cannot run in one.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/steps/step_session.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

enum class StepsEnd { kDone, kStopped, kFailed };

struct StepsOutcome {
  StepsEnd end = StepsEnd::kDone;
  int ran = 0;
  std::string reason;
  bool is_lost = false;    // kFailed because the server went away: the same may succeed a little later
  bool is_locked = false;  // kStopped because somebody has a table of the state locked
};

asio::awaitable<StepsOutcome> run_steps(std::vector<planner::PlacedStep> const& steps, StepTerms const& terms,
                                        EventSink& sink);

// Takes back the steps that are done or claimed. What has no way back is named and left as it is.
asio::awaitable<StepsOutcome> undo_steps(std::vector<planner::PlacedStep> const& steps, StepTerms const& terms,
                                         EventSink& sink);

// Looks at steps that are claimed and not recorded as done: records those that hold. `ran` counts the steps that are
// done then. For telling whether a phase has done anything that stays.
asio::awaitable<StepsOutcome> settle_steps(std::vector<planner::PlacedStep> const& steps, StepTerms const& terms,
                                           EventSink& sink);

// Whether a step holds by what the catalog says, whoever did it. Of SQL nothing is known.
struct StepInspection {
  bool is_known = false;
  bool holds = false;
  std::string why;    // it does not
  std::string proof;  // to be recorded with it
};
asio::awaitable<std::vector<StepInspection>> inspect_steps(std::vector<planner::PlacedStep> const& steps,
                                                           StepTerms const& terms, EventSink& sink);

// Facts of a step, from a connection that only reads; what is claimed of it is not among them.
asio::awaitable<Result<planner::StepFacts>> read_step_facts(PgConnection& connection, planner::SchemaStep const& step);

// The answer to facts_sql().
planner::StepFacts facts_of(Rows const& rows, int server_version);

// "file.yaml:3:5: expand step 1", for messages.
std::string step_name(planner::PlacedStep const& step);

}  // namespace pgbackfill::engine
