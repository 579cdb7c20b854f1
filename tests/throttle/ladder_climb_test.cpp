#include "throttle/ladder_climb.h"

#include <gtest/gtest.h>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kBegan{};

ClimbTerms brief() {
  ClimbTerms terms;
  terms.patience = 60s;
  return terms;
}

TEST(LadderClimb, TriesOneRungAfterTheOther) {
  LadderClimb climb(brief(), kBegan);
  for (int attempt = 0; attempt < 20; ++attempt) {
    auto const next = climb.next(kBegan + 1s, {});
    ASSERT_EQ(next.kind, Climb::kTry);
    auto const rung = ladder_rung(attempt, {});
    EXPECT_EQ(next.rung.is_nowait, rung.is_nowait);
    EXPECT_EQ(next.rung.lock_timeout, rung.lock_timeout);
    auto const after = climb.failed({FailedAttempt::kNoLock}, 0.5);
    EXPECT_EQ(after.kind, AfterAttempt::kAgain);
    EXPECT_EQ(after.pause, ladder_pause(attempt, rung, 0.5));
    EXPECT_EQ(climb.attempts(), attempt + 1);
  }
}

TEST(LadderClimb, NoAttemptBeginsAfterItsPatienceIsOver) {
  LadderClimb climb(brief(), kBegan);
  EXPECT_EQ(climb.next(kBegan + 60s, {}).kind, Climb::kTry);
  EXPECT_EQ(climb.next(kBegan + 60s + 1ms, {}).kind, Climb::kGiveUp);
  EXPECT_EQ(climb.next(kBegan + 61s, {false, true}).kind, Climb::kGiveUp);
  EXPECT_EQ(climb.attempts(), 1);
}

TEST(LadderClimb, LetsAVacuumBeThatPreventsWraparoundAndCountsNoAttempt) {
  LadderClimb climb(brief(), kBegan);
  auto const next = climb.next(kBegan, {true, true});
  EXPECT_EQ(next.kind, Climb::kLetBe);
  EXPECT_GE(next.pause, 1s);
  EXPECT_EQ(climb.attempts(), 0);
  EXPECT_TRUE(climb.next(kBegan + 5s, {}).rung.is_nowait);
}

TEST(LadderClimb, WaitsLongerThanDeadlockTimeoutForAutovacuumToGiveWay) {
  LadderClimb climb(brief(), kBegan);
  auto const rung = climb.next(kBegan, {true, false}).rung;
  EXPECT_FALSE(rung.is_nowait);
  EXPECT_GT(rung.lock_timeout, 1000ms);
}

TEST(LadderClimb, WhatLocksByItselfIsNeverToldNowait) {
  auto terms = brief();
  terms.can_say_nowait = false;
  LadderClimb climb(terms, kBegan);
  auto const rung = climb.next(kBegan, {}).rung;
  EXPECT_FALSE(rung.is_nowait);
  EXPECT_GT(rung.lock_timeout, 0ms);
}

struct Case {
  FailedAttempt attempt;
  AfterAttempt::Kind when_brief;
  AfterAttempt::Kind when_patient;
};

TEST(LadderClimb, WhatFollowsDependsOnHowTheAttemptFailed) {
  for (auto const& [attempt, when_brief, when_patient] :
       {Case{{FailedAttempt::kNoConnection}, AfterAttempt::kLost, AfterAttempt::kLost},
        Case{{FailedAttempt::kOther}, AfterAttempt::kFailed, AfterAttempt::kFailed},
        Case{{FailedAttempt::kNoLock}, AfterAttempt::kAgain, AfterAttempt::kAgain},
        Case{{FailedAttempt::kNoLock, false, true}, AfterAttempt::kAgain, AfterAttempt::kAgain},
        Case{{FailedAttempt::kShortage}, AfterAttempt::kAgain, AfterAttempt::kAgain},
        Case{{FailedAttempt::kCancelled}, AfterAttempt::kCancelled, AfterAttempt::kCancelled},
        Case{{FailedAttempt::kCancelled, true, false}, AfterAttempt::kTookTooLong, AfterAttempt::kAgain},
        Case{{FailedAttempt::kCancelled, true, true}, AfterAttempt::kStopped, AfterAttempt::kStopped},
        Case{{FailedAttempt::kCancelled, false, true}, AfterAttempt::kStopped, AfterAttempt::kStopped}}) {
    for (bool const is_brief : {true, false}) {
      auto terms = brief();
      terms.is_brief = is_brief;
      LadderClimb climb(terms, kBegan);
      climb.next(kBegan, {});
      EXPECT_EQ(climb.failed(attempt, 0).kind, is_brief ? when_brief : when_patient)
          << "kind " << attempt.kind << ", cut off " << attempt.is_cut_off << ", stop " << attempt.is_stop_requested;
    }
  }
}

}  // namespace
}  // namespace pgbackfill::throttle
