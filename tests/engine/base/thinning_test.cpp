#include "engine/base/thinning.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace pgbackfill::engine {
namespace {

// What the statement that thins does to the moments: the last one of a span stands for it.
std::vector<std::int64_t> thinned(std::vector<std::int64_t> const& moments, Thinning const& thinning) {
  std::vector<std::int64_t> left;
  for (auto const moment : moments) {
    bool const is_old = moment < thinning.before;
    bool const joins = !left.empty() && is_old && left.back() / thinning.span == moment / thinning.span;
    if (joins) left.pop_back();
    left.push_back(moment);
  }
  return left;
}

struct Job {
  std::vector<std::int64_t> moments;
  std::size_t most = 0;
  std::int64_t thinnings = 0;

  void sees(std::int64_t moment) {
    moments.push_back(moment);
    most = std::max(most, moments.size());
    auto const thinning = thinning_of(moments);
    if (!thinning) return;
    moments = thinned(moments, *thinning);
    ++thinnings;
  }
  std::int64_t longest_gap_until(std::int64_t end) const {
    std::int64_t longest = 0;
    for (std::size_t at = 1; at < moments.size() && moments[at] < end; ++at) {
      longest = std::max(longest, moments[at] - moments[at - 1]);
    }
    return longest;
  }
};

constexpr std::int64_t kEvery = 5;  // seconds
constexpr std::int64_t kDay = 24 * kRecentMoments;

TEST(Thinning, AShortJobKeepsEveryMoment) {
  Job job;
  for (std::int64_t number = 0; number < 1'999; ++number) job.sees(number * kEvery);
  EXPECT_EQ(job.moments.size(), 1'999U);
  EXPECT_EQ(job.thinnings, 0);
}

TEST(Thinning, NoJobKeepsMoreHoweverLongItLasts) {
  Job job;
  for (std::int64_t moment = 0; moment < 30 * kDay; moment += kEvery) job.sees(moment);
  EXPECT_EQ(job.most, kMostSamples);
  // The beginning is not coarser than what lies before the last hour of the whole.
  EXPECT_LE(job.longest_gap_until(30 * kDay), 4 * 30 * kDay / static_cast<std::int64_t>(kOldSamplesLeft));
  EXPECT_GE(job.moments.size(), kOldSamplesLeft / 2);
}

TEST(Thinning, TheLastHourStaysAsItIs) {
  Job job;
  for (std::int64_t moment = 0; moment < 3 * kDay + 85; moment += kEvery) {
    job.sees(moment);
    auto const first = std::lower_bound(job.moments.begin(), job.moments.end(), moment - kRecentMoments);
    std::int64_t const recent = job.moments.end() - first;
    ASSERT_EQ(recent, std::min(moment, kRecentMoments) / kEvery + 1) << "at " << moment;
  }
}

// It is the number of moments that is bounded, not the time.
TEST(Thinning, AJobOfAnHourANightKeepsAsManyPointsAsOneThatWorksAllDay) {
  Job job;
  for (std::int64_t night = 0; night < 100; ++night) {
    for (std::int64_t moment = 0; moment < kRecentMoments; moment += kEvery) job.sees(night * kDay + moment);
  }
  EXPECT_LE(job.most, kMostSamples);
  EXPECT_GE(job.moments.size(), static_cast<std::size_t>(kRecentMoments / kEvery) + kOldSamplesLeft / 2);
}

TEST(Thinning, AJobWithATurnASecondIsBoundedToo) {
  Job job;
  for (std::int64_t moment = 0; moment < kDay; ++moment) job.sees(moment);
  EXPECT_EQ(job.most, kMostSamples);
}

TEST(Thinning, IsSeldom) {
  Job job;
  for (std::int64_t moment = 0; moment < 10 * kDay; moment += kEvery) job.sees(moment);
  EXPECT_LE(job.thinnings, 10 * 24 * 3);
}

TEST(Thinning, EndsWithMomentsThatSomebodyWroteByHand) {
  std::vector<std::int64_t> moments;
  for (std::int64_t at = 0; at < 3'000; ++at) {
    moments.push_back(-4'500'000'000'000'000'000 + at * 3'000'000'000'000'000);
  }
  auto const thinning = thinning_of(moments);
  ASSERT_TRUE(thinning);
  EXPECT_LT(thinned(moments, *thinning).size(), kMostSamples);
}

}  // namespace
}  // namespace pgbackfill::engine
