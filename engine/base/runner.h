// What a process that works on a job tells of itself, and what it hears of the others: once a second, in the state.
//
// Plain values. Status on any host shows them; the throttles of other processes divide by them what the server can
// bear. Bytes are WAL bytes per second; infinity is no limit, or all that can be had.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "throttle/decision.h"
#include "throttle/limits.h"
#include "throttle/reading.h"

namespace pgbackfill::engine {

struct RunnerTold {
  struct Cause {
    throttle::CauseKind kind = throttle::CauseKind::kBlind;
    throttle::Grip grip = throttle::Grip::kWarns;
    std::string text;
    std::chrono::milliseconds lasted{0};
  };

  throttle::Mode mode = throttle::Mode::kOn;
  double weight = 1;  // of its job
  bool may_start = true;
  double wal_per_second = 0;  // that its batches write
  double wal_limit = throttle::kUnlimited;
  double wal_wanted = 0;
  int workers = 0;  // batches in flight
  double workers_limit = throttle::kUnlimited;
  double workers_wanted = 0;
  std::vector<Cause> causes;
};

struct RunnersHeard {
  int of_job = 1;                                  // processes that work on the same job, this one too
  std::vector<throttle::NeighbourReading> others;  // every other process, with its part of its job's weight
};

}  // namespace pgbackfill::engine
