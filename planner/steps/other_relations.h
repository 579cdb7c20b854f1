// Relations beside its own table that a step has to do with: what refers to it, what it refers to, what is made of what
// the step takes away or changes; and functions that take its rows as a whole.
//
// Pure text for the catalog; what a step locks is its recipe's to say (planner/steps/recipe.h).
#pragma once

#include <string>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

// At most so many are named.
inline constexpr int kMostOtherRelations = 30;

// Whether rows of the step's table have other columns, or in another order, afterwards.
bool changes_row(SchemaStep const& step);

// Rows of two texts: the relation, quoted, or a function; what it has to do with the step. Empty: nothing to ask.
std::string other_relations_sql(SchemaStep const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner
