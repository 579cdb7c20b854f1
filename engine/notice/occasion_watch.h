// Sees in what the engine tells whether there is something that somebody asked to be told of: `on:` of the file.
//
// Pure: progress, summaries and the time go in, occasions come out, each once. A pause and a closed window are no
// stall. One thread at a time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "planner/model/delivery.h"

namespace pgbackfill::engine {

struct Notice {
  planner::Occasion occasion = planner::Occasion::kDone;
  std::string text;  // a sentence
  Progress last;
  std::optional<int> exit_code;  // the command has ended
  std::vector<std::string> notes;
  // Of rows that were set aside: how many of them were there when this process told of them last, and whether no other
  // notice comes after this one.
  std::int64_t quarantined_before = 0;
  bool is_last = false;
};

struct WatchTimes {
  std::chrono::milliseconds stall_after = planner::kStallAfter;
  std::chrono::milliseconds held_back_after = planner::kHeldBackAfter;
};

// Of rows that were set aside is told no more often.
inline constexpr std::chrono::milliseconds kQuarantineInterval{60'000};

class OccasionWatch {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit OccasionWatch(WatchTimes times) : times_(times) {}

  std::vector<Notice> hear(Progress const& progress, TimePoint now);
  std::vector<Notice> hear(Summary const& summary);
  // What the lapse of time alone says; an engine that waits for its server tells nothing.
  std::vector<Notice> tick(TimePoint now);
  // It was not told, and is to come again when it is due.
  void was_too_early(Notice const& notice);

 private:
  Notice notice(planner::Occasion occasion, std::string text) const;
  void heed_phase(std::vector<Notice>& notices);
  void heed_rows(Progress const& progress, TimePoint now);
  void heed_hold(Progress const& progress, TimePoint now);
  void heed_quarantine(TimePoint now, std::vector<Notice>& notices);

  WatchTimes const times_;
  Progress last_;
  bool has_heard_ = false;
  bool has_worked_ = false;               // since it was complete last
  std::optional<TimePoint> still_since_;  // no row was done; nothing: that is no question now
  bool is_stall_told_ = false;
  std::optional<TimePoint> held_since_;
  std::optional<TimePoint> free_since_;
  bool is_hold_told_ = false;
  std::optional<std::int64_t> quarantined_;  // that were told, or there at the beginning
  std::optional<TimePoint> quarantine_told_at_;
};

}  // namespace pgbackfill::engine
