// Which steps of a migration are recorded as done: asked once for all of them.
//
// What another process records meanwhile is not in it; whoever runs a step that is not in it looks once more. Belongs
// to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <map>
#include <string>
#include <utility>

#include "engine/pg/pg_connection.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

// The text with which it ran, by phase and position.
using RecordedSteps = std::map<std::pair<std::string, int>, std::string>;

// Rows of state::recorded_steps().
RecordedSteps recorded_steps_of(Rows const& rows);
asio::awaitable<Result<RecordedSteps>> read_recorded_steps(PgConnection& connection, std::string migration);

// Whatever its text was.
bool is_recorded(RecordedSteps const& recorded, planner::PlacedStep const& placed);
// With the text that it has now.
bool is_done_as_it_is(RecordedSteps const& recorded, planner::PlacedStep const& placed);

}  // namespace pgbackfill::engine
