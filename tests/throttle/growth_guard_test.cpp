#include "throttle/growth_guard.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "throttle/cause_book.h"
#include "throttle/throttle.h"

namespace pgbackfill::throttle {
namespace {

constexpr TimePoint kNow{std::chrono::seconds{1'000}};

struct Judged {
  Decision decision;
  std::vector<Cause> causes;
};

Judged judged(GrowthHold const& hold, int wanted, double workers = kUnlimited) {
  CauseBook book;
  book.begin(kNow);
  Judged result;
  result.decision.workers = workers;
  judge_growth(hold, wanted, result.decision, book);
  result.causes = book.take();
  return result;
}

TEST(GrowthGuard, SaysNothingWhereThereIsRoom) {
  auto const [decision, causes] = judged({}, 4);
  EXPECT_EQ(decision.workers, kUnlimited);
  EXPECT_TRUE(causes.empty());
}

TEST(GrowthGuard, LeavesAShareOfTheWorkersThatWouldRun) {
  auto const [decision, causes] = judged({0.5, false, "vacuum of users is at work"}, 4);
  EXPECT_EQ(decision.workers, 2);
  ASSERT_EQ(causes.size(), 1U);
  EXPECT_EQ(causes[0].kind, CauseKind::kBloat);
  EXPECT_EQ(causes[0].grip, Grip::kSlows);
  EXPECT_EQ(causes[0].text, "vacuum of users is at work");
}

TEST(GrowthGuard, LeavesNoMoreThanAnotherCauseDoes) {
  EXPECT_EQ(judged({0.5, false, "x"}, 4, 0.3).decision.workers, 0.3);
}

TEST(GrowthGuard, StopsAtNoShareAndWarnsAtAWholeOne) {
  auto const stopped = judged({0, true, "somebody sees old rows"}, 4);
  EXPECT_EQ(stopped.decision.workers, 0);
  EXPECT_EQ(stopped.causes.at(0).kind, CauseKind::kXminHorizon);
  EXPECT_EQ(stopped.causes.at(0).grip, Grip::kStops);
  auto const warned = judged({1, true, "somebody sees old rows"}, 4);
  EXPECT_EQ(warned.decision.workers, kUnlimited);
  EXPECT_EQ(warned.causes.at(0).grip, Grip::kWarns);
}

TEST(GrowthGuard, HoldsWhereNothingIsReadOfTheServer) {
  Throttle throttle{Limits()};
  Work work;
  work.wanted = 2;
  EXPECT_TRUE(throttle.decide_unread(work, kNow).may_start);
  EXPECT_TRUE(throttle.decide_unread(work, kNow).causes.empty());
  work.growth = {0.5, false, "vacuum of users is at work"};
  auto const held = throttle.decide_unread(work, kNow + std::chrono::seconds{1});
  EXPECT_EQ(held.workers, 1);
  EXPECT_EQ(held.causes.at(0).since, kNow + std::chrono::seconds{1});
  EXPECT_EQ(throttle.decide_unread(work, kNow + std::chrono::seconds{2}).causes.at(0).since, held.causes.at(0).since);
}

}  // namespace
}  // namespace pgbackfill::throttle
