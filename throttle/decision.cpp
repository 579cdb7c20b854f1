#include "throttle/decision.h"

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

}  // namespace pgbackfill::throttle
