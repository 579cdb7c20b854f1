#include "planner/keys/deferred_visit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace pgbackfill::planner {
namespace {

using Kind = VisitStep::Kind;
using testing::HasSubstr;

Failure failure(Trouble trouble, std::string message = "it failed") {
  Failure result;
  result.trouble = trouble;
  result.message = std::move(message);
  return result;
}

// Down to a single key, which has been chosen.
DeferredVisit single(std::int64_t key) {
  DeferredVisit visit(1);
  visit.record_choice(key);
  return visit;
}

TEST(DeferredVisit, AVisitThatSucceedsIsAll) {
  DeferredVisit visit(100);
  ASSERT_EQ(visit.next().kind, Kind::kVisit);
  EXPECT_EQ(visit.next().rows, 100);
  EXPECT_FALSE(visit.next().key);
  visit.record(Visit{3, 5, 0});
  ASSERT_EQ(visit.next().kind, Kind::kDone);
  EXPECT_EQ(visit.next().visit.rows_changed, 3);
  EXPECT_EQ(visit.next().visit.settled, 5);
}

TEST(DeferredVisit, AFailureOfTheRowsHalvesThemDownToAKeyThatIsChosenFirst) {
  DeferredVisit visit(4);
  visit.record(failure(Trouble::kRowData));
  EXPECT_EQ(visit.next().rows, 2);
  visit.record(failure(Trouble::kStatementTimeout));
  ASSERT_EQ(visit.next().kind, Kind::kChoose);
  visit.record_choice(17);
  ASSERT_EQ(visit.next().kind, Kind::kVisit);
  EXPECT_EQ(visit.next().key, 17);
}

TEST(DeferredVisit, WithoutAKeyNothingIsLeftToVisit) {
  DeferredVisit visit(1);
  visit.record_choice(std::nullopt);
  ASSERT_EQ(visit.next().kind, Kind::kDone);
  EXPECT_EQ(visit.next().visit.settled, 0);
}

TEST(DeferredVisit, AKeyThatIsLockedIsMarkedSoThatOthersComeFirst) {
  for (auto const trouble : {Trouble::kLockTimeout, Trouble::kStatementTimeout}) {
    auto visit = single(17);
    visit.record(failure(trouble));
    ASSERT_EQ(visit.next().kind, Kind::kMark);
    EXPECT_EQ(visit.next().key, 17);
    visit.record_marked();
    ASSERT_EQ(visit.next().kind, Kind::kDone);
    EXPECT_EQ(visit.next().visit.settled, 0);
  }
}

TEST(DeferredVisit, AKeyWhoseDataFailsGoesToQuarantineWithItsError) {
  auto visit = single(17);
  visit.record(failure(Trouble::kRowData, "division by zero"));
  ASSERT_EQ(visit.next().kind, Kind::kSetAside);
  EXPECT_EQ(visit.next().key, 17);
  EXPECT_EQ(visit.next().failure.message, "division by zero");
  visit.record_set_aside();
  ASSERT_EQ(visit.next().kind, Kind::kDone);
  EXPECT_EQ(visit.next().visit.settled, 1);
}

TEST(DeferredVisit, WhereTheQuarantineIsFullBothErrorsEndTheRun) {
  auto visit = single(17);
  visit.record(failure(Trouble::kRowData, "division by zero"));
  visit.record_state_failure(failure(Trouble::kFatal, "more rows failed than allowed"));
  ASSERT_EQ(visit.next().kind, Kind::kFailed);
  EXPECT_EQ(visit.next().failure.trouble, Trouble::kFatal);
  EXPECT_THAT(visit.next().failure.message, HasSubstr("division by zero; more rows failed"));
}

TEST(DeferredVisit, WhatARepeatMayGetThroughIsReturnedAsItIs) {
  DeferredVisit visit(100);
  visit.record(failure(Trouble::kConnection));
  ASSERT_EQ(visit.next().kind, Kind::kFailed);
  EXPECT_EQ(visit.next().failure.trouble, Trouble::kConnection);
  auto aside = single(17);
  aside.record(failure(Trouble::kRowData));
  aside.record_state_failure(failure(Trouble::kConnection, "lost"));
  EXPECT_EQ(aside.next().failure.trouble, Trouble::kConnection);
  EXPECT_EQ(aside.next().failure.message, "lost");
}

// Visited again and again, every key of a leaf gets settled or is marked; none is set aside for another's fault.
RC_GTEST_PROP(DeferredVisit, OnlyKeysThatFailAreSetAside, ()) {
  auto const count = *rc::gen::inRange<std::int64_t>(1, 40);
  auto const bad = *rc::gen::container<std::set<std::int64_t>>(rc::gen::inRange<std::int64_t>(0, count));
  std::set<std::int64_t> waiting;
  for (std::int64_t key = 0; key < count; ++key) waiting.insert(key);
  std::set<std::int64_t> aside;
  for (int turn = 0; turn < 400 && !waiting.empty(); ++turn) {
    DeferredVisit visit(*rc::gen::inRange<std::int64_t>(1, 20));
    while (visit.next().kind != Kind::kDone) {
      auto const step = visit.next();
      RC_ASSERT(step.kind != Kind::kFailed && step.kind != Kind::kMark);
      if (step.kind == Kind::kChoose) {
        visit.record_choice(*waiting.begin());
      } else if (step.kind == Kind::kSetAside) {
        aside.insert(*step.key);
        waiting.erase(*step.key);
        visit.record_set_aside();
      } else {
        std::vector<std::int64_t> due;
        for (auto const key : waiting) {
          if (static_cast<std::int64_t>(due.size()) < step.rows && (!step.key || step.key == key)) due.push_back(key);
        }
        bool const fails = std::any_of(due.begin(), due.end(), [&](std::int64_t key) { return bad.contains(key); });
        if (fails) {
          visit.record(failure(Trouble::kRowData));
          continue;
        }
        for (auto const key : due) waiting.erase(key);
        visit.record(Visit{0, static_cast<std::int64_t>(due.size()), 0});
      }
    }
  }
  RC_ASSERT(waiting.empty());
  RC_ASSERT(aside == bad);
}

}  // namespace
}  // namespace pgbackfill::planner
