#include "planner/keys/range_walk.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace pgbackfill::planner {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kRows = 64;

KeyValue key(std::int64_t number) {
  return {std::to_string(number)};
}

Lease lease_to(std::int64_t hi) {
  Lease lease;
  lease.range_id = 7;
  lease.epoch = 1;
  lease.hi = key(hi);
  return lease;
}

WalkOptions options() {
  WalkOptions walk_options;
  walk_options.can_quarantine = true;
  return walk_options;
}

Page page(std::int64_t rows, std::int64_t last) {
  return {rows, key(last)};
}

BatchDone done(Page next) {
  BatchDone batch_done;
  batch_done.next = std::move(next);
  return batch_done;
}

Failure failure(Trouble trouble) {
  Failure made;
  made.trouble = trouble;
  made.sqlstate = "XX000";
  made.message = describe(trouble);
  return made;
}

// Looks ahead to a page of `rows` keys that ends at `last`, and asks for its batch.
Step batch_after_look_ahead(RangeWalk& walk, std::int64_t rows, std::int64_t last) {
  auto step = walk.next(rows);
  EXPECT_EQ(step.kind, Step::Kind::kLookAhead);
  walk.record_page(page(step.rows, last));
  return walk.next(rows);
}

// A walk that has closed in on the single row 1, whose batch has been asked for.
RangeWalk walk_at_single_row(WalkOptions walk_options) {
  RangeWalk walk(lease_to(100), walk_options);
  auto const step = batch_after_look_ahead(walk, 1, 1);
  EXPECT_EQ(step.batch.rows, 1);
  return walk;
}

// --- the steady state ------------------------------------------------------------------------------------------------

TEST(RangeWalk, LooksAheadOnceAndThenTakesThePageThatTheBatchBroughtAlong) {
  RangeWalk walk(lease_to(100), options());
  auto step = batch_after_look_ahead(walk, kRows, 64);
  EXPECT_EQ(step.kind, Step::Kind::kBatch);
  EXPECT_EQ(step.batch.interval, (Interval{std::nullopt, key(64)}));
  EXPECT_FALSE(step.batch.ends_range);
  EXPECT_EQ(step.batch.look_ahead_rows, kRows);
  walk.record(done(page(kRows, 90)));
  step = walk.next(kRows);
  EXPECT_EQ(step.kind, Step::Kind::kBatch);
  EXPECT_EQ(step.batch.interval, (Interval{key(64), key(90)}));
  EXPECT_EQ(step.batch.lease.sequence, 1);
  EXPECT_EQ(step.batch.lease.cursor, key(64));
}

TEST(RangeWalk, GoesOnWhereABatchWasEndedBeforeItsBoundary) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  walk.record_page({kRows, std::nullopt});
  EXPECT_TRUE(walk.next(kRows).batch.ends_range);
  auto early = done(page(5, 25));
  early.reached = key(20);
  walk.record(early);
  auto step = walk.next(kRows);
  EXPECT_EQ(step.kind, Step::Kind::kBatch);
  EXPECT_EQ(step.batch.interval, (Interval{key(20), key(25)}));
  // Nobody has looked what is next: then that is to be done first.
  walk.record(BatchDone{});
  EXPECT_EQ(walk.lease().cursor, key(25));
  EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kLookAhead);
}

TEST(RangeWalk, EndsAtTheRangesOwnEnd) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  walk.record_page({3, std::nullopt});
  auto const step = walk.next(kRows);
  EXPECT_TRUE(step.batch.ends_range);
  EXPECT_EQ(step.batch.interval, (Interval{std::nullopt, key(100)}));
  walk.record(done({}));
  EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kFinished);
  EXPECT_FALSE(walk.is_settled());
}

TEST(RangeWalk, AnEmptyRangeIsOneBatch) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  walk.record_page({});
  EXPECT_TRUE(walk.next(kRows).batch.ends_range);
}

