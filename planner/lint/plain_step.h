// What a typed step comes to in the end, as the plain SQL that one would write without it.
//
// For lint alone: to know what is there afterwards, and to name what is lost. Never run. Pure function, safe from any
// thread.
#pragma once

#include <string>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner::lint {

// Empty for an `sql:` step.
std::string plain_sql(StepDetail const& detail);

}  // namespace pgbackfill::planner::lint
