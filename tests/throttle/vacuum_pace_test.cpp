#include "throttle/vacuum_pace.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

TEST(VacuumPace, WithoutALimitIsTheServers) {
  EXPECT_EQ(vacuum_pace(std::numeric_limits<double>::infinity(), false), std::nullopt);
  EXPECT_EQ(vacuum_pace(1e9, false), std::nullopt);
}

TEST(VacuumPace, MakesAsManyPagesDirtyAsTheWalMayHave) {
  // 2,000 pages a second: 20 in 10 ms, of 20 each.
  EXPECT_EQ(vacuum_pace(2'000 * 8'704.0, false), (VacuumPace{10ms, 400}));
}

TEST(VacuumPace, BesideOthersIsNoFasterThanAutovacuum) {
  VacuumPace const autovacuum{2ms, 200};
  EXPECT_EQ(vacuum_pace(std::numeric_limits<double>::infinity(), true), autovacuum);
  EXPECT_EQ(vacuum_pace(1e9, true), autovacuum);
  EXPECT_EQ(vacuum_pace(2'000 * 8'704.0, true), (VacuumPace{10ms, 400}));
}

TEST(VacuumPace, IsNeverNothing) {
  EXPECT_EQ(vacuum_pace(0, false), (VacuumPace{10ms, 1}));
  EXPECT_EQ(vacuum_pace(-5, true), (VacuumPace{10ms, 1}));
}

}  // namespace
}  // namespace pgbackfill::throttle
