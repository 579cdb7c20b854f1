// How fast a vacuum of ours may go, as PostgreSQL's cost delay and limit.
//
// Each page that a vacuum makes dirty costs 20, and writes all of itself to the WAL at most. Beside others it goes no
// faster than autovacuum does by default. Pure.
#pragma once

#include <chrono>
#include <optional>

namespace pgbackfill::throttle {

struct VacuumPace {
  std::chrono::milliseconds delay{0};  // vacuum_cost_delay
  int limit = 0;                       // vacuum_cost_limit

  bool operator==(VacuumPace const&) const = default;
};

// Nothing: as fast as it can, or as the role's settings have it.
std::optional<VacuumPace> vacuum_pace(double wal_per_second, bool is_beside_others);

}  // namespace pgbackfill::throttle
