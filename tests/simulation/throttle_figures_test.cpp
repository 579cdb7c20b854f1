// The acceptance figures of the throttle on a simulated server: PGBACKFILL_SEEDS runs that many seeds of each
// scenario, PGBACKFILL_SEED=N replays one with its course. Prints ours beside on/off.

#include "tests/simulation/throttle_figures.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>

namespace pgbackfill::tests {
namespace {

constexpr std::uint64_t kSeeds = 12;
constexpr std::uint64_t kSeedsOfTable = 3;
constexpr double kCourseEvery = 0.5;

std::uint64_t number_from(char const* name, std::uint64_t otherwise) {
  char const* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

void print_course(Scenario const& scenario, std::uint64_t seed) {
  auto const law = our_law({});
  auto const run = run_plant(scenario.options(seed), *law);
  double next = 0;
  for (auto const& point : run.points) {
    if (point.at < next) continue;
    next = point.at + kCourseEvery;
    std::cout << scenario.name << " " << point.at << " s: lag " << point.lag << " s, allowed " << point.allowed / 1e6
              << " MB/s, workers " << point.workers << ", p99 ratio " << point.p99_ratio << "\n";
  }
}

class ThrottleFigures : public testing::TestWithParam<std::size_t> {};

TEST_P(ThrottleFigures, MeetTheirBars) {
  auto const scenario = throttle_scenarios()[GetParam()];
  bool const is_replay = std::getenv("PGBACKFILL_SEED") != nullptr;
  std::uint64_t const first = number_from("PGBACKFILL_SEED", 1);
  std::uint64_t const seeds = is_replay ? 1 : std::min<std::uint64_t>(number_from("PGBACKFILL_SEEDS", kSeeds), 1'000);
  if (is_replay) print_course(scenario, first);
  auto const outcomes = outcomes_of(
      scenario, [] { return our_law({}); }, first, seeds);
  for (std::size_t at = 0; at < outcomes.size(); ++at) {
    Measure const& measure = scenario.measures[at];
    // A mean says nothing of one seed.
    if (is_replay && measure.is_mean) continue;
    EXPECT_TRUE(holds(measure, outcomes[at]))
        << scenario.name << ", " << measure.name << ": " << outcomes[at].mean << " in the mean, " << outcomes[at].worst
        << " at worst; the bar is " << measure.bar << "; replay: PGBACKFILL_SEED=" << outcomes[at].worst_seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, ThrottleFigures, testing::Range(std::size_t{0}, throttle_scenarios().size()));

TEST(ThrottlePlant, IsAFunctionOfItsSeed) {
  auto const scenario = throttle_scenarios()[1];
  auto const once = our_law({});
  auto const again = our_law({});
  auto const first = run_plant(scenario.options(3), *once);
  auto const second = run_plant(scenario.options(3), *again);
  EXPECT_EQ(first.own_rate(0, 300), second.own_rate(0, 300));
  EXPECT_EQ(first.highest_lag(0, 300), second.highest_lag(0, 300));
}

TEST(ThrottlePlant, ShowsWhatAnUnboundBackfillDoes) {
  PlantOptions options;
  auto const law = fixed_law(8);
  auto const run = run_plant(options, *law);
  // 60 MB/s of ours and 10 of others, where 40 are replayed.
  EXPECT_NEAR(run.own_rate(10, 100), 60e6, 4e6);
  EXPECT_GT(run.highest_lag(0, 180), 30);
}

TEST(ThrottlePlant, PrintsOursBesideOnOff) {
  std::cout << throttle_figures_table(kSeedsOfTable);
}

}  // namespace
}  // namespace pgbackfill::tests
