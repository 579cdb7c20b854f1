// How fast a vacuum of ours may go, as PostgreSQL's cost delay and limit.
//
// Each page that a vacuum makes dirty costs 20, and writes all of itself to the WAL at most. Beside others it goes as
// fast as the job makes old versions, and some more, for it has the time until the next one is due: fast vacuums are
// felt more than the batches between them. It is never faster than autovacuum by default. Pure.
#pragma once

#include <chrono>
#include <optional>

namespace pgbackfill::throttle {

struct VacuumPace {
  std::chrono::milliseconds delay{0};  // vacuum_cost_delay
  int limit = 0;                       // vacuum_cost_limit

  bool operator==(VacuumPace const&) const = default;
};

struct VacuumNeed {
  bool is_beside_others = false;
  double pages_per_second = 0;  // of the table, whose rows the job replaces
  bool is_near_budget = false;  // workers are about to wait for it
};

// Nothing: as fast as it can, or as the role's settings have it.
std::optional<VacuumPace> vacuum_pace(double wal_per_second, VacuumNeed const& need);

}  // namespace pgbackfill::throttle
