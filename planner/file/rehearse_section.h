// What a migration file says of its rehearsal, for whoever rehearses it. Pure.
#pragma once

#include <string_view>

#include "planner/model/params.h"
#include "planner/model/rehearsal_limits.h"

namespace pgbackfill::planner {

// Of a file that parse_migration() has accepted.
RehearsalLimits rehearsal_limits(std::string_view text, std::string_view file_name);

}  // namespace pgbackfill::planner
