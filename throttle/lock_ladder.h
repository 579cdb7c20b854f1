// How long a schema step may wait for its lock, attempt by attempt, and how long it leaves the traffic alone between.
//
// Whoever waits for ACCESS EXCLUSIVE makes everybody who comes later wait as well. So the first attempts do not wait at
// all, the next ones shortly, and the pause is at least ten times the wait: readers are held up a tenth of the time at
// most. Only somebody who waits longer than deadlock_timeout makes autovacuum give way, so the last rungs are longer
// than that; they are the first ones when it is autovacuum that holds the lock. No rung is without a timeout.
//
// The random number comes in as an argument. Free of state, safe from any thread.
#pragma once

#include <chrono>

namespace pgbackfill::throttle {

struct Rung {
  bool is_nowait = false;
  std::chrono::milliseconds lock_timeout{0};  // where NOWAIT cannot be said, too
};

struct LadderFacts {
  std::chrono::milliseconds deadlock_timeout{1000};
  bool is_behind_autovacuum = false;
};

// `attempt` counts from 0.
Rung ladder_rung(int attempt, LadderFacts const& facts);

// How long an attempt waits at the most.
std::chrono::milliseconds longest_rung(LadderFacts const& facts);

// The pause after a rung, with jitter; `uniform01` is in [0, 1].
std::chrono::milliseconds ladder_pause(int attempt, Rung const& rung, double uniform01);

}  // namespace pgbackfill::throttle
