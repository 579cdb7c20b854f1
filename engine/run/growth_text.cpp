#include "engine/run/growth_text.h"

#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/work_kind.h"
#include "throttle/vacuum_debt.h"

namespace pgbackfill::engine {

std::string growth_text(Rows const& sizes, std::string const& table, planner::WorkKind kind,
                        throttle::Limits const& limits) {
  bool const replaces_rows = planner::traits_of(kind).replaces_rows;
  auto const costs = state::row_as<state::JobCostRow>(sizes.rows.at(0));
  auto const before = costs.bytes_at_start.value_or(0);
  auto const after = costs.bytes.value_or(0);
  if (!replaces_rows || before < throttle::kLeastBytesToVacuum) return "";
  bool const has_budget = limits.mode == throttle::Mode::kOn && limits.bloat > 0;
  return throttle::say_table_growth(table, before, after, has_budget ? std::optional(limits.bloat) : std::nullopt);
}

JobCosts costs_of(Rows const& sizes) {
  auto const row = state::row_as<state::JobCostRow>(sizes.rows.at(0));
  JobCosts costs;
  costs.bytes_at_start = static_cast<std::int64_t>(row.bytes_at_start.value_or(0));
  costs.bytes = static_cast<std::int64_t>(row.bytes.value_or(0));
  costs.estimated_time = row.estimated_time;
  costs.estimated_bytes = row.estimated_bytes;
  costs.estimated_wal_bytes = row.estimated_wal_bytes;
  costs.time = row.time.value_or(std::chrono::milliseconds(0));
  costs.wal_bytes = row.wal_bytes;
  costs.is_over = row.is_over.value_or(false);
  return costs;
}

}  // namespace pgbackfill::engine
