#include "throttle/follow_rest.h"

#include <gtest/gtest.h>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

TEST(FollowRest, IsAsLongAsTheFileAsksForWhereLooksAreShort) {
  EXPECT_EQ(rest_after_look(20ms, 10s), 10s);
  EXPECT_EQ(rest_after_look(0ms, 10s), 10s);
}

TEST(FollowRest, LeavesNineTenthsOfTheTimeToOthersWhereLooksAreLong) {
  EXPECT_EQ(rest_after_look(100s, 10s), 900s);
}

}  // namespace
}  // namespace pgbackfill::throttle
