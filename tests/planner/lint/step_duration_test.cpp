#include "planner/lint/step_duration.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

std::string_view word_of(lint::Work work, std::int64_t bytes) {
  return duration_word(duration_class(work_seconds(work, bytes)));
}

TEST(StepDuration, AChangeOfTheCatalogTakesMillisecondsWhateverTheSize) {
  EXPECT_EQ(word_of(lint::Work::kNone, 0), "milliseconds");
  EXPECT_EQ(word_of(lint::Work::kNone, 10'000'000'000'000), "milliseconds");
}

TEST(StepDuration, GrowsWithTheTableByTheStatedRates) {
  EXPECT_EQ(word_of(lint::Work::kScan, 8192), "milliseconds");
  EXPECT_EQ(word_of(lint::Work::kScan, 99'000'000), "milliseconds");
  EXPECT_EQ(word_of(lint::Work::kScan, 101'000'000), "seconds");
  EXPECT_EQ(word_of(lint::Work::kScan, 6'100'000'000), "minutes");
  EXPECT_EQ(word_of(lint::Work::kScan, 361'000'000'000), "hours");
  EXPECT_EQ(word_of(lint::Work::kIndexBuild, 6'100'000'000), "minutes");
  EXPECT_EQ(word_of(lint::Work::kIndexBuild, 91'000'000'000), "hours");
}

TEST(StepDuration, HeavierWorkNeverTakesLess) {
  double last = 0;
  for (auto const work :
       {lint::Work::kNone, lint::Work::kScan, lint::Work::kIndexBuild, lint::Work::kRewrite, lint::Work::kAllRows}) {
    EXPECT_GE(work_seconds(work, 1'000'000'000), last);
    last = work_seconds(work, 1'000'000'000);
  }
}

}  // namespace
}  // namespace pgbackfill::planner
