// What PostgreSQL refuses a step for, by kind of step, as far as the catalog tells: above all what a change meets in
// tables that inherit from the one of the step. What an empty copy of the table shows is not here (recipes' spelling),
// nor are rights (step_rights.h) and what depends on something (step_dependents.h).
//
// Tried on PostgreSQL 15 and 18 (tests/engine/steps/server_rules_pgtest.cpp). Pure text; see recipes.h on
// names and search_path.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

// SQL condition, and SQL text of why. They hold as well while the step is half done.
using ServerRules = std::vector<std::pair<std::string, std::string>>;
ServerRules server_rules(SchemaStep const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner
