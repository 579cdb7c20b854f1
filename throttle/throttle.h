// From readings to a decision: servos for replicas and foreground, guards over them.
//
// A controller with memory, fed with readings and with what the batches did, asked for a decision about five times a
// second. Time comes in as an argument. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "throttle/decision.h"
#include "throttle/growth_guard.h"
#include "throttle/limits.h"
#include "throttle/reading.h"

namespace pgbackfill::throttle {

// What our batches did since the last decision.
struct Work {
  std::int64_t rows = 0;          // of batches that began
  std::int64_t rows_changed = 0;  // of batches that ended; what is unchanged writes no WAL
  std::int64_t batches = 0;
  double wal_bytes = 0;  // as estimated by WalCost when they were charged, less what was given back
  int in_flight = 0;     // batches running now
  double busy = 0;       // batches running, in the mean
  int wanted = 0;        // workers that would run if nothing held them
  int processes = 1;     // that work on this job and divide its weight, this one too
  GrowthHold growth{};   // of the tables that they change
};

class Throttle {
 public:
  explicit Throttle(Limits limits);
  ~Throttle();
  Throttle(Throttle&&) noexcept;
  Throttle& operator=(Throttle&&) noexcept;

  // Limits changed live; what was learned stays.
  void set_limits(Limits limits);
  Limits const& limits() const;

  Decision decide(Reading const& reading, Work const& work, TimePoint now);
  // Where nothing is read of the server: only the growth of the job's tables holds.
  Decision decide_unread(Work const& work, TimePoint now);

  // Best estimate of the WAL bytes that a row of this job costs; a guess until something was measured, never 0.
  double wal_bytes_per_row() const;

  // What others have to know to divide by it: bytes per second that our batches write, and that they would write if
  // they were let; infinity: all they can get.
  double wal_per_second() const;
  double wal_wanted() const;

  // Of recent commits to those without us; nothing while that is not known.
  std::optional<double> latency_ratio() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgbackfill::throttle
