#include "engine/run/work_estimate.h"

#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

planner::Migration setting_a_column() {
  planner::Migration migration;
  migration.backfill.emplace();
  migration.backfill->kind = planner::WorkKind::kUpdate;
  migration.backfill->assignments.emplace_back();
  migration.backfill->assignments.back().column = "n";
  migration.backfill->assignments.back().expression = "n + 1";
  migration.backfill->workers = 2;
  return migration;
}

planner::TableFacts table_of_a_million_rows() {
  planner::TableFacts table;
  table.leaves.emplace_back();
  table.leaves.back().rows_estimated = 1'000'000;
  table.leaves.back().bytes = 100'000'000;
  return table;
}

void set_limit(planner::Migration& migration, char const* name, char const* text) {
  planner::ThrottleSetting setting;
  setting.name = name;
  setting.text = text;
  migration.throttle.settings.push_back(setting);
}

TEST(WorkEstimate, TakesNoLessTimeThanTheRowsThatTheFileAllows) {
  auto migration = setting_a_column();
  auto const table = table_of_a_million_rows();
  double const free = estimate_work(migration, table).seconds;
  EXPECT_LT(free, 60);
  set_limit(migration, "max_rows_per_second", "500");
  EXPECT_DOUBLE_EQ(estimate_work(migration, table).seconds, 2'000);
  EXPECT_DOUBLE_EQ(seconds_within_limits(migration, 3'000, 1'000'000, 0), 3'000);
}

TEST(WorkEstimate, TakesNoLessTimeThanTheWalThatTheFileAllows) {
  auto migration = setting_a_column();
  auto const table = table_of_a_million_rows();
  set_limit(migration, "max_wal_per_second", "1MB/s");
  auto const estimate = estimate_work(migration, table);
  ASSERT_TRUE(estimate.wal_bytes);
  EXPECT_GT(*estimate.wal_bytes, 2e8);
  EXPECT_NEAR(estimate.seconds, *estimate.wal_bytes / 1e6, estimate.seconds * 0.06);
}

}  // namespace
}  // namespace pgbackfill::engine
