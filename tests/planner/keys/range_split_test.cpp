#include "planner/keys/range_split.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

using Kind = SplitStep::Kind;

KeyValue key(std::int64_t value) {
  return {std::to_string(value)};
}

SplitCandidate candidate(std::int64_t rows_left) {
  SplitCandidate result;
  result.range.range_id = 7;
  result.range.cursor = key(1'000);
  result.range.hi = key(90'000);
  result.rows_left = rows_left;
  return result;
}

SplitCandidate blocks(Bound cursor, std::int64_t hi) {
  SplitCandidate result;
  result.range.cursor = std::move(cursor);
  result.range.hi = key(hi);
  result.by_block = true;
  return result;
}

TEST(RangeSplit, TheMiddleIsLookedForBehindHalfOfTheRowsThatAreLeft) {
  RangeSplit split(candidate(60'000));
  EXPECT_EQ(split.next().kind, Kind::kLookAhead);
  EXPECT_EQ(split.next().rows, 30'000);
  split.record_page({30'000, key(45'500)});
  ASSERT_EQ(split.next().kind, Kind::kCut);
  EXPECT_EQ(split.next().middle, key(45'500));
}

TEST(RangeSplit, AHalfIsNeitherTinyNorALongWalk) {
  EXPECT_EQ(RangeSplit(candidate(10)).next().rows, kLeastRowsOfAHalf);
  EXPECT_EQ(RangeSplit(candidate(10), 4).next().rows, 5);
  EXPECT_EQ(RangeSplit(candidate(100'000'000)).next().rows, kMostRowsToWalk);
}

TEST(RangeSplit, ARangeThatEndsWithinTheWalkIsLeftWhole) {
  RangeSplit ended(candidate(60'000));
  ended.record_page({400, std::nullopt});
  EXPECT_EQ(ended.next().kind, Kind::kNothing);
  RangeSplit at_the_end(candidate(60'000));
  at_the_end.record_page({30'000, key(90'000)});
  EXPECT_EQ(at_the_end.next().kind, Kind::kNothing);
}

TEST(RangeSplit, BlocksAreCutInTheMiddleWithoutALook) {
  RangeSplit split(blocks(key(9), 109));
  ASSERT_EQ(split.next().kind, Kind::kCut);
  EXPECT_EQ(split.next().middle, key(59));
  EXPECT_EQ(RangeSplit(blocks(std::nullopt, 9)).next().middle, key(4)) << "from block 0 on";
  EXPECT_EQ(RangeSplit(blocks(key(9), 12)).next().kind, Kind::kNothing);
}

}  // namespace
}  // namespace pgbackfill::planner
