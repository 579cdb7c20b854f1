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

inline constexpr std::chrono::milliseconds kAnyLength = std::chrono::milliseconds::max();

// The numbers of a decision.
struct Pace {
  bool may_start = true;
  double wal_per_second = kUnlimited;
  double workers = kUnlimited;
  double batch_scale = 1;
  std::chrono::milliseconds longest_batch = kAnyLength;
};

struct Decision {
  TimePoint at{};
  bool may_start = false;              // false: no batch may start
  bool must_stop = false;              // the run should end, resumable; causes.front() says why
  bool must_rest = false;              // a guard that holds in every mode stops: a vacuum of ours may not write either
  double wal_per_second = kUnlimited;  // bytes that batches may write, this job's share
  double slot_wal_per_second = kUnlimited;  // of it, what slots can bear in every mode: vacuums keep to it as well
  double workers = kUnlimited;              // batches in flight; a fraction is a duty cycle of the last worker
  double batch_scale = 1;                   // of the time that a batch takes, at most 1
  std::chrono::milliseconds longest_batch = kAnyLength;  // what others do not feel
  bool is_beside_others = false;                         // in mode on: somebody feels what a commit takes
  bool is_listening = false;     // no batch runs so that commits can be measured: many, and soon
  std::vector<int> cancel;       // pids of our sessions that a waiter has waited too long for
  std::vector<Cause> causes;     // what binds first, then the others, then warnings
  std::optional<Pace> withheld;  // in mode observe: what it would have been
};

}  // namespace pgbackfill::throttle
