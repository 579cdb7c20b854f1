// What this process saw of its job since it wrote of it last, gathered for the next row of the job's past.
//
// Pure: readings, batches and the time come in as arguments. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/base/sample.h"
#include "throttle/lsn_clock.h"

namespace pgbackfill::engine {

// "backfill", "sweep", "deferred", "paused", "window", "stopping".
char const* sample_phase(RunPhase phase);

class Sampler {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // At every decision.
  void see(throttle::Reading const& reading, std::optional<double> latency_ratio);
  // What slows or stops this process, from the decision before until this one, and the first of it as a sentence.
  void see_held(std::vector<std::string> const& kinds, std::string const& first, TimePoint now);
  void see_batch(std::int64_t rows, std::chrono::nanoseconds duration);

  enum class Due { kNo, kInTurn, kAtTurn };
  // kAtTurn: it is another phase than that of the last row. A job that rests is written of now and then only.
  Due due(RunPhase phase, TimePoint now) const;
  // Of the time since the last one; the next one begins with this phase.
  JobSample take(RunPhase phase, TimePoint now);

 private:
  void see_lag(throttle::ReplicationReading const& replication);

  JobSample gathered_;
  std::map<std::string, std::chrono::nanoseconds> held_;
  std::int64_t batches_ = 0;
  std::int64_t batch_rows_ = 0;
  std::chrono::nanoseconds batch_time_{0};
  throttle::LsnClock lsn_clock_;
  std::optional<TimePoint> held_seen_at_;
  std::optional<TimePoint> taken_at_;
  std::optional<RunPhase> taken_phase_;
};

}  // namespace pgbackfill::engine
