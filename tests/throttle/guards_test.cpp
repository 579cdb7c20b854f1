#include "throttle/guards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kOwn = 20e6;

// A server in good health, of which each test makes one thing worse.
class GuardsTest : public testing::Test {
 protected:
  void SetUp() override { read(); }

  void read() {
    reading_.activity = {Sight::kSeen, activity_, now_, ""};
    reading_.activity.value.at = now_;
    reading_.waiters = {Sight::kSeen, waiters_, now_, ""};
    reading_.waiters.value.at = now_;
    reading_.wal = {Sight::kSeen, wal_, now_, ""};
    reading_.wal.value.at = now_;
    HealthReading health;
    health.at = now_;
    health.is_writable = is_writable_;
    health.archive = {Sight::kSeen, archive_, now_, ""};
    health.vacuum = {Sight::kSeen, vacuum_, now_, ""};
    health.wraparound_age = {Sight::kSeen, wraparound_, now_, ""};
    reading_.health = {Sight::kSeen, health, now_, ""};
  }

  GuardVerdict judge() {
    causes_.begin(now_);
    auto verdict = guards_.judge(reading_, limits_, kOwn, now_, causes_);
    noted_ = causes_.take();
    return verdict;
  }

  GuardVerdict pass(std::chrono::milliseconds time) {
    now_ += time;
    read();
    return judge();
  }

  std::string text_of(CauseKind kind) const {
    for (auto const& cause : noted_) {
      if (cause.kind == kind) return cause.text;
    }
    return "";
  }

  Grip grip_of(CauseKind kind) const {
    for (auto const& cause : noted_) {
      if (cause.kind == kind) return cause.grip;
    }
    return Grip::kWarns;
  }

  Guards guards_;
  CauseBook causes_;
  Limits limits_;
  Reading reading_;
  std::vector<Cause> noted_;
  TimePoint now_{100h};
  ActivityReading activity_{{}, 1, 50, {}, ""};
  WaiterReading waiters_;
  WalReading wal_;
  bool is_writable_ = true;
  ArchiveReading archive_{true, 0, 0};
  VacuumReading vacuum_{false, false, 1'000'000, 0, 0, 0};
  std::int64_t wraparound_ = 200'000'000;
};

TEST_F(GuardsTest, LetAHealthyServerBe) {
  auto const verdict = pass(1s);
  EXPECT_TRUE(verdict.may_start);
  EXPECT_EQ(verdict.wal_per_second, kUnlimited);
  EXPECT_EQ(verdict.most_workers, kUnlimited);
  EXPECT_EQ(verdict.batch_scale, 1);
  EXPECT_THAT(noted_, IsEmpty());
}

TEST_F(GuardsTest, StopUntilTheHealthWasRead) {
  reading_.health = {};
  EXPECT_FALSE(judge().may_start);
  EXPECT_THAT(text_of(CauseKind::kBlind), HasSubstr("not read yet"));
}

TEST_F(GuardsTest, SlowDownThenStopOnAnOldHealth) {
  pass(1s);
  now_ += 20s;
  auto const slowed = judge();
  EXPECT_TRUE(slowed.may_start);
  EXPECT_LT(slowed.wal_per_second, kOwn);
  EXPECT_GT(slowed.wal_per_second, 0);
  now_ += 60s;
  EXPECT_FALSE(judge().may_start);
}

TEST_F(GuardsTest, HalveForTheArchiveAndStopWhenItIsFarBehind) {
  pass(1s);
  archive_.segments_waiting = 60;
  pass(10s);
  auto const slowed = pass(10s);
  EXPECT_TRUE(slowed.may_start);
  EXPECT_LE(slowed.wal_per_second, kOwn / 4 * 1.01);
  for (int time = 0; time < 100; ++time) pass(10s);
  EXPECT_GT(pass(10s).wal_per_second, 0);
  archive_.segments_waiting = 129;
  EXPECT_FALSE(pass(1s).may_start);
  archive_.segments_waiting = 110;
  EXPECT_FALSE(pass(1s).may_start);
  archive_.segments_waiting = 0;
  EXPECT_TRUE(pass(1s).may_start);
  for (int time = 0; time < 10; ++time) pass(10s);
  EXPECT_EQ(pass(10s).wal_per_second, kUnlimited);
}

TEST_F(GuardsTest, StopBeforeTransactionsWrapAround) {
  wraparound_ = 1'300'000'000;
  auto const verdict = pass(1s);
  EXPECT_FALSE(verdict.may_start);
  EXPECT_TRUE(verdict.is_hard);
  EXPECT_THAT(text_of(CauseKind::kWraparound), HasSubstr("1300 million"));
}

TEST_F(GuardsTest, LeaveAServerThatTakesNoWrites) {
  is_writable_ = false;
  auto verdict = pass(1s);
  EXPECT_FALSE(verdict.may_start);
  EXPECT_FALSE(verdict.must_stop);
  verdict = pass(11s);
  EXPECT_TRUE(verdict.must_stop);
  EXPECT_THAT(text_of(CauseKind::kServerRole), HasSubstr("primary"));
}

