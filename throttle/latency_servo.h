// How many batches may run at once, by how much slower a commit is than it would be without us.
//
// The law and its reasons: docs/throttle.md#foreground. The quiet latency is learned from commits while none of our
// batches ran: at the start, in any pause, in the rests of a fraction of a worker, and, while latency holds us back, in
// short quiet windows that are asked for. Without us holding back none is, since it costs: then only a latency below
// the quiet one moves that. Workers move by a share per second, so that one law serves 0.2 workers of a small server
// and 20 of a large one. A fraction is meant: on a server of two cores at half load, one worker that never rests is too
// much. Batches are short at first, and get longer only once all workers run and there is still room.
//
// A controller with memory. One thread at a time.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "throttle/limits.h"
#include "throttle/reading.h"

namespace pgbackfill::throttle {

// How much slower than its quiet value the mean commit may get, so that the slowest hundredth of what others do stays
// about within `latency_ratio` of its own. The tail grows faster than the mean, and no quantile of the canary foretells
// it better than the mean does: docs/throttle.md#foreground.
double mean_allowed(double latency_ratio);

struct PoolState {
  int in_flight = 0;
  double busy = 0;  // batches in flight since the last decision, in the mean
  int wanted = 0;
  bool has_started_any = false;  // since the last decision
  bool is_held = false;          // by something else: nothing is learned about workers
};

class LatencyServo {
 public:
  static constexpr double kMostStretch = 25;

  // A commit's latency. Once each, oldest first.
  void see(CanaryReading const& canary);

  // Moves to `now` what may run. cores_busy: by the foreground; nullopt if not known.
  void step(PoolState const& pool, std::optional<double> cores_busy, Limits const& limits, TimePoint now);

  double workers() const { return std::min(workers_, most_workers_); }
  // How much longer than the shortest a batch may take, from 1 to kMostStretch.
  double stretch() const { return std::max(workers_ / most_workers_, 1.0); }
  // No batch may start: the quiet latency is being measured.
  bool is_listening() const { return is_listening_; }
  bool is_starting() const { return is_starting_; }
  double quiet_seconds() const { return quiet_; }
  // Of recent commits to the quiet latency; 1 while nothing is known.
  double ratio() const { return ratio_; }
  bool is_held_by_latency() const { return is_held_by_latency_; }
  bool is_held_by_cores() const { return is_held_by_cores_; }

 private:
  struct Commit {
    TimePoint at;
    double seconds;
  };

  void note_quiet(PoolState const& pool, TimePoint now);
  void learn_quiet(double seconds);
  void listen_or_not(PoolState const& pool, Limits const& limits, TimePoint now);
  double doubt(double commits) const;
  double room(double ratio, Limits const& limits) const;
  void judge_excess(Limits const& limits, TimePoint now);
  void judge(TimePoint now, double seconds);
  void move(PoolState const& pool, Limits const& limits, TimePoint now, double seconds);
  bool is_alarmed(double allowed) const;
  void shed(double share, TimePoint now);
  double grown(double left, double room_in_the_long_run, double seconds) const;
  void cap(PoolState const& pool, std::optional<double> cores_busy, Limits const& limits);

  std::deque<Commit> commits_;
  std::deque<Commit> unsorted_;  // not yet known whether quiet
  std::optional<TimePoint> stepped_at_;
  std::optional<TimePoint> quiet_since_;  // no batch has run since
  TimePoint listened_at_{};
  TimePoint listening_since_{};
  TimePoint hold_until_{};
  TimePoint alarm_holds_until_{};
  bool is_listening_ = true;
  bool is_starting_ = true;
  bool is_held_by_latency_ = false;
  bool is_held_by_cores_ = false;
  int quiet_seen_ = 0;  // in this window
  bool has_worked_ = false;
  double quiet_ = 0;
  double quiet_count_ = 0;
  double spread_ = 0;  // mean distance of a quiet commit from the quiet latency, as a share of it
  double fresh_ratio_ = 1;
  double ratio_ = 1;
  double slow_ratio_ = 1;
  bool is_cutting_ = false;
  bool is_used_ = true;  // about as many run as may
  std::optional<TimePoint> cut_at_;
  double workers_ = 0.35;    // beyond most_workers_, what is left is for longer batches
  double most_workers_ = 1;  // that the pool would run
  double workers_at_listening_ = 1;
  double good_workers_ = 0;
  double busy_workers_ = 0;  // in flight, smoothed
};

}  // namespace pgbackfill::throttle
