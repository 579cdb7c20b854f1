#include "tests/twin/twin_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "planner/file/migration_file.h"
#include "tests/twin/dice.h"

namespace pgbackfill::tests {
namespace {

constexpr int kCases = 400;

TEST(TwinGenerator, MakesTheSameOfTheSameSeed) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(describe(make_twin_case(seed, {})), describe(make_twin_case(seed, {}))) << seed;
  }
  EXPECT_NE(describe(make_twin_case(1, {})), describe(make_twin_case(2, {})));
}

TEST(TwinGenerator, MakesWorkOfEveryKindAndFaultsOfEveryKind) {
  std::map<std::string, int> works;
  std::set<FaultKind> faults;
  std::set<SettingLevel> levels;
  std::set<TwinRole> roles;
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    auto const twin = make_twin_case(seed, {});
    ++works[twin.work];
    roles.insert(twin.role);
    for (auto const& fault : twin.faults) faults.insert(fault.kind);
    for (auto const& setting : twin.settings) levels.insert(setting.level);
  }
  EXPECT_THAT(works, testing::SizeIs(13));
  for (auto const& [work, count] : works) EXPECT_GT(count, kCases / 80) << work;
  // Partitions that come and go are for few tables.
  for (std::uint64_t seed = kCases + 1; seed <= 20 * kCases && faults.size() < 6; ++seed) {
    for (auto const& fault : make_twin_case(seed, {}).faults) faults.insert(fault.kind);
  }
  EXPECT_EQ(faults.size(), 6U);
  EXPECT_EQ(levels.size(), 4U);
  EXPECT_EQ(roles.size(), 3U);
}

TEST(TwinGenerator, MakesFilesThatAreRead) {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    auto const twin = make_twin_case(seed, {});
    auto const file = planner::parse_migration(replace_all(twin.yaml, "{name}", "twin"), "twin.yaml");
    // What no trigger can compute is refused in the file.
    bool const may_be_refused = twin.may_refuse.starts_with("an expression that");
    EXPECT_TRUE(file.migration || may_be_refused) << seed << "\n" << planner::to_lines(file.problems) << twin.yaml;
  }
}

TEST(TwinGenerator, UsesNothingThatTheServerLacks) {
  TwinServer server;
  server.has_icu = false;
  server.has_citext = false;
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    auto const text = describe(make_twin_case(seed, server));
    EXPECT_EQ(text.find("und-x-icu"), std::string::npos) << seed;
    EXPECT_EQ(text.find("side.caseless"), std::string::npos) << seed;
    EXPECT_EQ(text.find("ext."), std::string::npos) << seed;
  }
}

TEST(TwinGenerator, QuotesTextAsYamlReadsIt) {
  EXPECT_EQ(yaml_text("a \"b\" \\ c\nd\te"), R"("a \"b\" \\ c\nd\te")");
  EXPECT_EQ(quoted_name("q\"k"), R"("q""k")");
}

TEST(Dice, ThrowTheSameEverywhere) {
  Dice dice(7);
  std::vector<int> thrown;
  for (int number = 0; number < 5; ++number) thrown.push_back(dice.number(1, 100));
  Dice again(7);
  for (int const number : thrown) EXPECT_EQ(again.number(1, 100), number);
}

}  // namespace
}  // namespace pgbackfill::tests
