#include "throttle/vacuum_pace.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

constexpr double kNoLimit = std::numeric_limits<double>::infinity();
constexpr VacuumPace kAutovacuum{2ms, 200};

VacuumNeed beside_others(double pages_per_second) {
  VacuumNeed need;
  need.is_beside_others = true;
  need.pages_per_second = pages_per_second;
  return need;
}

TEST(VacuumPace, WithoutALimitIsTheServers) {
  EXPECT_EQ(vacuum_pace(kNoLimit, {}), std::nullopt);
  EXPECT_EQ(vacuum_pace(1e9, {}), std::nullopt);
}

TEST(VacuumPace, MakesAsManyPagesDirtyAsTheWalMayHave) {
  // 2,000 pages a second: 20 in 10 ms, of 20 each.
  EXPECT_EQ(vacuum_pace(2'000 * 8'704.0, {}), (VacuumPace{10ms, 400}));
}

TEST(VacuumPace, BesideOthersIsNoFasterThanAutovacuum) {
  EXPECT_EQ(vacuum_pace(kNoLimit, beside_others(1e6)), kAutovacuum);
  EXPECT_EQ(vacuum_pace(1e9, beside_others(1e6)), kAutovacuum);
  EXPECT_EQ(vacuum_pace(2'000 * 8'704.0, beside_others(1e6)), (VacuumPace{10ms, 400}));
}

TEST(VacuumPace, BesideOthersKeepsUpWithTheJobAndTakesTheTimeThatItHas) {
  // 200 pages a second are left and 200 index pages with them; three times that: 2.4 pages in 2 ms, of 20 each.
  EXPECT_EQ(vacuum_pace(kNoLimit, beside_others(200)), (VacuumPace{2ms, 48}));
  EXPECT_EQ(vacuum_pace(kNoLimit, beside_others(0)), (VacuumPace{2ms, 20}));
}

TEST(VacuumPace, HurriesBeforeWorkersWaitForIt) {
  auto need = beside_others(0);
  need.is_near_budget = true;
  EXPECT_EQ(vacuum_pace(kNoLimit, need), kAutovacuum);
}

TEST(VacuumPace, IsNeverNothing) {
  EXPECT_EQ(vacuum_pace(0, {}), (VacuumPace{10ms, 1}));
  EXPECT_EQ(vacuum_pace(-5, beside_others(0)), (VacuumPace{10ms, 1}));
}

}  // namespace
}  // namespace pgbackfill::throttle
