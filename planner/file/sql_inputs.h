// What {param:name}, {prepare:name} and ${NAME} stand for while a file is read.
//
// Values, of one reader.
#pragma once

#include <string>
#include <vector>

#include "planner/model/params.h"
#include "planner/work/prepared.h"

namespace pgbackfill::planner::file {

struct SqlInputs {
  std::vector<Param> params;
  std::vector<EnvironmentName> environment;  // those that were met
  std::vector<Prepared> prepared;
  bool knows_prepared = false;  // in the SQL of the backfill
  // Of SQL that outlives the run or is shown as it is; empty: a variable may stand there.
  std::string why_no_environment;
  // Code of functions has strings of its own.
  bool is_of_steps = false;
};

}  // namespace pgbackfill::planner::file
