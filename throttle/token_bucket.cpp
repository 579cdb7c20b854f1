#include "throttle/token_bucket.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kMostUnusedSeconds = 0.5;

// A NaN would pass through max.
double at_least_zero(double rate) {
  return rate > 0 ? rate : 0.0;
}

}  // namespace

TokenBucket::TokenBucket(double rate) : rate_(at_least_zero(rate)) {}

std::chrono::nanoseconds TokenBucket::wait_before(TimePoint now) const {
  if (is_unlimited()) return std::chrono::nanoseconds{0};
  std::chrono::nanoseconds const longest = kLongestPaceWait;
  if (rate_ <= 0) return longest;
  double const owed_ns = owed(now) / rate_ * 1e9;
  // What rounding leaves of a debt that was waited out is far below a nanosecond.
  if (owed_ns < 1) return std::chrono::nanoseconds{0};
  if (owed_ns >= static_cast<double>(longest.count())) return longest;
  return std::chrono::nanoseconds{static_cast<std::int64_t>(std::ceil(owed_ns))};
}

void TokenBucket::charge(double amount, TimePoint now) {
  if (is_unlimited()) return;
  owed_ = std::max(owed(now) + amount, -kMostUnusedSeconds * rate_);
  as_of_ = as_of_ ? std::max(*as_of_, now) : now;
}

void TokenBucket::set_rate(double rate) {
  rate_ = at_least_zero(rate);
  if (!is_unlimited()) return;
  owed_ = 0;
  as_of_.reset();
}

void TokenBucket::set_rate(double rate, TimePoint now) {
  if (as_of_) charge(0, now);
  set_rate(rate);
}

bool TokenBucket::is_unlimited() const {
  return std::isinf(rate_);
}

double TokenBucket::owed(TimePoint now) const {
  double const seconds = as_of_ ? std::max(std::chrono::duration<double>(now - *as_of_).count(), 0.0) : 0.0;
  return std::max(owed_ - seconds * rate_, -kMostUnusedSeconds * rate_);
}

}  // namespace pgbackfill::throttle
