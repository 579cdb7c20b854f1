// A schema statement as it would be for an empty copy of its table: for finding out from the server itself, rather than
// from rules, whether it would write or read all rows.
//
// For ALTER TABLE and plain CREATE INDEX of one table. Others are not to be tried on a copy, or touch the catalog
// alone. Pure function, safe from any thread.
#pragma once

#include <optional>
#include <string>

#include "planner/model/table_name.h"

namespace pgbackfill::planner::lint {

// The copy, a temporary table.
inline constexpr char kEffectCopy[] = "pgbackfill_copy";

struct EffectProbe {
  TableName table;        // as the statement names it; an empty schema: found through search_path
  std::string statement;  // over kEffectCopy
};

// Nothing if the statement is no such, or cannot be read.
std::optional<EffectProbe> effect_probe(std::string const& statement);

}  // namespace pgbackfill::planner::lint
