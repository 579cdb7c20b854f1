// Whether anybody else works on the server: only then does it matter to somebody how slow a commit is.
//
// Several sessions that worked within a tenth of a second are somebody at once. One alone is by the share of the time
// that it is busy, as a mean over about three seconds: what polls or monitors stays below the bar. It goes slowly.
// Whoever cannot see the sessions has to assume that somebody is there.
//
// A controller with memory. One thread at a time.
#pragma once

#include <optional>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

class ForegroundPresence {
 public:
  // Once each, oldest first; one that is known already changes nothing.
  void see(PresenceReading const& presence);

  // True until a first look.
  bool is_there() const { return is_there_; }

 private:
  std::optional<TimePoint> seen_at_;
  double mean_ = 0;
  bool is_there_ = true;
};

}  // namespace pgbackfill::throttle
