#include "engine/view/course.h"

#include <gtest/gtest.h>

#include "engine/view/sparkline.h"

namespace pgbackfill::engine {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kStart = 1'700'000'000'000;

StoredSample sample(std::int64_t second, std::int64_t rows, std::int64_t took_s = 5) {
  StoredSample one;
  one.at_ms = kStart + second * 1'000;
  one.took = milliseconds(took_s * 1'000);
  one.phase = "backfill";
  one.rows_done = rows;
  return one;
}

TEST(Course, TheRateIsThatBetweenTwoMoments) {
  auto const stretches = stretches_of({sample(0, 0, 0), sample(5, 500), sample(10, 2'500)});
  ASSERT_EQ(stretches.size(), 2U);
  EXPECT_EQ(stretches[0].rows_per_second(), 100);
  EXPECT_EQ(stretches[1].rows_per_second(), 400);
  EXPECT_FALSE(stretches[1].is_gone);
}

TEST(Course, WhereNobodyWroteNobodyWas) {
  // Killed after 12 s, and run again at 60 s; what the last two seconds did is in the count, and in no rate.
  auto const stretches =
      stretches_of({sample(0, 0, 0), sample(5, 500), sample(10, 1'000), sample(60, 1'200, 0), sample(65, 1'700)});
  ASSERT_EQ(stretches.size(), 4U);
  EXPECT_TRUE(stretches[2].is_gone);
  EXPECT_EQ(stretches[2].length_ms(), 50'000);
  EXPECT_EQ(stretches[3].rows_per_second(), 100);
}

TEST(Course, AGapBeforeAMomentWithALengthEndsWhereThatBegins) {
  auto const stretches = stretches_of({sample(0, 0), sample(60, 900, 10)});
  ASSERT_EQ(stretches.size(), 2U);
  EXPECT_TRUE(stretches[0].is_gone);
  EXPECT_EQ(stretches[0].rows, 0);
  EXPECT_EQ(stretches[0].length_ms(), 50'000);
  EXPECT_EQ(stretches[1].rows, 900);
  EXPECT_EQ(stretches[1].length_ms(), 10'000);
}

TEST(Course, AThinnedMomentIsNoGap) {
  auto const stretches = stretches_of({sample(0, 0), sample(640, 64'000, 640)});
  ASSERT_EQ(stretches.size(), 1U);
  EXPECT_EQ(stretches[0].rows_per_second(), 100);
}

TEST(Course, AClockThatWasSetBackIsLeftOut) {
  EXPECT_EQ(stretches_of({sample(10, 0), sample(5, 100), sample(15, 200)}).size(), 1U);
}

std::vector<StoredSample> eventful() {
  std::vector<StoredSample> samples{sample(0, 0, 0), sample(5, 1'000), sample(10, 2'000)};
  for (int second = 15; second <= 40; second += 5) {
    auto held = sample(second, 2'000);
    held.held_ms = {{"replica_lag", 4'900}, {"starting", 100}};
    held.held_by = "replica db-2 is 5 s behind";
    samples.push_back(held);
  }
  auto paused = sample(100, 2'000, 60);
  paused.phase = "paused";
  samples.push_back(paused);
  samples.push_back(sample(105, 3'000));
  samples.push_back(sample(110, 3'000));
  samples.push_back(sample(200, 3'500, 0));
  return samples;
}

TEST(Course, SaysWhenItStoodAndWhy) {
  auto const summary = summary_of(eventful());
  EXPECT_EQ(summary.rows, 3'500);
  EXPECT_EQ(summary.covered, milliseconds(200'000));
  EXPECT_EQ(summary.held_ms.at("replica_lag"), 6 * 4'900);
  ASSERT_EQ(summary.standstills.size(), 3U) << "five seconds without a row are none";
  EXPECT_EQ(summary.standstills[0].cause, "replica_lag");
  EXPECT_EQ(summary.standstills[0].text, "replica db-2 is 5 s behind");
  EXPECT_EQ(summary.standstills[0].to_ms - summary.standstills[0].from_ms, 30'000);
  EXPECT_EQ(summary.standstills[1].cause, "paused");
  EXPECT_EQ(summary.standstills[2].cause, "no process");
  EXPECT_EQ(course_text(summary),
            "18 rows/s in the mean of 3 min 20 s; it stood 3 min 00 s: no process 1 min 30 s, paused 1 min 00 s, "
            "replica_lag 30.0 s");
}

TEST(Course, OfLittleItSaysNothing) {
  EXPECT_EQ(course_text(summary_of({})), "");
  EXPECT_EQ(course_text(summary_of({sample(0, 0), sample(5, 10)})), "");
  EXPECT_EQ(course_text(summary_of({sample(0, 0, 0), sample(40, 4'000, 40)})), "100 rows/s in the mean of 40.0 s");
}

TEST(Sparkline, GoesFromNothingToTheMost) {
  EXPECT_EQ(sparkline({0.0, 3.5, 7.0, std::nullopt, 7.0}), "▁▅█·█");
  EXPECT_EQ(sparkline({0.0, 0.0}), "▁▁");
  EXPECT_EQ(sparkline({}), "");
}

TEST(Sparkline, OfACourseHasALetterAPartOfTheTime) {
  auto samples = eventful();
  samples[4].lag_ms = {{"db-2", 400}, {"db-3", 5'000}};
  auto const chart = course_chart(samples, 20);
  EXPECT_EQ(chart.rate, "█▁▁▁▁▁▁▁▁▁▅·········");
  EXPECT_EQ(chart.most_rows_per_second, 200);
  EXPECT_EQ(chart.longest_lag, milliseconds(5'000));
  EXPECT_NE(chart.lag.find("█"), std::string::npos);
}

TEST(Sparkline, OfTooLittleThereIsNone) {
  EXPECT_EQ(course_chart({sample(0, 0), sample(5, 10)}, 20).rate, "");
  EXPECT_EQ(course_chart({}, 20).rate, "");
}

}  // namespace
}  // namespace pgbackfill::engine