TEST_F(GuardsTest, SlowDownForDeadRowsByDegreesAndNeverToNothing) {
  vacuum_.rows_dead = 0;
  pass(1s);
  vacuum_.rows_dead = 210'000;
  vacuum_.heap_bytes = 100'000'000;
  EXPECT_EQ(pass(1s).wal_per_second, kUnlimited) << "too small for a vacuum of ours, and grown since";
  vacuum_.heap_bytes = 1'000'000'000;
  double const gently = pass(1s).wal_per_second;
  EXPECT_GT(gently, 0.9 * kOwn);
  EXPECT_LT(gently, kOwn);
  vacuum_.rows_dead = 5'000'000;
  EXPECT_NEAR(pass(1s).wal_per_second, 0.3 * kOwn, 1);
  vacuum_.rows_dead = 150'000;
  EXPECT_EQ(pass(1s).wal_per_second, kUnlimited);
}

TEST_F(GuardsTest, DoNotWaitForDeadRowsThatWereThereBefore) {
  vacuum_.rows_dead = 1'000'000;
  vacuum_.heap_bytes = 1'000'000'000;
  EXPECT_EQ(pass(1s).wal_per_second, kUnlimited);
  vacuum_.rows_dead = 1'300'000;
  EXPECT_LT(pass(1s).wal_per_second, kOwn);
  EXPECT_THAT(text_of(CauseKind::kDeadRows), HasSubstr("130 % of the live ones, 30 % more than there were"));
  // A vacuum ends, and from there it is counted anew.
  vacuum_.rows_dead = 50'000;
  EXPECT_EQ(pass(1s).wal_per_second, kUnlimited);
  vacuum_.rows_dead = 300'000;
  EXPECT_LT(pass(1s).wal_per_second, kOwn);
}

TEST_F(GuardsTest, NameTheHolderOfTheXminHorizon) {
  activity_.oldest_xmin_age = 1h;
  activity_.oldest_xmin_holder = "pid 4711 (psql, idle in transaction)";
  auto const verdict = pass(1s);
  EXPECT_TRUE(verdict.may_start);
  EXPECT_NEAR(verdict.wal_per_second, 0.3 * kOwn, 1);
  EXPECT_THAT(text_of(CauseKind::kXminHorizon), HasSubstr("pid 4711"));
}

TEST_F(GuardsTest, GoOnWithOneWorkerWhenConnectionsRunOut) {
  activity_.connections_free = 2;
  EXPECT_EQ(pass(1s).most_workers, 1);
  activity_.connections_free = 10;
  EXPECT_EQ(pass(1s).most_workers, kUnlimited);
}

TEST_F(GuardsTest, CancelWhomSomebodyWaitsForOnceAReading) {
  waiters_ = {{}, 2, 80ms, 4242, "pid 9 (app)"};
  auto const verdict = pass(250ms);
  EXPECT_THAT(verdict.cancel, ElementsAre(4242));
  EXPECT_EQ(verdict.batch_scale, 0.5);
  EXPECT_THAT(text_of(CauseKind::kLockWaiters), HasSubstr("pid 9 (app) waited 80 ms"));
  EXPECT_THAT(judge().cancel, IsEmpty());
  waiters_ = {};
  for (int time = 0; time < 100; ++time) pass(250ms);
  EXPECT_EQ(pass(250ms).batch_scale, 1);
  EXPECT_THAT(noted_, IsEmpty());
}

TEST_F(GuardsTest, LetAShortWaitBe) {
  waiters_ = {{}, 1, 50ms, 4242, ""};
  EXPECT_THAT(pass(250ms).cancel, IsEmpty());
}

TEST_F(GuardsTest, WarnOfRequestedCheckpointsOnly) {
  wal_.checkpoints_requested = 7;
  wal_.max_wal_size = std::uint64_t{1} << 30;
  EXPECT_TRUE(pass(1s).may_start);
  EXPECT_THAT(noted_, IsEmpty());
  wal_.checkpoints_requested = 8;
  auto const verdict = pass(1s);
  EXPECT_EQ(verdict.wal_per_second, kUnlimited);
  EXPECT_EQ(grip_of(CauseKind::kCheckpoints), Grip::kWarns);
  EXPECT_THAT(text_of(CauseKind::kCheckpoints), HasSubstr("max_wal_size is 1.07 GB"));
}

TEST_F(GuardsTest, TakeAnErrorOfAProbeForABadReading) {
  reading_.probes = {{"queue", {Sight::kSeen, 10, now_, ""}, 20}};
  EXPECT_TRUE(judge().may_start);
  reading_.probes[0].value.value = 21;
  EXPECT_FALSE(judge().may_start);
  EXPECT_THAT(text_of(CauseKind::kUserProbe), HasSubstr("probe queue is at 21 (20 allowed)"));
  reading_.probes[0].value = {Sight::kFailed, 0, now_, "connection refused"};
  EXPECT_TRUE(judge().may_start);
  EXPECT_EQ(grip_of(CauseKind::kUserProbe), Grip::kWarns);
  pass(70s);
  EXPECT_FALSE(judge().may_start);
  EXPECT_THAT(text_of(CauseKind::kUserProbe), HasSubstr("connection refused"));
}

TEST_F(GuardsTest, StopForAProbeThatNeverAnswered) {
  reading_.probes = {{"queue", {}, 20}};
  EXPECT_FALSE(judge().may_start);
}

TEST_F(GuardsTest, TellWhatTheyCannotSee) {
  reading_.activity.sight = Sight::kNoPrivilege;
  reading_.health.value.vacuum.sight = Sight::kUnsupported;
  EXPECT_TRUE(judge().may_start);
  EXPECT_EQ(noted_.size(), 2U);
  for (auto const& cause : noted_) {
    EXPECT_EQ(cause.kind, CauseKind::kBlind);
    EXPECT_EQ(cause.grip, Grip::kWarns);
  }
}

}  // namespace
}  // namespace pgbackfill::throttle
