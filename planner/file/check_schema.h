// What the checks of `verify:` may hold: a part of the one description of the file.
//
// See planner/file/migration_schema.h. Constant data, safe from any thread.
#pragma once

#include "planner/file/migration_schema.h"

namespace pgbackfill::planner {

// One check: exactly one key that says what has to hold.
extern Section const kCheckSection;

}  // namespace pgbackfill::planner
