#include "engine/run/growth_text.h"

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

}  // namespace pgbackfill::engine
