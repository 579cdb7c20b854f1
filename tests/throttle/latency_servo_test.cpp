#include "throttle/latency_servo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

// A pool that runs what it may, and a server whose commits take what a function of the batches says.
class LatencyServoTest : public testing::Test {
 protected:
  void run(std::chrono::seconds time) {
    auto const end = now_ + time;
    for (; now_ < end; now_ += 250ms) {
      double const running = servo_.is_listening() || is_held_ ? 0 : std::min<double>(servo_.workers(), wanted_);
      for (int canary = 0; canary < 5 && !is_silent_; ++canary) {
        double const taken = latency_(running);
        servo_.see({now_ - 200ms + canary * 50ms, std::chrono::nanoseconds{static_cast<std::int64_t>(taken * 1e9)}});
      }
      if (servo_.is_listening()) ++windows_;
      PoolState const pool{static_cast<int>(std::ceil(running)), running, wanted_, running > 0, is_held_};
      servo_.step(pool, cores_busy_, limits_, now_);
    }
  }

  LatencyServo servo_;
  Limits limits_;
  int wanted_ = 8;
  bool is_held_ = false;
  bool is_silent_ = false;  // no commit is measured
  int windows_ = 0;
  std::optional<double> cores_busy_;
  std::function<double(double)> latency_ = [](double) { return 0.0005; };
  TimePoint now_{100h};
};

TEST_F(LatencyServoTest, ListensBeforeItBegins) {
  run(1s);
  EXPECT_TRUE(servo_.is_listening());
  run(3s);
  EXPECT_FALSE(servo_.is_listening());
  EXPECT_NEAR(servo_.quiet_seconds(), 0.0005, 1e-6);
}

TEST_F(LatencyServoTest, ListensOnceMoreWhenNothingWasToBeHeardAtFirst) {
  for (bool const is_held : {false, true}) {
    servo_ = {};
    is_silent_ = true;
    is_held_ = is_held;
    run(5s);
    is_silent_ = false;
    is_held_ = false;
    run(30s);
    EXPECT_EQ(servo_.workers(), 8) << is_held;
    EXPECT_NEAR(servo_.quiet_seconds(), 0.0005, 1e-6);
  }
}

TEST_F(LatencyServoTest, LetsAllRunWhereNobodyNotices) {
  run(20s);
  EXPECT_EQ(servo_.workers(), 8);
  EXPECT_FALSE(servo_.is_held_by_latency());
  windows_ = 0;
  run(300s);
  EXPECT_EQ(servo_.workers(), 8);
  EXPECT_EQ(windows_, 0);
}

TEST_F(LatencyServoTest, LetsAFullServerGoAtOnceAndNotByHalves) {
  double most = 0;
  latency_ = [&](double running) {
    most = std::max(most, running);
    return running > 4 ? 0.1 : 0.0005;
  };
  while (most <= 4) run(1s);
  run(1s);
  EXPECT_LT(servo_.workers(), 0.3 * most);
  EXPECT_GT(servo_.workers(), 0);
}

TEST_F(LatencyServoTest, TakesOneSlowCommitForNoise) {
  run(20s);
  int commits = 0;
  latency_ = [&](double) { return ++commits % 40 == 1 ? 0.1 : 0.0005; };
  run(3s);
  EXPECT_GT(servo_.workers(), 4);
}

TEST_F(LatencyServoTest, SettlesWhereCommitsAreAsSlowAsAllowed) {
  latency_ = [](double running) { return 0.0005 * (1 + 0.05 * running); };
  run(120s);
  EXPECT_GT(servo_.workers(), 1.5);
  EXPECT_LT(servo_.workers(), 4.5);
  EXPECT_TRUE(servo_.is_held_by_latency());
}

TEST_F(LatencyServoTest, GoesBelowOneWorkerOnASmallServer) {
  latency_ = [](double running) { return 0.0005 * (1 + running); };
  run(120s);
  EXPECT_LT(servo_.workers(), 0.4);
  EXPECT_GT(servo_.workers(), 0);
}

TEST_F(LatencyServoTest, ShedsAtOnceWhenCommitsTakeManyTimesAsLong) {
  run(20s);
  latency_ = [](double) { return 0.01; };
  run(3s);
  EXPECT_LE(servo_.workers(), 4);
}

TEST_F(LatencyServoTest, FindsOutThatTheServerIsSlowerWithoutUs) {
  run(20s);
  latency_ = [](double) { return 0.00075; };
  run(300s);
  EXPECT_NEAR(servo_.quiet_seconds(), 0.00075, 0.0001);
  EXPECT_EQ(servo_.workers(), 8);
}

TEST_F(LatencyServoTest, LearnsNothingWhileSomethingElseHolds) {
  run(20s);
  is_held_ = true;
  latency_ = [](double) { return 0.0006; };
  run(60s);
  EXPECT_EQ(servo_.workers(), 8);
  EXPECT_NEAR(servo_.quiet_seconds(), 0.0006, 0.00005);
}

TEST_F(LatencyServoTest, LeavesCoresToTheForeground) {
  limits_.cores = 16;
  cores_busy_ = 10;
  run(60s);
  EXPECT_NEAR(servo_.workers(), (0.85 * 16 - 10) / 1.25, 1e-9);
  EXPECT_TRUE(servo_.is_held_by_cores());
  cores_busy_ = 20;
  run(1s);
  EXPECT_GT(servo_.workers(), 0);
  EXPECT_LE(servo_.workers(), 0.17);
}

}  // namespace
}  // namespace pgbackfill::throttle
