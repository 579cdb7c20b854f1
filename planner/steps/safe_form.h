// Why a step is done in the way in which its recipe does it, instead of by the one statement that says the same.
//
// One sentence for people, for steps whose plain statement would stop traffic for as long as the table is large; empty
// where the plain statement is all there is to it. Pure function, safe from any thread.
#pragma once

#include <string>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

std::string safe_form(SchemaStep const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner
