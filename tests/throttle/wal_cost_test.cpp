#include "throttle/wal_cost.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgbackfill::throttle {
namespace {

WalInterval idle(double wal_per_second) {
  return {1, wal_per_second, {}, 0, true};
}

WalInterval busy(double wal_per_second, std::int64_t rows) {
  return {1, wal_per_second, {}, rows, false};
}

TEST(WalCost, GuessesUntilItHasMeasured) {
  WalCost const cost;
  EXPECT_FALSE(cost.is_measured());
  EXPECT_GT(cost.bytes_per_row(), 0);
}

TEST(WalCost, TakesOffWhatOthersWriteWhileWeDoNot) {
  WalCost cost;
  for (int time = 0; time < 5; ++time) cost.see(idle(10e6));
  for (int time = 0; time < 30; ++time) cost.see(busy(40e6, 100'000));
  EXPECT_NEAR(cost.bytes_per_row(), 300, 3);
}

TEST(WalCost, IsExactWhereTheServerCounts) {
  WalCost cost;
  auto interval = busy(90e6, 100'000);
  interval.own_bytes = 25e6;
  for (int time = 0; time < 30; ++time) cost.see(interval);
  EXPECT_NEAR(cost.bytes_per_row(), 250, 1);
}

TEST(WalCost, IsAtMostWhatAllWalWouldMake) {
  WalCost cost;
  for (int time = 0; time < 60; ++time) cost.see(busy(5e6, 100'000));
  EXPECT_NEAR(cost.bytes_per_row(), 50, 1);
}

TEST(WalCost, DoesNotBlameItsRowsForWhatOthersBeginToWrite) {
  WalCost cost;
  cost.see(idle(10e6));
  for (int time = 0; time < 120; ++time) cost.see(busy(40e6, 100'000));
  double const before = cost.bytes_per_row();
  for (int time = 0; time < 120; ++time) cost.see(busy(90e6, 100'000));
  EXPECT_EQ(cost.bytes_per_row(), before);
}

TEST(WalCost, EvensOutBatchesThatAreCountedBeforeTheyWrite) {
  WalCost cost;
  cost.see(idle(0));
  for (int time = 0; time < 40; ++time) {
    cost.see(busy(0, 200'000));
    cost.see(busy(60e6, 0));
  }
  EXPECT_NEAR(cost.bytes_per_row(), 300, 60);
}

TEST(WalCost, BoundsABatchByHalfASecondButLetsARowThrough) {
  EXPECT_EQ(most_rows(10e6, 500), 10'000);
  EXPECT_EQ(most_rows(10, 500), 1);
  EXPECT_EQ(most_rows(0, 500), 1);
  EXPECT_EQ(most_rows(std::numeric_limits<double>::infinity(), 500), std::numeric_limits<std::int64_t>::max());
}

}  // namespace
}  // namespace pgbackfill::throttle