TEST(RangeWalk, ReachesToTheEndOfTheTableWhenTheRangeDoes) {
  Lease lease;
  RangeWalk walk(lease, options());
  walk.next(kRows);
  walk.record_page({});
  EXPECT_EQ(walk.next(kRows).batch.interval, Interval{});
}

TEST(RangeWalk, BoundsEveryBatchByTheTarget) {
  RangeWalk walk(lease_to(100), options());
  walk.set_target(milliseconds{30});
  auto const step = batch_after_look_ahead(walk, kRows, 64);
  EXPECT_EQ(step.batch.statement_timeout, milliseconds{30 * kTimeoutOverTarget});
  EXPECT_EQ(step.batch.lock_timeout, options().lock_timeout);
}

// --- bad rows --------------------------------------------------------------------------------------------------------

// Plays a table in which `bad` cannot be changed, until the range is done; what was set aside comes back.
std::vector<std::int64_t> keys_set_aside(std::int64_t last_key, std::set<std::int64_t> const& bad) {
  RangeWalk walk(lease_to(last_key), options());
  std::vector<std::int64_t> set_aside;
  auto const page_after = [&](Bound const& cursor, std::int64_t rows) {
    std::int64_t const from = cursor ? std::stoll(cursor->front()) : 0;
    return from + rows <= last_key ? page(rows, from + rows) : Page{last_key - from, std::nullopt};
  };
  for (int steps = 0; steps < 10'000; ++steps) {
    auto const step = walk.next(kRows);
    if (step.kind == Step::Kind::kFinished) return set_aside;
    if (step.kind == Step::Kind::kLookAhead) {
      walk.record_page(page_after(walk.lease().cursor, step.rows));
      continue;
    }
    EXPECT_EQ(step.kind, Step::Kind::kBatch);
    auto const& batch = step.batch;
    std::int64_t const from = batch.interval.lo ? std::stoll(batch.interval.lo->front()) : 0;
    std::int64_t const to = std::stoll(batch.interval.hi->front());
    auto const first_bad = bad.upper_bound(from);
    if (batch.mode == BatchMode::kSetAside) {
      EXPECT_EQ(batch.set_aside, SetAside::kQuarantine);
      EXPECT_EQ(batch.message, "bad row");
      for (std::int64_t number = from + 1; number <= to; ++number) set_aside.push_back(number);
    } else if (first_bad != bad.end() && *first_bad <= to) {
      walk.record(failure(Trouble::kRowData));
      continue;
    }
    walk.record(done(page_after(batch.interval.hi, batch.look_ahead_rows)));
  }
  ADD_FAILURE() << "the walk does not end";
  return set_aside;
}

TEST(RangeWalk, BisectsToTheBadRowsAndToNoOthers) {
  EXPECT_EQ(keys_set_aside(200, {}), (std::vector<std::int64_t>{}));
  for (std::int64_t const bad : {1, 2, 63, 64, 65, 100, 199, 200}) {
    EXPECT_EQ(keys_set_aside(200, {bad}), (std::vector<std::int64_t>{bad}));
  }
  EXPECT_EQ(keys_set_aside(200, {3, 4, 5, 128, 200}), (std::vector<std::int64_t>{3, 4, 5, 128, 200}));
  EXPECT_EQ(keys_set_aside(1, {1}), (std::vector<std::int64_t>{1}));
}

TEST(RangeWalk, StopsAtTheBadRowWithoutABudget) {
  auto without = options();
  without.can_quarantine = false;
  auto walk = walk_at_single_row(without);
  walk.record(failure(Trouble::kRowData));
  auto const step = walk.next(1);
  EXPECT_EQ(step.kind, Step::Kind::kFatal);
  EXPECT_EQ(step.failure.message, "bad row");
}

