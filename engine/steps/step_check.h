// Asks the server what it will answer to steps that have not run yet, before the first of them changes anything: names
// that are not there, rights that are missing, what depends on what would be dropped, definitions that it refuses.
//
// Reads only, but for empty temporary tables in transactions that are rolled back. What an earlier open step may change
// is asked of the table as it will be then (engine/steps/table_ahead.h). Where that is not known nothing is said, and
// the step asks again when its turn comes. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/steps/recorded_steps.h"
#include "planner/model/source_position.h"
#include "planner/steps/step_dependents.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

// Of one open step.
struct StepAnswer {
  planner::PlacedStep placed;
  std::string title;                           // "drop_column b of public.t"
  std::vector<std::string> refusals;           // why the server, or the step, will refuse
  std::vector<std::string> until_complete;     // the same of what can still be changed until then
  std::vector<planner::Dependent> in_the_way;  // the server refuses it while they are there
  std::vector<planner::Dependent> companions;  // what goes with it, and what reads it
  std::vector<std::string> way_back_lacks;     // rights that rollback would need beside those of the step
  std::vector<std::string> taken;              // of contract: what it takes away or renames, with its number
  bool is_refused() const { return !refusals.empty() || !in_the_way.empty(); }
};

// `steps` in their order, of which those that are recorded as done are left out; `ahead`: open steps that run before.
asio::awaitable<Result<std::vector<StepAnswer>>> ask_steps(PgConnection& connection, std::string migration,
                                                           std::vector<planner::PlacedStep> steps,
                                                           std::vector<planner::PlacedStep> ahead,
                                                           RecordedSteps recorded);

// Steps of expand, then of contract, as `plan`, `doctor` and `run` ask them; those of contract have the expand steps
// and the sync ahead.
asio::awaitable<Result<std::vector<StepAnswer>>> ask_all_steps(PgConnection& connection, planner::Migration migration,
                                                               RecordedSteps recorded);

// Of a rollback of the steps that are done or begun: what the server would refuse it for, and what of others goes with
// what the steps made.
struct UndoAnswer {
  std::vector<std::string> stops;
  std::vector<std::string> companions;
  std::vector<planner::RowQuestion> questions;  // not asked here: they may read whole tables
};
asio::awaitable<Result<UndoAnswer>> ask_undo(PgConnection& connection, std::string migration,
                                             std::vector<planner::PlacedStep> steps);

// What is wrong with each step that is refused, at its place in the file.
std::vector<planner::Problem> refusals_of(std::vector<StepAnswer> const& answers);
// The same without what depends on something that a contract step takes away: until `complete` it can still be changed.
std::vector<planner::Problem> refusals_before_run(std::vector<StepAnswer> const& answers);
// And that alone, for a warning.
std::vector<planner::Problem> in_the_way_of_contract(std::vector<StepAnswer> const& answers);
// Steps that can be done, but not taken back, for a warning.
std::vector<planner::Problem> ways_back_that_lack_rights(std::vector<StepAnswer> const& answers);

// One line each, always the same for the same objects: "contract step 1 drops index public.t_x along".
std::vector<std::string> companion_lines(std::vector<StepAnswer> const& answers);

}  // namespace pgbackfill::engine
