#include "throttle/row_pace.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pgbackfill::throttle {
namespace {

constexpr double kMostUnusedSeconds = 0.5;

std::optional<std::int64_t> at_least_one(std::optional<std::int64_t> limit) {
  return limit ? std::optional{std::max<std::int64_t>(*limit, 1)} : std::nullopt;
}

}  // namespace

RowPace::RowPace(std::optional<std::int64_t> limit) : limit_(at_least_one(limit)) {}

std::chrono::nanoseconds RowPace::wait_before(TimePoint now) const {
  if (!limit_) return std::chrono::nanoseconds{0};
  double const owed_ns = owed_rows(now) / static_cast<double>(*limit_) * 1e9;
  // What rounding leaves of a debt that was waited out is far below a nanosecond.
  if (owed_ns < 1) return std::chrono::nanoseconds{0};
  std::chrono::nanoseconds const longest = kLongestPaceWait;
  if (owed_ns >= static_cast<double>(longest.count())) return longest;
  return std::chrono::nanoseconds{static_cast<std::int64_t>(std::ceil(owed_ns))};
}

void RowPace::charge(std::int64_t rows, TimePoint now) {
  if (!limit_) return;
  double const least = -kMostUnusedSeconds * static_cast<double>(*limit_);
  owed_rows_ = std::max(owed_rows(now) + static_cast<double>(rows), least);
  as_of_ = as_of_ ? std::max(*as_of_, now) : now;
}

void RowPace::set_limit(std::optional<std::int64_t> limit) {
  limit_ = at_least_one(limit);
  if (limit_) return;
  owed_rows_ = 0;
  as_of_.reset();
}

std::int64_t RowPace::most_rows() const {
  return limit_.value_or(std::numeric_limits<std::int64_t>::max());
}

double RowPace::owed_rows(TimePoint now) const {
  auto const rate = static_cast<double>(*limit_);
  double const seconds = as_of_ ? std::max(std::chrono::duration<double>(now - *as_of_).count(), 0.0) : 0.0;
  return std::max(owed_rows_ - seconds * rate, -kMostUnusedSeconds * rate);
}

}  // namespace pgbackfill::throttle
