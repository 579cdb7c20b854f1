#include "engine/tell/vital_signs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr VitalSigns::TimePoint kNow{5'000s};

VitalSigns signs_of(RunPhase phase, bool may_start = true) {
  VitalSigns signs;
  signs.beat_at = kNow;
  signs.progress_at = kNow;
  signs.progress.emplace();
  signs.progress->phase = phase;
  signs.progress->may_start = may_start;
  return signs;
}

TEST(VitalSigns, AreGoodWhileTheEnginesThreadBeats) {
  VitalSigns signs;
  signs.beat_at = kNow;
  EXPECT_TRUE(liveness(signs, kNow).is_good);
  EXPECT_TRUE(liveness(signs, kNow + kBeatAgeMax).is_good);
  auto const verdict = liveness(signs, kNow + 75s);
  EXPECT_FALSE(verdict.is_good);
  EXPECT_THAT(verdict.text, HasSubstr("1 min 15 s"));
}

TEST(VitalSigns, StayGoodWhileAJobIsPausedOrTheDatabaseAway) {
  auto signs = signs_of(RunPhase::kPaused, false);
  EXPECT_TRUE(liveness(signs, kNow).is_good);
  signs.progress_at = kNow - 1h;
  EXPECT_TRUE(liveness(signs, kNow).is_good);
}

TEST(VitalSigns, AreNotReadyBeforeThereIsAConnection) {
  EXPECT_FALSE(readiness(VitalSigns(), kNow).is_good);
  EXPECT_THAT(readiness(signs_of(RunPhase::kStarting), kNow).text, HasSubstr("not connected"));
  EXPECT_FALSE(readiness(signs_of(RunPhase::kStarting), kNow).is_good);
}

TEST(VitalSigns, AreReadyWhileBatchesMayStart) {
  for (auto const phase : {RunPhase::kBackfilling, RunPhase::kSweeping, RunPhase::kDeferred}) {
    EXPECT_TRUE(readiness(signs_of(phase), kNow).is_good);
  }
}

TEST(VitalSigns, AreReadyDuringAStepHoweverLongItTakes) {
  for (auto const phase : {RunPhase::kExpanding, RunPhase::kPlanning}) {
    EXPECT_TRUE(readiness(signs_of(phase, false), kNow + 10h).is_good);
  }
}

TEST(VitalSigns, SayWhyNoBatchMayStart) {
  auto signs = signs_of(RunPhase::kPaused, false);
  signs.progress->held_back = "paused: incident\n4711";
  auto const verdict = readiness(signs, kNow);
  EXPECT_FALSE(verdict.is_good);
  EXPECT_EQ(verdict.text, "paused: incident 4711");
  EXPECT_FALSE(readiness(signs_of(RunPhase::kBackfilling, false), kNow).text.empty());
}

TEST(VitalSigns, AreReadyWhenTheWorkIsOnlySlowed) {
  auto signs = signs_of(RunPhase::kBackfilling);
  signs.progress->held_back = "max_rows_per_second = 300";
  EXPECT_TRUE(readiness(signs, kNow).is_good);
}

TEST(VitalSigns, AreNotReadyWithoutFreshProgress) {
  auto const signs = signs_of(RunPhase::kBackfilling);
  EXPECT_TRUE(readiness(signs, kNow + kProgressAgeMax).is_good);
  auto const verdict = readiness(signs, kNow + 12s);
  EXPECT_FALSE(verdict.is_good);
  EXPECT_THAT(verdict.text, HasSubstr("12"));
}

TEST(VitalSigns, AreNotReadyAtTheEnd) {
  EXPECT_FALSE(readiness(signs_of(RunPhase::kDraining), kNow).is_good);
  EXPECT_FALSE(readiness(signs_of(RunPhase::kEnded), kNow).is_good);
}

}  // namespace
}  // namespace pgbackfill::engine
