// The transaction of swap_column, and what `plan` says of it. For planner/steps alone.
//
// Pure text, for a server version; it is run with search_path = pg_catalog, pg_temp.
#pragma once

#include <string>

#include "planner/model/step_detail.h"
#include "planner/steps/column_counterparts.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner::recipes {

// By names, as a question to the catalog.
ColumnSwap columns_of(SwapColumn const& step, TableName const& table);

// The default of a column as the server spells it, as an SQL expression; NULL: none.
std::string default_of_column(std::string const& table, std::string const& number);
// That of the old column; where the columns are of different types, also what its domain gives it.
std::string default_to_carry(std::string const& table, std::string const& old_number, std::string const& new_number);
// Whether a default is a value that is written out; and that value without a type.
std::string is_constant(std::string const& default_text);
std::string as_written(std::string const& default_text);
// Whether the old column's default can be one of the new column. Over pg_attribute o and n.
std::string is_carried_default(std::string const& default_text);

// What `plan` says of the swap: rows (relation, words).
std::string swap_column_notes(SwapColumn const& step, TableName const& table);

// What `code` of a DO has to be for it.
std::string swap_column_block(SwapColumn const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner::recipes
