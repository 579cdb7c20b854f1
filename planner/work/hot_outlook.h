// Whether the updates of a backfill can stay HOT, and what prevents it.
//
// A HOT update puts the new version of a row on the row's own page and leaves the indexes alone. It takes room on that
// page, and that no index knows a column that changes (BRIN does not count from PostgreSQL 16 on). Pure; sizes are
// estimates that assume pages as full as fillfactor says.
#pragma once

#include <string>
#include <vector>

#include "planner/model/migration.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::planner {

struct HotOutlook {
  double share = 0;                 // of the rows whose update can be HOT
  std::vector<std::string> advice;  // what prevents it and what to do, as sentences for people
};

// Of a backfill that sets columns; of others it says nothing.
HotOutlook hot_outlook(Backfill const& backfill, LeafFacts const& leaf);

}  // namespace pgbackfill::planner
