// What a migration file says of its rehearsal: limits that it must keep to, and SQL for values that cannot be made up.
//
// Pure values.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

namespace pgbackfill::planner {

struct RehearsalLimits {
  std::optional<std::chrono::milliseconds> max_time;
  std::optional<std::chrono::milliseconds> max_lag;
  std::optional<std::chrono::milliseconds> max_lock_wait;
  std::optional<double> max_growth;           // a share
  std::map<std::string, std::string> values;  // by schema.table.column
};

}  // namespace pgbackfill::planner
