// What the probes saw of the server and its replicas, each with the time at which it was asked for.
//
// Pure values, filled by engine/probes and judged here. What could not be seen is a named state and never a number:
// no absent, NULL or forbidden value may be mistaken for zero. Bytes are WAL bytes; LSNs are byte positions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::throttle {

using TimePoint = std::chrono::steady_clock::time_point;
using Lsn = std::uint64_t;

enum class Sight {
  kNeverSampled,
  kSeen,
  kMissing,      // asked for, and no row came
  kNull,         // a row came without the value
  kNoPrivilege,  // this role is not shown it
  kUnsupported,  // this server version or setting does not have it
  kFailed,       // the question itself failed; `why` says how
};

template <typename Value>
struct Sample {
  Sight sight = Sight::kNeverSampled;
  Value value{};
  TimePoint at{};   // when the server was asked, not when it answered
  std::string why;  // for people, of all but kSeen

  bool is_seen() const { return sight == Sight::kSeen; }
};

enum class ReplicaKind { kStandby, kLogicalSlot };

enum class ReplicaState {
  kStreaming,
  kJoining,   // connected and catching up, or taking its base backup
  kReceiver,  // archives WAL (pg_receivewal): it replays nothing
  kInactive,  // a slot without a consumer
  kLost,      // a slot whose WAL is gone
  kVanished,  // was there, and no row came this time
};

// One standby or logical slot. Standbys with one application_name are told apart by their address.
struct ReplicaReading {
  std::string name;
  std::string address;
  ReplicaKind kind = ReplicaKind::kStandby;
  ReplicaState state = ReplicaState::kStreaming;
  Sample<Lsn> replayed;                         // replay_lsn, of a slot confirmed_flush_lsn
  Sample<std::chrono::milliseconds> reply_age;  // since its last message; standbys only
  std::chrono::milliseconds apply_delay{0};     // recovery_min_apply_delay, as the file names it
};

struct ReplicationReading {
  TimePoint at{};
  Lsn flushed = 0;  // pg_current_wal_flush_lsn()
  std::vector<ReplicaReading> replicas;
  std::uint32_t timeline = 0;  // another one: another server is the primary
};

// One commit of a table-free message, timed by the client: what a foreground commit feels.
struct CanaryReading {
  TimePoint at{};
  std::chrono::nanoseconds latency{0};
};

// Sessions that wait for a lock that one of our sessions holds.
struct WaiterReading {
  TimePoint at{};
  int waiters = 0;
  std::chrono::milliseconds longest{0};
  int our_pid = 0;  // of the session that the longest waits for
  std::string who;  // the longest waiter, for people
};

// Whether anybody else uses the server; read more often than the rest of the activity.
struct PresenceReading {
  TimePoint at{};
  int active = 0;  // foreground sessions that run something now; never ours
  int worked = 0;  // that did so within the last 100 ms, or do now
};

struct ActivityReading {
  TimePoint at{};
  int active = 0;            // foreground sessions that run or wait for anything but their client; never ours
  int connections_free = 0;  // that an ordinary role could still open
  std::optional<std::chrono::seconds> oldest_xmin_age;
  std::string oldest_xmin_holder;  // for people
};

struct WalReading {
  TimePoint at{};
  Lsn inserted = 0;  // pg_current_wal_insert_lsn()
  std::optional<std::uint64_t> records;
  std::optional<std::uint64_t> full_page_images;
  std::optional<std::uint64_t> own_bytes;  // of our sessions, where the server counts it (18)
  std::uint64_t checkpoints_requested = 0;
  std::uint64_t checkpoints_timed = 0;
  std::uint64_t max_wal_size = 0;
  std::chrono::milliseconds checkpoint_timeout{0};
  double checkpoint_completion_target = 0.9;
};

struct SlotReading {
  std::string name;
  bool active = false;
  std::string wal_status;  // reserved, extended, unreserved, lost
  std::optional<std::uint64_t> retained;
  std::optional<std::int64_t> safe_wal_size;  // NULL without max_slot_wal_keep_size
};

// All of them, and the position up to which the server had written when their sizes were taken.
struct SlotsReading {
  TimePoint at{};
  Lsn written = 0;
  std::vector<SlotReading> slots;
};

struct ArchiveReading {
  bool is_on = false;
  std::int64_t segments_waiting = 0;
  std::int64_t failures = 0;  // since the server's statistics were reset
};

struct VacuumReading {
  bool autovacuum_runs = false;  // on a table of the job, now
  bool for_wraparound = false;
  std::int64_t rows_live = 0;
  std::int64_t rows_dead = 0;
  std::uint64_t table_bytes = 0;  // with its indexes and TOAST
  std::uint64_t heap_bytes = 0;
};

// The slower signals, asked together.
struct HealthReading {
  TimePoint at{};
  bool is_writable = true;  // primary, and not read-only
  Sample<ArchiveReading> archive;
  Sample<VacuumReading> vacuum;
  Sample<std::int64_t> wraparound_age;  // transactions, the database's oldest
};

// A signal of the user's own: a query that yields a number, or a URL.
struct ProbeReading {
  std::string name;
  Sample<double> value;
  double limit = 0;  // above it: stop
};

// Another process that works on a job of this server now, as it told of itself.
struct NeighbourReading {
  std::string name;           // of its job
  double weight = 1;          // its part of its job's
  double wal_per_second = 0;  // bytes that it writes
  double wal_wanted = 0;      // bytes per second that it would write if it were let; infinity: all it can get
  double workers = 0;         // batches in flight
  double workers_wanted = 0;
  std::string database = {};  // empty: this one
};

// Latest of everything; each part with its own time.
struct Reading {
  Sample<ReplicationReading> replication;
  Sample<CanaryReading> canary;
  // Those of the last seconds, oldest first, if the probe keeps them: a decision comes less often than a canary, and
  // takes each once by its time. Without them the latest counts alone.
  std::vector<CanaryReading> canaries;
  Sample<WaiterReading> waiters;
  Sample<PresenceReading> presence;
  Sample<ActivityReading> activity;
  Sample<WalReading> wal;
  Sample<SlotsReading> slots;
  Sample<HealthReading> health;
  std::vector<ProbeReading> probes;
  Sample<std::vector<NeighbourReading>> neighbours;  // in this database; never sampled: there are none
  Sample<std::vector<NeighbourReading>> elsewhere;   // in other databases of the server (announcement.h)
};

}  // namespace pgbackfill::throttle
