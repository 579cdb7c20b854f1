#include "throttle/foreground_presence.h"

#include <gtest/gtest.h>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;

class ForegroundPresenceTest : public testing::Test {
 protected:
  // Looks once a second, and sees so many at work each time.
  void look(int seconds, int active) {
    for (int second = 0; second < seconds; ++second) {
      now_ += 1s;
      presence_.see({now_, active, 50, {}, ""});
    }
  }

  ForegroundPresence presence_;
  TimePoint now_{std::chrono::hours(1)};
};

TEST_F(ForegroundPresenceTest, SomebodyIsThereUntilOneHasLooked) {
  EXPECT_TRUE(presence_.is_there());
  look(1, 0);
  EXPECT_FALSE(presence_.is_there());
}

TEST_F(ForegroundPresenceTest, ComesAtOnceAndGoesSlowly) {
  look(60, 0);
  look(2, 1);
  EXPECT_TRUE(presence_.is_there());
  look(5, 0);
  EXPECT_TRUE(presence_.is_there());
  look(60, 0);
  EXPECT_FALSE(presence_.is_there());
}

TEST_F(ForegroundPresenceTest, AMonitoringQueryNowAndThenIsNobody) {
  look(60, 0);
  for (int minute = 0; minute < 10; ++minute) {
    look(1, 1);
    EXPECT_FALSE(presence_.is_there());
    look(59, 0);
  }
}

TEST_F(ForegroundPresenceTest, TheSameLookCountsOnce) {
  look(60, 0);
  look(1, 1);
  for (int repeat = 0; repeat < 100; ++repeat) presence_.see({now_, 1, 50, {}, ""});
  EXPECT_FALSE(presence_.is_there());
}

}  // namespace
}  // namespace pgbackfill::throttle
