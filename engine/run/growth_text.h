// How a table grew since its job began, as a sentence for the summary of a run and for status, and what the job cost.
// Pure.
#pragma once

#include <string>

#include "engine/base/job_costs.h"
#include "engine/pg/pg_connection.h"
#include "planner/model/migration.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

// `sizes` is the row of state::job_growth().
JobCosts costs_of(Rows const& sizes);

// Empty for tables that are too small to say anything of, and for work that does not replace rows.
std::string growth_text(JobCosts const& costs, std::string const& table, planner::WorkKind kind,
                        throttle::Limits const& limits);

}  // namespace pgbackfill::engine
