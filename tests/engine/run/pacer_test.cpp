#include "engine/run/pacer.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using throttle::Sight;
using TimePoint = throttle::TimePoint;

// Shows what a test says it shows.
class ScriptedHealth : public Health {
 public:
  void start() override {}
  void stop() override {}
  throttle::Reading const& reading() const override { return reading_; }
  void set_own_sessions(std::vector<int>) override {}
  void set_batches_running(bool are_running) override { batches_running = are_running; }
  void set_listening(bool /*is_listening*/) override {}
  void set_limits(throttle::Limits const& limits) override { limits_seen = limits; }
  void announce(throttle::NeighbourReading const&) override {}

  // A primary at `flushed` with one replica that has replayed so much of it.
  void see_replica(throttle::Lsn flushed, throttle::Lsn replayed, TimePoint now) {
    throttle::ReplicaReading replica;
    replica.name = "db-2";
    replica.replayed = {Sight::kSeen, replayed, now, ""};
    replica.reply_age = {Sight::kSeen, 10ms, now, ""};
    reading_.replication = {Sight::kSeen, {now, flushed, {replica}}, now, ""};
    see_no_trouble(now);
  }

  // Commits of half a millisecond, and nothing that a guard would mind.
  void see_no_trouble(TimePoint now) {
    reading_.canary = {Sight::kSeen, {now, 500us}, now, ""};
    reading_.slots = {Sight::kSeen, {now, 0, {}}, now, ""};
    throttle::HealthReading health;
    health.at = now;
    health.archive = {Sight::kSeen, {}, now, ""};
    health.vacuum = {Sight::kSeen, {}, now, ""};
    health.wraparound_age = {Sight::kSeen, 0, now, ""};
    reading_.health = {Sight::kSeen, health, now, ""};
  }

  throttle::Limits limits_seen;
  bool batches_running = false;

 private:
  throttle::Reading reading_;
};

TimePoint const kStart{std::chrono::hours(1)};

