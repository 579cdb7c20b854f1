// One replica and its servo: the servo's WAL comes at its own pace, the replica replays what it can.
#include "throttle/lag_servo.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pgbackfill::throttle {
namespace {

constexpr double kStep = 0.25;
constexpr double kMB = 1e6;

class LagServoTest : public testing::Test {
 protected:
  // What is written beyond what the servo allows is not ours.
  void play(double seconds) {
    for (double passed = 0; passed < seconds; passed += kStep) {
      double const own = std::min(servo_.rate(), wanted_);
      flushed_ += (own + others_) * kStep;
      replayed_ = std::min(replayed_ + capacity_ * kStep, flushed_);
      now_ += std::chrono::nanoseconds(static_cast<std::int64_t>(kStep * 1e9));
      lag_ = capacity_ > 0 ? (flushed_ - replayed_) / capacity_ : lag_ + kStep;
      worst_lag_ = std::max(worst_lag_, lag_);
      see(own);
    }
  }

  void see(double own) {
    LagSample sample;
    sample.at = now_;
    sample.flushed = static_cast<Lsn>(flushed_);
    sample.replayed = static_cast<Lsn>(replayed_);
    sample.lag_seconds = lag_;
    sample.own_per_second = own;
    sample.is_bound = wanted_ >= servo_.rate();
    servo_.see(sample);
  }

  LagServo servo_{options_for_standby(2)};
  TimePoint now_{};
  double flushed_ = 1e9;
  double replayed_ = 1e9;
  double capacity_ = 20 * kMB;  // bytes per second
  double others_ = 0;
  double wanted_ = 1e12;  // by the batches, if they are let
  double lag_ = 0;
  double worst_lag_ = 0;
};

TEST_F(LagServoTest, StartsFarBelowWhatAnyReplicaBears) {
  EXPECT_LE(servo_.rate(), 16 * kMB);
  EXPECT_TRUE(servo_.is_starting());
}

TEST_F(LagServoTest, FindsWhatTheReplicaCanReplayWithoutEverPassingTheLimit) {
  play(30);
  EXPECT_FALSE(servo_.is_starting());
  EXPECT_NEAR(servo_.rate(), capacity_, 0.1 * capacity_);
  EXPECT_LT(worst_lag_, 1);
}

TEST_F(LagServoTest, HoldsTheBacklogFarBelowTheLimitAndNotAtNothing) {
  play(60);
  worst_lag_ = 0;
  play(30);
  EXPECT_LT(worst_lag_, 0.5);
  EXPECT_GT(lag_, 0.1);
}

TEST_F(LagServoTest, LeavesToOthersWhatTheyWrite) {
  others_ = 12 * kMB;
  play(60);
  EXPECT_NEAR(servo_.rate(), 8 * kMB, 1 * kMB);
}

TEST_F(LagServoTest, FollowsAReplicaThatSuddenlyReplaysAThird) {
  play(30);
  capacity_ /= 3;
  play(15);
  EXPECT_NEAR(servo_.rate(), capacity_, 0.2 * capacity_);
  EXPECT_LT(lag_, 1);
}

TEST_F(LagServoTest, StopsAboveTheLimitAndGoesOnOnlyWellBelowIt) {
  play(30);
  capacity_ = 0;
  play(5);
  EXPECT_TRUE(servo_.is_stopped());
  EXPECT_EQ(servo_.rate(), 0);
  lag_ = 1.8;  // below the limit of 2 s, and not below 0.7 of it
  see(0);
  now_ += std::chrono::seconds(1);
  see(0);
  EXPECT_TRUE(servo_.is_stopped());
  capacity_ = 20 * kMB;
  play(10);
  EXPECT_FALSE(servo_.is_stopped());
  EXPECT_GT(servo_.rate(), 0.5 * capacity_);
}

TEST_F(LagServoTest, DoesNotTakeAShortQueueForASlowReplicaWhenWeWriteLittle) {
  play(30);
  wanted_ = 1 * kMB;
  play(60);
  EXPECT_GT(servo_.headroom(), 0.8 * capacity_);
  wanted_ = 1e12;
  play(10);
  EXPECT_NEAR(servo_.rate(), capacity_, 0.2 * capacity_);
}

TEST_F(LagServoTest, BeginsAnewOnAnotherTimeline) {
  play(30);
  flushed_ = replayed_ = 5e8;  // a new primary's positions may be lower
  lag_ = 0;
  see(0);
  EXPECT_FALSE(servo_.is_stopped());
  play(10);
  EXPECT_NEAR(servo_.rate(), capacity_, 0.2 * capacity_);
}

TEST_F(LagServoTest, NeverStarvesTheJobWhileItMayGoOn) {
  others_ = 25 * kMB;  // more than the replica bears
  play(1);
  EXPECT_GT(servo_.rate(), 0);
}

}  // namespace
}  // namespace pgbackfill::throttle
