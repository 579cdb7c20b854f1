#include "throttle/wal_cost.h"

#include <algorithm>
#include <limits>

namespace pgbackfill::throttle {
namespace {

constexpr double kWeight = 0.3;
constexpr double kWeightOfOthers = 0.5;
constexpr double kLeastBytesPerRow = 16;      // less than any record's header
constexpr double kMostBytesPerRow = 1'000e6;  // more than any row
// Rows are counted when their batch ends, and their WAL comes while it runs: over so long it evens out.
constexpr double kStretchSeconds = 4;
constexpr double kFirstStretchSeconds = 1.5;
constexpr std::int64_t kLeastRows = 10;
constexpr double kOthersHoldSeconds = 60;  // then others may write as much more as we seem to
constexpr double kLeastShare = 0.2;        // ours of all, for a difference to say something
constexpr double kMostBatchSeconds = 0.5;

}  // namespace

void WalCost::see(WalInterval const& interval) {
  if (!(interval.seconds > 0)) return;
  if (interval.is_idle) return see_idle(interval);
  seconds_since_idle_ += interval.seconds;
  stretch_.seconds += interval.seconds;
  stretch_.wal_bytes += interval.wal_bytes;
  stretch_.rows += interval.rows;
  // Exact for the whole stretch or not at all.
  bool const is_first = stretch_.seconds == interval.seconds;
  bool const is_exact = interval.own_bytes && (is_first || stretch_.own_bytes);
  stretch_.own_bytes = is_exact ? std::optional{stretch_.own_bytes.value_or(0) + *interval.own_bytes} : std::nullopt;
  double const enough = is_measured_ ? kStretchSeconds : kFirstStretchSeconds;
  if (stretch_.seconds < enough || stretch_.rows < kLeastRows) return;
  judge_stretch();
  stretch_ = {};
}

void WalCost::see_idle(WalInterval const& interval) {
  double const rate = interval.wal_bytes / interval.seconds;
  double const before = others_per_second_.value_or(rate);
  others_per_second_ = before + kWeightOfOthers * (rate - before);
  seconds_since_idle_ = 0;
}

void WalCost::judge_stretch() {
  auto const rows = static_cast<double>(stretch_.rows);
  if (stretch_.own_bytes) return learn(*stretch_.own_bytes / rows);
  // A row costs no more than if all of it were ours.
  if (stretch_.wal_bytes < bytes_per_row_ * rows) return learn(stretch_.wal_bytes / rows);
  if (!others_per_second_ || seconds_since_idle_ > kOthersHoldSeconds) return;
  double const own = stretch_.wal_bytes - *others_per_second_ * stretch_.seconds;
  if (own > kLeastShare * stretch_.wal_bytes) learn(own / rows);
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
