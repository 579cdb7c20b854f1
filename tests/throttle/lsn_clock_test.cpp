#include "throttle/lsn_clock.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

TimePoint at(std::chrono::nanoseconds since_start) {
  return TimePoint{100h} + since_start;
}

TEST(LsnClock, KnowsTheAgeOfTheFirstByteNotReplayed) {
  LsnClock clock;
  clock.see(at(0s), 1'000);
  clock.see(at(1s), 2'000);
  clock.see(at(2s), 4'000);
  EXPECT_EQ(clock.age_of(4'000, at(2s)).age, 0s);
  EXPECT_EQ(clock.age_of(2'000, at(2s)).age, 1s);
  EXPECT_EQ(clock.age_of(3'000, at(2s)).age, 500ms);
  EXPECT_EQ(clock.age_of(1'500, at(3s)).age, 2500ms);
  EXPECT_FALSE(clock.age_of(1'000, at(3s)).is_at_least);
}

TEST(LsnClock, SaysAtLeastOfWhatIsOlderThanItself) {
  LsnClock clock;
  clock.see(at(0s), 1'000);
  auto const age = clock.age_of(999, at(5s));
  EXPECT_TRUE(age.is_at_least);
  EXPECT_EQ(age.age, 5s);
  EXPECT_FALSE(LsnClock{}.age_of(5, at(5s)).is_at_least);
}

TEST(LsnClock, CountsFromTheEndOfAPause) {
  LsnClock clock;
  clock.see(at(0s), 1'000);
  clock.see(at(60s), 1'000);
  clock.see(at(61s), 2'000);
  // Nothing was written for a minute, so a replica at 1000 is one second behind.
  EXPECT_EQ(clock.age_of(1'000, at(61s)).age, 1s);
}

TEST(LsnClock, ForgetsAnotherTimeline) {
  LsnClock clock;
  clock.see(at(0s), 9'000);
  clock.see(at(1s), 1'000);
  clock.see(at(2s), 2'000);
  EXPECT_EQ(clock.age_of(2'000, at(2s)).age, 0s);
  EXPECT_EQ(clock.age_of(1'500, at(2s)).age, 500ms);
}

TEST(LsnClock, StaysBoundedAndKeepsTheDistantPast) {
  LsnClock clock;
  int const seconds = 100'000;
  for (int second = 0; second <= seconds; ++second) {
    clock.see(at(std::chrono::seconds{second}), static_cast<Lsn>(1'000 + 10 * second));
  }
  for (int second : {10, 50'000, 99'999}) {
    auto const age = clock.age_of(static_cast<Lsn>(1'000 + 10 * second), at(std::chrono::seconds{seconds}));
    EXPECT_FALSE(age.is_at_least);
    EXPECT_NEAR(std::chrono::duration<double>(age.age).count(), seconds - second, 1e-6);
  }
}

RC_GTEST_PROP(LsnClock, MakesTheAgeNoShorterForLessReplayed, ()) {
  LsnClock clock;
  Lsn lsn = 1'000;
  auto now = 0ms;
  int const marks = *rc::gen::inRange(1, 40);
  for (int mark = 0; mark < marks; ++mark) {
    now += std::chrono::milliseconds{*rc::gen::inRange(1, 900)};
    lsn += static_cast<Lsn>(*rc::gen::inRange(0, 5'000));
    clock.see(at(now), lsn);
  }
  auto const one = static_cast<Lsn>(*rc::gen::inRange<std::int64_t>(0, static_cast<std::int64_t>(lsn) + 10));
  auto const other = static_cast<Lsn>(*rc::gen::inRange<std::int64_t>(0, static_cast<std::int64_t>(lsn) + 10));
  RC_ASSERT(clock.age_of(std::min(one, other), at(now)).age >= clock.age_of(std::max(one, other), at(now)).age);
}

}  // namespace
}  // namespace pgbackfill::throttle
