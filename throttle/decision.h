// What the throttle says to the readings: how much may start, and every reason why it is not more.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

// The kinds are names for machines (metrics, JSON); the text of a cause has the numbers.
enum class CauseKind {
  kReplicaLag,
  kReplicaMissing,
  kReplicaJoining,
  kSlotLag,
  kSlotAtRisk,
  kForegroundLatency,
  kUtilization,
  kLockWaiters,
  kConnections,
  kWalRate,
  kRowRate,
  kCheckpoints,
  kArchive,
  kWraparound,
  kDeadRows,
  kXminHorizon,
  kBloat,  // a table's growth
  kServerRole,
  kUserProbe,
  kBlind,     // no fresh reading of something that was asked for
  kSharing,   // other jobs on this server
  kStarting,  // the pace is still on its way up
};

// "replica_lag"; stable, one per kind.
char const* name_of(CauseKind kind);

enum class Grip {
  kWarns,  // does not slow anything
  kSlows,
  kStops,
};

// "warns", "slows", "stops".
char const* name_of(Grip grip);

struct Cause {
  CauseKind kind = CauseKind::kBlind;
  Grip grip = Grip::kWarns;
  std::string text;   // "replica db-2 is 0.48 s behind (1 s allowed); 31 MB/s of 40"
  TimePoint since{};  // when it began to bind
};

inline constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The numbers of a decision.
struct Pace {
  bool may_start = true;
  double wal_per_second = kUnlimited;
  double workers = kUnlimited;
  double batch_scale = 1;
};

struct Decision {
  TimePoint at{};
  bool may_start = false;              // false: no batch may start
  bool must_stop = false;              // the run should end, resumable; causes.front() says why
  double wal_per_second = kUnlimited;  // bytes that batches may write, this job's share
  double workers = kUnlimited;         // batches in flight; a fraction is a duty cycle of the last worker
  double batch_scale = 1;              // of the time that a batch takes, at most 1
  std::vector<int> cancel;             // pids of our sessions that a waiter has waited too long for
  std::vector<Cause> causes;           // what binds first, then the others, then warnings
  std::optional<Pace> withheld;        // in mode observe: what it would have been
};

}  // namespace pgbackfill::throttle
