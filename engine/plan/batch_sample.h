// What EXPLAIN (ANALYZE, WAL, FORMAT JSON) says of a batch that was run and rolled back. Pure.
#pragma once

#include <string>

#include "engine/view/plan_report.h"

namespace pgbackfill::engine {

PlannedSample sample_of(std::string const& explained);

}  // namespace pgbackfill::engine
