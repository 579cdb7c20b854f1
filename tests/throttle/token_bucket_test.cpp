#include "throttle/token_bucket.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TimePoint at(nanoseconds since_start) {
  return TimePoint{100h} + since_start;
}

TEST(TokenBucket, NeverWaitsWithoutALimit) {
  TokenBucket bucket(kInfinity);
  bucket.charge(1e300, at(0s));
  EXPECT_EQ(bucket.wait_before(at(0s)), 0ns);
}

TEST(TokenBucket, StartsNothingAtRateZero) {
  TokenBucket bucket(0);
  EXPECT_EQ(bucket.wait_before(at(0s)), kLongestPaceWait);
  EXPECT_EQ(TokenBucket(-1).wait_before(at(0s)), kLongestPaceWait);
  EXPECT_EQ(TokenBucket(std::numeric_limits<double>::quiet_NaN()).wait_before(at(0s)), kLongestPaceWait);
}

TEST(TokenBucket, CountsThePastAtTheRateOfThePast) {
  TokenBucket bucket(1000);
  bucket.charge(1000, at(0s));
  bucket.set_rate(100, at(500ms));  // 500 are paid
  EXPECT_EQ(bucket.wait_before(at(500ms)), 5s);
  bucket.set_rate(1000, at(1500ms));  // 100 more
  EXPECT_EQ(bucket.wait_before(at(1500ms)), 400ms);
}

TEST(TokenBucket, DropsUnusedAllowanceWithTheRate) {
  TokenBucket bucket(1000);
  bucket.charge(0, at(0s));
  bucket.set_rate(10, at(1s));
  bucket.charge(10, at(1s));
  EXPECT_EQ(bucket.wait_before(at(1s)), 500ms);
}

TEST(TokenBucket, ForgivesDebtsWhenTheLimitIsLifted) {
  TokenBucket bucket(10);
  bucket.charge(1000, at(0s));
  bucket.set_rate(kInfinity, at(1s));
  bucket.set_rate(10, at(2s));
  EXPECT_EQ(bucket.wait_before(at(2s)), 0ns);
}

// Whatever the rates were, what was let through is at most their sum over time, half a second and one batch more.
RC_GTEST_PROP(TokenBucket, LetsNoMoreThroughThanItsRates, ()) {
  TokenBucket bucket(1000);
  double rate = 1000;
  double allowed = 0.5 * rate;
  double taken = 0;
  double largest = 0;
  TimePoint now = at(0s);
  bucket.charge(0, now);
  int const steps = *rc::gen::inRange(1, 60);
  for (int step = 0; step < steps; ++step) {
    auto const wait = std::chrono::milliseconds{*rc::gen::inRange(0, 700)};
    now += wait;
    allowed += rate * std::chrono::duration<double>(wait).count();
    if (*rc::gen::inRange(0, 4) == 0) {
      rate = *rc::gen::inRange(1, 2000);
      bucket.set_rate(rate, now);
    }
    double const batch = *rc::gen::inRange(1, 800);
    if (bucket.wait_before(now) > 0ns) continue;
    bucket.charge(batch, now);
    taken += batch;
    largest = std::max(largest, batch);
  }
  RC_ASSERT(taken <= allowed + largest + 1e-6);
}

}  // namespace
}  // namespace pgbackfill::throttle
