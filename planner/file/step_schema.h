// What the steps of `expand:` and `contract:` may hold: a part of the one description of the file.
//
// See planner/file/migration_schema.h. Constant data, safe from any thread.
#pragma once

#include <string_view>

#include "planner/file/migration_schema.h"

namespace pgbackfill::planner {

// `schema:` and `name:` of a table whose name would need quotes.
extern Section const kTableSection;

inline constexpr KeyRule kTableRule{.key = "table",
                                    .kind = ValueKind::kTable,
                                    .doc = "The table, if it is not the one at the top of the file.",
                                    .example = "public.users",
                                    .section = &kTableSection};

// Of a table that has to be named.
constexpr KeyRule table_rule(std::string_view key, std::string_view doc, std::string_view example) {
  return {.key = key,
          .kind = ValueKind::kTable,
          .doc = doc,
          .example = example,
          .is_required = true,
          .section = &kTableSection};
}

// One step: exactly one key that says what it does.
extern Section const kStepSection;

}  // namespace pgbackfill::planner
