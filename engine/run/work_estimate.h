// What a backfill will cost, by rule of thumb, before anything of it has run: `plan` shows it, and a job keeps it to be
// compared with what it cost in the end.
//
// Pure: the file and what the catalog says of the table go in.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/state/state_store.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::engine {

// Of the heap: what a row that is replaced leaves behind.
struct GrowthEstimate {
  double bytes_without_vacuum = 0;
  double bytes_with_budget = 0;
  double budget = 0;  // throttle.bloat
};

struct WorkEstimate {
  double seconds = 0;
  // Of work that sets columns; of other work nothing is known of what it writes.
  std::optional<double> wal_bytes;
  std::optional<GrowthEstimate> growth;
};

// `bytes_more_per_row`: by how much rows get wider, where that was tried.
WorkEstimate estimate_work(planner::Migration const& migration, planner::TableFacts const& table,
                           double bytes_more_per_row = 0);

// At least as long as max_rows_per_second and max_wal_per_second of the file let it take.
double seconds_within_limits(planner::Migration const& migration, double seconds, double rows, double wal_bytes);

state::JobEstimate to_keep(WorkEstimate const& estimate);

}  // namespace pgbackfill::engine
