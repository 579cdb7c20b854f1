// The forecast over hand-made histories; no clock anywhere.
#include "engine/base/eta.h"

#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// A job that goes on at `rows_per_second` from where the history ends.
struct Job {
  RateHistory history;
  milliseconds elapsed{0};
  double rows = 0;

  void go(milliseconds duration, double rows_per_second, milliseconds step = 250ms) {
    history.add(elapsed, static_cast<std::int64_t>(rows));
    for (auto const end = elapsed + duration; elapsed < end;) {
      elapsed += step;
      rows += rows_per_second * std::chrono::duration<double>(step).count();
      history.add(elapsed, static_cast<std::int64_t>(rows));
    }
  }
};

TEST(RateHistory, KnowsNothingBeforeTwoSamples) {
  RateHistory history;
  EXPECT_EQ(history.recent_rate(), 0);
  EXPECT_FALSE(history.eta(1000));
  history.add(0ms, 5);
  EXPECT_EQ(history.recent_rate(), 0);
  EXPECT_FALSE(history.eta(1000));
  history.add(0ms, 50);
  EXPECT_EQ(history.recent_rate(), 0);
}

TEST(RateHistory, MakesNoForecastFromLessThanTwoSeconds) {
  Job job;
  job.go(1500ms, 1000);
  EXPECT_FALSE(job.history.eta(1000));
  job.go(500ms, 1000);
  EXPECT_TRUE(job.history.eta(1000));
}

TEST(RateHistory, ForecastsASteadyJobWithoutSpread) {
  Job job;
  job.go(60s, 1000);
  EXPECT_DOUBLE_EQ(job.history.recent_rate(), 1000);
  auto const eta = job.history.eta(30'000);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->early, 30s);
  EXPECT_EQ(eta->likely, 30s);
  EXPECT_EQ(eta->late, 30s);
}

// Under a limit, workers take a second's worth of rows at a time and wait the debt out.
TEST(RateHistory, ForecastsAJobInJumpsByItsLimit) {
  RateHistory history;
  for (int second = 0; second <= 30; ++second) history.add(std::chrono::seconds(second), second / 5 * 500);
  EXPECT_FALSE(history.eta(200)) << "most stretches of two seconds stood still";
  auto const eta = history.eta(200, 100);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->likely, 2s);
  EXPECT_EQ(eta->late, 2s);
}

TEST(RateHistory, LeavesALimitThatIsFarAwayOutOfAccount) {
  Job job;
  job.go(60s, 1000);
  auto const eta = job.history.eta(30'000, 1'000'000);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->likely, 30s);
}

TEST(RateHistory, TakesTheRateOfTheLastTenSeconds) {
  Job job;
  job.go(60s, 1000);
  job.go(12s, 100);
  EXPECT_DOUBLE_EQ(job.history.recent_rate(), 100);
}

TEST(RateHistory, SpreadsWithTheJobsOwnUnevenness) {
  Job job;
  for (int i = 0; i < 10; ++i) {
    job.go(20s, 1000);
    job.go(20s, 500);
  }
  auto const eta = job.history.eta(10'000);
  ASSERT_TRUE(eta);
  ASSERT_TRUE(eta->late);
  EXPECT_LT(eta->early, 11s);
  EXPECT_GT(eta->likely, eta->early);
  EXPECT_LT(eta->likely, *eta->late);
  EXPECT_GT(*eta->late, 18s);
}

TEST(RateHistory, IsSurerOfALongRunThanOfAShortOne) {
  Job job;
  for (int i = 0; i < 60; ++i) {
    job.go(5s, 1000);
    job.go(5s, 500);
  }
  auto const eta = job.history.eta(750 * 600);
  ASSERT_TRUE(eta);
  ASSERT_TRUE(eta->late);
  EXPECT_NEAR(static_cast<double>(eta->likely.count()), 600'000, 30'000);
  EXPECT_LT(*eta->late - eta->early, 90s);
}

TEST(RateHistory, FollowsALastingSlowdownWithinAFewMinutes) {
  Job job;
  job.go(600s, 1000);
  job.go(180s, 100);
  auto const eta = job.history.eta(60'000);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->likely, 600s);
}

TEST(RateHistory, IsUnknownWhileNothingMoves) {
  Job job;
  job.go(60s, 1000);
  job.go(11s, 0);
  EXPECT_EQ(job.history.recent_rate(), 0);
  EXPECT_FALSE(job.history.eta(10'000));
}

TEST(RateHistory, HasNoUpperBoundAfterLongStops) {
  Job job;
  for (int i = 0; i < 5; ++i) {
    job.go(40s, 0);
    job.go(60s, 1000);
  }
  auto const eta = job.history.eta(2'000);
  ASSERT_TRUE(eta);
  EXPECT_FALSE(eta->late);
}

TEST(RateHistory, IsUnknownWhenNothingIsLeftToCount) {
  Job job;
  job.go(60s, 1000);
  EXPECT_FALSE(job.history.eta(0));
  EXPECT_FALSE(job.history.eta(-5));
}

TEST(RateHistory, IsUnknownBeyondAnyonesLifetime) {
  Job job;
  job.go(60s, 1);
  EXPECT_FALSE(job.history.eta(INT64_MAX));
}

TEST(RateHistory, StartsAnewWhenACountRunsBackwards) {
  Job job;
  job.go(60s, 1000);
  job.history.add(61s, 5);
  EXPECT_EQ(job.history.recent_rate(), 0);
  EXPECT_FALSE(job.history.eta(10'000));
}

TEST(RateHistory, ForgetsWhatIsOlderThanTenMinutes) {
  Job job;
  job.go(600s, 1'000'000, 1s);
  job.go(601s, 1000, 1s);
  auto const eta = job.history.eta(1000);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->early, 1s);
}

TEST(RateHistory, LivesWithSamplesThatComeRarely) {
  Job job;
  job.go(300s, 1000, 60s);
  EXPECT_DOUBLE_EQ(job.history.recent_rate(), 1000);
  auto const eta = job.history.eta(5'000);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->likely, 5s);
}

throttle::Schedule schedule(std::string const& window) {
  return throttle::Schedule({std::get<throttle::Window>(throttle::parse_window(window))});
}

TEST(OnCalendar, CountsTheTimeOutsideTheWindows) {
  auto const nights = schedule("daily 22:00-02:00");
  throttle::SystemTime const at_21{21h};
  Eta const work{1h, 5h, 9h};
  auto const eta = on_calendar(work, nights, at_21);
  ASSERT_TRUE(eta);
  EXPECT_EQ(eta->early, 2h);
  EXPECT_EQ(eta->likely, 1h + 4h + 20h + 1h);
  EXPECT_EQ(eta->late, 1h + 4h + 20h + 4h + 20h + 1h);
}

TEST(OnCalendar, LeavesUnboundedWhatIsUnboundedAndAlwaysOpenAsItIs) {
  throttle::SystemTime const noon{12h};
  EXPECT_EQ(on_calendar({1h, 2h, std::nullopt}, schedule("daily 22:00-02:00"), noon)->late, std::nullopt);
  auto const same = on_calendar({1h, 2h, 3h}, throttle::Schedule({}), noon);
  EXPECT_EQ(same->early, 1h);
  EXPECT_EQ(same->late, 3h);
  throttle::Schedule const never({}, {std::get<throttle::Window>(throttle::parse_window("daily"))});
  EXPECT_FALSE(on_calendar({1h, 2h, 3h}, never, noon));
}

}  // namespace
}  // namespace pgbackfill::engine
