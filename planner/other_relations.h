// Relations beside its own table that a step has to do with: what refers to it, what it refers to, what is made of what
// the step takes away or changes.
//
// Pure text for the catalog; what a step locks is its recipe's to say (planner/recipe.h).
#pragma once

#include <string>

#include "planner/recipe.h"

namespace pgbackfill::planner {

// At most so many are named.
inline constexpr int kMostOtherRelations = 30;

// Rows of two texts: the relation, quoted; what it has to do with the step. Empty: nothing to ask.
std::string other_relations_sql(SchemaStep const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner
