// Which tables the code of a function changes the rows of.
//
// Read from its text: names are as written, and a statement that the code puts together from what only the server knows
// is not seen. Pure.
#pragma once

#include <string>
#include <vector>

#include "planner/model/table_name.h"

namespace pgbackfill::planner::lint {

// Of UPDATE, DELETE and MERGE in the body of a CREATE FUNCTION (pg_get_functiondef) in SQL or PL/pgSQL; the schema is
// empty where none is written. Nothing for code that cannot be read.
std::vector<TableName> tables_changed_by(std::string const& create_function);

// Those that get rows by INSERT.
std::vector<TableName> tables_inserted_into_by(std::string const& create_function);

// Both.
std::vector<TableName> tables_written_by(std::string const& create_function);

}  // namespace pgbackfill::planner::lint
