// Whether anybody else works on the server: only then does it matter to somebody how slow a commit is.
//
// By the sessions that were at work when one looked, as a mean over about ten seconds: what a lone monitoring query
// takes stays below the bar, a hundred transactions a second do not. It comes at once and goes slowly. Whoever cannot
// see the sessions has to take it that somebody is there.
//
// A controller with memory. One thread at a time.
#pragma once

#include <optional>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

class ForegroundPresence {
 public:
  // Once each, oldest first; one that is known already changes nothing.
  void see(ActivityReading const& activity);

  // True until a first look.
  bool is_there() const { return is_there_; }

 private:
  std::optional<TimePoint> seen_at_;
  double mean_ = 0;
  bool is_there_ = true;
};

}  // namespace pgbackfill::throttle
