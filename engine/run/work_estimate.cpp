#include "engine/run/work_estimate.h"

#include <algorithm>
#include <cmath>

#include "engine/run/limits.h"
#include "planner/work/hot_outlook.h"
#include "throttle/vacuum_debt.h"

namespace pgbackfill::engine {

namespace {

// What one worker does with narrow rows on modest hardware.
constexpr double kRowsPerSecond = 100'000;
// Of WAL: what comes with the new version of a row, and with its entry in an index.
constexpr double kWalPerRow = 60;
constexpr double kWalPerIndexEntry = 80;

GrowthEstimate growth_of(planner::Migration const& migration, planner::TableFacts const& table, double bytes_more) {
  auto const limits = limits_of(setting_texts(migration.throttle), {}).limits;
  GrowthEstimate growth;
  growth.budget = limits.bloat;
  for (auto const& leaf : table.leaves) {
    auto const bytes = static_cast<double>(leaf.bytes);
    double const wider = static_cast<double>(leaf.rows_estimated) * bytes_more;
    double const without = bytes + (bytes + wider) * (1 - planner::hot_outlook(*migration.backfill, leaf).share);
    bool const is_vacuumed = static_cast<std::uint64_t>(leaf.bytes) >= throttle::kLeastBytesToVacuum &&
                             limits.mode == throttle::Mode::kOn && limits.bloat > 0;
    growth.bytes_without_vacuum += without;
    growth.bytes_with_budget += is_vacuumed ? std::min(without, (bytes + wider) * (1 + limits.bloat)) : without;
  }
  return growth;
}

// Each page is written whole when it is first changed after a checkpoint; then the new version of each row, and its
// entries in all indexes, unless it stays on its page.
double wal_of(planner::Backfill const& backfill, planner::TableFacts const& table, double bytes_more) {
  double wal = 0;
  for (auto const& leaf : table.leaves) {
    auto const rows = static_cast<double>(leaf.rows_estimated);
    auto const bytes = static_cast<double>(leaf.bytes);
    double const moved = 1 - planner::hot_outlook(backfill, leaf).share;
    double const entries = moved * static_cast<double>(leaf.indexes.size());
    wal += 2 * bytes + rows * (bytes_more + kWalPerRow + entries * kWalPerIndexEntry);
  }
  return wal;
}

}  // namespace

double seconds_within_limits(planner::Migration const& migration, double seconds, double rows, double wal_bytes) {
  auto const limits = limits_of(setting_texts(migration.throttle), {}).limits;
  auto const least = [](double amount, auto const& a_second) {
    return a_second ? amount / static_cast<double>(*a_second) : 0.0;
  };
  return std::max({seconds, least(rows, limits.max_rows_per_second), least(wal_bytes, limits.max_wal_per_second)});
}

WorkEstimate estimate_work(planner::Migration const& migration, planner::TableFacts const& table,
                           double bytes_more_per_row) {
  auto const& backfill = *migration.backfill;
  WorkEstimate estimate;
  double rows = 0;
  for (auto const& leaf : table.leaves) rows += static_cast<double>(leaf.rows_estimated);
  if (backfill.kind == planner::WorkKind::kUpdate) {
    estimate.growth = growth_of(migration, table, bytes_more_per_row);
    estimate.wal_bytes = wal_of(backfill, table, bytes_more_per_row);
  }
  double const unlimited = rows / kRowsPerSecond / std::max(backfill.workers, 1);
  estimate.seconds = seconds_within_limits(migration, unlimited, rows, estimate.wal_bytes.value_or(0));
  return estimate;
}

state::JobEstimate to_keep(WorkEstimate const& estimate) {
  state::JobEstimate kept;
  kept.time = std::chrono::milliseconds(std::llround(estimate.seconds * 1000));
  if (estimate.growth) kept.heap_bytes = std::llround(estimate.growth->bytes_with_budget);
  if (estimate.wal_bytes) kept.wal_bytes = std::llround(*estimate.wal_bytes);
  return kept;
}

}  // namespace pgbackfill::engine
