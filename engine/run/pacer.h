// How much the workers of this process may do now: hands the throttle what was seen and done, and keeps its decision.
//
// Between the worker pool, which asks before each batch, and throttle/, which decides. It counts batches and charges
// the token buckets; it does not wait, read a clock or talk to a server. Without a Health nothing is decided and only
// the ceiling in rows holds. Thread rule: the engine's one thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/base/runner.h"
#include "engine/probes/health.h"
#include "throttle/duty_cycle.h"
#include "throttle/row_pace.h"
#include "throttle/throttle.h"
#include "throttle/token_bucket.h"

namespace pgbackfill::engine {

class Pacer {
 public:
  using TimePoint = throttle::TimePoint;

  // `health` may be null and has to outlive this.
  Pacer(throttle::Limits limits, Health* health);

  void set_limits(throttle::Limits limits);
  void set_row_limit(std::optional<std::int64_t> rows_per_second) { rows_.set_limit(rows_per_second); }
  std::optional<std::int64_t> row_limit() const { return rows_.limit(); }
  throttle::Limits const& limits() const { return throttle_.limits(); }
  // What the growth of the tables allows, until it is told anew.
  void set_growth(throttle::GrowthHold hold, TimePoint now);

  // To be called about five times a second. `wanted`: the workers that would run if nothing held them. Null without a
  // Health.
  std::shared_ptr<HealthTold const> decide(int wanted, TimePoint now);

  // The other processes, as they told of themselves; forgotten when nothing is heard for a while.
  void set_runners(RunnersHeard heard, TimePoint now);
  // This process as of the last decision, for them.
  RunnerTold runner_told(TimePoint now) const;
  // The same in short, for jobs in other databases.
  throttle::NeighbourReading told_elsewhere(std::string const& job) const;

  // A worker that holds a range counts among those whose turn it may be, first come first served.
  void join(int worker);
  void leave(int worker);

  // Zero: the worker may start a batch. Nullopt: not as things are. To be asked again after the wait.
  std::optional<std::chrono::nanoseconds> wait_before_batch(int worker, TimePoint now) const;

  // How long a batch should last, of what was asked for. (Not its rows: a sizer that is shown smaller batches than it
  // asked for learns that rows are dear, and asks for fewer and fewer.)
  std::chrono::milliseconds batch_target(std::chrono::milliseconds target) const;
  // Of the rows that the batch sizer asks for.
  std::int64_t most_rows(std::int64_t rows) const;
  // Of this job, this one included, as far as they were heard of.
  int processes() const { return runners_.of_job; }

  // The same for a page that is only read: it writes no WAL.
  std::int64_t most_page_rows(std::int64_t rows) const { return std::min(rows, rows_.most_rows()); }
  void page_started(int worker, std::int64_t rows, TimePoint now);

  void batch_started(int worker, std::int64_t rows, TimePoint now);
  // rows_changed: of a batch that committed; nullopt for one that failed. What it did not change is given back.
  void batch_ended(int worker, std::int64_t rows, std::optional<std::int64_t> rows_changed, TimePoint now);
  void page_ended(int worker, std::int64_t rows, bool is_read, TimePoint now);
  bool is_in_batch(int worker) const { return began_.contains(worker); }

  // Nothing decided yet, or the last decision is this old: no batch starts.
  bool is_blind(TimePoint now) const;

  // What binds, as a sentence; empty if nothing does. In mode observe what would bind, and that it does not.
  std::string held_back() const;

  // Of the time since the start, how long each kind of cause slowed or stopped this process. Causes overlap.
  std::map<throttle::CauseKind, std::chrono::nanoseconds> const& time_held() const { return held_; }

  throttle::Decision const& decision() const { return decision_; }
  // Of recent commits to those without us; nothing while that is not known.
  std::optional<double> latency_ratio() const { return throttle_.latency_ratio(); }

 private:
  void decide_unread(TimePoint now);
  int rank_of(int worker) const;
  void add_neighbours(throttle::Reading& reading, TimePoint now) const;
  void count_held_time(TimePoint now);

  Health* health_;
  throttle::Throttle throttle_;
  throttle::Decision decision_;
  int wanted_ = 0;
  RunnersHeard runners_;
  std::optional<TimePoint> runners_heard_at_;
  throttle::GrowthHold growth_;
  throttle::RowPace rows_;
  throttle::TokenBucket wal_{throttle::kUnlimited};
  throttle::Work work_;
  std::vector<int> turns_;  // workers with a range, in the order in which they came
  struct Began {
    TimePoint at;
    double wal_per_row = 0;  // as it was charged
  };
  void ended(int worker, TimePoint now);
  double mean_in_flight(TimePoint now);
  std::map<int, Began> began_;
  TimePoint counted_from_{};               // the last decision
  std::chrono::nanoseconds time_busy_{0};  // since then, of batches that have ended
  std::map<int, throttle::LastBatch> last_;
  std::map<throttle::CauseKind, std::chrono::nanoseconds> held_;
};

}  // namespace pgbackfill::engine