TEST(Pacer, WithoutReadingsNothingIsHeldButTheCeilingInRows) {
  Pacer pacer({}, nullptr);
  EXPECT_EQ(pacer.decide(2, kStart), nullptr);
  pacer.join(0);
  EXPECT_EQ(pacer.wait_before_batch(0, kStart), 0ns);
  EXPECT_EQ(pacer.most_rows(5'000), 5'000);
  pacer.set_row_limit(1'000);
  EXPECT_EQ(pacer.most_rows(5'000), 1'000);
  pacer.batch_started(0, 1'000, kStart);
  EXPECT_GT(pacer.wait_before_batch(0, kStart), 0ns);
  EXPECT_EQ(pacer.wait_before_batch(0, kStart + 2s), 0ns);
  EXPECT_TRUE(pacer.held_back().empty());
}

TEST(Pacer, BeforeTheFirstDecisionAndAfterALongSilenceNoBatchStarts) {
  ScriptedHealth health;
  Pacer pacer({}, &health);
  EXPECT_FALSE(pacer.wait_before_batch(0, kStart).has_value());
  health.see_replica(1'000'000, 1'000'000, kStart);
  pacer.decide(1, kStart);
  ASSERT_FALSE(pacer.is_blind(kStart));
  EXPECT_TRUE(pacer.is_blind(kStart + 1min));
  EXPECT_FALSE(pacer.wait_before_batch(0, kStart + 1min).has_value());
}

TEST(Pacer, TheWalOfBatchesIsChargedAgainstTheCeiling) {
  ScriptedHealth health;
  throttle::Limits limits;
  limits.max_wal_per_second = 1'000'000;
  limits.mode = throttle::Mode::kOn;
  Pacer pacer(limits, &health);
  EXPECT_EQ(health.limits_seen.max_wal_per_second, limits.max_wal_per_second);
  // The throttle listens to a few commits first.
  auto now = kStart;
  for (int step = 0; step < 20; ++step) {
    now += 250ms;
    health.see_replica(1'000'000, 1'000'000, now);
    pacer.decide(1, now);
  }
  pacer.join(0);
  ASSERT_EQ(pacer.wait_before_batch(0, now), 0ns);
  pacer.batch_started(0, 1'000'000, now);  // hundreds of megabytes, whatever a row is taken to cost
  EXPECT_GT(pacer.wait_before_batch(0, now), 10s);
  EXPECT_LT(pacer.most_rows(1'000'000), 1'000'000);
}

TEST(Pacer, RowsThatABatchDidNotChangeAreGivenBack) {
  ScriptedHealth health;
  throttle::Limits limits;
  limits.max_wal_per_second = 1'000'000;
  Pacer pacer(limits, &health);
  auto now = kStart;
  for (int step = 0; step < 20; ++step) {
    now += 250ms;
    health.see_replica(1'000'000, 1'000'000, now);
    pacer.decide(1, now);
  }
  pacer.join(0);
  pacer.batch_started(0, 1'000'000, now);
  ASSERT_GT(pacer.wait_before_batch(0, now), 10s);
  pacer.batch_ended(0, 1'000'000, 10, now);
  EXPECT_LT(pacer.wait_before_batch(0, now), 10ms);
  auto const told = pacer.decide(1, now);
  EXPECT_EQ(told->work.rows, 1'000'000);
  EXPECT_EQ(told->work.rows_changed, 10);
  EXPECT_LT(told->work.wal_bytes, 100'000);
}

TEST(Pacer, ADecisionIsToldWithWhatItWasMadeOf) {
  ScriptedHealth health;
  Pacer pacer({}, &health);
  health.see_replica(1'000'000, 1'000'000, kStart);
  pacer.decide(2, kStart);
  pacer.batch_started(0, 500, kStart);
  pacer.batch_started(1, 700, kStart + 10ms);
  pacer.batch_ended(0, 500, 500, kStart + 90ms);
  health.see_replica(1'100'000, 1'100'000, kStart + 200ms);
  auto const told = pacer.decide(2, kStart + 200ms);
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->work.rows, 1'200);
  EXPECT_EQ(told->work.batches, 1);
  EXPECT_EQ(told->work.in_flight, 1);
  EXPECT_EQ(told->work.wanted, 2);
  EXPECT_TRUE(health.batches_running);
  EXPECT_EQ(told->reading.replication.value.flushed, 1'100'000U);
  // Counted once.
  EXPECT_EQ(pacer.decide(2, kStart + 400ms)->work.rows, 0);
}

TEST(Pacer, AReplicaFarBehindStopsTheWorkAndIsNamed) {
  ScriptedHealth health;
  Pacer pacer({}, &health);
  auto now = kStart;
  throttle::Lsn flushed = 1'000'000;
  // The replica stands still while the primary writes on.
  for (int step = 0; step < 100; ++step, now += 250ms, flushed += 5'000'000) {
    health.see_replica(flushed, 1'000'000, now);
    pacer.decide(2, now);
  }
  EXPECT_FALSE(pacer.wait_before_batch(0, now).has_value());
  EXPECT_NE(pacer.held_back().find("db-2"), std::string::npos) << pacer.held_back();
  ASSERT_TRUE(pacer.time_held().contains(throttle::CauseKind::kReplicaLag));
  EXPECT_GT(pacer.time_held().at(throttle::CauseKind::kReplicaLag), 10s);
}

TEST(Pacer, InObserveModeItIsNamedButNothingStops) {
  ScriptedHealth health;
  throttle::Limits limits;
  limits.mode = throttle::Mode::kObserve;
  Pacer pacer(limits, &health);
  auto now = kStart;
  throttle::Lsn flushed = 1'000'000;
  for (int step = 0; step < 100; ++step, now += 250ms, flushed += 5'000'000) {
    health.see_replica(flushed, 1'000'000, now);
    pacer.decide(2, now);
  }
  EXPECT_EQ(pacer.wait_before_batch(0, now - 250ms), 0ns);
  EXPECT_NE(pacer.held_back().find("db-2"), std::string::npos) << pacer.held_back();
}

TEST(Pacer, AGrowingTableHoldsWorkersBackWithoutAHealthToo) {
  Pacer pacer({}, nullptr);
  pacer.join(0);
  pacer.join(1);
  pacer.set_growth({0.5, false, "vacuum of users is at work"}, kStart);
  EXPECT_EQ(pacer.wait_before_batch(0, kStart), 0ns);
  EXPECT_FALSE(pacer.wait_before_batch(1, kStart).has_value());
  EXPECT_EQ(pacer.held_back(), "vacuum of users is at work");
  pacer.set_growth({0, false, "vacuum of users is at work"}, kStart);
  EXPECT_FALSE(pacer.wait_before_batch(0, kStart).has_value());
  pacer.set_growth({}, kStart);
  EXPECT_EQ(pacer.wait_before_batch(1, kStart), 0ns);
  EXPECT_TRUE(pacer.held_back().empty());
}

TEST(Pacer, AGrowingTableIsACauseOfTheDecisionAndItsTimeIsCounted) {
  ScriptedHealth health;
  Pacer pacer({}, &health);
  health.see_replica(1'000'000, 1'000'000, kStart);
  pacer.set_growth({0, false, "vacuum of users is at work"}, kStart);
  auto const told = pacer.decide(1, kStart);
  // Not alone: of all else there are no readings here.
  auto const& causes = told->decision.causes;
  auto const found = std::find_if(causes.begin(), causes.end(), [](throttle::Cause const& cause) {
    return cause.kind == throttle::CauseKind::kBloat;
  });
  ASSERT_NE(found, causes.end());
  EXPECT_EQ(found->grip, throttle::Grip::kStops);
  pacer.decide(1, kStart + 2s);
  EXPECT_EQ(pacer.time_held().at(throttle::CauseKind::kBloat), 2s);
  // What only warns holds nobody.
  pacer.set_growth({1, true, "vacuum cannot free old rows"}, kStart + 2s);
  pacer.decide(1, kStart + 2s);
  pacer.decide(1, kStart + 4s);
  EXPECT_FALSE(pacer.time_held().contains(throttle::CauseKind::kXminHorizon));
}

}  // namespace
}  // namespace pgbackfill::engine
