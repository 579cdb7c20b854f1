// What a backfill may cost, as the operator sets it. The defaults hold without a throttle section in the file.
//
// Durations, WAL bytes and ratios as the names say. Where a default comes from: docs/throttle.md#structure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::throttle {

enum class Mode {
  kOn,
  kObserve,  // decide and show, do not act
  kOff,      // flat out; the guards for slots, wraparound and the server's role stay, here as for kObserve
};

enum class MissingReplica {
  kAuto,  // kPause for one that was asked for, by name or number; kIgnore for any other
  kPause,
  kIgnore,
  kAbort
};

// As the file says it: "on", "observe", "off".
char const* name_of(Mode mode);

struct Limits {
  Mode mode = Mode::kOn;

  // Replicas. The set-point is well below the limit: after a drop of capacity by k, lag jumps by k times it.
  std::chrono::milliseconds replica_lag{2'000};
  std::chrono::milliseconds slot_lag{30'000};
  std::vector<std::string> replicas;         // the names that count; empty: all that stream
  std::vector<std::string> ignore_replicas;  // names that never count
  int expected_replicas = 0;                 // fewer than this: as if one had vanished
  MissingReplica missing_replica = MissingReplica::kAuto;
  std::chrono::milliseconds missing_patience{30'000};  // then the policy above
  // The file says something of replicas: where they cannot be seen, nothing runs. Otherwise that is a warning.
  bool must_see_replicas = false;

  // Foreground.
  double latency_ratio = 1.15;    // of the p99 of others to its quiet value (mean_allowed() in latency_servo.h)
  bool must_see_latency = false;  // as must_see_replicas, of the canary
  double utilization = 0.85;      // of the server's cores, with the foreground's share
  int cores = 0;                  // of the server; 0: unknown, then workers are the only bound
  std::chrono::milliseconds lock_wait{50};

  // Guards.
  std::uint64_t slot_headroom = std::uint64_t{2} << 30;  // safe_wal_size below: stop
  std::int64_t archive_slow = 42;                        // segments waiting
  std::int64_t archive_stop = 128;
  std::int64_t wraparound_age = 1'200'000'000;
  std::chrono::seconds xmin_age{1'800};
  double dead_rows = 0.20;  // of the live ones
  double bloat = 0.20;      // growth of the table that the run may leave, of its size at the start
  int min_free_connections = 3;

  // Plain ceilings.
  std::optional<std::int64_t> max_rows_per_second;
  std::optional<std::uint64_t> max_wal_per_second;  // bytes
  double weight = 1;                                // share of the headroom among jobs of one server
};

}  // namespace pgbackfill::throttle
