#include "throttle/wal_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pgbackfill::throttle {
namespace {

constexpr double kWeight = 0.2;
constexpr double kWeightOfOthers = 0.5;
constexpr double kLeastBytesPerRow = 16;      // less than any record's header
constexpr double kMostBytesPerRow = 1'000e6;  // more than any row
constexpr std::int64_t kLeastRows = 10;
constexpr double kMostBatchSeconds = 0.5;

}  // namespace

void WalCost::see(WalInterval const& interval) {
  if (!(interval.seconds > 0)) return;
  if (interval.is_idle) {
    double const rate = interval.wal_bytes / interval.seconds;
    double const before = others_per_second_.value_or(rate);
    others_per_second_ = before + kWeightOfOthers * (rate - before);
    return;
  }
  // A batch or two may have been charged in one interval and written in the next.
  if (interval.rows < kLeastRows) return;
  double const rest = others_per_second_.value_or(0) * interval.seconds;
  double const own = interval.own_bytes.value_or(interval.wal_bytes - rest);
  // Others wrote less than they used to, and what is ours cannot be told.
  if (own <= 0) return;
  learn(own / static_cast<double>(interval.rows));
}

void WalCost::learn(double bytes_per_row) {
  double const sample = std::clamp(bytes_per_row, kLeastBytesPerRow, kMostBytesPerRow);
  bytes_per_row_ += (is_measured_ ? kWeight : 1.0) * (sample - bytes_per_row_);
  is_measured_ = true;
}

std::int64_t most_rows(double wal_per_second, double bytes_per_row) {
  double const rows = kMostBatchSeconds * wal_per_second / std::max(bytes_per_row, 1.0);
  if (!(rows < 1e15)) return std::numeric_limits<std::int64_t>::max();
  return std::max<std::int64_t>(static_cast<std::int64_t>(rows), 1);
}

}  // namespace pgbackfill::throttle
