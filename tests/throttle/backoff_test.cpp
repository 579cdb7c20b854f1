#include "throttle/backoff.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

namespace pgbackfill::throttle {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesItsCeilingWithEveryAttemptUpToTheCap) {
  EXPECT_EQ(backoff_delay(0, {}, 1), milliseconds{50});
  EXPECT_EQ(backoff_delay(1, {}, 1), milliseconds{100});
  EXPECT_EQ(backoff_delay(6, {}, 1), milliseconds{3200});
  EXPECT_EQ(backoff_delay(7, {}, 1), milliseconds{5000});
  EXPECT_EQ(backoff_delay(8, {}, 1), milliseconds{5000});
}

TEST(Backoff, SpreadsOverTheWholeSpanBelowTheCeiling) {
  EXPECT_EQ(backoff_delay(1, {}, 0), milliseconds{0});
  EXPECT_EQ(backoff_delay(1, {}, 0.25), milliseconds{25});
}

TEST(Backoff, BearsAnyAttemptAndAnyNumber) {
  constexpr auto kLargest = std::numeric_limits<int>::max();
  BackoffOptions const endless{milliseconds::max(), milliseconds::max()};
  EXPECT_EQ(backoff_delay(kLargest, {}, 1), milliseconds{5000});
  EXPECT_EQ(backoff_delay(std::numeric_limits<int>::min(), {}, 1), milliseconds{50});
  EXPECT_EQ(backoff_delay(kLargest, endless, 1), milliseconds::max());
  EXPECT_EQ(backoff_delay(62, {milliseconds{1}, milliseconds::max()}, 1), milliseconds{std::int64_t{1} << 62});
  EXPECT_EQ(backoff_delay(3, {}, -7), milliseconds{0});
  EXPECT_EQ(backoff_delay(3, {}, 7), milliseconds{400});
  EXPECT_EQ(backoff_delay(3, {}, std::numeric_limits<double>::quiet_NaN()), milliseconds{400});
}

TEST(Backoff, TakesACapBelowTheBase) {
  EXPECT_EQ(backoff_delay(0, {milliseconds{50}, milliseconds{20}}, 1), milliseconds{20});
  EXPECT_EQ(backoff_delay(0, {milliseconds{-50}, milliseconds{-20}}, 1), milliseconds{0});
  EXPECT_EQ(backoff_delay(90, {milliseconds{0}, milliseconds{20}}, 1), milliseconds{0});
}

RC_GTEST_PROP(BackoffProperty, StaysBetweenNothingAndTheCap, (int attempt)) {
  double const share = *rc::gen::inRange(0, 1001) / 1000.0;
  BackoffOptions const options{milliseconds{*rc::gen::inRange<std::int64_t>(0, 100'000)},
                               milliseconds{*rc::gen::inRange<std::int64_t>(0, 100'000)}};
  auto const delay = backoff_delay(attempt, options, share);
  RC_ASSERT(delay >= milliseconds{0});
  RC_ASSERT(delay <= options.cap);
  RC_ASSERT(attempt == std::numeric_limits<int>::max() || delay <= backoff_delay(attempt + 1, options, share));
}

}  // namespace
}  // namespace pgbackfill::throttle
