// From what was measured on a stand-in to what is expected in production. Pure.
//
// Time is what it took here, times the ratio of the rows, times the ratio of what a row of a batch costs there and
// here; what does not grow with the rows stays. The bounds say how far off that may be: they are wide where rows are
// many times as many, and very wide where nothing is known of the hardware there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/rehearse/profile.h"
#include "engine/view/rehearsal_report.h"
#include "planner/model/rehearsal_limits.h"

namespace pgbackfill::engine {

struct Scaling {
  double rows = 1;  // there for one here
  std::optional<double> hardware;
};

// Of what took so long here: `fixed` whatever the rows, the rest with them.
Forecast forecast_ms(double here_ms, double fixed_ms, Scaling const& scaling);

// Of what a row costs there and here; nothing where the two cannot be compared.
std::optional<double> hardware_ratio(std::optional<BatchCost> const& there, std::optional<BatchCost> const& here);

// Rows done by so many milliseconds, in their order.
struct PacePoint {
  double at_ms = 0;
  double rows = 0;
};
struct Pace {
  double rows_per_second = 0;  // once it was under way
  double start_ms = 0;         // what it took beyond that
};
Pace pace_of(std::vector<PacePoint> const& points);

std::vector<RehearsedLimit> judge_limits(planner::RehearsalLimits const& limits, RehearsalReport const& report);

}  // namespace pgbackfill::engine
