#include "planner/keys/passes.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace pgbackfill::planner {
namespace {

PassState state(int pass, std::int64_t deferred = 0) {
  PassState result;
  result.pass = pass;
  result.deferred = deferred;
  return result;
}

TEST(Passes, ATableIsAlwaysGoneOverOnceMore) {
  EXPECT_EQ(after_ranges(state(0)), PassDecision::kNextPass);
  EXPECT_EQ(after_ranges(state(0, 5)), PassDecision::kNextPass);
  EXPECT_EQ(after_ranges(state(1)), PassDecision::kComplete);
}

TEST(Passes, DeferredRowsComeLast) {
  EXPECT_EQ(after_ranges(state(1, 5)), PassDecision::kVisitDeferred);
}

TEST(Passes, RowsThatMoveAreLookedForUntilThereAreNone) {
  auto blocks = state(1);
  blocks.by_block = true;
  EXPECT_EQ(after_ranges(blocks), PassDecision::kComplete);
  blocks.rows_changed = 1;
  EXPECT_EQ(after_ranges(blocks), PassDecision::kNextPass);
  blocks.rows_changed = 0;
  blocks.rows_left = 1;
  EXPECT_EQ(after_ranges(blocks), PassDecision::kNextPass);
  blocks.pass = kMostBlockPasses;
  EXPECT_EQ(after_ranges(blocks), PassDecision::kGiveUp);
}

TEST(Passes, ChangesInALaterPassByKeyAskForNoMore) {
  auto keyed = state(1);
  keyed.rows_changed = 1'000;
  EXPECT_EQ(after_ranges(keyed), PassDecision::kComplete);
}

RC_GTEST_PROP(Passes, NothingIsDecidedWhileARangeIsOpen, ()) {
  PassState any;
  any.pass = *rc::gen::inRange(0, 30);
  any.open_ranges = *rc::gen::inRange<std::int64_t>(1, 600);
  any.deferred = *rc::gen::inRange<std::int64_t>(0, 3);
  any.rows_changed = *rc::gen::inRange<std::int64_t>(0, 3);
  any.by_block = *rc::gen::arbitrary<bool>();
  RC_ASSERT(after_ranges(any) == PassDecision::kWaitForRanges);
}

RC_GTEST_PROP(Passes, AJobThatIsCompleteHasNothingLeft, ()) {
  PassState any;
  any.pass = *rc::gen::inRange(0, 30);
  any.deferred = *rc::gen::inRange<std::int64_t>(0, 2);
  any.rows_changed = *rc::gen::inRange<std::int64_t>(0, 2);
  any.rows_left = *rc::gen::inRange<std::int64_t>(0, 2);
  any.by_block = *rc::gen::arbitrary<bool>();
  if (after_ranges(any) != PassDecision::kComplete) return;
  RC_ASSERT(any.pass > 0 && any.deferred == 0);
  RC_ASSERT(!any.by_block || (any.rows_changed == 0 && any.rows_left == 0));
}

}  // namespace
}  // namespace pgbackfill::planner
