// From the rows that the probes got (probe_sql.h) to the readings of the throttle.
//
// Values in, values out; what has to be remembered from one sample to the next is in small classes. A value that is
// absent, NULL or hidden from the role becomes a Sight that says so, never a number. No clock: the time at which the
// server was asked comes in. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/probes/probe_sql.h"
#include "throttle/reading.h"

namespace pgbackfill::engine {

// Names kept of standbys that were seen once; beyond it the one that vanished first is forgotten.
inline constexpr std::size_t kMostReplicas = 200;

template <class Value>
throttle::Sample<Value> seen(Value value, throttle::TimePoint at) {
  return {throttle::Sight::kSeen, std::move(value), at, {}};
}

template <class Value>
throttle::Sample<Value> unseen(throttle::Sight sight, throttle::TimePoint at, std::string why) {
  return {sight, Value{}, at, std::move(why)};
}

// The same sample as not fresh: its value stays as it was seen last.
template <class Value>
void spoil(throttle::Sample<Value>& sample, throttle::Sight sight, throttle::TimePoint at, std::string why) {
  sample.sight = sight;
  sample.at = at;
  sample.why = std::move(why);
}

// What the server says of itself and of the role that asks.
struct ServerFacts {
  bool is_standby = false;
  bool sees_all = false;  // other roles' sessions and the replicas: pg_read_all_stats, which pg_monitor includes
  bool may_list_archive = false;
  std::string role;
  int backend_pid = 0;
  std::int64_t wraparound_age = 0;
};

ServerFacts server_facts_of(Rows const& rows);

// "role app may not see <what>; GRANT pg_monitor TO "app""
std::string missing_right(ServerFacts const& facts, std::string const& what);

// Standbys and logical slots. Freshness is the time since a standby's latest message changed, by our clock: the
// message has the standby's own time, which may be wrong. After a fail-over nobody is missed: one of them has become
// the primary, and the others may take a while to find it.
class ReplicaMemory {
 public:
  throttle::ReplicationReading read(Rows const& rows, ServerFacts const& facts, throttle::TimePoint asked);

 private:
  using Name = std::pair<std::string, std::string>;  // with the address
  struct Known {
    std::string reply;
    throttle::TimePoint replied_at{};
    throttle::TimePoint seen_at{};
    bool has_streamed = false;
  };

  throttle::ReplicaReading standby_of(std::vector<std::optional<std::string>> const& row, ServerFacts const& facts,
                                      throttle::TimePoint asked);
  void add_vanished(throttle::ReplicationReading& reading, throttle::TimePoint asked);

  std::map<Name, Known> standbys_;
  std::string timeline_;
};

// Who waits for us. Remembers since when each waiter was seen, for servers that do not say.
class WaiterMemory {
 public:
  probe_sql::KnownWaiters known(throttle::TimePoint now) const;
  throttle::WaiterReading read(Rows const& rows, throttle::TimePoint asked);

 private:
  std::map<int, throttle::TimePoint> since_;
};

// The session list, and the oldest snapshot. A replica's or slot's snapshot has no time: its age counts from when we
// saw it first.
class ActivityMemory {
 public:
  throttle::ActivityReading read(Rows const& rows, throttle::TimePoint asked);

 private:
  std::string holder_;
  std::string transaction_;
  throttle::TimePoint since_{};
};

// WAL counters. The server counts our own by session, from its start; here they are one sum that never falls.
class WalMemory {
 public:
  throttle::WalReading read(Rows const& rows, throttle::Lsn inserted, throttle::TimePoint asked);

 private:
  std::map<int, std::uint64_t> by_pid_;
  std::uint64_t own_ = 0;
};

// Of rows of probe_sql::elsewhere(); what is no announcement is left out.
std::vector<throttle::NeighbourReading> neighbours_elsewhere(Rows const& rows);

throttle::SlotsReading slots_of(Rows const& rows, throttle::TimePoint asked);
throttle::Sample<throttle::ArchiveReading> archive_of(Rows const& rows, ServerFacts const& facts,
                                                      throttle::TimePoint asked);
throttle::Sample<throttle::VacuumReading> vacuum_of(Rows const& rows, throttle::TimePoint asked);

// The only value of a user's query.
throttle::Sample<double> number_of(Rows const& rows, throttle::TimePoint asked);

}  // namespace pgbackfill::engine
