// What the tables below a table, which inherit from it or are its partitions, have of their own of a column. A change
// of the table's column goes down to them, and its way back has to leave them as they were.
//
// Pure text; see recipes.h on names and search_path. A list, as Recipe::before keeps it, is the text of a text[] with
// number of the table and name of the column in each element; an empty one is "".
#pragma once

#include <string>
#include <vector>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner::recipes {

// Condition over pg_attribute a: the column of the name, in a table below this one.
std::string is_of_heir(TableName const& table, std::string const& column);
// Condition over pg_attribute a: it is in the primary key or an identity, and takes no NULL.
inline constexpr char kTakesNoNull[] =
    "(a.attidentity <> '' OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND "
    "i.indisprimary AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])))";

// SQL text: the list of the columns below that satisfy a condition over pg_attribute a; NULL: none.
std::string heirs_with(TableName const& table, std::vector<std::string> const& columns, std::string const& condition);
// SQL condition; `oid` is an SQL expression.
std::string is_listed(std::string const& list, std::string const& oid, std::string const& column);

// NOT NULL goes from the table and those below, but for those in the list. Only where they are no partitions.
Action drop_not_null_but(TableName const& table, std::string const& column, std::string const& list);
// The same for partitions. The server takes NOT NULL from all of them at once: a check proves it for those in the list,
// which get it back in the same moment. facts.leaves are all tables below.
std::vector<Action> drop_not_null_of_partitions_but(StepFacts const& facts, std::string const& column,
                                                    std::string const& list);
// NOT NULL for the table and those below, each for itself, but for those in the list.
std::vector<Action> set_not_null_but(StepFacts const& facts, std::string const& column, std::string const& list);
// SQL text, NULL: nothing. What below keeps its NOT NULL whatever becomes of the table's.
std::string keepers_of_not_null(StepFacts const& facts, std::string const& column, std::string const& list);

// The defaults of tables below that differ from the table's: what Recipe::before keeps, as an SQL expression; "": none.
std::string other_defaults(TableName const& table, std::string const& column);
// Rows (table, value) of them, once more; `kept` is what was kept.
std::string rows_of_other_defaults(TableName const& table, std::string const& column, std::string const& kept);
// A statement that sets those that are not as they were.
std::string set_other_defaults(TableName const& table, std::string const& column, std::string const& kept);
// SQL text, '' without one: a column's default, as the server spells it; `oid` is an SQL expression.
std::string default_of(std::string const& oid, std::string const& column);

}  // namespace pgbackfill::planner::recipes
