#include "planner/file/throttle_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace pgbackfill::planner {
namespace {

using testing::HasSubstr;

SettingRule const& rule(std::string_view name) {
  return *find_throttle_setting(name);
}

std::int64_t whole(std::string_view name, std::string_view text) {
  auto const parsed = parse_setting(rule(name), text);
  EXPECT_TRUE(parsed.value) << parsed.problem;
  return parsed.value ? std::get<std::int64_t>(*parsed.value) : -999;
}

double real(std::string_view name, std::string_view text) {
  auto const parsed = parse_setting(rule(name), text);
  EXPECT_TRUE(parsed.value) << parsed.problem;
  return parsed.value ? std::get<double>(*parsed.value) : -999;
}

std::string problem(std::string_view name, std::string_view text) {
  auto const parsed = parse_setting(rule(name), text);
  EXPECT_NE(parsed.value.has_value(), !parsed.problem.empty());
  return parsed.problem;
}

TEST(ThrottleSettings, DefaultsAndExamplesAreGoodValues) {
  std::set<std::string_view> names;
  for (auto const& each : throttle_settings()) {
    SCOPED_TRACE(each.name);
    EXPECT_TRUE(names.insert(each.name).second);
    EXPECT_EQ(problem(each.name, each.standard), "");
    EXPECT_EQ(problem(each.name, each.example), "");
    EXPECT_TRUE(each.help.ends_with('.'));
    EXPECT_LE(each.help.size(), 100U);
    EXPECT_FALSE(setting_bounds(each).empty());
  }
  EXPECT_EQ(find_throttle_setting("replicalag"), nullptr);
}

std::vector<std::string> conflicts(std::map<std::string, std::string> const& said) {
  std::vector<std::string> texts;
  for (auto const& one : setting_conflicts(said)) {
    EXPECT_NE(find_throttle_setting(one.name), nullptr);
    EXPECT_NE(find_throttle_setting(one.other), nullptr);
    texts.push_back(one.text);
  }
  return texts;
}

TEST(ThrottleSettings, WhatSlowsMustNotComeAfterWhatStops) {
  EXPECT_THAT(conflicts({}), testing::IsEmpty());
  EXPECT_THAT(conflicts({{"archive_slow", "64"}, {"archive_stop", "64"}}), testing::IsEmpty());
  EXPECT_THAT(
      conflicts({{"archive_slow", "65"}, {"archive_stop", "64"}}),
      testing::ElementsAre("archive_slow is 65 and archive_stop is 64: it would stop before it ever slows down; "
                           "make archive_slow the smaller one"));
  EXPECT_THAT(conflicts({{"archive_slow", "200"}}),
              testing::ElementsAre(HasSubstr("archive_slow is 200 and archive_stop is 128 (the default)")));
  EXPECT_THAT(conflicts({{"archive_stop", "20"}}),
              testing::ElementsAre(HasSubstr("archive_slow is 42 (the default) and archive_stop is 20")));
}

TEST(ThrottleSettings, ReplicasThatCannotBeThereAreRefused) {
  EXPECT_THAT(conflicts({{"replicas", "db-2, db-3"}, {"ignore_replicas", "db-4"}, {"expected_replicas", "2"}}),
              testing::IsEmpty());
  EXPECT_THAT(conflicts({{"replicas", "all"}, {"ignore_replicas", "db-4"}, {"expected_replicas", "9"}}),
              testing::IsEmpty());
  EXPECT_THAT(conflicts({{"replicas", "db-2, db-3"}, {"ignore_replicas", "db-4, db-3"}}),
              testing::ElementsAre(HasSubstr("'db-3' is in replicas, which count, and in ignore_replicas")));
  EXPECT_THAT(conflicts({{"replicas", "db-2"}, {"expected_replicas", "2"}}),
              testing::ElementsAre(HasSubstr("expected_replicas is 2 and replicas names 1")));
}

TEST(ThrottleSettings, ReadsEachKindWithItsUnit) {
  EXPECT_EQ(whole("replica_lag", "500ms"), 500);
  EXPECT_EQ(whole("replica_lag", " 1.5s "), 1'500);
  EXPECT_EQ(whole("slot_headroom", "0B"), 0);
  EXPECT_EQ(whole("slot_headroom", "1kB"), 1'024);
  EXPECT_EQ(whole("slot_headroom", "1.5 MB"), 1'572'864);
  EXPECT_EQ(whole("slot_headroom", "2TB"), std::int64_t{2} << 40);
  EXPECT_EQ(whole("max_wal_per_second", "40MB/s"), std::int64_t{40} << 20);
  EXPECT_DOUBLE_EQ(real("bloat", "20%"), 0.2);
  EXPECT_DOUBLE_EQ(real("utilization", "82.5 %"), 0.825);
  EXPECT_DOUBLE_EQ(real("latency_ratio", "1.15"), 1.15);
  EXPECT_EQ(whole("nice", "-20"), -20);
  auto const names = parse_setting(rule("replicas"), "db-2 ,db 3,db-2");
  EXPECT_EQ(std::get<std::vector<std::string>>(*names.value), (std::vector<std::string>{"db-2", "db 3"}));
  EXPECT_EQ(std::get<std::string>(*parse_setting(rule("mode"), "off").value), "off");
}

TEST(ThrottleSettings, KnowsTheWordForNoValue) {
  for (auto const& [name, word] : {std::pair{"max_rows_per_second", "none"}, {"replicas", "all"}}) {
    EXPECT_TRUE(std::holds_alternative<std::monostate>(*parse_setting(rule(name), word).value)) << name;
  }
  EXPECT_THAT(problem("replica_lag", "none"), HasSubstr("is not a duration"));
  EXPECT_THAT(problem("max_rows_per_second", "nix"), HasSubstr("is not a whole number; for example 5000; or none"));
}

TEST(ThrottleSettings, NeverGuessesAUnit) {
  EXPECT_EQ(problem("replica_lag", "500"), "has no unit (write 500ms or 500s)");
  EXPECT_EQ(problem("slot_headroom", "4"), "has no unit (write 4MB or 4GB)");
  EXPECT_EQ(problem("max_wal_per_second", "40"), "has no unit (write 40MB/s or 40GB/s); or none");
  EXPECT_EQ(problem("max_wal_per_second", "40MB"), "has no '/s' (write 40MB/s); or none");
  EXPECT_EQ(problem("bloat", "0.2"), "has no unit (write 0.2%)");
  EXPECT_THAT(problem("slot_headroom", "4mb"), HasSubstr("write a number and one of B, kB, MB, GB, TB"));
  EXPECT_THAT(problem("slot_headroom", "4MB/s"), HasSubstr("is not an amount of bytes; "));
}

TEST(ThrottleSettings, KeepsToTheBounds) {
  EXPECT_EQ(problem("replica_lag", "0ms"), "is out of bounds, which are 1ms and 24h");
  EXPECT_EQ(problem("replica_lag", "25h"), "is out of bounds, which are 1ms and 24h");
  EXPECT_EQ(problem("bloat", "0%"), "is out of bounds, which are 1% and 1000%");
  EXPECT_EQ(problem("latency_ratio", "1"), "is out of bounds, which are 1.01 and 100");
  EXPECT_EQ(problem("max_wal_per_second", "1B/s"), "is out of bounds, which are 1kB/s and 1TB/s; or none");
  EXPECT_EQ(problem("slot_headroom", "2000TB"), "is out of bounds, which are 0B and 1024TB");
  EXPECT_EQ(problem("nice", "20"), "is out of bounds, which are -20 and 19");
  EXPECT_EQ(problem("mode", "obsrve"), "is not one of 'on', 'observe', 'off' (did you mean 'observe'?)");
}

TEST(ThrottleSettings, RefusesWhatOnlyLooksLikeANumber) {
  for (std::string_view const text : {"", " ", "-1", "1e3", "nan", "inf", "1.2.3", ".5", "5.", "0x10", "1,5"}) {
    EXPECT_NE(problem("latency_ratio", text), "") << text;
    EXPECT_NE(problem("bloat", std::string(text) + "%"), "") << text;
    EXPECT_NE(problem("slot_headroom", std::string(text) + "MB"), "") << text;
  }
  EXPECT_NE(problem("max_rows_per_second", "99999999999999999999"), "");
  EXPECT_NE(problem("latency_ratio", std::string(50, '9')), "");
  EXPECT_THAT(problem("replicas", "a,,b"), HasSubstr("has an empty name"));
}

TEST(ThrottleSettings, AreAllInTheReadmeWithTheirDefaults) {
  std::ifstream file{PGBACKFILL_SOURCE_DIR "/docs/migration-file.md"};
  std::string const readme{std::istreambuf_iterator<char>{file}, {}};
  for (auto const& each : throttle_settings()) {
    auto const line = "| `throttle." + std::string(each.name) + "` | " + std::string(each.standard) + " | " +
                      std::string(each.help) + " |\n";
    EXPECT_NE(readme.find(line), std::string::npos) << "docs/migration-file.md has no line\n" << line;
  }
}

}  // namespace
}  // namespace pgbackfill::planner
