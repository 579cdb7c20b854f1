#include "throttle/duty_cycle.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr TimePoint kStart{100h};

std::optional<nanoseconds> wait(int rank, double workers, nanoseconds took, nanoseconds since_end = 0ns) {
  return wait_before_batch(rank, workers, LastBatch{kStart, took}, kStart + since_end);
}

TEST(DutyCycle, LetsWholeWorkersWorkWithoutARest) {
  EXPECT_EQ(wait(0, 2, 250ms), 0ns);
  EXPECT_EQ(wait(1, 2, 250ms), 0ns);
  EXPECT_EQ(wait(7, std::numeric_limits<double>::infinity(), 250ms), 0ns);
}

TEST(DutyCycle, LetsTheLastWorkerRestForWhatIsMissing) {
  EXPECT_EQ(wait(2, 2.25, 200ms), 600ms);
  EXPECT_EQ(wait(2, 2.25, 200ms, 500ms), 100ms);
  EXPECT_EQ(wait(2, 2.25, 200ms, 700ms), 0ns);
  EXPECT_EQ(wait(0, 0.1, 100ms), 900ms);
}

TEST(DutyCycle, HoldsAllOthersBack) {
  EXPECT_EQ(wait(3, 2.25, 200ms), std::nullopt);
  EXPECT_EQ(wait(2, 2, 200ms), std::nullopt);
  EXPECT_EQ(wait(0, 0, 200ms), std::nullopt);
  EXPECT_EQ(wait(0, std::numeric_limits<double>::quiet_NaN(), 200ms), std::nullopt);
}

TEST(DutyCycle, StartsTheFirstBatchAtOnce) {
  EXPECT_EQ(wait_before_batch(0, 0.1, std::nullopt, kStart), 0ns);
}

TEST(DutyCycle, NeverRestsLongerThanItsBound) {
  EXPECT_EQ(wait(0, 1e-9, 10s), kLongestRest);
  // Nor when the clock of the caller steps back.
  EXPECT_EQ(wait(0, 0.5, 1s, -5s), 1s);
}

}  // namespace
}  // namespace pgbackfill::throttle
