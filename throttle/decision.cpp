#include "throttle/decision.h"

#include "throttle/limits.h"

namespace pgbackfill::throttle {

char const* name_of(CauseKind kind) {
  switch (kind) {
    case CauseKind::kReplicaLag:
      return "replica_lag";
    case CauseKind::kReplicaMissing:
      return "replica_missing";
    case CauseKind::kReplicaJoining:
      return "replica_joining";
    case CauseKind::kSlotLag:
      return "slot_lag";
    case CauseKind::kSlotAtRisk:
      return "slot_at_risk";
    case CauseKind::kForegroundLatency:
      return "foreground_latency";
    case CauseKind::kUtilization:
      return "utilization";
    case CauseKind::kLockWaiters:
      return "lock_waiters";
    case CauseKind::kConnections:
      return "connections";
    case CauseKind::kWalRate:
      return "wal_rate";
    case CauseKind::kRowRate:
      return "row_rate";
    case CauseKind::kCheckpoints:
      return "checkpoints";
    case CauseKind::kArchive:
      return "archive";
    case CauseKind::kWraparound:
      return "wraparound";
    case CauseKind::kDeadRows:
      return "dead_rows";
    case CauseKind::kXminHorizon:
      return "xmin_horizon";
    case CauseKind::kBloat:
      return "bloat";
    case CauseKind::kServerRole:
      return "server_role";
    case CauseKind::kUserProbe:
      return "user_probe";
    case CauseKind::kBlind:
      return "blind";
    case CauseKind::kSharing:
      return "sharing";
    case CauseKind::kStarting:
      return "starting";
  }
  return "unknown";
}

char const* name_of(Grip grip) {
  switch (grip) {
    case Grip::kWarns:
      return "warns";
    case Grip::kSlows:
      return "slows";
    case Grip::kStops:
      return "stops";
  }
  return "unknown";
}

char const* name_of(Mode mode) {
  switch (mode) {
    case Mode::kOn:
      return "on";
    case Mode::kObserve:
      return "observe";
    case Mode::kOff:
      return "off";
  }
  return "unknown";
}

}  // namespace pgbackfill::throttle
