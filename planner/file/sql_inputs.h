// What {param:name} and ${NAME} stand for while a file is read.
//
// Values, of one reader.
#pragma once

#include <string>
#include <vector>

#include "planner/model/params.h"

namespace pgbackfill::planner::file {

struct SqlInputs {
  std::vector<Param> params;
  std::vector<EnvironmentName> environment;  // those that were met
  // Of SQL that outlives the run or is shown as it is; empty: a variable may stand there.
  std::string why_no_environment;
  // Code of functions has strings of its own.
  bool is_of_steps = false;
};

}  // namespace pgbackfill::planner::file