TEST(RangeWalk, AsksForTheNameOfALoneBadRowAtTheEndOfTheRange) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  walk.record_page({1, std::nullopt});
  EXPECT_TRUE(walk.next(kRows).batch.ends_range);
  walk.record(failure(Trouble::kRowData));
  auto step = walk.next(kRows);
  ASSERT_EQ(step.kind, Step::Kind::kLookAhead);
  EXPECT_EQ(step.rows, 1);
  walk.record_page(page(1, 99));
  EXPECT_EQ(walk.next(kRows).batch.mode, BatchMode::kPlain);
  walk.record(failure(Trouble::kRowData));
  step = walk.next(kRows);
  EXPECT_EQ(step.batch.set_aside, SetAside::kQuarantine);
  EXPECT_EQ(step.batch.interval.hi, key(99));
}

TEST(RangeWalk, ADataErrorInALookAheadEndsTheRun) {
  RangeWalk walk(lease_to(100), options());
  walk.next(1);
  walk.record(failure(Trouble::kRowData));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
}

TEST(RangeWalk, GrowsBackByDoublingAfterTrouble) {
  RangeWalk walk(lease_to(1'000'000), options());
  std::int64_t last = 0;
  batch_after_look_ahead(walk, kRows, kRows);
  walk.record(failure(Trouble::kStatementTimeout));
  std::vector<std::int64_t> sizes;
  for (int batch = 0; batch < 4; ++batch) {
    auto step = walk.next(kRows);
    if (step.kind == Step::Kind::kLookAhead) {
      walk.record_page(page(step.rows, last + step.rows));
      step = walk.next(kRows);
    }
    sizes.push_back(step.batch.rows);
    last += step.batch.rows;
    walk.record(done(page(step.batch.look_ahead_rows, last + step.batch.look_ahead_rows)));
  }
  EXPECT_EQ(sizes, (std::vector<std::int64_t>{32, 64, 64, 64}));
  EXPECT_FALSE(walk.is_disturbed());
}

// --- locks -----------------------------------------------------------------------------------------------------------

TEST(RangeWalk, WorksAroundAHeldRowAndDefersIt) {
  RangeWalk walk(lease_to(100), options());
  auto const plain = batch_after_look_ahead(walk, kRows, 64);
  walk.record(failure(Trouble::kLockTimeout));
  EXPECT_TRUE(walk.is_disturbed());
  auto const around = walk.next(kRows);
  EXPECT_EQ(around.batch.mode, BatchMode::kSkipLocked);
  EXPECT_EQ(around.batch.set_aside, SetAside::kDefer);
  EXPECT_EQ(around.batch.interval, plain.batch.interval);
  walk.record(done(page(kRows, 90)));
  EXPECT_EQ(walk.next(kRows).batch.mode, BatchMode::kPlain);
  EXPECT_EQ(walk.next(kRows).batch.set_aside, SetAside::kNothing);
}

TEST(RangeWalk, ClosesInOnALockThatCannotBeSkippedAndDefersThatRow) {
  RangeWalk walk(lease_to(100), options());
  auto step = batch_after_look_ahead(walk, 4, 4);
  for (int tries = 0; step.batch.mode != BatchMode::kSetAside; ++tries) {
    ASSERT_LT(tries, 20);
    walk.record(failure(Trouble::kLockTimeout));
    step = walk.next(4);
    if (step.kind != Step::Kind::kLookAhead) continue;
    walk.record_page(page(step.rows, step.rows));
    step = walk.next(4);
  }
  EXPECT_EQ(step.batch.rows, 1);
  EXPECT_EQ(step.batch.set_aside, SetAside::kDefer);
}

TEST(RangeWalk, ACopyWaitsForALockBecauseItHasNothingToSkip) {
  auto copy = options();
  copy.can_skip_locked = false;
  auto walk = walk_at_single_row(copy);
  for (int tries = 1; tries <= kMostConflicts; ++tries) {
    walk.record(failure(Trouble::kLockTimeout));
    auto const wait = walk.next(1);
    EXPECT_EQ(wait.kind, Step::Kind::kWait);
    EXPECT_EQ(wait.attempt, tries);
    EXPECT_EQ(walk.next(1).batch.mode, BatchMode::kPlain);
  }
  walk.record(failure(Trouble::kLockTimeout));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
}

