// How far to trust the last of a series of readings: fully while they come as usual, less and less when they stop
// coming, and not at all after a while.
//
// The law and its reasons: docs/throttle.md#trust. A sensor that is always a second late is late, not stale: its usual
// delay is learned. Pure. One thread at a time.
#pragma once

#include <optional>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

class Freshness {
 public:
  // period_seconds: how often readings are meant to come; beyond three of them trust fades, beyond ten it is gone.
  explicit Freshness(double period_seconds) : period_(period_seconds) {}

  // A reading of the world as it was at `at`, first known at `now`.
  void see(TimePoint at, TimePoint now);

  bool was_seen() const { return at_.has_value(); }
  double age_seconds(TimePoint now) const;
  // 1: trust it, between: slow down to this share, 0: stop. Also 0 when nothing was ever seen.
  double trust(TimePoint now) const;

 private:
  double period_;
  double delay_ = 0;
  bool knows_delay_ = false;
  std::optional<TimePoint> at_;
};

}  // namespace pgbackfill::throttle
