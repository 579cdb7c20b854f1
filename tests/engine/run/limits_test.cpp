#include "engine/run/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "planner/file/throttle_settings.h"

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

throttle::Limits limits(SettingTexts const& file, SettingTexts const& live = {}) {
  auto const found = limits_of(file, live);
  EXPECT_EQ(found.problem, "");
  return found.limits;
}

void expect_same(throttle::Limits const& left, throttle::Limits const& right) {
  EXPECT_EQ(left.mode, right.mode);
  EXPECT_EQ(left.replica_lag, right.replica_lag);
  EXPECT_EQ(left.slot_lag, right.slot_lag);
  EXPECT_EQ(left.replicas, right.replicas);
  EXPECT_EQ(left.ignore_replicas, right.ignore_replicas);
  EXPECT_EQ(left.expected_replicas, right.expected_replicas);
  EXPECT_EQ(left.missing_replica, right.missing_replica);
  EXPECT_EQ(left.missing_patience, right.missing_patience);
  EXPECT_DOUBLE_EQ(left.latency_ratio, right.latency_ratio);
  EXPECT_DOUBLE_EQ(left.utilization, right.utilization);
  EXPECT_EQ(left.cores, right.cores);
  EXPECT_EQ(left.lock_wait, right.lock_wait);
  EXPECT_EQ(left.slot_headroom, right.slot_headroom);
  EXPECT_EQ(left.archive_slow, right.archive_slow);
  EXPECT_EQ(left.archive_stop, right.archive_stop);
  EXPECT_EQ(left.wraparound_age, right.wraparound_age);
  EXPECT_EQ(left.xmin_age, right.xmin_age);
  EXPECT_DOUBLE_EQ(left.dead_rows, right.dead_rows);
  EXPECT_DOUBLE_EQ(left.bloat, right.bloat);
  EXPECT_EQ(left.min_free_connections, right.min_free_connections);
  EXPECT_EQ(left.max_rows_per_second, right.max_rows_per_second);
  EXPECT_EQ(left.max_wal_per_second, right.max_wal_per_second);
  EXPECT_DOUBLE_EQ(left.weight, right.weight);
}

// What people read as the default is what applies without a setting.
TEST(Limits, DefaultsOfTheTableAreThoseOfTheThrottle) {
  SettingTexts standard;
  for (auto const& rule : planner::throttle_settings()) standard[std::string(rule.name)] = std::string(rule.standard);
  expect_same(limits(standard), throttle::Limits());
  expect_same(limits({}), throttle::Limits());
}

TEST(Limits, EverySettingOfTheTableChangesALimit) {
  for (auto const& rule : planner::throttle_settings()) {
    SCOPED_TRACE(rule.name);
    EXPECT_EQ(limits_of({{std::string(rule.name), std::string(rule.example)}}, {}).problem, "");
  }
  auto const set = limits({{"mode", "observe"},
                           {"replica_lag", "500ms"},
                           {"slot_lag", "7s"},
                           {"replicas", "db-2, db-3"},
                           {"ignore_replicas", "reporting"},
                           {"expected_replicas", "2"},
                           {"missing_replica", "abort"},
                           {"missing_patience", "1m"},
                           {"latency_ratio", "1.5"},
                           {"utilization", "50%"},
                           {"cores", "16"},
                           {"lock_wait", "20ms"}});
  EXPECT_EQ(set.mode, throttle::Mode::kObserve);
  EXPECT_EQ(set.replica_lag, 500ms);
  EXPECT_EQ(set.slot_lag, 7s);
  EXPECT_THAT(set.replicas, ElementsAre("db-2", "db-3"));
  EXPECT_THAT(set.ignore_replicas, ElementsAre("reporting"));
  EXPECT_EQ(set.expected_replicas, 2);
  EXPECT_EQ(set.missing_replica, throttle::MissingReplica::kAbort);
  EXPECT_EQ(set.missing_patience, 1min);
  EXPECT_DOUBLE_EQ(set.latency_ratio, 1.5);
  EXPECT_DOUBLE_EQ(set.utilization, 0.5);
  EXPECT_EQ(set.cores, 16);
  EXPECT_EQ(set.lock_wait, 20ms);
}

