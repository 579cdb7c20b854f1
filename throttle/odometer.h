// How much there was between two times: a running sum that remembers the last half minute.
//
// Readings are of a moment ago, and what was written since must not be mistaken for what was written before.
// Pure; time comes in as an argument. One thread at a time.
#pragma once

#include <deque>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

class Odometer {
 public:
  // The amount came evenly since the last call.
  void add(double amount, TimePoint now);

  double between(TimePoint from, TimePoint to) const;
  // Per second over the last `seconds`, or over what is known of them.
  double rate(double seconds) const;

 private:
  struct Mark {
    TimePoint at;
    double sum;
  };

  double sum_at(TimePoint at) const;

  std::deque<Mark> marks_;
};

}  // namespace pgbackfill::throttle
