// When somebody is told: progress, summaries and time in, occasions out.
#include "engine/notice/occasion_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using planner::Occasion;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class OccasionWatchTest : public testing::Test {
 protected:
  OccasionWatchTest() : watch_(WatchTimes{10s, 30s}) {
    progress_.migration = "users";
    progress_.phase = RunPhase::kBackfilling;
    progress_.ranges_total = 4;
  }

  // What comes out when a second passes.
  std::vector<std::string> second() {
    now_ += 1s;
    return names_of(watch_.hear(progress_, now_));
  }
  std::vector<std::string> seconds(int count) {
    std::vector<std::string> all;
    for (int number = 0; number < count; ++number) {
      for (auto& name : second()) all.push_back(std::move(name));
    }
    return all;
  }
  std::vector<std::string> ends(int exit_code, Ending ending = Ending::kByItself) {
    Summary summary;
    summary.last = progress_;
    summary.exit_code = exit_code;
    summary.ending = ending;
    summary.headline = "so it ended";
    return names_of(watch_.hear(summary));
  }
  std::vector<std::string> names_of(std::vector<Notice> const& notices) {
    std::vector<std::string> names;
    for (auto const& notice : notices) {
      names.emplace_back(planner::name_of(notice.occasion));
      text_ = notice.text;
    }
    return names;
  }

  OccasionWatch watch_;
  OccasionWatch::TimePoint now_{1h};
  Progress progress_;
  std::string text_;
};

TEST_F(OccasionWatchTest, TellsOfAPauseOnce) {
  EXPECT_THAT(seconds(3), IsEmpty());
  progress_.phase = RunPhase::kPaused;
  progress_.held_back = "paused: incident 4711";
  EXPECT_THAT(seconds(60), ElementsAre("pause"));
  EXPECT_EQ(text_, "users is paused: incident 4711");
  progress_.phase = RunPhase::kBackfilling;
  progress_.held_back.clear();
  second();
  progress_.phase = RunPhase::kPaused;
  EXPECT_THAT(second(), ElementsAre("pause"));
}

TEST_F(OccasionWatchTest, TellsOfAStallOnceAndOfTheNextOne) {
  progress_.held_back = "locks: pid 17 holds the table";
  EXPECT_THAT(seconds(10), IsEmpty());
  EXPECT_THAT(seconds(20), ElementsAre("stall"));
  EXPECT_EQ(text_, "users has done no row for 10.0 s; locks: pid 17 holds the table");
  progress_.rows_done = 5;
  progress_.held_back.clear();
  EXPECT_THAT(seconds(10), IsEmpty());
  EXPECT_THAT(seconds(5), ElementsAre("stall"));
}

TEST_F(OccasionWatchTest, NeitherAPauseNorAClosedWindowIsAStall) {
  progress_.phase = RunPhase::kPaused;
  EXPECT_THAT(seconds(60), ElementsAre("pause"));
  progress_.phase = RunPhase::kOutsideWindow;
  EXPECT_THAT(seconds(60), ElementsAre("window_closed"));
  progress_.phase = RunPhase::kExpanding;
  EXPECT_THAT(seconds(60), IsEmpty()) << "an index takes as long as it takes";
  progress_.phase = RunPhase::kBackfilling;
  EXPECT_THAT(seconds(10), IsEmpty());
  EXPECT_THAT(second(), ElementsAre("stall"));
}

TEST_F(OccasionWatchTest, AStallIsSeenWithoutAWordOfTheEngine) {
  second();
  EXPECT_THAT(names_of(watch_.tick(now_ + 9s)), IsEmpty());
  EXPECT_THAT(names_of(watch_.tick(now_ + 11s)), ElementsAre("stall"));
  EXPECT_THAT(names_of(watch_.tick(now_ + 12s)), IsEmpty());
}

