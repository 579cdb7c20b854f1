// What the steps of `expand:` and `contract:` may hold: a part of the one description of the file.
//
// See planner/migration_schema.h. Constant data, safe from any thread.
#pragma once

#include "planner/migration_schema.h"

namespace pgbackfill::planner {

// `schema:` and `name:` of a table whose name would need quotes.
extern Section const kTableSection;

// One step: exactly one key that says what it does.
extern Section const kStepSection;

}  // namespace pgbackfill::planner
