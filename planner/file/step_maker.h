// From the checked keys of a step in the file to the typed step.
//
// Each value was read by its rule (planner/file/step_values.h); here they come together, with what no rule of a single
// key can say. Pure functions, safe from any thread.
#pragma once

#include <vector>

#include "planner/file/step_values.h"
#include "planner/model/schema_step.h"
#include "planner/model/source_position.h"
#include "planner/model/step_detail.h"

namespace pgbackfill::planner::file {

// What is wrong is added to `problems`; the step is then of no use.
SchemaStep make_step(StepValues const& values, std::vector<Problem>& problems);

// `sync:` as two steps: the trigger, and its end.
Sync make_sync(InstallSync const& install, SourcePosition position);
Sync make_mirror(InstallMirror const& install, SourcePosition position);

}  // namespace pgbackfill::planner::file
