#include "throttle/slot_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kMega = 1e6;
constexpr auto kReadingPeriod = 250ms;

// A server with one slot that may keep so much, and a job that writes all it is allowed, at a cost that it misjudges.
class SlotGuardTest : public testing::Test {
 protected:
  // Reads, judges, and lets the job write for one period.
  SlotVerdict pass(std::chrono::milliseconds time = kReadingPeriod) {
    now_ += time;
    double const seconds = std::chrono::duration<double>(time).count();
    double const allowed = verdict_.may_start ? std::min(verdict_.wal_per_second, most_charged_) : 0;
    charged_ = allowed * seconds;
    written_ += static_cast<Lsn>(charged_ * real_cost_ + others_ * seconds);
    confirmed_ = std::min(static_cast<double>(written_), confirmed_ + consumed_ * seconds);
    own_.add(charged_, now_);
    least_safe_ = std::min(least_safe_, safe());
    if (is_read_) read();
    return judge();
  }

  void pass_for(std::chrono::milliseconds time) {
    for (auto passed = 0ms; passed < time; passed += kReadingPeriod) pass();
  }

  double safe() const { return keep_ - (static_cast<double>(written_) - confirmed_); }

  void read() {
    slot_.retained = static_cast<std::uint64_t>(static_cast<double>(written_) - confirmed_);
    if (keep_ > 0) slot_.safe_wal_size = static_cast<std::int64_t>(safe());
    reading_ = {Sight::kSeen, {now_, written_, {slot_}}, now_, ""};
  }

  SlotVerdict judge() {
    causes_.begin(now_);
    verdict_ = guard_.judge(reading_, limits_, own_, now_, causes_);
    noted_ = causes_.take();
    return verdict_;
  }

  std::string text() const { return noted_.empty() ? "" : noted_.front().text; }
  Grip grip() const { return noted_.empty() ? Grip::kWarns : noted_.front().grip; }

  SlotGuard guard_;
  CauseBook causes_;
  Limits limits_;
  Odometer own_;
  Sample<SlotsReading> reading_;
  SlotVerdict verdict_{true, false, 0};  // nothing before the first reading
  std::vector<Cause> noted_;
  TimePoint now_{100h};
  SlotReading slot_{"cdc", true, "reserved", {}, {}};
  Lsn written_ = 1'000'000'000;
  double confirmed_ = 1'000'000'000;
  double charged_ = 0;
  double keep_ = 256 * kMega;          // 0: without a bound
  double consumed_ = 0;                // by the slot's consumer, per second
  double others_ = 0;                  // that others write, per second
  double real_cost_ = 1;               // of what the job charges
  double most_charged_ = 400 * kMega;  // per second; what the job could do at all
  double least_safe_ = 1e18;
  bool is_read_ = true;
};

TEST_F(SlotGuardTest, WritesNoMoreUntilASlotWithoutABoundIsReadAgain) {
  keep_ = 0;
  most_charged_ = 100 * kMega;
  pass_for(2s);
  EXPECT_TRUE(verdict_.may_start);
  is_read_ = false;
  pass(200ms);
  EXPECT_TRUE(verdict_.may_start) << "20 MB";
  pass(200ms);
  EXPECT_FALSE(verdict_.may_start) << "40 MB";
  EXPECT_THAT(text(), HasSubstr("waits for the next reading of the replication slots"));
  is_read_ = true;
  pass(200ms);
  EXPECT_TRUE(verdict_.may_start);
}

TEST_F(SlotGuardTest, LetsASlotWithoutABoundBe) {
  keep_ = 0;
  auto const verdict = pass();
  EXPECT_TRUE(verdict.may_start);
  EXPECT_EQ(verdict.wal_per_second, kUnlimited);
  EXPECT_THAT(noted_, IsEmpty());
}

TEST_F(SlotGuardTest, WaitsUntilSlotsWereRead) {
  EXPECT_FALSE(judge().may_start);
  EXPECT_THAT(text(), HasSubstr("not read yet"));
}

TEST_F(SlotGuardTest, SlowsDownThenStopsWhenSlotsAreNoLongerRead) {
  pass_for(5s);
  is_read_ = false;
  reading_.sight = Sight::kFailed;
  reading_.why = "cannot connect";
  pass(2s);
  EXPECT_TRUE(verdict_.may_start);
  pass(10s);
  EXPECT_FALSE(verdict_.may_start);
  EXPECT_THAT(text(), HasSubstr("cannot connect"));
}

