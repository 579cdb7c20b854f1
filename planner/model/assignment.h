// What a column gets: an SQL expression of the file over the columns of its table.
//
// A value.
#pragma once

#include <string>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

struct Assignment {
  SourcePosition position;
  std::string column;
  std::string expression;  // SQL
};

}  // namespace pgbackfill::planner
