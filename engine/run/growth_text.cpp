#include "engine/run/growth_text.h"

#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/work_kind.h"
#include "throttle/vacuum_debt.h"

namespace pgbackfill::engine {

std::string growth_text(JobCosts const& costs, std::string const& table, planner::WorkKind kind,
                        throttle::Limits const& limits) {
  bool const replaces_rows = planner::traits_of(kind).replaces_rows;
  auto const before = static_cast<std::uint64_t>(costs.bytes_at_start);
  auto const after = static_cast<std::uint64_t>(costs.bytes);
  if (!replaces_rows || before < throttle::kLeastBytesToVacuum) return "";
  bool const has_budget = limits.mode == throttle::Mode::kOn && limits.bloat > 0;
  return throttle::say_table_growth(table, before, after, has_budget ? std::optional(limits.bloat) : std::nullopt);
}

JobCosts costs_of(Rows const& sizes) {
  auto const row = state::row_as<state::JobCostRow>(sizes.rows.at(0));
  JobCosts costs;
  costs.bytes_at_start = row.bytes_at_start;
  costs.bytes = row.bytes;
  costs.estimated_time = row.estimated_time;
  costs.estimated_bytes = row.estimated_bytes;
  costs.estimated_wal_bytes = row.estimated_wal_bytes;
  costs.time = row.time.value_or(std::chrono::milliseconds(0));
  costs.wal_bytes = row.wal_bytes;
  costs.is_over = row.is_over.value_or(false);
  return costs;
}

}  // namespace pgbackfill::engine
