#include "throttle/batch_sizer.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kGrowthAtStart = 2.0;
constexpr double kGrowth = 1.5;
constexpr double kDeepestCut = 0.25;
constexpr double kStartEndsAt = 0.5;  // of the target
constexpr double kOverlong = 2.0;     // of the target
constexpr double kWeightOfDearer = 0.5;
constexpr double kWeightOfCheaper = 0.25;
constexpr std::int64_t kMagnitude = 10;
// Two sizes closer than this say more about noise than about the overhead.
constexpr double kLeastRatioForOverhead = 1.5;
// The loop is stable while the estimate is below (target + true overhead) / 2, hence always at half the target.
constexpr double kMostOverhead = 0.5;
constexpr double kLeastShareOfRows = 0.25;
// Without it, the rounding of exp and log would cost a row at every step.
constexpr double kRounding = 1 + 1e-9;

BatchLimits normalized(BatchLimits limits) {
  limits.min_rows = std::max<std::int64_t>(limits.min_rows, 1);
  limits.max_rows = std::max(limits.max_rows, limits.min_rows);
  return limits;
}

double nanoseconds_of(std::chrono::milliseconds target) {
  return std::chrono::duration<double, std::nano>(std::max(target, std::chrono::milliseconds{1})).count();
}

}  // namespace

BatchSizer::BatchSizer(BatchSizerOptions const& options)
    : limits_(normalized(options.limits)),
      target_ns_(nanoseconds_of(options.target)),
      rows_(std::clamp(options.first_rows, limits_.min_rows, most_rows())) {}

void BatchSizer::record(BatchSample const& sample) {
  if (sample.disturbed || sample.rows <= 0 || sample.duration.count() <= 0) return;
  auto const rows = static_cast<double>(sample.rows);
  auto const duration_ns = static_cast<double>(sample.duration.count());
  bool const is_overlong = duration_ns > kOverlong * target_ns_;
  if (is_of_another_magnitude(sample.rows) && !(is_overlong && sample.rows < rows_)) return;

  bool const was_starting = is_starting_;
  is_starting_ = was_starting && duration_ns <= kStartEndsAt * target_ns_;
  double const cost_ns = cost_of_row(duration_ns, rows);
  // Twice the target is believed at once, which at least halves the rows; but it is never good news where rows were
  // thought dearer still.
  bool const is_shock = is_overlong && std::log(cost_ns) > log_cost_ns_;
  learn_cost(cost_ns, was_starting || is_shock);

  double const growth = is_starting_ ? kGrowthAtStart : kGrowth;
  move_to(std::min(rows_for_target(), std::max(static_cast<double>(rows_), growth * rows)));
  // Last, so that this step depends on the duration in one way only: longer is never more rows.
  learn_overhead(sample.rows, duration_ns, is_overlong);
}

void BatchSizer::record_timeout(std::int64_t rows) {
  if (rows <= 0) return;
  is_starting_ = false;
  // Half of what timed out, not of the present size: several workers that time out together count once.
  double const half = std::min(static_cast<double>(rows) / 2, static_cast<double>(rows_));
  bool const is_news = cost_samples_ == 0 || rows_for_target() > half;
  if (is_news) learn_cost((target_ns_ - overhead_ns_) / half, true);
  rows_ = std::clamp(static_cast<std::int64_t>(half), limits_.min_rows, most_rows());
}

void BatchSizer::set_target(std::chrono::milliseconds target) {
  target_ns_ = nanoseconds_of(target);
  if (cost_samples_ == 0) return;
  set_overhead(std::min(overhead_ns_, kMostOverhead * target_ns_), static_cast<double>(rows_));
  if (rows_for_target() >= static_cast<double>(rows_)) return;
  rows_ = std::clamp(static_cast<std::int64_t>(rows_for_target()), limits_.min_rows, most_rows());
}

void BatchSizer::set_limits(BatchLimits const& limits) {
  limits_ = normalized(limits);
  rows_ = std::clamp(rows_, limits_.min_rows, most_rows());
}

bool BatchSizer::is_pinned_at_minimum() const {
  return cost_samples_ > 0 && rows_ == limits_.min_rows && rows_for_target() < static_cast<double>(limits_.min_rows);
}

std::int64_t BatchSizer::most_rows() const {
  if (limits_.bytes_per_row <= 0) return limits_.max_rows;
  return std::clamp(limits_.max_bytes / limits_.bytes_per_row, limits_.min_rows, limits_.max_rows);
}

double BatchSizer::rows_for_target() const {
  return (target_ns_ - overhead_ns_) / std::exp(log_cost_ns_);
}

double BatchSizer::cost_of_row(double duration_ns, double rows) const {
  // A batch may be faster than what was thought to be its overhead; its rows still cost something.
  return std::max(duration_ns - overhead_ns_, kLeastShareOfRows * duration_ns) / rows;
}

bool BatchSizer::is_of_another_magnitude(std::int64_t rows) const {
  return rows / kMagnitude > rows_ || rows_ / kMagnitude > rows;
}

void BatchSizer::learn_cost(double cost_ns, bool is_restart) {
  double const log_sample = std::log(cost_ns);
  cost_samples_ = is_restart ? 1 : cost_samples_ + 1;
  // The first samples after a restart are averaged: one freak batch is forgotten quickly.
  double const least = log_sample > log_cost_ns_ ? kWeightOfDearer : kWeightOfCheaper;
  log_cost_ns_ += std::max(least, 1.0 / cost_samples_) * (log_sample - log_cost_ns_);
}

void BatchSizer::learn_overhead(std::int64_t rows, double duration_ns, bool is_overlong) {
  fastest_ns_ = fastest_ns_ > 0 ? std::min(fastest_ns_, duration_ns) : duration_ns;
  double overhead_ns = overhead_ns_;
  auto const [fewer, more] = std::minmax(rows, anchor_rows_);
  auto const [shorter, longer] = std::minmax(duration_ns, anchor_duration_ns_);
  bool const is_far = static_cast<double>(more) >= kLeastRatioForOverhead * static_cast<double>(fewer);
  if (is_far && fewer > 0 && (rows > anchor_rows_) == (duration_ns > anchor_duration_ns_)) {
    // The line through two batches of different sizes, read at zero rows.
    double const slope = (longer - shorter) / static_cast<double>(more - fewer);
    overhead_ns = std::max(shorter - slope * static_cast<double>(fewer), 0.0);
  }
  set_overhead(std::min({overhead_ns, fastest_ns_, kMostOverhead * target_ns_}), static_cast<double>(rows));
  // After an overlong batch, what was measured before belongs to rows of another cost.
  if (!is_far && !is_overlong) return;
  anchor_rows_ = rows;
  anchor_duration_ns_ = duration_ns;
}

void BatchSizer::set_overhead(double overhead_ns, double rows) {
  // The cost was measured beside the old overhead; a batch of the present size is still expected to last as long.
  double const duration_ns = overhead_ns_ + rows * std::exp(log_cost_ns_);
  overhead_ns_ = overhead_ns;
  log_cost_ns_ = std::log(cost_of_row(duration_ns, rows));
}

void BatchSizer::move_to(double rows_wanted) {
  double const bounded = std::max(rows_wanted, kDeepestCut * static_cast<double>(rows_));
  double const most = static_cast<double>(limits_.max_rows);
  rows_ = std::clamp(static_cast<std::int64_t>(std::min(bounded * kRounding, most)), limits_.min_rows, most_rows());
}

}  // namespace pgbackfill::throttle
