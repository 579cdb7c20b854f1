// Which objects of the catalog a step is about, told by class and number: what has the same name later need not be the
// same object.
//
// What a step has left is recorded with it as its proof. Before it is taken back, what has the name now is held against
// that: what somebody else made under the name is not ours to drop, and what was renamed is not undone because its old
// name is free. The same numbers say which objects an approval was given for. Pure text; see recipes.h on names and
// search_path.
#pragma once

#include <string>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

// SQL query for one text: what a step that is done has left, and the table that it did it to. Empty: nothing to tell.
std::string objects_sql(SchemaStep const& step, StepFacts const& facts);

// One row about a step that is about to be taken back: why it must not be, or NULL; and whether all that it was about
// is gone. `proof`: what objects_sql() said when it was done; empty: nobody knows. `asks_server`: whether what the
// server would refuse of the way back counts as well.
std::string undo_check_sql(SchemaStep const& step, StepFacts const& facts, std::string const& proof, bool asks_server);

// Rows of one text each: the object that the step takes away, renames or replaces, with its number. Empty: none.
std::string taken_sql(SchemaStep const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner
