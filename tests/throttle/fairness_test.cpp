#include "throttle/fairness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace pgbackfill::throttle {
namespace {

using testing::ElementsAre;

constexpr double kAll = std::numeric_limits<double>::infinity();

TEST(Fairness, DividesByWeight) {
  EXPECT_THAT(share_out(30, {{"a", 1, kAll}, {"b", 2, kAll}}), ElementsAre(10, 20));
}

TEST(Fairness, GivesTheOthersWhatOneDoesNotWant) {
  EXPECT_THAT(share_out(30, {{"a", 1, 4}, {"b", 1, kAll}, {"c", 1, kAll}}), ElementsAre(4, 13, 13));
  EXPECT_THAT(share_out(30, {{"a", 1, 4}, {"b", 1, 12}, {"c", 1, kAll}}), ElementsAre(4, 12, 14));
}

TEST(Fairness, LeavesWhatNobodyWants) {
  EXPECT_THAT(share_out(30, {{"a", 1, 4}, {"b", 1, 5}}), ElementsAre(4, 5));
  EXPECT_THAT(share_out(kAll, {{"a", 1, 4}, {"b", 1, kAll}}), ElementsAre(4, kAll));
}

TEST(Fairness, DoesNotDivideByAWeightOfNothing) {
  EXPECT_THAT(share_out(30, {{"a", 0, kAll}, {"b", -1, kAll}}), ElementsAre(15, 15));
  EXPECT_TRUE(share_out(30, {}).empty());
}

TEST(Fairness, WantsMoreOnlyWhereAllIsUsed) {
  EXPECT_EQ(wanted_of(9.5, 10), kAll);
  EXPECT_EQ(wanted_of(4, 10), 5);
}

RC_GTEST_PROP(Fairness, GivesNobodyMoreThanTheyWantAndNoMoreThanThereIs, ()) {
  double const total = *rc::gen::inRange(0, 1'000);
  std::vector<Claim> claims;
  int const count = *rc::gen::inRange(1, 8);
  for (int job = 0; job < count; ++job) {
    claims.push_back({"", 1.0 * *rc::gen::inRange(1, 10), 1.0 * *rc::gen::inRange(0, 500)});
  }
  auto const parts = share_out(total, claims);
  double sum = 0;
  double wanted = 0;
  for (std::size_t at = 0; at < claims.size(); ++at) {
    RC_ASSERT(parts[at] >= 0);
    RC_ASSERT(parts[at] <= claims[at].wanted + 1e-9);
    sum += parts[at];
    wanted += claims[at].wanted;
  }
  RC_ASSERT(sum <= total + 1e-6);
  RC_ASSERT(sum >= std::min(total, wanted) - 1e-6);
}

}  // namespace
}  // namespace pgbackfill::throttle
