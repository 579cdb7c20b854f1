#include "throttle/vacuum_debt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "throttle/decision.h"

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::uint64_t kMebi = std::uint64_t{1} << 20;
constexpr double kBudget = 0.2;

// A packed table of 1 000 000 rows and 1 GiB, with the first 1 000 000 transactions behind it.
class Table {
 public:
  Table() : Table(1'000'000) {}
  explicit Table(std::int64_t rows) : debt("users", 1'024 * kMebi, rows) { see(); }

  void see() { debt.see(reading); }
  // Changes this share of the rows; all new versions go to the end of the file.
  void change(double share) {
    reading.rows_changed += static_cast<std::int64_t>(share * 1e6);
    reading.bytes += static_cast<std::uint64_t>(share * 1'024 * kMebi);
    reading.next_xid += static_cast<std::uint64_t>(share * 1'000);
    see();
  }
  VacuumAdvice advise() const { return debt.advise(kBudget, true); }

  TableReading reading{TimePoint(1h), 1'024 * kMebi, 0, 0, 0, false, 1'000'000, std::nullopt, ""};
  VacuumDebt debt;
};

TEST(VacuumDebt, AVacuumIsDueAfterAQuarterOfTheBudget) {
  Table table;
  EXPECT_FALSE(table.advise().should_vacuum);
  table.change(0.045);
  EXPECT_FALSE(table.advise().should_vacuum);
  table.change(0.01);
  EXPECT_TRUE(table.advise().should_vacuum);
  EXPECT_EQ(table.advise().share, 1);
  EXPECT_EQ(table.advise().text, "");
}

TEST(VacuumDebt, ABatchIsASmallPartOfTheBudget) {
  Table table;
  EXPECT_NEAR(table.advise().batch_rows, 12'500, 1) << "a sixteenth of 20 % of a million rows";
  table.change(0.06);
  table.debt.vacuum_began(table.reading.at);
  EXPECT_NEAR(table.advise().batch_rows, 12'500, 1) << "also while a vacuum is at work";
  EXPECT_EQ(table.debt.advise(0, true).batch_rows, kUnlimited) << "no budget";
}

TEST(VacuumDebt, AVacuumPaysWhatWasChangedBeforeItBegan) {
  Table table;
  table.change(0.06);
  table.debt.vacuum_began(table.reading.at);
  table.change(0.02);
  EXPECT_FALSE(table.advise().should_vacuum);
  table.debt.vacuum_ended(true);
  EXPECT_NEAR(table.debt.debt(), 0.02, 1e-9);
  EXPECT_FALSE(table.advise().should_vacuum);
  table.change(0.031);
  EXPECT_TRUE(table.advise().should_vacuum);
}

TEST(VacuumDebt, AVacuumThatFailedPaysNothing) {
  Table table;
  table.change(0.06);
  table.debt.vacuum_began(table.reading.at);
  table.debt.vacuum_ended(false);
  EXPECT_TRUE(table.advise().should_vacuum);
}

TEST(VacuumDebt, ATableThatDoesNotGrowIsLeftAlone) {
  Table table;
  table.reading.rows_changed = 900'000;
  table.see();
  EXPECT_FALSE(table.advise().should_vacuum);
}

TEST(VacuumDebt, ASmallTableIsLeftAlone) {
  VacuumDebt debt("users", 63 * kMebi, 100'000);
  debt.see({TimePoint(1h), 63 * kMebi, 0, 0, 0, false, 10, std::nullopt, ""});
  debt.see({TimePoint(1h), 126 * kMebi, 100'000, 0, 0, false, 20, std::nullopt, ""});
  EXPECT_TRUE(debt.is_exempt());
  EXPECT_FALSE(debt.advise(kBudget, true).should_vacuum);
}

TEST(VacuumDebt, WithoutABudgetNothingIsDue) {
  Table table;
  table.change(0.9);
  EXPECT_FALSE(table.debt.advise(0, true).should_vacuum);
  EXPECT_EQ(table.debt.advise(0, true).share, 1);
}

TEST(VacuumDebt, WhileItVacuumsFewerWorkAsTheBudgetRunsOut) {
  Table table;
  table.change(0.06);
  table.debt.vacuum_began(table.reading.at);
  EXPECT_EQ(table.advise().share, 1);
  double last = 1;
  for (int step = 0; step < 7; ++step) {
    table.change(0.02);
    EXPECT_LE(table.advise().share, last);
    last = table.advise().share;
  }
  EXPECT_EQ(last, 0);
  EXPECT_THAT(table.advise().text, HasSubstr("20 % (bloat allows 20 %)"));
}

TEST(VacuumDebt, NobodyWaitsWhenNoVacuumRuns) {
  Table table;
  table.change(0.06);
  table.debt.vacuum_began(table.reading.at);
  table.change(0.3);
  EXPECT_EQ(table.advise().share, 0);
  table.debt.vacuum_ended(true);
  EXPECT_EQ(table.advise().share, 1);
}

TEST(VacuumDebt, NobodyWaitsForeverForOurOwnVacuum) {
  Table table;
  table.change(0.3);
  table.debt.vacuum_began(table.reading.at);
  EXPECT_EQ(table.advise().share, 0);
  table.reading.at += kLongestHold + 1s;
  table.see();
  EXPECT_EQ(table.advise().share, kShareBeyondBudget);
}

TEST(VacuumDebt, ASnapshotFromBeforeTheDebtMakesAVacuumUselessAndIsNamed) {
  Table table;
  table.reading.horizon = 999'990;
  table.reading.holder = "the transaction of pid 42 (pg_dump, joe)";
  table.change(0.1);
  auto const advice = table.advise();
  EXPECT_FALSE(advice.should_vacuum);
  EXPECT_TRUE(advice.is_held);
  EXPECT_EQ(advice.share, 1);
  EXPECT_THAT(advice.text, HasSubstr("pid 42 (pg_dump, joe)"));
}

TEST(VacuumDebt, BeyondTheBudgetAHeldTableGoesOnSlowlyAndNeverNot) {
  Table table;
  table.reading.horizon = 999'990;
  for (int part = 0; part < 50; ++part) {
    table.change(0.1);
    EXPECT_GE(table.advise().share, kShareBeyondBudget);
  }
  EXPECT_EQ(table.advise().share, kShareBeyondBudget);
  EXPECT_THAT(table.advise().text, HasSubstr("somebody"));
}

TEST(VacuumDebt, WhenTheSnapshotIsGoneTheVacuumIsDueAtOnce) {
  Table table;
  table.reading.horizon = 999'990;
  table.change(0.3);
  EXPECT_FALSE(table.advise().should_vacuum);
  table.reading.horizon = table.reading.next_xid;
  table.see();
  EXPECT_TRUE(table.advise().should_vacuum);
}

TEST(VacuumDebt, ASnapshotOfTheLastBatchesDoesNotMakeAVacuumUseless) {
  Table table;
  table.change(0.1);
  table.reading.horizon = table.reading.next_xid - 10;
  table.see();
  EXPECT_TRUE(table.advise().should_vacuum);
}

TEST(VacuumDebt, SomebodyElsesVacuumIsAwaitedAndPays) {
  Table table;
  table.change(0.06);
  table.reading.is_locked = true;
  table.change(0.04);
  EXPECT_FALSE(table.advise().should_vacuum);
  EXPECT_THAT(table.advise().text, HasSubstr("somebody else vacuums"));
  table.change(0.3);
  EXPECT_EQ(table.advise().share, kShareBeyondBudget);
  table.reading.is_locked = false;
  table.reading.vacuums = 1;
  table.see();
  // What was changed from the look before the lock was seen is still to be paid.
  EXPECT_NEAR(table.debt.debt(), 0.34, 1e-9);
}

TEST(VacuumDebt, AVacuumBetweenTwoLooksPaysAsWell) {
  Table table;
  table.change(0.1);
  ++table.reading.vacuums;
  table.change(0.01);
  EXPECT_NEAR(table.debt.debt(), 0.01, 1e-9);
}

TEST(VacuumDebt, OurOwnVacuumIsNotPaidForTwiceWhenTheStatisticsTellOfItLater) {
  Table table;
  table.change(0.1);
  table.debt.vacuum_began(table.reading.at);
  table.debt.vacuum_ended(true);
  table.change(0.04);
  ++table.reading.vacuums;
  table.change(0.01);
  EXPECT_NEAR(table.debt.debt(), 0.05, 1e-9);
}

TEST(VacuumDebt, WithoutTheRightToVacuumItWaitsForAutovacuumAndIsPacedBeyondTheBudget) {
  Table table;
  table.change(0.1);
  auto const within = table.debt.advise(kBudget, false);
  EXPECT_FALSE(within.should_vacuum);
  EXPECT_EQ(within.share, 1);
  table.change(0.2);
  EXPECT_EQ(table.debt.advise(kBudget, false).share, kShareBeyondBudget);
}

TEST(VacuumDebt, DeadRowsOfAnEarlierRunAreDebt) {
  VacuumDebt debt("users", 1'024 * kMebi, 1'000'000);
  TableReading reading{TimePoint(1h), 1'130 * kMebi, 500'000, 90'000, 3, false, 1'000, std::nullopt, ""};
  debt.see(reading);
  EXPECT_NEAR(debt.debt(), 0.09, 1e-9);
  EXPECT_TRUE(debt.advise(kBudget, true).should_vacuum);
}

// After a job that let it grow by its whole budget: 20 % of the file is room, of which nobody knows how much is dead.
Table with_unknown_debt() {
  Table table;
  table.debt.set_bytes_needed(1'024 * kMebi * 5 / 6);
  return table;
}

Table with_room() {
  auto table = with_unknown_debt();
  table.debt.vacuum_began(table.reading.at);
  table.debt.vacuum_ended(true);
  ++table.reading.vacuums;
  table.see();
  return table;
}

TEST(VacuumDebt, RoomFromBeforeIsVacuumedOnceAtTheStart) {
  auto table = with_unknown_debt();
  EXPECT_TRUE(table.advise().should_vacuum);
  table.debt.vacuum_began(table.reading.at);
  EXPECT_EQ(table.advise().share, 1);
  table.debt.vacuum_ended(true);
  EXPECT_FALSE(table.advise().should_vacuum);
}

TEST(VacuumDebt, ATableThatChangesFastIsVacuumedSoonerAndHeldSooner) {
  auto table = with_room();
  table.reading.at += 500ms;
  table.reading.rows_changed = table.reading.rows_dead = 30'000;
  table.see();
  EXPECT_TRUE(table.advise().should_vacuum);
  table.debt.vacuum_began(table.reading.at);
  table.reading.at += 500ms;
  table.reading.rows_changed = table.reading.rows_dead = 100'000;
  table.see();
  EXPECT_LT(table.advise().share, 0.2) << "ten percent, and seven more before anybody heeds this";
}

TEST(VacuumDebt, RoomFromBeforeIsAPartOfTheBudgetAndAVacuumIsDueBeforeItIsUsedUp) {
  auto table = with_room();
  EXPECT_NEAR(table.debt.growth(), 0.2, 0.001);
  EXPECT_FALSE(table.advise().should_vacuum);
  table.reading.rows_changed = table.reading.rows_dead = 49'000;
  table.see();
  EXPECT_FALSE(table.advise().should_vacuum);
  table.reading.rows_changed = table.reading.rows_dead = 51'000;
  table.see();
  EXPECT_TRUE(table.advise().should_vacuum);
}

TEST(VacuumDebt, RoomFromBeforeLetsThemWorkOnWhileItVacuums) {
  auto table = with_room();
  table.reading.rows_changed = table.reading.rows_dead = 60'000;
  table.see();
  table.debt.vacuum_began(table.reading.at);
  EXPECT_EQ(table.advise().share, 1);
  table.reading.rows_changed = 190'000;
  table.see();
  EXPECT_EQ(table.advise().share, 0) << "the room is used up";
  EXPECT_THAT(table.advise().text, HasSubstr("it is 20 % larger than its rows need (bloat allows 20 %)"));
}

TEST(VacuumDebt, BeyondRoomFromBeforeTheFileItselfCounts) {
  auto table = with_room();
  table.change(0.03);
  EXPECT_TRUE(table.debt.has_grown());
  EXPECT_TRUE(table.advise().should_vacuum) << "half of the usual, near the budget";
  table.debt.vacuum_began(table.reading.at);
  EXPECT_EQ(table.advise().share, 0);
}

TEST(VacuumDebt, HotUpdatesInRoomFromBeforeNeedNoVacuum) {
  auto table = with_room();
  table.reading.rows_changed = table.reading.rows_updated = 500'000;
  table.reading.rows_dead = 2'000;
  table.see();
  EXPECT_FALSE(table.advise().should_vacuum);
}

TEST(VacuumDebt, ChangesThatTheStatisticsDoNotKnowYetCountAsDeadRows) {
  auto table = with_room();
  table.reading.rows_changed = 60'000;
  table.see();
  EXPECT_TRUE(table.advise().should_vacuum);
}

TEST(VacuumDebt, BetweenTwoReadingsNoMoreRowsAreChangedThanThereIsRoomFor) {
  VacuumDebt unseen("users", 1'024 * kMebi, 1'000'000);
  EXPECT_NEAR(unseen.advise(kBudget, true).rows, 50'000, 1) << "until the first reading";
  EXPECT_TRUE(std::isinf(unseen.advise(0, true).rows));
  Table table;
  EXPECT_NEAR(table.advise().rows, 180'000, 1);
  table.change(0.06);
  EXPECT_NEAR(table.advise().rows, 120'000, 1);
  table.debt.vacuum_began(table.reading.at);
  table.change(0.12);
  EXPECT_NEAR(table.advise().rows, 0, 1) << "nothing is free before the vacuum ends";
  table.debt.vacuum_ended(true);
  EXPECT_NEAR(table.advise().rows, 60'000, 1) << "what it freed";
}

TEST(VacuumDebt, RoomFromBeforeIsUsedUpByOldVersionsToo) {
  auto table = with_room();
  EXPECT_NEAR(table.advise().rows, 180'000, 100);
  table.reading.rows_changed = table.reading.rows_dead = 60'000;
  table.see();
  EXPECT_NEAR(table.advise().rows, 120'000, 100);
}

TEST(VacuumDebt, AFileBeyondItsBudgetGivesNoMoreRoomThanTheBudget) {
  Table table;
  table.change(0.18);
  table.debt.vacuum_began(table.reading.at);
  table.debt.vacuum_ended(true);
  table.reading.bytes = 1'350 * kMebi;
  table.see();
  EXPECT_NEAR(table.advise().rows, 180'000, 1);
}

TEST(VacuumDebt, WhatAVacuumCannotHelpHasNoRoomToKeep) {
  Table table;
  table.change(0.3);
  EXPECT_TRUE(std::isinf(table.debt.advise(kBudget, false).rows));
  table.reading.horizon = 999'990;
  table.see();
  EXPECT_TRUE(std::isinf(table.advise().rows));
  table.reading.horizon.reset();
  table.debt.vacuum_began(table.reading.at);
  EXPECT_EQ(table.advise().rows, 0);
  table.reading.at += kLongestHold + 1s;
  table.see();
  EXPECT_TRUE(std::isinf(table.advise().rows)) << "not for ever";
}

TEST(VacuumDebt, ABatchOfOursThatHoldsASnapshotIsAwaitedAndBlamedOnNobody) {
  Table table;
  table.reading.horizon = 999'990;
  table.reading.is_held_by_us = true;
  table.change(0.1);
  auto const advice = table.advise();
  EXPECT_FALSE(advice.should_vacuum);
  EXPECT_FALSE(advice.is_held);
  EXPECT_EQ(advice.text, "");
  EXPECT_NEAR(advice.rows, 80'000, 1);
}

TEST(VacuumDebt, AVacuumPaysWhatNoSnapshotMayStillSee) {
  Table table;
  table.reading.horizon = 1'000'000 + 50;
  table.change(0.1);
  table.debt.vacuum_began(table.reading.at);
  table.debt.vacuum_ended(true);
  EXPECT_NEAR(table.debt.debt(), 0.05, 1e-9);
}

TEST(VacuumDebt, RoomFromBeforeIsNoReasonToSlowDownWhereVacuumIsHeld) {
  auto table = with_room();
  table.reading.horizon = 999'990;
  table.reading.rows_changed = table.reading.rows_dead = 100'000;
  table.reading.next_xid += 1'000;
  table.see();
  EXPECT_TRUE(table.advise().is_held);
  EXPECT_EQ(table.advise().share, 1);
}

TEST(VacuumDebt, AnUnknownNumberOfRowsOrBytesIsNoTrouble) {
  VacuumDebt debt("users", 0, 0);
  debt.see({TimePoint(1h), 0, 0, 0, 0, false, 0, std::nullopt, ""});
  EXPECT_EQ(debt.growth(), 0);
  EXPECT_FALSE(debt.advise(kBudget, true).should_vacuum);
}

// The whole control loop against a model of a heap: rows get wider by a tenth, a vacuum takes as long as the workers
// need for three parts in a hundred, and frees what was dead when it began.
TEST(VacuumDebt, KeepsAModelOfAHeapWithinItsBudget) {
  constexpr double kWider = 1.1;
  Table table;
  double live = 1;
  double dead = 0;
  double free_room = 0;
  double vacuumed = 0;
  double left = 0;
  int vacuums = 0;
  double most_growth = 0;
  for (double done = 0; done < 1;) {
    double const step = 0.005 * (left > 0 ? table.advise().share : 1);
    done += step;
    dead += step;
    live += step * (kWider - 1);
    double const reused = std::min(free_room, step * kWider);
    free_room -= reused;
    double const size = live + dead + free_room;
    table.reading.rows_changed = static_cast<std::int64_t>(done * 1e6);
    table.reading.bytes = static_cast<std::uint64_t>(size * 1'024 * kMebi);
    table.reading.next_xid += 5;
    table.see();
    most_growth = std::max(most_growth, table.debt.growth());
    if (left > 0) {
      left -= 0.005;
      if (left <= 0) {
        dead -= vacuumed;
        free_room += vacuumed;
        table.debt.vacuum_ended(true);
      }
    } else if (table.advise().should_vacuum) {
      table.debt.vacuum_began(table.reading.at);
      vacuumed = dead;
      left = 0.03;
      ++vacuums;
    }
  }
  EXPECT_LE(most_growth, kBudget);
  EXPECT_LE(vacuums, 30);
}

TEST(VacuumDebt, GrowthIsSaidWithItsNumbers) {
  EXPECT_EQ(say_table_growth("users", 617'000'000, 701'000'000, 0.2),
            "users grew from 617 MB to 701 MB (14 %; budget 20 %)");
  EXPECT_EQ(say_table_growth("users", 100'000'000, 90'000'000, std::nullopt),
            "users shrank from 100 MB to 90 MB (10 %)");
}

}  // namespace
}  // namespace pgbackfill::throttle
