// Rehearses a migration on a stand-in of production: builds it, runs the migration to its end, and says what to expect.
//
// Touches one server, which has to be empty of the migration's tables; hooks, receivers, probes and windows of the file
// are left out. Throws CommandError. Blocks; on the main thread, once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "engine/process/command_context.h"
#include "engine/rehearse/profile.h"
#include "engine/view/rehearsal_report.h"
#include "planner/fill/fill_plan.h"
#include "planner/model/rehearsal_limits.h"

namespace pgbackfill::engine {

struct RehearsalTerms {
  std::string file;
  CommonOptions options;  // of the command: parameters and configuration of the file
  std::optional<double> scale;
  std::optional<std::int64_t> rows;  // of the table that is worked
  bool with_traffic = false;         // by the write rates of the profile
  int sessions = 2;
  std::function<void(std::string const&)> tell;
};

// What is to be built, decided before anything is.
struct RehearsalPlan {
  Profile profile;
  planner::RehearsalLimits limits;
  planner::FillPlan fill;
  std::vector<planner::TrafficStatement> traffic;
  double scale = 1;
  std::int64_t rows_there = 0;
  std::int64_t bytes = 0;  // of disk, at most, by rule of thumb
  std::vector<std::string> notes;
};

// Refuses a profile that is not of this migration, and what cannot be made up. Touches nothing.
RehearsalPlan plan_rehearsal(LoadedMigration const& loaded, Profile profile, RehearsalTerms const& terms, double now);

// `conninfo`: where; `server`: what to call it.
RehearsalReport rehearse(RehearsalPlan plan, RehearsalTerms const& terms, std::string const& conninfo,
                         std::string const& server);

}  // namespace pgbackfill::engine
