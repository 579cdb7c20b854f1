// All standbys and logical slots together: who counts, who is missing, and what the slowest can bear.
//
// A standby counts once it has streamed in this run; one that only joins is told of and not waited for. One that
// counted and is gone is waited for, then the operator's policy holds; not after a fail-over, for one of those that
// were there is the primary now, and the others come to it or do not. A position that is not shown, not there or old
// is never taken for no lag. The law: docs/throttle.md#replicas.
//
// A controller with memory. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "throttle/cause_book.h"
#include "throttle/decision.h"
#include "throttle/freshness.h"
#include "throttle/lag_servo.h"
#include "throttle/limits.h"
#include "throttle/lsn_clock.h"
#include "throttle/odometer.h"

namespace pgbackfill::throttle {

// What all backfills of this server wrote, and whether that was all that they were allowed.
struct OwnWal {
  Odometer const* written = nullptr;
  bool is_bound = false;
};

struct ReplicaVerdict {
  double wal_per_second = kUnlimited;  // for all backfills together
  bool may_start = true;
  bool must_stop = false;
  bool is_starting = false;  // it is still growing towards the first backlog
};

class Replicas {
 public:
  void see(Sample<ReplicationReading> const& sample, Limits const& limits, OwnWal const& own, TimePoint now);
  ReplicaVerdict judge(Limits const& limits, OwnWal const& own, TimePoint now, CauseBook& causes);

 private:
  struct Member {
    explicit Member(LagServoOptions const& options) : servo(options) {}

    ReplicaReading reading;
    LagServo servo;
    Freshness freshness{0.5};
    bool has_streamed = false;
    bool is_here = false;
    bool is_lag_at_least = false;
    TimePoint missing_since{};
  };

  void see_member(ReplicaReading const& reading, ReplicationReading const& all, Limits const& limits, OwnWal const& own,
                  TimePoint now);
  void judge_member(std::string const& label, Member& member, Limits const& limits, OwnWal const& own, TimePoint now,
                    ReplicaVerdict& verdict, CauseBook& causes);
  void judge_lag(std::string const& label, Member const& member, Limits const& limits, OwnWal const& own, TimePoint now,
                 ReplicaVerdict& verdict, CauseBook& causes);
  void judge_missing(std::string const& subject, std::string const& what, TimePoint since, MissingReplica policy,
                     Limits const& limits, TimePoint now, ReplicaVerdict& verdict, CauseBook& causes);
  void judge_expected(Limits const& limits, TimePoint now, ReplicaVerdict& verdict, CauseBook& causes);
  bool judge_sight(Limits const& limits, OwnWal const& own, TimePoint now, ReplicaVerdict& verdict, CauseBook& causes);

  LsnClock clock_;
  std::uint32_t timeline_ = 0;
  Freshness freshness_{0.5};
  Sight sight_ = Sight::kNeverSampled;
  std::string why_;
  std::map<std::string, Member> members_;
  std::map<std::string, TimePoint> missed_since_;  // named or counted in the file, and never seen
};

}  // namespace pgbackfill::throttle
