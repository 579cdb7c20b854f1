// What an `sql:` step does to tables, as far as its text tells: what standbys and subscribers have to know of it.
//
// Pure. A statement that the parser does not know, or that code puts together as it runs, says nothing here.
#pragma once

#include <string>
#include <vector>

#include "planner/model/table_name.h"

namespace pgbackfill::planner {

// Tables and indexes that its statements lock ACCESS EXCLUSIVE; the schema is empty where none is written.
std::vector<TableName> locked_exclusively(std::string const& sql);

// What has a new name afterwards.
struct NewName {
  TableName table;
  std::string column;   // empty: the table itself, or one that it was renamed to
  std::string renamed;  // of a table: what it is called from then on
};
std::vector<NewName> new_names(std::string const& sql);

}  // namespace pgbackfill::planner
