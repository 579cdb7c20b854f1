#include "throttle/lock_ladder.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

TEST(LockLadder, BeginsWithoutWaitingAndGetsLonger) {
  LadderFacts const facts;
  EXPECT_TRUE(ladder_rung(0, facts).is_nowait);
  EXPECT_TRUE(ladder_rung(2, facts).is_nowait);
  EXPECT_FALSE(ladder_rung(3, facts).is_nowait);
  auto last = 0ms;
  for (int attempt = 0; attempt < 100; ++attempt) {
    auto const rung = ladder_rung(attempt, facts);
    EXPECT_GE(rung.lock_timeout, last) << attempt;
    EXPECT_GT(rung.lock_timeout, 0ms) << "no attempt waits without end";
    EXPECT_LE(rung.lock_timeout, 1500ms);
    last = rung.lock_timeout;
  }
}

TEST(LockLadder, GetsLongerThanDeadlockTimeoutSoThatAutovacuumGivesWay) {
  for (auto const deadlock_timeout : {10ms, 1000ms, 5000ms}) {
    EXPECT_GT(ladder_rung(50, {deadlock_timeout, false}).lock_timeout, deadlock_timeout);
    EXPECT_GT(ladder_rung(0, {deadlock_timeout, true}).lock_timeout, deadlock_timeout);
    EXPECT_FALSE(ladder_rung(0, {deadlock_timeout, true}).is_nowait);
  }
}

TEST(LockLadder, LeavesTheTrafficAloneAtLeastFiveTimesAsLongAsItHoldsItUp) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    for (auto const deadlock_timeout : {1000ms, 30000ms}) {
      auto const rung = ladder_rung(attempt, {deadlock_timeout, false});
      for (double const uniform : {0.0, 0.3, 1.0}) {
        auto const pause = ladder_pause(attempt, rung, uniform);
        if (rung.is_nowait) {
          EXPECT_GE(pause, 100ms);
          EXPECT_LE(pause, 200ms);
          continue;
        }
        EXPECT_GE(pause, 5 * rung.lock_timeout);
        EXPECT_LE(pause, std::max<std::chrono::milliseconds>(60s, 10 * rung.lock_timeout));
      }
      EXPECT_LT(ladder_pause(attempt, rung, 0), ladder_pause(attempt, rung, 1)) << "with jitter";
    }
  }
}

}  // namespace
}  // namespace pgbackfill::throttle
