// The charts of a report in HTML: rate, what held it back, lag, latency, WAL, batches, size, with what happened when.
//
// Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/view/job_report.h"
#include "engine/view/report_parts.h"

namespace pgbackfill::engine {

// Empty where too little was kept to draw. `marks` are numbered from 1 as in the list of the page.
std::string report_charts(JobReport const& report, std::vector<Mark> const& marks);

}  // namespace pgbackfill::engine
