// A plan as people and programs read it. Pure rendering; thread rule: none.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "engine/plan_report.h"

namespace pgbackfill::engine {

std::string plan_text(PlanReport const& report);
boost::json::object plan_json(PlanReport const& report);
// For a comment on a pull request.
std::string plan_markdown(PlanReport const& report);

}  // namespace pgbackfill::engine
