// The throttle as a whole, reading by reading: what it says when it sees and when it does not.
#include "throttle/throttle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr auto kPeriod = 250ms;

// A server that is asked and answers at once, and the throttle that listens.
class ThrottleTest : public testing::Test {
 protected:
  // Until it has heard how fast a commit is.
  void SetUp() override {
    for (auto passed = 0ms; passed < 3s; passed += kPeriod) {
      pass(kPeriod);
      decide();
    }
  }

  ReplicaReading replica(std::string name, Lsn behind = 0) const {
    ReplicaReading reading;
    reading.name = std::move(name);
    reading.replayed = {Sight::kSeen, flushed_ - behind, now_, ""};
    reading.reply_age = {Sight::kSeen, 100ms, now_, ""};
    return reading;
  }

  void read_replication(std::vector<ReplicaReading> replicas) {
    reading_.replication = {Sight::kSeen, {now_, flushed_, std::move(replicas), timeline_}, now_, ""};
  }

  Decision decide() { return throttle_.decide(reading_, work_, now_); }

  // What every server tells: how long a commit takes, and no trouble.
  void read_the_rest() {
    reading_.canary = {Sight::kSeen, {now_, commit_}, now_, ""};
    reading_.waiters = {Sight::kSeen, {now_, 0, 0ms, 0, ""}, now_, ""};
    reading_.activity = {Sight::kSeen, {now_, active_, 50, {}, ""}, now_, ""};
    reading_.presence = {Sight::kSeen, {now_, active_, active_}, now_, ""};
    WalReading wal;
    wal.at = now_;
    wal.inserted = flushed_;
    reading_.wal = {Sight::kSeen, wal, now_, ""};
    HealthReading health;
    health.at = now_;
    reading_.slots = {Sight::kSeen, {now_, flushed_, {}}, now_, ""};
    health.archive = {Sight::kSeen, {}, now_, ""};
    health.vacuum = {Sight::kSeen, {}, now_, ""};
    health.wraparound_age = {Sight::kSeen, 0, now_, ""};
    reading_.health = {Sight::kSeen, health, now_, ""};
  }

  void pass(std::chrono::nanoseconds time, double wal_per_second = 10e6) {
    now_ += time;
    flushed_ += static_cast<Lsn>(wal_per_second * std::chrono::duration<double>(time).count());
    read_the_rest();
  }

  Cause const* cause(Decision const& decision, CauseKind kind) const {
    auto const found = std::find_if(decision.causes.begin(), decision.causes.end(),
                                    [kind](Cause const& each) { return each.kind == kind; });
    return found == decision.causes.end() ? nullptr : &*found;
  }

  // Readings of these replicas, `behind` them all, for so long.
  Decision watch(std::chrono::milliseconds time, std::vector<std::string> const& names, Lsn behind = 0) {
    Decision decision;
    for (auto passed = 0ms; passed < time; passed += kPeriod) {
      pass(kPeriod);
      std::vector<ReplicaReading> replicas;
      for (auto const& name : names) replicas.push_back(replica(name, behind));
      read_replication(std::move(replicas));
      decision = decide();
    }
    return decision;
  }

  Limits limits_;
  Throttle throttle_{limits_};
  Reading reading_;
  Work work_;
  TimePoint now_{100h};
  std::chrono::microseconds commit_{500};
  int active_ = 0;  // of the foreground
  Lsn flushed_ = 1'000'000'000'000;
  std::uint32_t timeline_ = 1;
};

TEST_F(ThrottleTest, WaitsUntilReplicationWasRead) {
  auto const decision = decide();
  EXPECT_FALSE(decision.may_start);
  ASSERT_NE(cause(decision, CauseKind::kBlind), nullptr);
  EXPECT_THAT(cause(decision, CauseKind::kBlind)->text, HasSubstr("not read yet"));
}

TEST_F(ThrottleTest, IsUnlimitedWithoutReplicas) {
  auto const decision = watch(1s, {});
  EXPECT_TRUE(decision.may_start);
  EXPECT_EQ(decision.wal_per_second, kUnlimited);
  EXPECT_TRUE(decision.causes.empty());
}

TEST_F(ThrottleTest, StartsLowWithAReplica) {
  auto const decision = watch(1s, {"db-2"});
  EXPECT_TRUE(decision.may_start);
  EXPECT_LT(decision.wal_per_second, 20e6);
}

