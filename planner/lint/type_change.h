// What ALTER COLUMN ... TYPE costs, by the old and the new type: measured on PostgreSQL 13 to 18.
//
// Pure functions, safe from any thread.
#pragma once

#include "planner/lint/schema_facts.h"

namespace pgbackfill::planner::lint {

enum class TypeChange {
  kCatalogOnly,
  kIndexes,  // rows stay, indexes on the column are built anew
  kRewrite,
  kUnknown  // of a type that nothing is known of
};

// An old type without a name is unknown; the answer is then the worst that can be, or kUnknown where it may be nothing.
TypeChange judge_type_change(ColumnType const& old_type, ColumnType const& new_type, SchemaFacts const& facts);

// Whether it is known to be, or not to be, a domain with a constraint.
bool is_known_type(ColumnType const& type, SchemaFacts const& facts);

}  // namespace pgbackfill::planner::lint
