// The report of one migration: a page for a pull request, a post-mortem or a change board.
//
// Pure functions over job_report.h. The page in HTML is one file without scripts and requests; each text in it that
// came from the database or the file is escaped.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "engine/view/job_report.h"
#include "engine/view/progress_view.h"

namespace pgbackfill::engine {

std::string report_text(JobReport const& report, ViewOptions const& view);
boost::json::object report_json(JobReport const& report);
std::string report_markdown(JobReport const& report);
std::string report_html(JobReport const& report);

}  // namespace pgbackfill::engine
