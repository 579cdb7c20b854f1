// What `run`, `complete` and `rollback` share: which steps are open, how steps get their locks, hooks at a boundary.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "engine/app/options.h"
#include "engine/base/events.h"
#include "engine/notice/herald.h"
#include "engine/process/command_context.h"
#include "engine/steps/hook_runner.h"
#include "engine/steps/recorded_steps.h"
#include "engine/steps/step_runner.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

// How the reason begins with which a rollback cancels the job, before it takes it away.
inline constexpr char kRolledBackBy[] = "rolled back by ";

// A step that is asked to end cancels its statement.
inline constexpr std::chrono::milliseconds kStepPatience{900};

bool are_steps_open(RecordedSteps const& recorded, std::vector<planner::PlacedStep> const& steps);
std::vector<planner::PlacedStep> open_steps(RecordedSteps const& recorded, std::vector<planner::PlacedStep> steps);
std::vector<planner::SchemaStep> without_places(std::vector<planner::PlacedStep> const& placed);

// Nothing that another migration still needs is taken away: throws CommandError with all of them.
void refuse_conflicts(std::vector<std::string> const& conflicts);

StepTerms step_terms(CommandContext& context, planner::Migration const& migration, std::string phase,
                     LockOptions const& locks, Interrupts const& interrupts);

// `patience`: with a server that is away.
asio::awaitable<HooksOutcome> hooks_of(CommandContext& context, planner::Migration const& migration,
                                       planner::Boundary boundary, std::chrono::milliseconds patience, EventSink& sink);

// `command`: run, complete or rollback.
HeraldTerms herald_terms(CommandContext& context, LoadedMigration const& loaded, std::string command);
// What is queued gets a few seconds, and ^C does not cut the command short for it.
asio::awaitable<void> farewell(Herald& herald, Interrupts& interrupts);

}  // namespace pgbackfill::engine
