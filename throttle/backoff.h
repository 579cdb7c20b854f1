// How long to wait before trying again after a deadlock, a lock timeout or a lost connection.
//
// Why: docs/throttle.md#batch-size. Full jitter: anywhere between nothing and base * 2^attempt, at most the cap.
// Workers that collided once are thereby spread out instead of colliding again.
//
// The random number comes in as an argument. Free of state, safe from any thread.
#pragma once

#include <chrono>

namespace pgbackfill::throttle {

struct BackoffOptions {
  std::chrono::milliseconds base{50};
  std::chrono::milliseconds cap{5000};
};

// `attempt` counts from 0 for the first retry; any value is safe. `uniform01` is in [0, 1]; what is outside is clamped.
std::chrono::milliseconds backoff_delay(int attempt, BackoffOptions const& options, double uniform01);

}  // namespace pgbackfill::throttle
