// No replication slot loses its WAL by us: the nearer one is to its bound, the less may be written between two
// readings.
//
// A slot under max_slot_wal_keep_size is lost at a checkpoint once the server has written as much as safe_wal_size
// says. So the whole server shall write no more in kSecondsToMargin than what is left above a margin, and at the margin
// we stop. Followed on and on, that comes to rest at what the slot's consumer takes. How much a row of ours really
// writes is not known beforehand (the first change of a page after a checkpoint writes all of it), and it is the
// server's whole WAL that counts: so what was written since the last readings, by everybody, corrects what we charged
// for our rows.
//
// It holds in every mode. What could not be read for a while counts as bad. A controller with memory; one thread at a
// time.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>

#include "throttle/cause_book.h"
#include "throttle/decision.h"
#include "throttle/freshness.h"
#include "throttle/latch.h"
#include "throttle/limits.h"
#include "throttle/odometer.h"
#include "throttle/reading.h"

namespace pgbackfill::throttle {

struct SlotVerdict {
  bool may_start = true;
  bool must_stop = false;              // nobody reads a slot, and what we write while we wait would lose it
  double wal_per_second = kUnlimited;  // for all backfills together
};

class SlotGuard {
 public:
  // own: WAL of all backfills, as charged for their rows.
  SlotVerdict judge(Sample<SlotsReading> const& sample, Limits const& limits, Odometer const& own, TimePoint now,
                    CauseBook& causes);

 private:
  struct Mark {
    TimePoint at;
    Lsn written;
  };
  // The slot that binds: what the whole server may write for it per second.
  struct Narrowest {
    double wal_per_second = kUnlimited;
    std::string name;
    std::string text;
  };

  void see(SlotsReading const& reading, Odometer const& own, TimePoint now);
  void judge_slot(SlotReading const& slot, Limits const& limits, TimePoint now, CauseBook& causes);
  void judge_room(SlotReading const& slot, Limits const& limits, TimePoint now, CauseBook& causes);
  // Where much was written since the last reading: whatever the slots' bounds are by now, they are not known.
  void wait_for_reading(Odometer const& own, TimePoint now, CauseBook& causes);
  void pace(Odometer const& own, double trust, CauseBook& causes);
  void stop(SlotReading const& slot, std::string text, CauseBook& causes);
  // Of a slot that nobody reads, for so long that only a person can help.
  bool is_forsaken(SlotReading const& slot, bool is_near, TimePoint now);

  // Of the decision being made.
  SlotVerdict verdict_;
  Narrowest narrowest_;
  double written_since_ = 0;  // by everybody, since the reading, as far as that can be guessed

  Freshness freshness_{0.5};
  std::deque<Mark> marks_;
  double server_per_second_ = 0;  // WAL that the server wrote over the last marks
  double own_per_second_ = 0;     // that we charged meanwhile
  double allowed_ = kUnlimited;
  bool is_news_ = false;  // a reading that was not judged yet
  std::set<std::string> lost_from_the_start_;
  bool knows_slots_ = false;
  std::map<std::string, Latch> latches_;
  std::map<std::string, TimePoint> forsaken_since_;
};

}  // namespace pgbackfill::throttle
