#include "engine/steps/recorded_steps.h"

#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"

namespace pgbackfill::engine {

RecordedSteps recorded_steps_of(Rows const& rows) {
  RecordedSteps recorded;
  for (auto& step : state::rows_as<state::RecordedStep>(rows)) {
    recorded[{step.phase, step.position}] = std::move(step.sql);
  }
  return recorded;
}

asio::awaitable<Result<RecordedSteps>> read_recorded_steps(PgConnection& connection, std::string migration) {
  auto const rows = co_await connection.query(state::recorded_steps(migration), Deadlines());
  if (!rows) co_return rows.error();
  co_return recorded_steps_of(*rows);
}

bool is_recorded(RecordedSteps const& recorded, planner::PlacedStep const& placed) {
  return recorded.count({placed.phase, placed.position}) != 0;
}

bool is_done_as_it_is(RecordedSteps const& recorded, planner::PlacedStep const& placed) {
  auto const found = recorded.find({placed.phase, placed.position});
  return found != recorded.end() && found->second == placed.step.text;
}

}  // namespace pgbackfill::engine