TEST_F(OccasionWatchTest, IsHeldBackOverShortReliefs) {
  for (int number = 0; number < 31; ++number) {
    ++progress_.rows_done;
    progress_.held_back = number % 4 == 0 ? "" : "replica_lag: 4 s";
    auto const told = second();
    EXPECT_EQ(told.size(), number == 30 + 1 ? 1U : 0U) << number;
  }
  ++progress_.rows_done;
  EXPECT_THAT(second(), ElementsAre("held_back"));
  EXPECT_THAT(text_, HasSubstr("users has been held back for"));
  progress_.held_back.clear();
  for (int number = 0; number < 10; ++number) {
    ++progress_.rows_done;
    EXPECT_THAT(second(), IsEmpty());
  }
}

TEST_F(OccasionWatchTest, TheOperatorsOwnLimitHoldsNothingBack) {
  progress_.held_back = "max_rows_per_second = 100";
  for (int number = 0; number < 60; ++number) {
    ++progress_.rows_done;
    EXPECT_THAT(second(), IsEmpty());
  }
}

TEST_F(OccasionWatchTest, TellsOfRowsSetAsideAtMostOnceAMinute) {
  progress_.quarantined = 3;  // of an earlier run
  EXPECT_THAT(second(), IsEmpty());
  progress_.quarantined = 4;
  progress_.rows_done = 1;
  EXPECT_THAT(second(), ElementsAre("quarantine"));
  EXPECT_THAT(text_, HasSubstr("1 more row(s) aside, 4 in all"));
  for (int number = 0; number < 59; ++number) {
    ++progress_.rows_done;
    ++progress_.quarantined;
    EXPECT_THAT(second(), IsEmpty());
  }
  ++progress_.rows_done;
  EXPECT_THAT(second(), ElementsAre("quarantine"));
  EXPECT_THAT(text_, HasSubstr("59 more row(s)"));
  ++progress_.quarantined;
  EXPECT_THAT(ends(0), ElementsAre("quarantine", "done"));
}

TEST_F(OccasionWatchTest, WhatWasTooEarlyBesideAnotherProcessComesAgain) {
  EXPECT_THAT(second(), IsEmpty());
  progress_.quarantined = 2;
  ++now_;
  auto const notices = watch_.hear(progress_, now_);
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].quarantined_before, 0);
  EXPECT_FALSE(notices[0].is_last);
  watch_.was_too_early(notices[0]);
  for (int number = 0; number < 59; ++number) {
    ++progress_.rows_done;
    EXPECT_THAT(second(), IsEmpty());
  }
  ++progress_.rows_done;
  EXPECT_THAT(second(), ElementsAre("quarantine"));
  EXPECT_THAT(text_, HasSubstr("2 more row(s) aside, 2 in all"));
}

TEST_F(OccasionWatchTest, TellsHowItEnds) {
  EXPECT_THAT(ends(0), ElementsAre("done"));
  EXPECT_EQ(text_, "so it ended");
  EXPECT_THAT(ends(1), ElementsAre("failure"));
  EXPECT_THAT(ends(4), ElementsAre("failure")) << "rows that others hold need somebody";
  EXPECT_THAT(ends(4, Ending::kInterrupted), IsEmpty()) << "whoever pressed ^C knows";
  EXPECT_THAT(ends(4, Ending::kWindowClosed), ElementsAre("window_closed"));
  EXPECT_THAT(ends(5, Ending::kCancelled), ElementsAre("cancel"));
  EXPECT_THAT(ends(0, Ending::kNothingToDo), IsEmpty()) << "a timer starts it every night";
}

TEST_F(OccasionWatchTest, ARunThatGoesOnFollowingIsDoneOnce) {
  second();
  progress_.phase = RunPhase::kFollowing;
  EXPECT_THAT(seconds(100), ElementsAre("done"));
  EXPECT_THAT(text_, HasSubstr("is complete"));
  OccasionWatch fresh(WatchTimes{});
  EXPECT_TRUE(fresh.hear(progress_, OccasionWatch::TimePoint()).empty()) << "all was done before";
}

}  // namespace
}  // namespace pgbackfill::engine
