#include "throttle/backoff.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pgbackfill::throttle {
namespace {

constexpr int kMostDoublings = 62;

std::int64_t ceiling_ms(int attempt, BackoffOptions const& options) {
  std::int64_t const base = std::max<std::int64_t>(options.base.count(), 0);
  std::int64_t const cap = std::max<std::int64_t>(options.cap.count(), 0);
  int const doublings = std::clamp(attempt, 0, kMostDoublings);
  return base > (cap >> doublings) ? cap : base << doublings;
}

}  // namespace

std::chrono::milliseconds backoff_delay(int attempt, BackoffOptions const& options, double uniform01) {
  // A NaN would pass through clamp.
  double const share = std::isnan(uniform01) ? 1.0 : std::clamp(uniform01, 0.0, 1.0);
  std::int64_t const ceiling = ceiling_ms(attempt, options);
  if (share >= 1.0) return std::chrono::milliseconds{ceiling};
  return std::chrono::milliseconds{static_cast<std::int64_t>(share * static_cast<double>(ceiling))};
}

}  // namespace pgbackfill::throttle
