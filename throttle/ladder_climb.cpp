#include "throttle/ladder_climb.h"

namespace pgbackfill::throttle {
namespace {

constexpr std::chrono::milliseconds kWraparoundPause{5'000};

}  // namespace

Climb LadderClimb::next(TimePoint now, InTheWay const& holders) {
  Climb climb;
  if (now - began_ > terms_.patience) {
    climb.kind = Climb::kGiveUp;
    return climb;
  }
  if (holders.prevents_wraparound) {
    // Whoever queues behind it holds up the traffic for as long as it lasts.
    climb.kind = Climb::kLetBe;
    climb.pause = kWraparoundPause;
    return climb;
  }
  rung_ = ladder_rung(attempts_, {terms_.deadlock_timeout, holders.is_autovacuum});
  rung_.is_nowait = rung_.is_nowait && terms_.can_say_nowait;
  ++attempts_;
  climb.rung = rung_;
  return climb;
}

AfterAttempt LadderClimb::failed(FailedAttempt const& attempt, double uniform01) {
  switch (attempt.kind) {
    case FailedAttempt::kNoConnection:
      return {AfterAttempt::kLost, {}};
    case FailedAttempt::kOther:
      return {AfterAttempt::kFailed, {}};
    case FailedAttempt::kCancelled: {
      if (attempt.is_stop_requested) return {AfterAttempt::kStopped, {}};
      if (!attempt.is_cut_off) return {AfterAttempt::kCancelled, {}};
      if (terms_.is_brief) return {AfterAttempt::kTookTooLong, {}};
      // The bound of a patient one is on the wait for its locks alone.
      break;
    }
    case FailedAttempt::kNoLock:
    case FailedAttempt::kShortage:
      break;
  }
  return {AfterAttempt::kAgain, ladder_pause(attempts_ - 1, rung_, uniform01)};
}

}  // namespace pgbackfill::throttle
