// What to say first of a plan: how bad its parts are, what stops traffic for long, what `complete` destroys.
//
// Pure function over a plan; steps that ran already count no more. Thread rule: none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/view/plan_report.h"

namespace pgbackfill::engine {

struct PlanVerdict {
  planner::Risk run = planner::Risk::kLow;  // the worst of expand, sync and backfill
  std::optional<planner::Risk> complete;    // of contract; none: there is nothing to complete
  // Statements that stop others for longer than milliseconds, as "contract step 2: SHARE on t, which stops writes, for
  // minutes".
  std::vector<std::string> blocking;
  std::vector<std::string> destroyed;  // by `complete`: "contract step 3: why"
};

PlanVerdict verdict_of(PlanReport const& report);

// What is still to be done and is as bad as `least` or worse, as "users, expand step 2: high risk: why"; without
// `least` nothing is. What `complete` destroys counts for kDestructive alone: somebody has to approve it anyway.
std::vector<std::string> risky_parts(PlanReport const& report, std::optional<planner::Risk> least);

// "run: low risk; complete: destructive"
std::string verdict_text(PlanVerdict const& verdict);
// "contract step 3", "sync", "end of sync"
std::string step_place(PlannedStep const& step);

}  // namespace pgbackfill::engine
