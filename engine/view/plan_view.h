// A plan as people and programs read it. Pure rendering; thread rule: none.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "engine/base/text.h"
#include "engine/view/plan_report.h"

namespace pgbackfill::engine {

// Sentences are folded to so many columns.
std::string plan_text(PlanReport const& report, int columns);
boost::json::object plan_json(PlanReport const& report);
// For a comment on a pull request.
std::string plan_markdown(PlanReport const& report);

}  // namespace pgbackfill::engine
