// When a position of the WAL was written, from a ring of what the primary said: a replica's lag in time.
//
// replay_lag is not used: it is NULL when idle and at times under load, froze at zero with a stopped receiver, and
// stays high after a pause (measured: docs/throttle.md#replicas). The age of the first byte that a replica has not
// replayed is neither, as long as something writes WAL; the canary does.
//
// Pure; time comes in as an argument. One thread at a time.
#pragma once

#include <chrono>
#include <deque>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

class LsnClock {
 public:
  // The primary's flush position at a time. One that goes back is another timeline: what was known is forgotten.
  void see(TimePoint at, Lsn flushed);

  struct Age {
    std::chrono::nanoseconds age{0};
    bool is_at_least = false;  // older than all that was seen
  };

  // How old the oldest byte beyond `replayed` was at `at`; zero if there is none.
  Age age_of(Lsn replayed, TimePoint at) const;

 private:
  struct Mark {
    TimePoint at;
    Lsn lsn;
  };

  void thin_out();

  std::deque<Mark> marks_;  // both ascending; of marks with one LSN the last is kept
};

}  // namespace pgbackfill::throttle