TEST(RangeWalk, WaitsForATableLockInALookAhead) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  for (int tries = 1; tries <= kMostResourceWaits; ++tries) {
    walk.record(failure(Trouble::kLockTimeout));
    EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kWait);
    auto const again = walk.next(kRows);
    EXPECT_EQ(again.kind, Step::Kind::kLookAhead);
    EXPECT_EQ(again.rows, kRows);
  }
  walk.record(failure(Trouble::kLockTimeout));
  EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kFatal);
}

TEST(RangeWalk, WaitsForATableLockWhenItSetsAside) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kRowData));
  ASSERT_EQ(walk.next(1).batch.mode, BatchMode::kSetAside);
  walk.record(failure(Trouble::kLockTimeout));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kWait);
  auto const step = walk.next(1);
  EXPECT_EQ(step.batch.mode, BatchMode::kSetAside);
  EXPECT_EQ(step.batch.set_aside, SetAside::kQuarantine);
}

// --- time and conflicts ----------------------------------------------------------------------------------------------

TEST(RangeWalk, HalvesABatchThatTakesTooLong) {
  RangeWalk walk(lease_to(100), options());
  batch_after_look_ahead(walk, kRows, 64);
  walk.record(failure(Trouble::kStatementTimeout));
  auto const step = walk.next(kRows);
  EXPECT_EQ(step.kind, Step::Kind::kLookAhead);
  EXPECT_EQ(step.rows, kRows / 2);
}

TEST(RangeWalk, GivesASingleSlowRowMoreTimeUpToALimit) {
  auto walk = walk_at_single_row(options());
  auto timeout = options().batch_target * kTimeoutOverTarget;
  for (int doubling = 0; doubling < kMostTimeoutDoublings; ++doubling) {
    walk.record(failure(Trouble::kStatementTimeout));
    timeout *= 2;
    EXPECT_EQ(walk.next(1).batch.statement_timeout, timeout);
  }
  walk.record(failure(Trouble::kStatementTimeout));
  auto const step = walk.next(1);
  EXPECT_EQ(step.kind, Step::Kind::kFatal);
  EXPECT_NE(step.failure.message.find("even one row"), std::string::npos);
}

