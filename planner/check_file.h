// From the checked keys of a check in the file to the check.
//
// As planner/step_file.h is for steps. Pure function, safe from any thread.
#pragma once

#include <vector>

#include "planner/check.h"
#include "planner/step_file.h"

namespace pgbackfill::planner {

// Of any check but `agrees`. What is wrong is added to `problems`; the check is then of no use.
Check make_check(StepValues const& values, std::vector<Problem>& problems);

}  // namespace pgbackfill::planner
