// Whether an expression may give another value for each row, so that ADD COLUMN has to write all of them.
//
// Of a function that nobody has said anything of, the worse is assumed: PostgreSQL too calls functions volatile unless
// told otherwise. Pure function, safe from any thread.
#pragma once

#include <string>

#include "planner/lint/schema_facts.h"

namespace pgbackfill::planner::lint {

// The first function that is volatile, or may be; empty: none.
std::string volatile_function_in(SyntaxNode expression, SchemaFacts const& facts);

}  // namespace pgbackfill::planner::lint
