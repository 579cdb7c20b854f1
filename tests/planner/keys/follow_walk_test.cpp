#include "planner/keys/follow_walk.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

using Kind = FollowStep::Kind;

Page page(std::int64_t rows, char const* last = nullptr) {
  Page result;
  result.rows = rows;
  if (last != nullptr) result.last = KeyValue{last};
  return result;
}

TEST(FollowWalk, LooksAtEachPageOfEachLeafOnce) {
  FollowWalk walk({3, 5});
  EXPECT_EQ(walk.next(100).kind, Kind::kFindPage);
  EXPECT_EQ(walk.next(100).rows, 100);
  walk.record_page(page(100, "100"));
  auto step = walk.next(50);
  EXPECT_EQ(step.kind, Kind::kDefer);
  EXPECT_EQ(step.rows, 100) << "the page is what was found";
  EXPECT_FALSE(step.interval.lo);
  EXPECT_EQ(step.interval.hi, Bound(KeyValue{"100"}));
  walk.record_deferred(0);
  step = walk.next(50);
  EXPECT_EQ(step.kind, Kind::kFindPage);
  EXPECT_EQ(step.interval.lo, Bound(KeyValue{"100"}));
  walk.record_page(page(7));
  EXPECT_FALSE(walk.next(50).interval.hi) << "rows that come at the end meanwhile belong to it";
  walk.record_deferred(0);
  step = walk.next(50);
  EXPECT_EQ(step.leaf, 5);
  EXPECT_FALSE(step.interval.lo);
  walk.record_page(page(0));
  walk.record_deferred(0);
  EXPECT_EQ(walk.next(50).kind, Kind::kThrough);
}

TEST(FollowWalk, WhatWasFoundIsDoneAtTheEndOfTheLook) {
  FollowWalk walk({0});
  walk.record_page(page(7));
  walk.record_deferred(3);
  EXPECT_EQ(walk.next(50).kind, Kind::kVisit);
  walk.record_visited();
  EXPECT_EQ(walk.next(50).kind, Kind::kThrough);
}

TEST(FollowWalk, ManyRowsAreDoneBeforeTheLookGoesOn) {
  FollowWalk walk({0});
  walk.record_page(page(5'000, "5000"));
  walk.record_deferred(kMostFound);
  EXPECT_EQ(walk.next(50).kind, Kind::kVisit);
  walk.record_visited();
  EXPECT_EQ(walk.next(50).kind, Kind::kFindPage);
  EXPECT_EQ(walk.next(50).interval.lo, Bound(KeyValue{"5000"}));
}

TEST(FollowWalk, APageThatTakesTooLongIsLookedForAgain) {
  FollowWalk walk({0});
  walk.record_page(page(5'000, "5000"));
  EXPECT_TRUE(walk.record_too_many());
  auto const step = walk.next(1);
  EXPECT_EQ(step.kind, Kind::kFindPage);
  EXPECT_EQ(step.rows, 1);
  EXPECT_FALSE(step.interval.lo);
  walk.record_page(page(1, "1"));
  EXPECT_FALSE(walk.record_too_many()) << "a single row cannot be halved";
}

TEST(FollowWalk, ATableWithoutLeavesIsThroughAtOnce) {
  EXPECT_EQ(FollowWalk({}).next(50).kind, Kind::kThrough);
}

}  // namespace
}  // namespace pgbackfill::planner
