// A rate that callers share: so many rows, or bytes of WAL, per second.
//
// Why: docs/throttle.md#structure. A batch may start while nothing is owed; what it takes is charged when it
// starts and may overdraw, and the next batch waits the debt out. What is left unused is kept for at most half a
// second, so over any time t at most rate * (t + 0.5 s) and one batch start, and a pause is never made up for
// afterwards.
//
// Time comes in as an argument and may stand still or step back without harm. It never reads a clock and never waits.
// One thread at a time: ask and charge without anything between, and ask again after a wait, since another worker may
// have been first.
#pragma once

#include <chrono>
#include <optional>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

// The longest answer of wait_before; who waits that long asks again.
inline constexpr std::chrono::hours kLongestPaceWait{1};

class TokenBucket {
 public:
  // Per second; infinity is unlimited. At zero nothing starts.
  explicit TokenBucket(double rate);

  // Zero: a batch may start now.
  std::chrono::nanoseconds wait_before(TimePoint now) const;

  // A negative amount gives back what a batch was charged and did not take.
  void charge(double amount, TimePoint now);

  // What is owed stays owed, at the new rate from the last charge on; lifting the limit forgives it.
  void set_rate(double rate);
  // The same for a rate that changes often: the time until now counts at the old one.
  void set_rate(double rate, TimePoint now);
  double rate() const { return rate_; }

 private:
  bool is_unlimited() const;
  double owed(TimePoint now) const;

  double rate_;
  double owed_ = 0;  // at as_of_; below zero: unused allowance
  std::optional<TimePoint> as_of_;
};

}  // namespace pgbackfill::throttle
