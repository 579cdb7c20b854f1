// What a job cost beside what was thought when it began, as a sentence for the summary of a run and for status. Pure.
#pragma once

#include <string>

#include "engine/base/job_costs.h"

namespace pgbackfill::engine {

// "estimated when it began: 12 s, ...; it took 26 s, ..." Empty until the job has ended, and for tables that are too
// small to have been worth an estimate.
std::string costs_text(JobCosts const& costs);

}  // namespace pgbackfill::engine
