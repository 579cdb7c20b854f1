// What rows can say against a step's way back: a NULL where NOT NULL comes back, a value that appears twice where a
// unique index does.
//
// The server finds such a row at that step's turn, when those behind it are undone already; asked before the first one,
// nothing is left half-way. By the text in which the server spelled what was dropped: what cannot be read of that is
// not asked, and found at its turn. Pure functions, safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "planner/model/table_name.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner::recipes {

// Rows that are counted, of "FROM ..." without that word: none of them may be there.
RowQuestion counted_rows(std::string what, std::string from_and_where);

// NOT NULL of a column; `only`: children of the table may have NULLs.
RowQuestion nulls_in(TableName const& table, std::string_view column, bool only);
// The same where these tables below may have NULLs: a list of heirs.h.
RowQuestion nulls_in_all_but(TableName const& table, std::string const& column, std::string const& list);

// A check constraint or a foreign key, as pg_get_constraintdef() spells it. `is_partitioned`: the table.
std::optional<RowQuestion> rows_against(TableName const& table, std::string_view constraint,
                                        std::string const& definition, bool is_partitioned);

// A unique index, as pg_get_indexdef() spells it, or what that says from " USING" on.
std::optional<RowQuestion> duplicates_in(TableName const& table, std::string_view index, std::string const& definition);

}  // namespace pgbackfill::planner::recipes
