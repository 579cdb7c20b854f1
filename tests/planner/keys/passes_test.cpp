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

TEST(PassChange, APassOverTheWholeTableNeedsAWhereThatTellsDoneFromUndone) {
  auto first = state(0);
  EXPECT_EQ(scope_of_next_pass(first), PassScope::kNewRows);
  first.sweeps = true;
  EXPECT_EQ(scope_of_next_pass(first), PassScope::kWholeTable);
  first.rows_again = 1;
  EXPECT_EQ(scope_of_next_pass(first), PassScope::kNewRows) << "they would be changed twice";
  PassChange change(first);
  ASSERT_EQ(change.next().kind, PassStep::Kind::kStart);
  EXPECT_EQ(change.next().pass, 0);
  EXPECT_EQ(change.next().scope, PassScope::kNewRows);
  change.record_started(true);
  EXPECT_EQ(change.next().end, PassEnd::kNextPass);
}

TEST(PassChange, AnotherWorkerThatWasQuickerHasOpenRanges) {
  PassChange change(state(0));
  change.record_started(false);
  ASSERT_EQ(change.next().kind, PassStep::Kind::kEnd);
  EXPECT_EQ(change.next().end, PassEnd::kOpenRanges);
  PassChange last(state(1));
  last.record_new_leaves(false);
  last.record_completed(false);
  EXPECT_EQ(last.next().end, PassEnd::kOpenRanges);
}

TEST(PassChange, AJobIsCompleteOnlyAfterALookForNewPartitions) {
  PassChange change(state(1));
  ASSERT_EQ(change.next().kind, PassStep::Kind::kLookForLeaves);
  change.record_new_leaves(false);
  ASSERT_EQ(change.next().kind, PassStep::Kind::kComplete);
  EXPECT_EQ(change.next().pass, 1);
  change.record_completed(true);
  EXPECT_EQ(change.next().end, PassEnd::kComplete);
  PassChange more(state(1));
  more.record_new_leaves(true);
  ASSERT_EQ(more.next().kind, PassStep::Kind::kStart);
  EXPECT_EQ(more.next().scope, PassScope::kNewLeaves);
}

TEST(PassChange, WhatIsCompleteOpenDeferredOrHopelessEndsAtOnce) {
  auto complete = state(1);
  complete.is_complete = true;
  EXPECT_EQ(PassChange(complete).next().end, PassEnd::kComplete);
  EXPECT_EQ(PassChange(state(1, 5)).next().end, PassEnd::kDeferred);
  auto open = state(1);
  open.open_ranges = 1;
  EXPECT_EQ(PassChange(open).next().end, PassEnd::kOpenRanges);
  auto hopeless = state(kMostBlockPasses);
  hopeless.by_block = true;
  hopeless.rows_changed = 1;
  EXPECT_EQ(PassChange(hopeless).next().kind, PassStep::Kind::kGiveUp);
  EXPECT_NE(PassChange(hopeless).next().reason.find("give the table a primary key"), std::string::npos);
}

LeafOfPass leaf_until(std::int64_t end) {
  LeafOfPass leaf;
  leaf.is_known = true;
  leaf.end = KeyValue{std::to_string(end)};
  return leaf;
}

TEST(NextPass, GoesOverNewKeysOfEachLeafOrAllOfIt) {
  auto leaf = leaf_until(100);
  EXPECT_EQ(part_of_leaf(PassScope::kNewRows, leaf), LeafPart::kNewKeys);
  EXPECT_EQ(part_of_leaf(PassScope::kWholeTable, leaf), LeafPart::kWhole);
  EXPECT_EQ(part_of_leaf(PassScope::kNewLeaves, leaf), LeafPart::kNothing);
  leaf.is_back = true;
  EXPECT_EQ(part_of_leaf(PassScope::kNewLeaves, leaf), LeafPart::kNewKeys);
  leaf.by_block = true;
  EXPECT_EQ(part_of_leaf(PassScope::kNewRows, leaf), LeafPart::kWhole) << "rows move between blocks";
  EXPECT_EQ(part_of_leaf(PassScope::kNewLeaves, LeafOfPass()), LeafPart::kWhole);
}

TEST(NextPass, NewKeysAreOneRangeFromTheOldEnd) {
  auto const leaf = leaf_until(100);
  auto const ranges = ranges_of_leaf(LeafPart::kNewKeys, leaf, {}, KeyValue{"140"}, 0);
  ASSERT_EQ(ranges.size(), 1U);
  EXPECT_EQ(ranges.front().interval.lo, Bound(KeyValue{"100"}));
  EXPECT_EQ(ranges.front().interval.hi, Bound(KeyValue{"140"}));
  EXPECT_TRUE(ranges_of_leaf(LeafPart::kNewKeys, leaf, {}, KeyValue{"100"}, 0).empty());
  EXPECT_TRUE(ranges_of_leaf(LeafPart::kWhole, leaf, {}, std::nullopt, 0).empty()) << "no row is left";
}

TEST(NextPass, AWholeLeafIsCutAsInTheFirstPass) {
  auto const leaf = leaf_until(100);
  auto const ranges = ranges_of_leaf(LeafPart::kWhole, leaf, {{"50"}}, KeyValue{"140"}, 2 * kLeastRowsInARange);
  ASSERT_EQ(ranges.size(), 2U);
  EXPECT_FALSE(ranges.front().interval.lo);
  EXPECT_EQ(ranges.back().interval.hi, Bound(KeyValue{"140"}));
  LeafOfPass blocks;
  blocks.by_block = true;
  auto const cut = ranges_of_leaf(LeafPart::kWhole, blocks, {}, KeyValue{"9"}, 10);
  EXPECT_EQ(cut.back().interval.hi, Bound(KeyValue{"9"}));
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