TEST_F(SlotGuardTest, KeepsASlotThatNobodyReadsWhateverARowReallyCosts) {
  for (double const cost : {0.3, 1.0, 5.0, 20.0}) {
    for (double const keep : {64 * kMega, 256 * kMega, 4'000 * kMega}) {
      guard_ = {};
      own_ = {};
      verdict_ = {true, false, 0};
      least_safe_ = 1e18;
      written_ += 1'000'000'000;
      confirmed_ = static_cast<double>(written_);
      real_cost_ = cost;
      keep_ = keep;
      // No disk takes more than that.
      most_charged_ = std::min(400 * kMega, 800 * kMega / cost);
      pass_for(10min);
      EXPECT_FALSE(verdict_.may_start) << cost << ' ' << keep;
      EXPECT_GT(least_safe_, 0.2 * keep) << cost;
      EXPECT_LT(least_safe_, 0.55 * keep) << "it need not have stopped so soon: " << cost;
    }
  }
}

TEST_F(SlotGuardTest, ComesToRestAtWhatTheConsumerTakes) {
  consumed_ = 20 * kMega;
  real_cost_ = 3;
  pass_for(60s);
  double const before = static_cast<double>(written_);
  pass_for(30s);
  EXPECT_NEAR((static_cast<double>(written_) - before) / 30, consumed_, 0.1 * consumed_);
  EXPECT_TRUE(verdict_.may_start);
  EXPECT_EQ(grip(), Grip::kSlows);
  EXPECT_THAT(text(), HasSubstr("slot cdc may keep only"));
  EXPECT_THAT(text(), HasSubstr("for its consumer, which has to catch up"));
}

TEST_F(SlotGuardTest, LeavesTheRoomToOthersThatWriteMore) {
  consumed_ = 30 * kMega;
  others_ = 25 * kMega;
  pass_for(60s);
  EXPECT_LT(charged_ / 0.25, 10 * kMega);
  EXPECT_TRUE(verdict_.may_start);
  EXPECT_GT(safe(), 0.4 * keep_);
}

TEST_F(SlotGuardTest, HoldsNobodyBackWhereThereIsRoom) {
  keep_ = 50'000 * kMega;
  consumed_ = 400 * kMega;
  pass_for(5s);
  EXPECT_GE(verdict_.wal_per_second, most_charged_);
  EXPECT_THAT(noted_, IsEmpty());
}

TEST_F(SlotGuardTest, TheNarrowestOfSeveralSlotsBinds) {
  pass_for(1s);
  auto const alone = verdict_.wal_per_second;
  SlotReading near{"standby_2", false, "extended", 150'000'000, 110'000'000};
  now_ += kReadingPeriod;
  read();
  reading_.value.slots.push_back(near);
  near.name = "without_bound";
  near.safe_wal_size.reset();
  reading_.value.slots.push_back(near);
  judge();
  EXPECT_FALSE(verdict_.may_start);
  EXPECT_THAT(text(), HasSubstr("slot standby_2"));
  EXPECT_LT(verdict_.wal_per_second, alone * 2.1);
}

TEST_F(SlotGuardTest, HeedsABoundThatComesWhileItRuns) {
  keep_ = 0;
  pass_for(5s);
  EXPECT_EQ(verdict_.wal_per_second, kUnlimited);
  confirmed_ = static_cast<double>(written_);
  keep_ = 64 * kMega;
  least_safe_ = keep_;
  read();
  judge();
  EXPECT_LE(verdict_.wal_per_second, 16 * kMega);
  pass_for(1min);
  EXPECT_GT(least_safe_, 0);
  EXPECT_FALSE(verdict_.may_start);
}

TEST_F(SlotGuardTest, KeepsTheHeadroomOfTheFileWithHysteresis) {
  keep_ = 22 * 1'073'741'824.0;
  confirmed_ -= 20 * 1'073'741'824.0 + 1;
  EXPECT_FALSE(pass().may_start);
  confirmed_ += 2;
  EXPECT_FALSE(pass().may_start);
  confirmed_ += 1'073'741'824;
  EXPECT_TRUE(pass().may_start);
}

TEST_F(SlotGuardTest, StopsForASlotThatIsAboutToBeLost) {
  slot_.wal_status = "unreserved";
  EXPECT_FALSE(pass().may_start);
  EXPECT_THAT(text(), HasSubstr("slot cdc is about to lose its WAL"));
  slot_.wal_status = "extended";
  EXPECT_TRUE(pass().may_start);
}

TEST_F(SlotGuardTest, StopsForASlotLostNowAndNotForOneLostBefore) {
  pass();
  slot_.wal_status = "lost";
  EXPECT_FALSE(pass().may_start);
  guard_ = {};
  EXPECT_TRUE(pass().may_start);
  EXPECT_EQ(grip(), Grip::kWarns);
}

TEST_F(SlotGuardTest, EndsTheRunWhereNobodyReadsTheSlotAndOthersEatUpWhatIsLeft) {
  slot_.active = false;
  pass_for(60s);
  EXPECT_FALSE(verdict_.may_start);
  EXPECT_FALSE(verdict_.must_stop) << "it waits as long as waiting does no harm";
  EXPECT_THAT(text(), HasSubstr("nobody reads it now"));
  others_ = 2 * kMega;
  pass_for(40s);
  EXPECT_FALSE(verdict_.must_stop);
  others_ = 0;
  pass_for(40s);
  EXPECT_TRUE(verdict_.must_stop);
  EXPECT_GT(safe(), 0);
}

TEST_F(SlotGuardTest, WarnsOfASlotWithoutABoundThatNobodyReads) {
  keep_ = 0;
  slot_.active = false;
  confirmed_ = -9e9;
  EXPECT_TRUE(pass().may_start);
  EXPECT_EQ(grip(), Grip::kWarns);
  EXPECT_THAT(text(), HasSubstr("without a bound"));
}

}  // namespace
}  // namespace pgbackfill::throttle
