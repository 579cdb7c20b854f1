#include "throttle/foreground_presence.h"

#include <gtest/gtest.h>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

class ForegroundPresenceTest : public testing::Test {
 protected:
  // Looks ten times a second, and sees so many each time.
  void look(std::chrono::milliseconds time, int active, int worked) {
    for (auto const end = now_ + time; now_ < end;) {
      now_ += 100ms;
      presence_.see({now_, active, worked});
    }
  }

  ForegroundPresence presence_;
  TimePoint now_{std::chrono::hours(1)};
};

TEST_F(ForegroundPresenceTest, SomebodyIsThereUntilOneHasLooked) {
  EXPECT_TRUE(presence_.is_there());
  look(100ms, 0, 0);
  EXPECT_FALSE(presence_.is_there());
}

TEST_F(ForegroundPresenceTest, SeveralSessionsComeAtOnceAndGoSlowly) {
  look(60s, 0, 0);
  look(100ms, 0, 3);
  EXPECT_TRUE(presence_.is_there());
  look(5s, 0, 4);
  look(5s, 0, 0);
  EXPECT_TRUE(presence_.is_there());
  look(15s, 0, 0);
  EXPECT_FALSE(presence_.is_there());
}

TEST_F(ForegroundPresenceTest, OneBusySessionIsSomebody) {
  look(60s, 0, 0);
  look(500ms, 1, 1);
  EXPECT_TRUE(presence_.is_there());
}

TEST_F(ForegroundPresenceTest, OneThatPollsIsNobody) {
  look(60s, 0, 0);
  for (int second = 0; second < 600; ++second) {
    look(100ms, second % 3 == 0 ? 1 : 0, 1);
    look(900ms, 0, 1);
    EXPECT_FALSE(presence_.is_there());
  }
}

TEST_F(ForegroundPresenceTest, TheSameLookCountsOnce) {
  look(60s, 0, 0);
  look(100ms, 1, 1);
  for (int repeat = 0; repeat < 100; ++repeat) presence_.see({now_, 1, 1});
  EXPECT_FALSE(presence_.is_there());
}

}  // namespace
}  // namespace pgbackfill::throttle
