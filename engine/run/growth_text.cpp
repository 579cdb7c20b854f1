#include "engine/run/growth_text.h"

#include "engine/state/state_store.h"
#include "throttle/vacuum_debt.h"

namespace pgbackfill::engine {

std::string growth_text(Rows const& sizes, std::string const& table, planner::WorkKind kind,
                        throttle::Limits const& limits) {
  bool const replaces_rows = kind == planner::WorkKind::kUpdate || kind == planner::WorkKind::kSql;
  auto const before = std::stoull(sizes.at(0, 0));
  auto const after = std::stoull(sizes.at(0, 1));
  if (!replaces_rows || before < throttle::kLeastBytesToVacuum) return "";
  bool const has_budget = limits.mode == throttle::Mode::kOn && limits.bloat > 0;
  return throttle::say_table_growth(table, before, after, has_budget ? std::optional(limits.bloat) : std::nullopt);
}

JobCosts costs_of(Rows const& sizes) {
  auto const& row = sizes.rows.at(0);
  auto const number = [&](std::size_t column) -> std::optional<std::int64_t> {
    if (!row.at(column)) return std::nullopt;
    return state::number_of(row[column], "what the job was estimated to cost");
  };
  JobCosts costs;
  costs.bytes_at_start = number(0).value_or(0);
  costs.bytes = number(1).value_or(0);
  if (auto const time = number(4)) costs.estimated_time = std::chrono::milliseconds(*time);
  costs.estimated_bytes = number(5);
  costs.estimated_wal_bytes = number(6);
  costs.time = std::chrono::milliseconds(number(7).value_or(0));
  costs.wal_bytes = number(8);
  costs.is_over = row.at(9) == "t";
  return costs;
}

}  // namespace pgbackfill::engine