TEST_F(ThrottleTest, StopsWhenAReplicaIsTooFarBehind) {
  watch(10s, {"db-2"});
  auto const decision = watch(1s, {"db-2"}, 30'000'000);
  EXPECT_FALSE(decision.may_start);
  auto const* lag = cause(decision, CauseKind::kReplicaLag);
  ASSERT_NE(lag, nullptr);
  EXPECT_EQ(lag->grip, Grip::kStops);
  EXPECT_EQ(lag->text, "replica db-2 is 3.00 s behind (2.00 s allowed)");
  EXPECT_EQ(lag->since, now_ - 750ms);
  EXPECT_TRUE(watch(1s, {"db-2"}, 0).may_start);
}

TEST_F(ThrottleTest, TakesNoUnseenPositionForNoLag) {
  watch(2s, {"db-2"});
  for (auto const sight : {Sight::kNull, Sight::kMissing, Sight::kFailed, Sight::kNeverSampled}) {
    Decision decision;
    for (int time = 0; time < 40; ++time) {
      pass(kPeriod);
      auto blind = replica("db-2");
      blind.replayed.sight = sight;
      read_replication({blind});
      decision = decide();
    }
    EXPECT_FALSE(decision.may_start);
    ASSERT_NE(cause(decision, CauseKind::kBlind), nullptr);
    EXPECT_THAT(cause(decision, CauseKind::kBlind)->text, HasSubstr("replica db-2 has told nothing for 10"));
    EXPECT_TRUE(watch(2s, {"db-2"}).may_start);
  }
}

