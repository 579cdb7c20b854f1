// The tables that a migration names anywhere: in its sections, its steps, and the SQL of the file.
//
// Names are as written; which of them are there, and are tables, the server knows. What a function of the database
// reads is not seen. Pure.
#pragma once

#include <vector>

#include "planner/model/migration.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {

std::vector<TableName> named_tables(Migration const& migration);

}  // namespace pgbackfill::planner
