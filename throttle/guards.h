// What else stops or slows a backfill: archive, wraparound, dead rows, xmin horizon, connections, lock waiters,
// the server's role, and probes of the user's own.
//
// The law and its reasons: docs/throttle.md#guards. Hard guards stop; soft ones slow down to a share of what was
// written when they began, and never to nothing, so that a long autovacuum or a forgotten transaction does not starve
// the job. Each lets go only well below what made it bind. What cannot be read is told of, and counts as bad where a
// guard needs it.
//
// A controller with memory. One thread at a time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "throttle/cause_book.h"
#include "throttle/decision.h"
#include "throttle/freshness.h"
#include "throttle/latch.h"
#include "throttle/limits.h"
#include "throttle/reading.h"

namespace pgbackfill::throttle {

struct GuardVerdict {
  bool may_start = true;
  bool must_stop = false;
  bool is_hard = false;  // holds whatever the mode: the wraparound, the server's role
  double wal_per_second = kUnlimited;
  double most_workers = kUnlimited;
  double batch_scale = 1;
  std::vector<int> cancel;
};

class Guards {
 public:
  // own_per_second: WAL that this job writes now, for the soft guards' share.
  GuardVerdict judge(Reading const& reading, Limits const& limits, double own_per_second, TimePoint now,
                     CauseBook& causes);

 private:
  struct Soft {
    double reference = 0;  // WAL per second when it began; zero: it does not hold
  };

  void judge_health(Reading const& reading, Limits const& limits, TimePoint now);
  void judge_role(HealthReading const& health, TimePoint now);
  void judge_archive(HealthReading const& health, Limits const& limits, TimePoint now);
  void judge_wraparound(HealthReading const& health, Limits const& limits);
  void judge_dead_rows(HealthReading const& health, Limits const& limits);
  void judge_activity(Reading const& reading, Limits const& limits, TimePoint now);
  void judge_waiters(Reading const& reading, Limits const& limits, TimePoint now);
  void judge_checkpoints(Reading const& reading, TimePoint now);
  void judge_probes(Reading const& reading, TimePoint now);

  void stop(CauseKind kind, std::string const& subject, std::string text, bool is_hard = false);
  void slow(Soft& soft, double share, CauseKind kind, std::string const& subject, std::string text);
  void warn(CauseKind kind, std::string const& subject, std::string text);
  // True: worth a judgement. Otherwise it is told of.
  template <typename Value>
  bool can_see(Sample<Value> const& sample, std::string const& what);
  template <typename Value>
  bool can_see_hard(Sample<Value> const& sample, std::string const& what);

  // Of the decision being made.
  CauseBook* causes_ = nullptr;
  GuardVerdict verdict_;
  double own_per_second_ = 0;

  Freshness health_freshness_{5};
  Freshness activity_freshness_{2};
  Freshness waiter_freshness_{0.5};
  std::optional<TimePoint> unwritable_since_;
  Latch archive_slow_;
  Latch archive_stop_;
  double archive_share_ = 1;
  std::optional<TimePoint> archive_judged_at_;
  Soft archive_soft_;
  Latch wraparound_;
  Latch dead_rows_;
  std::optional<double> dead_rows_least_;  // since the run began
  Soft dead_rows_soft_;
  Latch xmin_;
  Soft xmin_soft_;
  Latch connections_;
  std::optional<TimePoint> waiters_seen_at_;
  std::optional<TimePoint> waiters_judged_at_;
  double waiter_scale_ = 1;
  std::string waiter_text_;
  std::optional<std::uint64_t> checkpoints_requested_;
  std::optional<TimePoint> checkpoint_requested_at_;
  std::map<std::string, Freshness> probe_freshness_;
};

}  // namespace pgbackfill::throttle
