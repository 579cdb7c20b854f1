// What is left of a step once later steps of the same list have run: they may have renamed what it made, or taken it
// away.
//
// Pure. Goes by the names in the steps; of SQL nothing is known, and it is taken to change nothing.
#pragma once

#include <optional>
#include <vector>

#include "planner/steps/step_order.h"

namespace pgbackfill::planner {

// The step with the names that hold after `later`, which are in the order in which they run. Nothing: one of them took
// away what it is about, or gave it a name that depends on the table.
std::optional<PlacedStep> left_behind(PlacedStep const& step, std::vector<PlacedStep> const& later);

}  // namespace pgbackfill::planner
