// When a job will end: a guess with its spread, from how fast stretches of the recent past went.
//
// Pure arithmetic over samples: it never looks at a clock, and it says nothing rather than something it cannot know.
// Thread rule: none; owned by whoever feeds it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "throttle/windows.h"

namespace pgbackfill::engine {

// Time left: one in ten chances that it takes less than `early`, one in ten that it takes more than `late`.
struct Eta {
  std::chrono::milliseconds early{0};
  std::chrono::milliseconds likely{0};
  std::optional<std::chrono::milliseconds> late;  // none: the bad stretches stood still, so there is no upper bound
};

// The same from `now` by the calendar, where work goes on in open times only. None: it would take more than a year.
std::optional<Eta> on_calendar(Eta const& eta, throttle::Schedule const& schedule, throttle::SystemTime now);

class RateHistory {
 public:
  // `elapsed` is the job's own time, which closed windows do not count to, and `rows_done` a running count; when either
  // runs backwards, history starts anew.
  void add(std::chrono::milliseconds elapsed, std::int64_t rows_done);

  void clear() { samples_.clear(); }

  // Rows per second over the last ten seconds or so; 0 when nothing moved or too little is known.
  double recent_rate() const;

  // None means unknown: too young, standing still, or nothing left to count. `limit` is the most rows per second that
  // somebody asked for: while the job keeps close to it, it says more than the stretches do, in which rows come in
  // jumps.
  std::optional<Eta> eta(std::int64_t rows_left, std::optional<std::int64_t> limit = std::nullopt) const;

 private:
  struct Sample {
    std::chrono::milliseconds elapsed;
    std::int64_t rows_done;
  };

  std::deque<Sample> samples_;  // the last one moves along until it is kSampleSpacing away from its predecessor
};

}  // namespace pgbackfill::engine