// A statement that reads a whole other table takes its time for one row as for thousands.
TEST(RangeWalk, GivesABatchMoreTimeWhenFewerRowsDoNotHelp) {
  RangeWalk walk(lease_to(100'000), options());
  batch_after_look_ahead(walk, 1'024, 1'024);
  std::int64_t rows = 1'024;
  for (int timeout = 0; timeout < kTimeoutsOfRows; ++timeout) {
    walk.record(failure(Trouble::kStatementTimeout));
    rows /= 2;
    EXPECT_EQ(walk.next(1'024).rows, rows);
    walk.record_page(page(rows, rows));
    walk.next(1'024);
  }
  auto const before = walk.statement_timeout();
  walk.record(failure(Trouble::kStatementTimeout));
  auto const again = walk.next(1'024);
  EXPECT_EQ(again.batch.rows, rows);
  EXPECT_EQ(again.batch.statement_timeout, 2 * before);
  // The next one will take as long.
  auto slow = done(page(rows, 2 * rows));
  slow.duration = before + std::chrono::milliseconds{1};
  walk.record(slow);
  EXPECT_EQ(walk.statement_timeout(), 2 * before);
  walk.next(1'024);
  walk.record_page(page(2 * rows, 4 * rows));
  walk.next(1'024);
  walk.record(done(page(rows, 8 * rows)));
  EXPECT_EQ(walk.statement_timeout(), before);
}

TEST(RangeWalk, TakesTheLongerTimeoutBackAfterTheSlowRow) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kStatementTimeout));
  walk.next(1);
  walk.record(done(page(1, 2)));
  EXPECT_EQ(walk.statement_timeout(), options().batch_target * kTimeoutOverTarget);
}

TEST(RangeWalk, RepeatsAConflictThenMakesTheBatchSmallerThenDefersTheRow) {
  RangeWalk walk(lease_to(100), options());
  batch_after_look_ahead(walk, 2, 2);
  for (int tries = 1; tries <= kMostConflicts; ++tries) {
    walk.record(failure(tries % 2 == 0 ? Trouble::kConflict : Trouble::kCancelled));
    auto const wait = walk.next(2);
    EXPECT_EQ(wait.kind, Step::Kind::kWait);
    EXPECT_EQ(wait.attempt, tries);
    EXPECT_TRUE(walk.is_settled());
    EXPECT_EQ(walk.next(2).batch.rows, 2);
  }
  walk.record(failure(Trouble::kConflict));
  EXPECT_EQ(batch_after_look_ahead(walk, 2, 1).batch.rows, 1);
  for (int tries = 1; tries <= kMostConflicts; ++tries) {
    walk.record(failure(Trouble::kConflict));
    walk.next(1);
    walk.next(1);
  }
  walk.record(failure(Trouble::kConflict));
  auto const step = walk.next(1);
  EXPECT_EQ(step.batch.mode, BatchMode::kSetAside);
  EXPECT_EQ(step.batch.set_aside, SetAside::kDefer);
}

TEST(RangeWalk, ALookAheadThatKeepsConflictingEndsTheRun) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  for (int tries = 1; tries <= kMostConflicts; ++tries) {
    walk.record(failure(Trouble::kConflict));
    EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kWait);
    walk.next(kRows);
  }
  walk.record(failure(Trouble::kConflict));
  EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kFatal);
}

TEST(RangeWalk, WaitsWhileTheServerIsShortOfResourcesButNotForEver) {
  auto walk = walk_at_single_row(options());
  for (int tries = 1; tries <= kMostResourceWaits; ++tries) {
    walk.record(failure(Trouble::kResources));
    EXPECT_EQ(walk.next(1).attempt, tries);
    EXPECT_EQ(walk.next(1).kind, Step::Kind::kBatch);
  }
  walk.record(failure(Trouble::kResources));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
}

TEST(RangeWalk, ASuccessForgivesEarlierTrouble) {
  auto walk = walk_at_single_row(options());
  for (int round = 0; round < 5; ++round) {
    for (int tries = 0; tries < kMostConflicts; ++tries) {
      walk.record(failure(Trouble::kConflict));
      ASSERT_EQ(walk.next(1).kind, Step::Kind::kWait);
      ASSERT_EQ(walk.next(1).kind, Step::Kind::kBatch);
    }
    walk.record(done(page(1, round + 2)));
    ASSERT_EQ(walk.next(1).kind, Step::Kind::kBatch);
  }
}

TEST(RangeWalk, WhatNoRepeatWouldMendEndsTheRun) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kFatal));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
}

// --- unknown outcomes ------------------------------------------------------------------------------------------------

TEST(RangeWalk, ReadsTheRangeBackAfterALostConnection) {
  for (auto const trouble : {Trouble::kConnection, Trouble::kNotWritable}) {
    auto walk = walk_at_single_row(options());
    walk.record(failure(trouble));
    EXPECT_FALSE(walk.is_settled());
    EXPECT_EQ(walk.next(1).kind, Step::Kind::kReconnect);
    EXPECT_EQ(walk.next(1).kind, Step::Kind::kReconnect);
    walk.record_reconnected();
    EXPECT_EQ(walk.next(1).kind, Step::Kind::kReread);
    EXPECT_EQ(walk.next(1).kind, Step::Kind::kReread);
    auto committed = walk.lease();
    committed.cursor = key(1);
    committed.sequence = 1;
    walk.record_state(committed);
    EXPECT_TRUE(walk.is_settled());
    auto const step = batch_after_look_ahead(walk, 1, 2);
    EXPECT_EQ(step.batch.lease, committed);
    EXPECT_EQ(step.batch.interval, (Interval{key(1), key(2)}));
  }
}

TEST(RangeWalk, ReadsTheRangeBackWhenFencedOffAndTakesItsNewEnd) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kFenced));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kReread);
  auto cut = walk.lease();
  cut.hi = key(5);
  walk.record_state(cut);
  walk.next(kRows);
  walk.record_page({3, std::nullopt});
  EXPECT_EQ(walk.next(kRows).batch.interval.hi, key(5));
}

