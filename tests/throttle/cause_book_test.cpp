#include "throttle/cause_book.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "throttle/freshness.h"
#include "throttle/odometer.h"
#include "throttle/steady_mean.h"
#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{100h};

TEST(CauseBook, RemembersSinceWhenACauseHolds) {
  CauseBook book;
  for (auto time : {0s, 1s, 2s, 3s}) {
    book.begin(kStart + time);
    book.note(CauseKind::kReplicaLag, Grip::kSlows, "db-2", "0.1 s behind at " + std::to_string(time.count()));
  }
  EXPECT_EQ(book.take().front().since, kStart);
  book.begin(kStart + 5s);
  book.note(CauseKind::kReplicaLag, Grip::kStops, "db-2", "still the same");
  book.note(CauseKind::kReplicaLag, Grip::kSlows, "db-3", "another");
  auto const causes = book.take();
  EXPECT_EQ(causes[0].since, kStart);
  EXPECT_EQ(causes[1].since, kStart + 5s);
  book.begin(kStart + 9s);
  book.note(CauseKind::kReplicaLag, Grip::kStops, "db-2", "come again");
  EXPECT_EQ(book.take().front().since, kStart + 9s);
}

TEST(CauseBook, SaysFirstWhatStops) {
  CauseBook book;
  book.begin(kStart);
  book.note(CauseKind::kCheckpoints, Grip::kWarns, "", "warns");
  book.note(CauseKind::kWalRate, Grip::kSlows, "", "slows");
  book.note(CauseKind::kArchive, Grip::kStops, "", "stops");
  book.note(CauseKind::kWraparound, Grip::kStops, "", "stops too");
  auto const causes = book.take();
  ASSERT_EQ(causes.size(), 4U);
  EXPECT_EQ(causes[0].text, "stops");
  EXPECT_EQ(causes[1].text, "stops too");
  EXPECT_EQ(causes[2].text, "slows");
  EXPECT_EQ(causes[3].text, "warns");
}

TEST(CauseBook, NamesEachKindOnce) {
  std::set<std::string> names;
  int const kinds = static_cast<int>(CauseKind::kStarting) + 1;
  for (int kind = 0; kind < kinds; ++kind) names.insert(name_of(static_cast<CauseKind>(kind)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kinds));
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Freshness, TrustsLateReadingsAndNotMissingOnes) {
  Freshness freshness(0.5);
  EXPECT_EQ(freshness.trust(kStart), 0);
  for (int time = 0; time < 40; ++time) freshness.see(kStart + time * 500ms - 2s, kStart + time * 500ms);
  auto const now = kStart + 19'500ms;
  EXPECT_EQ(freshness.trust(now), 1);
  EXPECT_EQ(freshness.trust(now + 1400ms), 1);
  EXPECT_LT(freshness.trust(now + 2s), 1);
  EXPECT_GT(freshness.trust(now + 4s), 0);
  EXPECT_EQ(freshness.trust(now + 6s), 0);
}

TEST(Freshness, IsNotMadeFreshByTheSameReadingAgain) {
  Freshness freshness(0.5);
  freshness.see(kStart, kStart);
  freshness.see(kStart, kStart + 10s);
  EXPECT_EQ(freshness.age_seconds(kStart + 10s), 10);
  EXPECT_EQ(freshness.trust(kStart + 10s), 0);
}

TEST(Odometer, TellsWhatCameBetweenTwoTimes) {
  Odometer odometer;
  for (int second = 0; second <= 20; ++second)
    odometer.add(second == 0 ? 0 : 10, kStart + std::chrono::seconds{second});
  EXPECT_DOUBLE_EQ(odometer.between(kStart + 5s, kStart + 7500ms), 25);
  EXPECT_DOUBLE_EQ(odometer.between(kStart + 7s, kStart + 5s), 0);
  EXPECT_DOUBLE_EQ(odometer.rate(2), 10);
  EXPECT_DOUBLE_EQ(odometer.between(kStart + 20s, kStart + 30s), 0);
  EXPECT_EQ(Odometer{}.rate(2), 0);
}

TEST(SteadyMean, FollowsAStepAtOnceAndNoiseHardly) {
  SteadyMean calm(0.5);
  for (int time = 0; time < 20; ++time) calm.see(40, 0.5);
  calm.see(15, 0.5);
  EXPECT_LT(calm.value(), 30);
  for (int time = 0; time < 4; ++time) calm.see(15, 0.5);
  EXPECT_LT(calm.value(), 22);

  SteadyMean noisy(0.5);
  double lowest = 1e9;
  double highest = 0;
  for (int time = 0; time < 400; ++time) {
    noisy.see(time % 2 == 0 ? 30 : 50, 0.5);
    if (time < 50) continue;
    lowest = std::min(lowest, noisy.value());
    highest = std::max(highest, noisy.value());
  }
  EXPECT_GT(lowest, 37);
  EXPECT_LT(highest, 43);
}

TEST(Wording, IsShortAndHasUnits) {
  EXPECT_EQ(say_seconds(0.483), "0.48 s");
  EXPECT_EQ(say_seconds(12.3), "12 s");
  EXPECT_EQ(say_seconds(600), "10 min");
  EXPECT_EQ(say_seconds(9'000), "2.5 h");
  EXPECT_EQ(say_rate(31e6), "31 MB/s");
  EXPECT_EQ(say_rate(1.25e9), "1.25 GB/s");
  EXPECT_EQ(say_bytes(640'000), "640 kB");
  EXPECT_EQ(say_bytes(12), "12 B");
  EXPECT_EQ(say_rate(1.0 / 0.0), "unlimited");
  EXPECT_EQ(say_number(0.5), "0.5");
  EXPECT_EQ(say_number(1200), "1200");
  EXPECT_EQ(say_percent(0.85), "85 %");
}

}  // namespace
}  // namespace pgbackfill::throttle
