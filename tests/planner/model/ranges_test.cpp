#include "planner/model/ranges.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace pgbackfill::planner {
namespace {

std::vector<KeyValue> numbers(std::int64_t count) {
  std::vector<KeyValue> bounds;
  for (std::int64_t number = 1; number <= count; ++number) bounds.push_back({std::to_string(number)});
  return bounds;
}

std::int64_t number_of(Bound const& bound) {
  return std::stoll(bound->front());
}

// One after the other from minus infinity to `upper`, none empty, not too many.
void check_cover(std::vector<PlannedRange> const& ranges, Bound const& upper, std::int64_t rows_estimated) {
  RC_ASSERT(!ranges.empty());
  RC_ASSERT(static_cast<std::int64_t>(ranges.size()) <= ranges_wanted(rows_estimated));
  Bound lo;
  for (auto const& range : ranges) {
    RC_ASSERT(range.interval.lo == lo);
    RC_ASSERT(range.interval.hi.has_value());
    if (lo) RC_ASSERT(number_of(range.interval.lo) < number_of(range.interval.hi));
    lo = range.interval.hi;
  }
  RC_ASSERT(lo == upper);
}

TEST(Ranges, SmallTablesAreOneRange) {
  EXPECT_EQ(ranges_wanted(-1), 1);
  EXPECT_EQ(ranges_wanted(0), 1);
  EXPECT_EQ(ranges_wanted(2 * kLeastRowsInARange - 1), 1);
  EXPECT_EQ(ranges_wanted(2 * kLeastRowsInARange), 2);
  EXPECT_EQ(ranges_wanted(kManyRanges * kRowsInARange), kManyRanges);
  EXPECT_EQ(ranges_wanted((kManyRanges + 1) * kRowsInARange), kManyRanges + 1);
  EXPECT_EQ(ranges_wanted(std::numeric_limits<std::int64_t>::max()), kMostRangesOfALeaf);
}

TEST(Ranges, ATableWithoutRowsHasNone) {
  EXPECT_TRUE(cut_by_bounds(numbers(5), std::nullopt, 1'000'000).empty());
  EXPECT_TRUE(cut_by_blocks(0, 0).empty());
}

TEST(Ranges, WithoutBoundsThereIsOneRange) {
  auto const ranges = cut_by_bounds({}, KeyValue{"7"}, 10'000'000);
  ASSERT_EQ(ranges.size(), 1U);
  EXPECT_EQ(ranges.front().interval, (Interval{std::nullopt, KeyValue{"7"}}));
  EXPECT_EQ(ranges.front().rows_estimated, 10'000'000);
}

TEST(Ranges, BoundsAreSpreadEvenly) {
  auto const ranges = cut_by_bounds(numbers(99), KeyValue{"100"}, 10 * kLeastRowsInARange);
  ASSERT_EQ(ranges.size(), 10U);
  for (std::size_t index = 0; index < ranges.size(); ++index) {
    EXPECT_EQ(number_of(ranges[index].interval.hi), static_cast<std::int64_t>(10 * (index + 1)));
  }
}

RC_GTEST_PROP(Ranges, AnyBoundsAreCoveredOnceWithoutGapOrOverlap, ()) {
  auto const count = *rc::gen::inRange<std::int64_t>(0, 3'000);
  auto const rows = *rc::gen::inRange<std::int64_t>(-1, 60'000'000);
  Bound const upper = KeyValue{std::to_string(count + 1)};
  auto const ranges = cut_by_bounds(numbers(count), upper, rows);
  check_cover(ranges, upper, rows);
  RC_ASSERT(static_cast<std::int64_t>(ranges.size()) == std::min(ranges_wanted(rows), count + 1));
}

RC_GTEST_PROP(Ranges, SharesDifferByOneBoundAtMost, ()) {
  auto const count = *rc::gen::inRange<std::int64_t>(1, 3'000);
  auto const ranges = cut_by_bounds(numbers(count), KeyValue{std::to_string(count + 1)}, 60'000'000);
  std::int64_t least = count + 1, most = 0, last = 0;
  for (auto const& range : ranges) {
    auto const share = number_of(range.interval.hi) - last;
    least = std::min(least, share);
    most = std::max(most, share);
    last = number_of(range.interval.hi);
  }
  RC_ASSERT(most - least <= 1);
}

RC_GTEST_PROP(Ranges, AnyBlocksAreCoveredOnceWithoutGapOrOverlap, ()) {
  auto const blocks = *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(1, 2'000),
                                      rc::gen::inRange<std::int64_t>(1, std::int64_t{1} << 32));
  auto const rows = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 40);
  check_cover(cut_by_blocks(blocks, rows), KeyValue{std::to_string(blocks - 1)}, rows);
}

}  // namespace
}  // namespace pgbackfill::planner