TEST(RangeWalk, EndsWhenItIsFencedOffAgainAndAgainFromARangeThatHasNotMoved) {
  auto walk = walk_at_single_row(options());
  int waits = 0;
  while (true) {
    walk.record(failure(Trouble::kFenced));
    EXPECT_EQ(walk.next(1).kind, Step::Kind::kReread);
    walk.record_state(walk.lease());
    auto const step = walk.next(1);
    if (step.kind == Step::Kind::kFatal) break;
    ASSERT_EQ(step.kind, Step::Kind::kWait);
    EXPECT_EQ(step.attempt, ++waits);
    ASSERT_EQ(batch_after_look_ahead(walk, 1, 1).kind, Step::Kind::kBatch);
  }
  EXPECT_EQ(waits, kMostConflicts);
}

TEST(RangeWalk, ARowThatCannotBeSetAsideEndsTheRunWithBothErrors) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kRowData));
  ASSERT_EQ(walk.next(1).batch.set_aside, SetAside::kQuarantine);
  auto second = failure(Trouble::kRowData);
  second.sqlstate = "54000";
  second.message = "index row too large";
  walk.record(second);
  auto const step = walk.next(1);
  EXPECT_EQ(step.kind, Step::Kind::kFatal);
  EXPECT_EQ(step.key, key(1));
  EXPECT_EQ(step.failure.sqlstate, "XX000");
  EXPECT_NE(step.failure.message.find("cannot be set aside: index row too large (54000)"), std::string::npos)
      << step.failure.message;
}

TEST(RangeWalk, ARowThatCannotBeDeferredEndsTheRun) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kLockTimeout));
  walk.next(1);
  walk.record(failure(Trouble::kLockTimeout));
  ASSERT_EQ(walk.next(1).batch.set_aside, SetAside::kDefer);
  walk.record(failure(Trouble::kRowData));
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
}

// A trigger of the statement, for example.
TEST(RangeWalk, APageWithoutRowsThatFailsTwiceEndsTheRun) {
  RangeWalk walk(lease_to(100), options());
  for (int attempt = 0; attempt < 2; ++attempt) {
    ASSERT_EQ(walk.next(1).kind, Step::Kind::kLookAhead);
    walk.record_page({0, std::nullopt});
    ASSERT_EQ(walk.next(1).kind, Step::Kind::kBatch);
    walk.record(failure(Trouble::kRowData));
  }
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kFatal);
}

TEST(RangeWalk, LeavesARangeThatIsSomebodyElses) {
  auto walk = walk_at_single_row(options());
  walk.record(failure(Trouble::kFenced));
  walk.next(1);
  walk.record_state(std::nullopt);
  EXPECT_EQ(walk.next(1).kind, Step::Kind::kLost);
  EXPECT_FALSE(walk.is_settled());
}

TEST(RangeWalk, NeverSetsAsideTheRowAfterTheOneItMeant) {
  for (auto const trouble : {Trouble::kConnection, Trouble::kFenced}) {
    for (auto const cause : {Trouble::kRowData, Trouble::kLockTimeout}) {
      auto walk = walk_at_single_row(options());
      walk.record(failure(cause));
      if (cause == Trouble::kLockTimeout) {
        walk.next(1);
        walk.record(failure(cause));
      }
      ASSERT_EQ(walk.next(1).batch.mode, BatchMode::kSetAside);
      walk.record(failure(trouble));
      if (walk.next(1).kind == Step::Kind::kReconnect) walk.record_reconnected();
      auto state = walk.lease();
      state.hi = key(90);
      walk.record_state(state);
      auto const step = batch_after_look_ahead(walk, 1, 2);
      EXPECT_EQ(step.batch.mode, BatchMode::kPlain);
      EXPECT_EQ(step.batch.set_aside, SetAside::kNothing);
    }
  }
}