TEST_F(ThrottleTest, SlowsDownThenStopsWhenReadingsStopComing) {
  work_.wal_bytes = 1e6;
  watch(5s, {"db-2"});
  pass(2'500ms);
  auto const slowed = decide();
  EXPECT_TRUE(slowed.may_start);
  EXPECT_LT(slowed.wal_per_second, 4e6);
  ASSERT_NE(cause(slowed, CauseKind::kBlind), nullptr);
  pass(2'700ms);
  auto const stopped = decide();
  EXPECT_FALSE(stopped.may_start);
  EXPECT_EQ(cause(stopped, CauseKind::kBlind)->since, slowed.at);
}

TEST_F(ThrottleTest, DoesNotBlockAServerWhoseReplicasItMayNotSee) {
  reading_.replication.sight = Sight::kNoPrivilege;
  auto decision = decide();
  EXPECT_TRUE(decision.may_start);
  ASSERT_NE(cause(decision, CauseKind::kBlind), nullptr);
  EXPECT_EQ(cause(decision, CauseKind::kBlind)->grip, Grip::kWarns);
  EXPECT_THAT(cause(decision, CauseKind::kBlind)->text, HasSubstr("pg_monitor"));

  limits_.must_see_replicas = true;
  throttle_.set_limits(limits_);
  decision = decide();
  EXPECT_FALSE(decision.may_start);
  EXPECT_EQ(cause(decision, CauseKind::kBlind)->grip, Grip::kStops);
}

TEST_F(ThrottleTest, WaitsForAVanishedReplicaAndThenObeysThePolicy) {
  watch(2s, {"db-2", "db-3"});
  auto decision = watch(10s, {"db-2"});
  EXPECT_FALSE(decision.may_start);
  EXPECT_THAT(cause(decision, CauseKind::kReplicaMissing)->text, HasSubstr("db-3 has been gone for"));
  decision = watch(25s, {"db-2"});
  EXPECT_TRUE(decision.may_start) << "nobody asked for it";
  EXPECT_EQ(cause(decision, CauseKind::kReplicaMissing)->grip, Grip::kWarns);

  limits_.replicas = {"db-2", "db-3"};
  throttle_.set_limits(limits_);
  decision = watch(1s, {"db-2"});
  EXPECT_FALSE(decision.may_start);
  EXPECT_FALSE(decision.must_stop);
  limits_.replicas.clear();
  limits_.missing_replica = MissingReplica::kPause;
  throttle_.set_limits(limits_);
  EXPECT_FALSE(watch(1s, {"db-2"}).may_start);

  limits_.missing_replica = MissingReplica::kAbort;
  throttle_.set_limits(limits_);
  EXPECT_TRUE(watch(1s, {"db-2"}).must_stop);
  limits_.missing_replica = MissingReplica::kIgnore;
  throttle_.set_limits(limits_);
  decision = watch(1s, {"db-2"});
  EXPECT_TRUE(decision.may_start);
  EXPECT_EQ(cause(decision, CauseKind::kReplicaMissing)->grip, Grip::kWarns);
  EXPECT_EQ(cause(watch(1s, {"db-2", "db-3"}), CauseKind::kReplicaMissing), nullptr);
}

// One of those that were there is the primary now; and it is not known which.
TEST_F(ThrottleTest, AfterAFailOverNobodyIsMissed) {
  watch(2s, {"db-2", "db-3"});
  timeline_ = 2;
  auto decision = watch(1s, {"db-3"});
  EXPECT_EQ(cause(decision, CauseKind::kReplicaMissing), nullptr);
  EXPECT_TRUE(decision.may_start);
  decision = watch(1s, {});
  EXPECT_FALSE(decision.may_start) << "db-3 was seen on the new primary";
}

TEST_F(ThrottleTest, WaitsForExpectedReplicasFromTheStart) {
  limits_.expected_replicas = 2;
  throttle_.set_limits(limits_);
  auto const decision = watch(2s, {"db-2"});
  EXPECT_FALSE(decision.may_start);
  EXPECT_THAT(cause(decision, CauseKind::kReplicaMissing)->text, HasSubstr("1 of 2 expected"));
  EXPECT_TRUE(watch(1s, {"db-2", "db-3"}).may_start);
}

TEST_F(ThrottleTest, WaitsForNamedReplicasAndForNoOthers) {
  limits_.replicas = {"db-2"};
  throttle_.set_limits(limits_);
  EXPECT_FALSE(watch(2s, {"db-3"}).may_start);
  EXPECT_TRUE(watch(2s, {"db-2", "db-3"}).may_start);
  EXPECT_TRUE(watch(2s, {"db-2"}).may_start);
}

TEST_F(ThrottleTest, DoesNotWaitForAReplicaThatJoins) {
  watch(1s, {"db-2"});
  pass(kPeriod);
  auto joining = replica("db-9", 900'000'000);
  joining.state = ReplicaState::kJoining;
  read_replication({replica("db-2"), joining});
  auto const decision = decide();
  EXPECT_TRUE(decision.may_start);
  ASSERT_NE(cause(decision, CauseKind::kReplicaJoining), nullptr);
  EXPECT_EQ(cause(decision, CauseKind::kReplicaJoining)->grip, Grip::kWarns);
}

TEST_F(ThrottleTest, SubtractsTheDelayThatAReplicaIsMeantToHave) {
  watch(8s, {"db-2"});
  pass(kPeriod);
  auto delayed = replica("db-2", 60'000'000);  // six seconds
  delayed.apply_delay = 5s;
  read_replication({delayed});
  EXPECT_TRUE(decide().may_start);
  pass(kPeriod);
  delayed.apply_delay = 3s;
  delayed.replayed.value = flushed_ - 60'000'000;
  read_replication({delayed});
  EXPECT_FALSE(decide().may_start);
}

TEST_F(ThrottleTest, IgnoresReceiversAndIgnoredReplicas) {
  limits_.ignore_replicas = {"slow"};
  throttle_.set_limits(limits_);
  for (int time = 0; time < 20; ++time) {
    pass(kPeriod);
    auto receiver = replica("pg_receivewal");
    receiver.state = ReplicaState::kReceiver;
    receiver.replayed.sight = Sight::kNull;
    read_replication({receiver, replica("slow", 900'000'000)});
    EXPECT_TRUE(decide().may_start);
  }
}

TEST_F(ThrottleTest, SlowCommitsHoldNothingBackWhileNobodyElseWorks) {
  watch(5s, {});
  work_ = {10'000, 10'000, 1, 6e6, 2, 2, 2};
  commit_ = 5ms;
  auto const decision = watch(30s, {});
  EXPECT_TRUE(decision.may_start);
  EXPECT_EQ(decision.workers, kUnlimited);
  EXPECT_EQ(decision.longest_batch, kAnyLength);
  EXPECT_FALSE(decision.is_beside_others);
  EXPECT_TRUE(decision.causes.empty());
}

TEST_F(ThrottleTest, WhoComesFindsNoBatchAndThenFewSmallOnes) {
  watch(5s, {});
  work_ = {10'000, 10'000, 1, 6e6, 2, 2, 2};
  commit_ = 5ms;
  watch(30s, {});
  active_ = 5;
  work_ = {0, 0, 0, 0, 0, 0, 2};
  EXPECT_TRUE(watch(kPeriod, {}).is_listening);
  auto const decision = watch(4s, {});
  EXPECT_TRUE(decision.may_start);
  EXPECT_LT(decision.workers, 1);
  EXPECT_LT(decision.longest_batch, 10ms);
  EXPECT_TRUE(decision.is_beside_others);
}

TEST_F(ThrottleTest, WhoComesChangesNothingInModeObserve) {
  limits_.mode = Mode::kObserve;
  throttle_.set_limits(limits_);
  watch(5s, {});
  active_ = 5;
  auto const decision = watch(2s, {});
  EXPECT_TRUE(decision.may_start);
  EXPECT_FALSE(decision.is_beside_others);
  EXPECT_EQ(decision.longest_batch, kAnyLength);
  ASSERT_TRUE(decision.withheld);
  EXPECT_LT(decision.withheld->longest_batch, 10ms);
}

TEST_F(ThrottleTest, SharesWithJobsOfOtherDatabasesByWeight) {
  work_.wal_bytes = 100e6;
  work_.wanted = 4;
  watch(2s, {"db-2"});
  double const alone = decide().wal_per_second;
  NeighbourReading const elsewhere{"prices", 0.25, 0, kUnlimited, 0, 4, "shop"};
  reading_.elsewhere = {Sight::kSeen, {elsewhere}, now_, ""};
  auto const shared = decide();
  EXPECT_DOUBLE_EQ(shared.wal_per_second, alone / 1.25);
  ASSERT_NE(cause(shared, CauseKind::kSharing), nullptr);
  EXPECT_THAT(cause(shared, CauseKind::kSharing)->text, HasSubstr("of WAL; 1 other job is running, in database shop"));
  NeighbourReading const here{"users", 0.75, 0, kUnlimited, 0, 4};
  reading_.neighbours = {Sight::kSeen, {here}, now_, ""};
  auto const of_three = decide();
  EXPECT_DOUBLE_EQ(of_three.wal_per_second, alone / 2);
  EXPECT_THAT(cause(of_three, CauseKind::kSharing)->text,
              HasSubstr("2 other jobs are running, 1 of them in database shop"));
  // Not heard of any more.
  reading_.elsewhere.sight = Sight::kFailed;
  EXPECT_DOUBLE_EQ(decide().wal_per_second, alone / 1.75);
}

TEST_F(ThrottleTest, WhoHasNotBegunHasAPartOfItsOwn) {
  work_.wanted = 4;
  watch(4s, {"db-2"});
  NeighbourReading const elsewhere{"prices", 1, 0, kUnlimited, 0, 4, "shop"};
  double const alone = decide().wal_per_second;
  reading_.elsewhere = {Sight::kSeen, {elsewhere}, now_, ""};
  auto const shared = decide();
  EXPECT_DOUBLE_EQ(shared.wal_per_second, alone / 2);
  EXPECT_EQ(cause(shared, CauseKind::kSharing), nullptr) << "it uses nothing of it";
}

TEST_F(ThrottleTest, HoldsTheCeilingOfTheOperator) {
  limits_.max_wal_per_second = 3'000'000;
  throttle_.set_limits(limits_);
  work_.wal_bytes = 3e6 * 0.25;
  auto const decision = watch(4s, {});
  EXPECT_EQ(decision.wal_per_second, 3e6);
  ASSERT_NE(cause(decision, CauseKind::kWalRate), nullptr);
  EXPECT_THAT(cause(decision, CauseKind::kWalRate)->text, HasSubstr("3 MB/s"));
}

TEST_F(ThrottleTest, DecidesButDoesNotActWhenItObserves) {
  limits_.mode = Mode::kObserve;
  throttle_.set_limits(limits_);
  auto decision = watch(10s, {"db-2"}, 30'000'000);
  EXPECT_TRUE(decision.may_start);
  EXPECT_EQ(decision.wal_per_second, kUnlimited);
  ASSERT_TRUE(decision.withheld.has_value());
  EXPECT_FALSE(decision.withheld->may_start);
  EXPECT_NE(cause(decision, CauseKind::kReplicaLag), nullptr);
}

TEST_F(ThrottleTest, WaitsForSlotsToBeReadAlsoWhenItIsOff) {
  limits_.mode = Mode::kOff;
  throttle_ = Throttle(limits_);
  reading_.slots = {};
  auto const decision = decide();
  EXPECT_FALSE(decision.may_start);
  EXPECT_TRUE(decision.must_rest);
  ASSERT_NE(cause(decision, CauseKind::kBlind), nullptr);
  EXPECT_TRUE(watch(250ms, {}).may_start);
}

TEST_F(ThrottleTest, IsOffWhenItIsOff) {
  limits_.mode = Mode::kOff;
  throttle_.set_limits(limits_);
  auto const decision = decide();
  EXPECT_TRUE(decision.may_start);
  EXPECT_EQ(decision.wal_per_second, kUnlimited);
  EXPECT_TRUE(decision.causes.empty());
  EXPECT_FALSE(decision.withheld.has_value());
}

}  // namespace
}  // namespace pgbackfill::throttle
