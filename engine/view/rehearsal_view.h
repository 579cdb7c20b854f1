// A rehearsal for people and for programs. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "engine/view/progress_view.h"
#include "engine/view/rehearsal_report.h"

namespace pgbackfill::engine {

std::string rehearsal_text(RehearsalReport const& report, ViewOptions const& view);
boost::json::object rehearsal_json(RehearsalReport const& report);

}  // namespace pgbackfill::engine
