// What is said of a column beside its type, default and constraints, and how it is said of another column: the one list
// for all steps that put a column, or a table, in the place of another one.
//
// Constant text for a server version; safe from any thread. Statements run with search_path = pg_catalog.
#pragma once

#include <string_view>
#include <vector>

namespace pgbackfill::planner {

struct ColumnSetting {
  std::string_view words;   // "the comment"
  std::string_view value;   // SQL text over pg_attribute a and its pg_type t; NULL: nothing was said
  std::string_view change;  // for format(): of the table, the column and the value
  // What has a meaning only for types whose values can be stored out of line.
  bool needs_toast = false;
};

std::vector<ColumnSetting> column_settings(int server_version);

}  // namespace pgbackfill::planner
