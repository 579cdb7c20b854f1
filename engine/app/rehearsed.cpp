#include "engine/app/rehearsed.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace pgbackfill::engine {

namespace {

// Settings of the throttle that say who is there.
constexpr std::array<std::string_view, 3> kOfReplicas = {"replicas", "ignore_replicas", "expected_replicas"};

bool is_of_replicas(planner::ThrottleSetting const& setting) {
  return std::find(kOfReplicas.begin(), kOfReplicas.end(), setting.name) != kOfReplicas.end();
}

}  // namespace

std::vector<std::string> left_out_of_rehearsal(LoadedMigration const& loaded) {
  auto const& migration = loaded.migration;
  std::vector<std::string> left_out;
  if (!migration.hooks.empty()) left_out.emplace_back("hooks and backups");
  if (!migration.on.empty()) left_out.emplace_back("who is told (on)");
  if (!migration.probes.empty()) left_out.emplace_back("probes");
  if (!migration.writers_gone.empty()) left_out.emplace_back("writers_gone");
  if (!migration.windows.empty() || !migration.blackout.empty()) left_out.emplace_back("windows");
  auto const& settings = migration.throttle.settings;
  if (std::any_of(settings.begin(), settings.end(), is_of_replicas)) left_out.emplace_back("replicas of throttle");
  return left_out;
}

void keep_to_rehearsal(LoadedMigration& loaded) {
  auto& migration = loaded.migration;
  migration.hooks.clear();
  migration.on.clear();
  migration.probes.clear();
  migration.writers_gone.clear();
  migration.windows.clear();
  migration.blackout.clear();
  std::erase_if(migration.throttle.settings, is_of_replicas);
  loaded.schedule = throttle::Schedule{{}};
  loaded.stored_hooks.clear();
  loaded.had_receivers = false;
}

}  // namespace pgbackfill::engine
