// What the probes ask PostgreSQL, as SQL text for each server version (13 to 18).
//
// Pure text. Every statement is one row set of fixed columns, named beside its function; probe_rows.h reads them. They
// ask functions and views that everybody may ask; a role without pg_monitor gets NULL for what it may not see, and the
// reader of the rows says so. LSNs come as byte positions, durations as milliseconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace pgbackfill::engine::probe_sql {

// How our sessions are told from everybody else's.
//
// By pid where the client's pids are the server's. Behind a pooler they are not: then by application_name, which
// poolers hand on with each transaction. Names that begin with pgbackfill are never foreground work: other processes'
// batches are throttled as ours are.
struct OwnSessions {
  std::vector<int> workers;  // whose locks are ours
  std::vector<int> probes;
  bool is_pooled = false;
};

// Waiters of the sample before, each with how long it had been seen waiting: for PostgreSQL 13, which does not say.
using KnownWaiters = std::vector<std::pair<int, std::chrono::milliseconds>>;

// A commit that flushes WAL and touches no table. One column without meaning.
std::string canary();

// is_in_recovery, sees_all, may_list_archive, role, backend pid, wraparound age.
std::string server();

// flushed, kind ("standby", "slot", NULL: there is neither), name, address, state, replayed, reply time, slot,
// slot is active, wal_status, pid (for the order), timeline (hexadecimal). At least one row.
std::string replication();

// Whether anybody waits for a lock, or may without this role seeing it. The session list is cheap, the locks are not.
std::string may_somebody_wait();

// Waiters of a lock for longer than `longer_than` that our workers hold, directly or at the end of a queue. One row:
// number, longest in ms, our pid, its pid, application, user, query, pids of all that wait for any lock.
std::string waiters(int version, OwnSessions const& own, std::chrono::milliseconds longer_than,
                    KnownWaiters const& known);

// How many sessions of others work, and how many do or did within the last `period`.
std::string presence(OwnSessions const& own, std::chrono::milliseconds period);
// active, free connections, WAL insert position, holder of the oldest snapshot, its seconds (NULL: not told),
// its transaction.
std::string activity(int version, OwnSessions const& own);

// database, application_name of sessions in other databases that announce a job (throttle/announcement.h), at most
// kMostElsewhere.
inline constexpr int kMostElsewhere = 64;
std::string elsewhere();
// Gives the session that asks a name, until it ends.
std::string announce(std::string const& name);

// records, full page images, checkpoints requested, timed, max_wal_size, checkpoint_timeout in ms,
// completion target, "pid:bytes,pid:bytes" of own WAL (18, not pooled).
std::string wal(int version, OwnSessions const& own);

// written, name (NULL: there is none), active, wal_status, retained, safe_wal_size. At least one row.
std::string slots();

// is_on, failures, last archived file, current file, bytes of a segment, files that wait (NULL: may not be listed).
std::string archive(bool may_list);

// autovacuum runs, for wraparound, live rows, dead rows, bytes with indexes and TOAST, bytes of the heaps, tables
// found.
std::string vacuum(std::vector<std::uint32_t> const& tables);

// For the transaction of a user's own query: read-only, and ended by the server when it takes too long.
std::string limits_of_user_sql(std::chrono::milliseconds timeout);

// --- Parts that others ask as well -----------------------------------------------------------------------------------

// who, age in transactions, seconds (NULL: not told), transaction; of all that keep vacuum in this database from dead
// rows, oldest first.
std::string horizon_holders(int limit);

// "timed, requested FROM view".
std::string checkpoint_counts(int version);

// An expression: connections that are kept for superusers and, from 16 on, for privileged roles.
std::string reserved_connections(int version);

// An expression: WAL files that wait for the archiver. pg_monitor may ask it.
std::string files_to_archive();

// database, age of its oldest transaction or multixact; oldest first.
std::string wraparound_ages(int limit);

}  // namespace pgbackfill::engine::probe_sql
