// What `on:` may hold: a part of the one description of the file.
//
// See planner/file/migration_schema.h. Constant data, safe from any thread.
#pragma once

#include "planner/file/migration_schema.h"

namespace pgbackfill::planner {

extern Section const kOnSection;
// {file: PATH}, for a text that is read from there.
extern Section const kSecretSection;

}  // namespace pgbackfill::planner