TEST(Limits, GuardsAndCeilingsAreSetToo) {
  auto const set = limits({{"slot_headroom", "1GB"},
                           {"archive_slow", "7"},
                           {"archive_stop", "9"},
                           {"wraparound_age", "1000000"},
                           {"xmin_age", "10m"},
                           {"dead_rows", "5%"},
                           {"bloat", "10%"},
                           {"min_free_connections", "8"},
                           {"max_rows_per_second", "77"},
                           {"max_wal_per_second", "40MB/s"},
                           {"nice", "-2"}});
  EXPECT_EQ(set.slot_headroom, std::uint64_t{1} << 30);
  EXPECT_EQ(set.archive_slow, 7);
  EXPECT_EQ(set.archive_stop, 9);
  EXPECT_EQ(set.wraparound_age, 1'000'000);
  EXPECT_EQ(set.xmin_age, 10min);
  EXPECT_DOUBLE_EQ(set.dead_rows, 0.05);
  EXPECT_DOUBLE_EQ(set.bloat, 0.1);
  EXPECT_EQ(set.min_free_connections, 8);
  EXPECT_EQ(set.max_rows_per_second, 77);
  EXPECT_EQ(set.max_wal_per_second, std::uint64_t{40} << 20);
  EXPECT_DOUBLE_EQ(set.weight, 1.5625);
  EXPECT_DOUBLE_EQ(limits({{"nice", "3"}}).weight, 0.512);
}

TEST(Limits, LiveWinsOverTheFile) {
  SettingTexts const file{{"replica_lag", "5s"}, {"max_rows_per_second", "100"}, {"replicas", "a"}};
  auto const set = limits(file, {{"replica_lag", "1s"}, {"max_rows_per_second", "none"}, {"replicas", "all"}});
  EXPECT_EQ(set.replica_lag, 1s);
  EXPECT_EQ(set.max_rows_per_second, std::nullopt);
  EXPECT_THAT(set.replicas, IsEmpty());
  EXPECT_EQ(limits(file).max_rows_per_second, 100);
}

TEST(Limits, WhatCannotBeReadIsAProblemAndNoDefault) {
  EXPECT_THAT(limits_of({}, {{"replica_lag", "soon"}}).problem,
              HasSubstr("throttle.replica_lag=soon is not a duration"));
  EXPECT_THAT(limits_of({}, {{"replica_lag", "soon"}}).problem, HasSubstr("throttle.SETTING=default"));
  EXPECT_THAT(limits_of({}, {{"gravity", "9.8"}}).problem, HasSubstr("is not known to this version"));
  EXPECT_THAT(limits_of({{"bloat", "x"}}, {}).problem, HasSubstr("fix the file"));
  EXPECT_EQ(limits_of({{"bloat", "x"}}, {{"bloat", "30%"}}).problem, "") << "the live one is read instead";
}

TEST(Limits, WhoNamesReplicasOrLatencyWantsThemSeen) {
  EXPECT_FALSE(limits({{"bloat", "30%"}, {"ignore_replicas", "a"}}).must_see_replicas);
  EXPECT_TRUE(limits({{"replica_lag", "2s"}}).must_see_replicas);
  EXPECT_TRUE(limits({}, {{"expected_replicas", "1"}}).must_see_replicas);
  EXPECT_FALSE(limits({{"replica_lag", "2s"}}).must_see_latency);
  EXPECT_TRUE(limits({{"latency_ratio", "1.2"}}).must_see_latency);
}

TEST(Limits, SaysWhereASettingComesFrom) {
  SettingTexts const file{{"replica_lag", "5s"}, {"bloat", "30%"}};
  SettingTexts const live{{"replica_lag", "1s"}};
  EXPECT_EQ(effective_setting("replica_lag", file, live).text, "1s");
  EXPECT_EQ(effective_setting("replica_lag", file, live).origin, SettingOrigin::kLive);
  EXPECT_EQ(effective_setting("bloat", file, live).origin, SettingOrigin::kFile);
  EXPECT_EQ(effective_setting("nice", file, live).text, "0");
  EXPECT_STREQ(name_of(effective_setting("nice", file, live).origin), "default");
}

}  // namespace
}  // namespace pgbackfill::engine