TEST(RangeWalk, AReconnectDuringALookAheadReadsTheRangeBackToo) {
  RangeWalk walk(lease_to(100), options());
  walk.next(kRows);
  walk.record(failure(Trouble::kConnection));
  EXPECT_EQ(walk.next(kRows).kind, Step::Kind::kReconnect);
}

// --- paging by block -------------------------------------------------------------------------------------------------

WalkOptions by_block(double rows_per_block) {
  auto walk_options = options();
  walk_options.by_block = true;
  walk_options.rows_per_block = rows_per_block;
  return walk_options;
}

TEST(RangeWalk, PagesOfBlocksAreArithmetic) {
  RangeWalk walk(lease_to(9), by_block(10));
  std::vector<std::int64_t> ends;
  for (auto step = walk.next(40); step.kind == Step::Kind::kBatch; step = walk.next(40)) {
    EXPECT_EQ(step.batch.look_ahead_rows, 0);
    ends.push_back(std::stoll(step.batch.interval.hi->front()));
    EXPECT_EQ(step.batch.ends_range, ends.back() == 9);
    walk.record(done({}));
  }
  EXPECT_EQ(ends, (std::vector<std::int64_t>{3, 7, 9}));
}

TEST(RangeWalk, APageIsAtLeastOneBlock) {
  for (double const rows_per_block : {0.0, 0.3, 1.0, 500.0}) {
    RangeWalk walk(lease_to(9), by_block(rows_per_block));
    EXPECT_EQ(walk.next(1).batch.interval.hi, key(0));
  }
}

TEST(RangeWalk, ABadRowInABlockEndsTheRunForItHasNoKey) {
  for (double const rows_per_block : {0.0, 0.3, 1.0, 10.0, 10.4, 10.6}) {
    RangeWalk walk(lease_to(9), by_block(rows_per_block));
    for (int halvings = 0; walk.next(100).kind != Step::Kind::kFatal; ++halvings) {
      ASSERT_LT(halvings, 10) << rows_per_block;
      walk.record(failure(Trouble::kRowData));
    }
  }
}

TEST(RangeWalk, ALaterPassFindsTheRowsOfABlockAgain) {
  RangeWalk walk(lease_to(9), by_block(10));
  walk.next(10);
  walk.record(failure(Trouble::kLockTimeout));
  auto const around = walk.next(10);
  EXPECT_EQ(around.batch.mode, BatchMode::kSkipLocked);
  EXPECT_EQ(around.batch.set_aside, SetAside::kNothing);
  walk.record(failure(Trouble::kLockTimeout));
  auto const aside = walk.next(10);
  EXPECT_EQ(aside.batch.mode, BatchMode::kSetAside);
  EXPECT_EQ(aside.batch.set_aside, SetAside::kNothing);
}

// --- whatever happens ------------------------------------------------------------------------------------------------

// Uniform whatever the size of the case: RapidCheck's ranges begin small.
template <class Number>
Number any_below(Number end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<Number>(0, end));
}

// The range as a database has it: a batch commits only as the fence allows.
struct StoredRange {
  Lease lease;
  bool is_done = false;
};

struct Table {
  std::set<std::int64_t> keys;
  std::map<std::int64_t, int> visits;  // changed, deferred or in quarantine

  Page page_after(Bound const& lo, Bound const& hi, std::int64_t rows) const {
    Page found;
    for (auto at = lo ? keys.upper_bound(std::stoll(lo->front())) : keys.begin();
         at != keys.end() && *at <= std::stoll(hi->front()); ++at) {
      if (++found.rows == rows) {
        found.last = key(*at);
        break;
      }
    }
    return found;
  }

  void visit(Interval const& interval) {
    for (std::int64_t const each : keys) {
      bool const is_after = !interval.lo || each > std::stoll(interval.lo->front());
      if (is_after && each <= std::stoll(interval.hi->front())) ++visits[each];
    }
  }
};

