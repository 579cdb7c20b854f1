// How many bytes of WAL per second one standby or slot can bear: feed-forward of its headroom, corrected by its
// backlog.
//
// The law and its reasons: docs/throttle.md#replicas. Headroom is what it
// replays per second, learned only while it has something to replay, less what others write; both are means that follow
// a step at once and noise hardly (steady_mean.h). The backlog is held at a set-point well below the limit, since a
// drop of capacity by k multiplies the lag by k whatever one does. It is not the backlog of the reading, which is old,
// but the one expected now, with all that we wrote since; therefore it can be corrected within about a second, and a
// late sensor does not make it swing. It starts low and grows until the first backlog. Above the limit it stops, and
// goes on when the lag is expected to be below 0.7 of it.
//
// A controller with memory, in seconds and bytes. Readings may come late, at any interval, and not at all: how long
// to trust the last one is for the caller to say. One thread at a time.
#pragma once

#include <optional>

#include "throttle/reading.h"
#include "throttle/steady_mean.h"

namespace pgbackfill::throttle {

struct LagServoOptions {
  double limit_seconds = 2;
  double set_point_seconds = 0.3;
  // Readings closer than this are passed over: a consumer that confirms now and then looks idle and sprinting in turn.
  double least_interval_seconds = 0.2;
};

LagServoOptions options_for_standby(double limit_seconds);
LagServoOptions options_for_slot(double limit_seconds);

struct LagSample {
  TimePoint at{};
  Lsn flushed = 0;
  Lsn replayed = 0;
  double lag_seconds = 0;
  double delay_seconds = 0;   // from `at` until now
  double own_per_second = 0;  // WAL of all backfills since the last sample
  double own_since = 0;       // WAL of all backfills since `at`
  bool is_bound = false;      // they wrote about what they were allowed; else nothing is learned from a short queue
};

class LagServo {
 public:
  explicit LagServo(LagServoOptions const& options);

  void see(LagSample const& sample);
  void set_options(LagServoOptions const& options);

  // Bytes per second for all backfills together; zero while stopped.
  double rate() const { return is_stopped_ ? 0 : rate_; }
  bool is_stopped() const { return is_stopped_; }
  bool is_starting() const { return is_starting_; }
  double lag_seconds() const { return last_.lag_seconds; }
  // Of the sample that the next one is compared with.
  std::optional<TimePoint> sampled_at() const { return has_last_ ? std::optional{last_.at} : std::nullopt; }
  // What it replays per second when it has something to; zero: not known yet.
  double capacity() const { return capacity_.value(); }
  // Of what `rate` says: what it can bear in the long run.
  double headroom() const;

 private:
  void learn(double seconds, double wal_rate, double replay_rate, bool is_busy, double own_rate);
  void command(double seconds, bool is_busy, double own_rate, double wal_rate);
  void stop_or_go();

  LagServoOptions options_;
  bool has_last_ = false;
  LagSample last_;
  bool is_starting_ = true;
  bool is_stopped_ = false;
  SteadyMean capacity_;
  SteadyMean others_;  // WAL per second that is not ours
  double delay_ = 0;
  double rate_;
};

}  // namespace pgbackfill::throttle
