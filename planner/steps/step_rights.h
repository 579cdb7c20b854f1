// Which rights a step needs, as a question to the server: what is missing comes out before anything is touched.
//
// Pure text; see recipes.h on names and search_path.
#pragma once

#include <string>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

// Rows of one text: a right that the role lacks. Empty: nothing to ask.
std::string missing_rights_sql(SchemaStep const& step, StepFacts const& facts);
// The same of what taking the step back needs beside that.
std::string missing_rights_of_undo_sql(SchemaStep const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner
