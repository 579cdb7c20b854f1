// What a schema step does next to get its lock: try a rung of the ladder, let others be, or give up; and what follows
// from how an attempt failed.
//
// Pure; one climb is for one statement, and belongs to one thread. The engine looks who is in the way, makes the
// attempt, and obeys.
#pragma once

#include <chrono>

#include "throttle/lock_ladder.h"
#include "throttle/reading.h"

namespace pgbackfill::throttle {

struct ClimbTerms {
  std::chrono::milliseconds patience{0};  // after which no attempt begins any more
  std::chrono::milliseconds deadlock_timeout{1000};
  bool can_say_nowait = true;  // it takes locks that LOCK TABLE can name
  bool is_brief = true;        // the statement may hold its locks for so long and no longer
};

// Of the sessions that have what the step needs.
struct InTheWay {
  bool is_autovacuum = false;
  bool prevents_wraparound = false;  // a vacuum that gives way to nobody
};

struct Climb {
  enum Kind { kTry, kLetBe, kGiveUp } kind = kTry;
  Rung rung;                           // kTry
  std::chrono::milliseconds pause{0};  // kLetBe: until the next look
};

struct FailedAttempt {
  enum Kind {
    kNoConnection,
    kNoLock,     // a lock timeout, or the victim of a deadlock
    kShortage,   // of memory, disk or connections
    kCancelled,  // by a timeout or by somebody
    kOther,
  } kind = kOther;
  bool is_cut_off = false;         // kCancelled: by the timeout that the step had set itself
  bool is_stop_requested = false;  // by the user, without waiting for what is under way
};

struct AfterAttempt {
  enum Kind { kAgain, kLost, kStopped, kTookTooLong, kCancelled, kFailed } kind = kAgain;
  std::chrono::milliseconds pause{0};  // kAgain
};

class LadderClimb {
 public:
  LadderClimb(ClimbTerms terms, TimePoint began) : terms_(terms), began_(began) {}

  Climb next(TimePoint now, InTheWay const& holders);
  // Of the attempt that next() asked for; `uniform01` is in [0, 1].
  AfterAttempt failed(FailedAttempt const& attempt, double uniform01);

  // That were made so far.
  int attempts() const { return attempts_; }

 private:
  ClimbTerms terms_;
  TimePoint began_;
  Rung rung_;
  int attempts_ = 0;
};

}  // namespace pgbackfill::throttle
