#include "throttle/duty_cycle.h"

#include <algorithm>

namespace pgbackfill::throttle {

std::optional<std::chrono::nanoseconds> wait_before_batch(int rank, double workers,
                                                          std::optional<LastBatch> const& last, TimePoint now) {
  using std::chrono::nanoseconds;
  double const share = workers - rank;
  // Also of a NaN.
  if (!(share > 0)) return std::nullopt;
  if (share >= 1 || !last) return nanoseconds{0};
  double const rest_ns = static_cast<double>(last->took.count()) * (1 / share - 1);
  nanoseconds const longest = kLongestRest;
  nanoseconds const rest{static_cast<std::int64_t>(std::min(rest_ns, static_cast<double>(longest.count())))};
  return std::clamp(rest - (now - last->ended_at), nanoseconds{0}, rest);
}

}  // namespace pgbackfill::throttle
