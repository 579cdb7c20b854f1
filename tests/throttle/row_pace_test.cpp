#include "throttle/row_pace.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace pgbackfill::throttle {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TimePoint at(nanoseconds since_start) {
  return TimePoint{hours{100}} + since_start;
}

TEST(RowPace, NeverWaitsWithoutALimit) {
  RowPace pace;
  pace.charge(std::numeric_limits<std::int64_t>::max(), at(seconds{0}));
  EXPECT_EQ(pace.wait_before(at(seconds{0})), nanoseconds{0});
  EXPECT_EQ(pace.most_rows(), std::numeric_limits<std::int64_t>::max());
}

TEST(RowPace, StartsTheFirstBatchAtOnce) {
  EXPECT_EQ(RowPace(1).wait_before(at(seconds{0})), nanoseconds{0});
}

TEST(RowPace, WaitsOutWhatABatchTook) {
  RowPace pace(1000);
  pace.charge(250, at(seconds{0}));
  EXPECT_EQ(pace.wait_before(at(seconds{0})), milliseconds{250});
  EXPECT_EQ(pace.wait_before(at(milliseconds{200})), milliseconds{50});
  EXPECT_EQ(pace.wait_before(at(milliseconds{250})), nanoseconds{0});
}

TEST(RowPace, MakesUpForALateBatchButNotForAPause) {
  RowPace pace(1000);
  pace.charge(100, at(seconds{0}));
  pace.charge(100, at(milliseconds{130}));
  EXPECT_EQ(pace.wait_before(at(milliseconds{130})), milliseconds{70});
  pace.charge(1000, at(hours{9}));
  EXPECT_EQ(pace.wait_before(at(hours{9})), milliseconds{500});
}

TEST(RowPace, SharesOneBudgetBetweenWorkers) {
  RowPace pace(1000);
  for (int worker = 0; worker < 4; ++worker) pace.charge(100, at(seconds{0}));
  EXPECT_EQ(pace.wait_before(at(seconds{0})), milliseconds{400});
}

TEST(RowPace, GivesBackWhatABatchDidNotTake) {
  RowPace pace(1000);
  pace.charge(500, at(seconds{0}));
  pace.charge(-400, at(seconds{0}));
  EXPECT_EQ(pace.wait_before(at(seconds{0})), milliseconds{100});
}

TEST(RowPace, TakesANewLimitAtOnce) {
  RowPace pace(10);
  pace.charge(1000, at(seconds{0}));
  EXPECT_EQ(pace.wait_before(at(seconds{0})), seconds{100});
  pace.set_limit(1000);
  EXPECT_EQ(pace.wait_before(at(seconds{0})), seconds{1});
  pace.set_limit(std::nullopt);
  EXPECT_EQ(pace.wait_before(at(seconds{0})), nanoseconds{0});
  pace.set_limit(10);
  EXPECT_EQ(pace.wait_before(at(seconds{0})), nanoseconds{0});
  EXPECT_EQ(pace.limit(), 10);
}

TEST(RowPace, KeepsABatchWithinASecondOfTheLimit) {
  EXPECT_EQ(RowPace(700).most_rows(), 700);
}

TEST(RowPace, TakesALimitBelowOneAsOne) {
  EXPECT_EQ(RowPace(0).most_rows(), 1);
  EXPECT_EQ(RowPace(-5).most_rows(), 1);
}

TEST(RowPace, BoundsItsLongestWait) {
  RowPace pace(1);
  pace.charge(std::numeric_limits<std::int64_t>::max(), at(seconds{0}));
  EXPECT_EQ(pace.wait_before(at(seconds{0})), kLongestPaceWait);
}

TEST(RowPace, IsNotConfusedByTimeThatStepsBack) {
  RowPace pace(1000);
  pace.charge(100, at(seconds{10}));
  EXPECT_EQ(pace.wait_before(at(seconds{5})), milliseconds{100});
  pace.charge(100, at(seconds{5}));
  EXPECT_EQ(pace.wait_before(at(seconds{10})), milliseconds{200});
}

// Batches of any size, asked for at any moment, started as soon as they may.
RC_GTEST_PROP(RowPaceProperty, NeverStartsMoreThanTheLimitHalfASecondAndOneBatch, ()) {
  auto const limit = *rc::gen::inRange<std::int64_t>(1, 100'000);
  RowPace pace(limit);
  nanoseconds now{0};
  std::vector<std::pair<nanoseconds, std::int64_t>> started;
  for (int idle_ms : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 3000))) {
    now += milliseconds{idle_ms};
    now += pace.wait_before(at(now));
    RC_ASSERT(pace.wait_before(at(now)) == nanoseconds{0});
    auto const rows = *rc::gen::inRange<std::int64_t>(1, pace.most_rows() + 1);
    pace.charge(rows, at(now));
    started.emplace_back(now, rows);
  }
  for (std::size_t first = 0; first < started.size(); ++first) {
    double rows = 0;
    for (std::size_t last = first; last < started.size(); ++last) {
      rows += static_cast<double>(started[last].second);
      double const span = std::chrono::duration<double>(started[last].first - started[first].first).count();
      double const batch = static_cast<double>(started[last].second);
      RC_ASSERT(rows <= static_cast<double>(limit) * (span + 0.5) + batch + 1e-3);
    }
  }
}

RC_GTEST_PROP(RowPaceProperty, ReachesTheLimitWhenWorkNeverEnds, ()) {
  auto const limit = *rc::gen::inRange<std::int64_t>(10, 100'000);
  auto const rows = *rc::gen::inRange<std::int64_t>(1, limit + 1);
  RowPace pace(limit);
  nanoseconds now{0};
  double total = 0;
  while (now < seconds{20}) {
    pace.charge(rows, at(now));
    total += static_cast<double>(rows);
    auto const wait = pace.wait_before(at(now));
    now += wait + (wait > nanoseconds{0} ? milliseconds{1} : milliseconds{0});
  }
  double const allowed = 20.0 * static_cast<double>(limit);
  RC_ASSERT(total >= 0.99 * allowed - static_cast<double>(rows));
}

}  // namespace
}  // namespace pgbackfill::throttle
