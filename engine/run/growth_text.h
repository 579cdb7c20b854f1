// How a table grew since its job began, as a sentence for the summary of a run and for status, and what the job cost.
// Pure.
#pragma once

#include <string>

#include "engine/base/job_costs.h"
#include "engine/pg/pg_connection.h"
#include "planner/model/migration.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

// `sizes` is the row of state::job_growth(). Empty for tables that are too small to say anything of, and for work that
// does not replace rows.
std::string growth_text(Rows const& sizes, std::string const& table, planner::WorkKind kind,
                        throttle::Limits const& limits);

// Of the same row.
JobCosts costs_of(Rows const& sizes);

}  // namespace pgbackfill::engine