// Commits the batch if the fence holds, and says so or loses the answer.
void run(RangeWalk& walk, BatchRequest const& batch, StoredRange& stored, Table& table) {
  auto const outcome = any_below(14);
  bool const is_fenced = !(batch.lease == stored.lease) || stored.is_done;
  if (outcome < 8 && is_fenced) return walk.record(failure(Trouble::kFenced));
  bool const commits = outcome < 5 || (outcome == 5 && !is_fenced);
  if (commits) {
    table.visit(batch.interval);
    ++stored.lease.sequence;
    stored.lease.cursor = batch.interval.hi;
    stored.is_done = batch.ends_range;
  }
  if (outcome < 5) return walk.record(done(table.page_after(batch.interval.hi, batch.lease.hi, batch.look_ahead_rows)));
  static constexpr Trouble kTroubles[] = {Trouble::kConnection,  Trouble::kConnection, Trouble::kNotWritable,
                                          Trouble::kLockTimeout, Trouble::kConflict,   Trouble::kRowData,
                                          Trouble::kResources,   Trouble::kCancelled,  Trouble::kStatementTimeout};
  walk.record(failure(kTroubles[outcome - 5]));
}

RC_GTEST_PROP(RangeWalk, MeetsEveryKeyOnceWhateverComesOfItsBatches, ()) {
  std::set<std::int64_t> keys;
  for (int rows = any_below(250); rows > 0; --rows) keys.insert(1 + any_below<std::int64_t>(299));
  Table table{keys, {}};
  StoredRange stored{lease_to(300), false};
  RangeWalk walk(stored.lease, options());
  for (int steps = 0; steps < 2'000; ++steps) {
    auto const step = walk.next(1 + any_below<std::int64_t>(12));
    switch (step.kind) {
      case Step::Kind::kLookAhead:
        walk.record_page(table.page_after(walk.lease().cursor, walk.lease().hi, step.rows));
        break;
      case Step::Kind::kBatch:
        run(walk, step.batch, stored, table);
        break;
      case Step::Kind::kWait:
        break;
      case Step::Kind::kReconnect:
        walk.record_reconnected();
        break;
      case Step::Kind::kReread:
        walk.record_state(stored.is_done ? std::optional<Lease>() : stored.lease);
        break;
      case Step::Kind::kFatal:  // trouble that does not end; every key met so far was met once
      case Step::Kind::kFinished:
      case Step::Kind::kLost:
        steps = 2'000;
        break;
    }
    for (auto const& [each, visits] : table.visits) RC_ASSERT(visits == 1);
    auto const met = static_cast<std::int64_t>(table.visits.size());
    auto const passed = std::count_if(keys.begin(), keys.end(), [&](std::int64_t each) {
      return stored.lease.cursor && each <= std::stoll(stored.lease.cursor->front());
    });
    RC_ASSERT(met == passed);
  }
  if (stored.is_done) RC_ASSERT(table.visits.size() == keys.size());
}

RC_GTEST_PROP(RangeWalk, PagesOfBlocksCoverEveryBlockOnce, ()) {
  auto const last = any_below<std::int64_t>(500);
  RangeWalk walk(lease_to(last), by_block(static_cast<double>(any_below(2'000)) / 10));
  std::int64_t next_block = 0;
  for (auto step = walk.next(50); step.kind != Step::Kind::kFinished; step = walk.next(50)) {
    RC_ASSERT(step.kind == Step::Kind::kBatch);
    RC_ASSERT(step.batch.rows >= 0);
    Bound const lo = next_block == 0 ? Bound() : Bound(key(next_block - 1));
    RC_ASSERT(step.batch.interval.lo == lo);
    next_block = std::stoll(step.batch.interval.hi->front()) + 1;
    RC_ASSERT(next_block <= last + 1);
    if (any_below(4) == 0) {
      walk.record(failure(Trouble::kStatementTimeout));
      next_block = lo ? std::stoll(lo->front()) + 1 : 0;
      if (walk.next(50).kind == Step::Kind::kFatal) return;
      continue;
    }
    walk.record(done({}));
  }
  RC_ASSERT(next_block == last + 1);
}

}  // namespace
}  // namespace pgbackfill::planner
