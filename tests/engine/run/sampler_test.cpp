#include "engine/run/sampler.h"

#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using Due = Sampler::Due;
using throttle::Sight;
using TimePoint = Sampler::TimePoint;

TimePoint const kStart{std::chrono::hours(1)};

throttle::Reading reading_at(TimePoint at, throttle::Lsn flushed, throttle::Lsn replayed, int waiters) {
  throttle::Reading reading;
  throttle::ReplicaReading replica;
  replica.name = "db-2";
  replica.replayed = {Sight::kSeen, replayed, at, ""};
  throttle::ReplicaReading unseen;
  unseen.name = "db-3";
  reading.replication = {Sight::kSeen, {at, flushed, {replica, unseen}}, at, ""};
  reading.waiters = {Sight::kSeen, {at, waiters, 10ms, 0, "a clerk"}, at, ""};
  return reading;
}

TEST(Sampler, IsDueAtOnceThenEveryFiveSecondsAndAtEveryTurn) {
  Sampler sampler;
  EXPECT_EQ(sampler.due(RunPhase::kBackfilling, kStart), Due::kAtTurn);
  sampler.take(RunPhase::kBackfilling, kStart);
  EXPECT_EQ(sampler.due(RunPhase::kBackfilling, kStart + 4'999ms), Due::kNo);
  EXPECT_EQ(sampler.due(RunPhase::kBackfilling, kStart + 5s), Due::kInTurn);
  EXPECT_EQ(sampler.due(RunPhase::kPaused, kStart + 1s), Due::kAtTurn);
  sampler.take(RunPhase::kPaused, kStart + 1s);
  EXPECT_EQ(sampler.due(RunPhase::kPaused, kStart + 60s), Due::kNo) << "a pause has little to tell";
  EXPECT_EQ(sampler.due(RunPhase::kPaused, kStart + 61s), Due::kInTurn);
  EXPECT_EQ(sampler.due(RunPhase::kBackfilling, kStart + 2s), Due::kAtTurn);
  EXPECT_EQ(sampler.due(RunPhase::kBackfilling, kStart + 1'500ms), Due::kNo) << "phases may change to and fro";
  EXPECT_EQ(sampler.due(RunPhase::kEnded, kStart + 1'500ms), Due::kAtTurn);
}

TEST(Sampler, ARowIsOfThePhaseThatEndsWithIt) {
  Sampler sampler;
  EXPECT_EQ(sampler.take(RunPhase::kBackfilling, kStart).phase, "backfill");
  EXPECT_EQ(sampler.take(RunPhase::kPaused, kStart + 3s).phase, "backfill");
  EXPECT_EQ(sampler.take(RunPhase::kBackfilling, kStart + 20s).phase, "paused");
  EXPECT_EQ(sampler.take(RunPhase::kEnded, kStart + 22s).phase, "backfill");
}

TEST(Sampler, KeepsTheWorstOfWhatOthersFelt) {
  Sampler sampler;
  sampler.take(RunPhase::kBackfilling, kStart);
  sampler.see(reading_at(kStart, 1'000, 1'000, 0), 1.1);
  sampler.see(reading_at(kStart + 1s, 2'000, 1'000, 3), 2.5);
  sampler.see(reading_at(kStart + 3s, 3'000, 1'000, 1), 1.2);
  sampler.see(reading_at(kStart + 4s, 3'000, 3'000, 0), std::nullopt);
  auto const sample = sampler.take(RunPhase::kBackfilling, kStart + 5s);
  EXPECT_EQ(sample.took, 5'000ms);
  EXPECT_EQ(sample.waiters, 3);
  EXPECT_EQ(sample.latency_ratio, 2.5);
  ASSERT_EQ(sample.lag_ms.size(), 1U) << "a position that is not shown is no lag of zero";
  EXPECT_EQ(sample.lag_ms.at("db-2"), 3'000) << "what it lacks may be as old as that";
  auto const next = sampler.take(RunPhase::kBackfilling, kStart + 10s);
  EXPECT_TRUE(next.lag_ms.empty());
  EXPECT_EQ(next.waiters, 0);
  EXPECT_FALSE(next.latency_ratio);
}

TEST(Sampler, CountsTheTimeThatEachCauseHeld) {
  Sampler sampler;
  sampler.take(RunPhase::kBackfilling, kStart);
  sampler.see_held({}, "", kStart);
  sampler.see_held({"replica_lag"}, "replica db-2 is 4 s behind", kStart + 1s);
  sampler.see_held({"replica_lag", "utilization"}, "replica db-2 is 5 s behind", kStart + 3s);
  sampler.see_held({}, "", kStart + 4s);
  auto const sample = sampler.take(RunPhase::kBackfilling, kStart + 5s);
  EXPECT_EQ(sample.held_ms.at("replica_lag"), 3'000);
  EXPECT_EQ(sample.held_ms.at("utilization"), 2'000);
  EXPECT_EQ(sample.held_by, "replica db-2 is 5 s behind");
}

TEST(Sampler, AProcessThatStoodStillHeldNobodyBackMeanwhile) {
  Sampler sampler;
  sampler.take(RunPhase::kBackfilling, kStart);
  sampler.see_held({}, "", kStart);
  sampler.see_held({"archive"}, "the archive is behind", kStart + 1h);
  EXPECT_EQ(sampler.take(RunPhase::kBackfilling, kStart + 1h).held_ms.at("archive"), 5'000);
}

TEST(Sampler, TellsTheMeanOfTheBatches) {
  Sampler sampler;
  sampler.take(RunPhase::kBackfilling, kStart);
  EXPECT_FALSE(sampler.take(RunPhase::kBackfilling, kStart + 5s).batch_rows);
  sampler.see_batch(100, 10ms);
  sampler.see_batch(300, 30ms);
  auto const sample = sampler.take(RunPhase::kBackfilling, kStart + 10s);
  EXPECT_EQ(sample.batch_rows, 200);
  EXPECT_EQ(sample.batch_duration, 20ms);
}

TEST(Sampler, BoundsWhatCameFromOutside) {
  Sampler sampler;
  sampler.take(RunPhase::kBackfilling, kStart);
  std::string text;
  while (text.size() < 10'000) text += "é";
  sampler.see_held({"user_probe"}, text, kStart);
  throttle::Reading reading = reading_at(kStart, 10, 10, 0);
  for (int number = 0; number < 500; ++number) {
    auto replica = reading.replication.value.replicas.front();
    replica.name = "replica " + std::to_string(number);
    reading.replication.value.replicas.push_back(replica);
  }
  sampler.see(reading, std::nullopt);
  auto const sample = sampler.take(RunPhase::kBackfilling, kStart + 5s);
  EXPECT_EQ(sample.held_by.size(), 303U);
  EXPECT_EQ(sample.held_by.substr(296), "éé...") << "no letter is cut in two";
  EXPECT_EQ(sample.lag_ms.size(), 32U);
}

TEST(Sampler, HasAWordForEveryPhaseOfWork) {
  EXPECT_STREQ(sample_phase(RunPhase::kBackfilling), "backfill");
  EXPECT_STREQ(sample_phase(RunPhase::kOutsideWindow), "window");
  EXPECT_STREQ(sample_phase(RunPhase::kEnded), "ended");
}

}  // namespace
}  // namespace pgbackfill::engine
