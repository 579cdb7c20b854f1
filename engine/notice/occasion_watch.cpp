#include "engine/notice/occasion_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Occasion;

// The throttle lets go for a moment again and again.
constexpr auto kRelief = 5s;
// What the operator has asked for holds nothing back.
constexpr std::string_view kOwnLimit = "max_rows_per_second";

bool is_at_rows(RunPhase phase) {
  return phase == RunPhase::kBackfilling || phase == RunPhase::kSweeping || phase == RunPhase::kDeferred;
}

// Without a server, or without a lock, a run begins again and again. A step takes as long as it takes.
bool may_stall(RunPhase phase) {
  return is_at_rows(phase) || phase == RunPhase::kStarting || phase == RunPhase::kPlanning;
}

bool is_held_back(Progress const& progress) {
  return is_at_rows(progress.phase) && !progress.held_back.empty() && !progress.held_back.starts_with(kOwnLimit);
}

std::chrono::milliseconds between(OccasionWatch::TimePoint from, OccasionWatch::TimePoint to) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(to - from);
}

// Empty: nobody asked to be told of it.
std::optional<Occasion> occasion_of(Summary const& summary) {
  switch (summary.ending) {
    case Ending::kInterrupted:
    case Ending::kNothingToDo:
      return std::nullopt;
    case Ending::kCancelled:
      return Occasion::kCancel;
    case Ending::kWindowClosed:
      return Occasion::kWindowClosed;
    case Ending::kByItself:
      break;
  }
  return summary.exit_code == kExitDone ? Occasion::kDone : Occasion::kFailure;
}

}  // namespace

Notice OccasionWatch::notice(Occasion occasion, std::string text) const {
  Notice notice;
  notice.occasion = occasion;
  notice.text = std::move(text);
  notice.last = last_;
  return notice;
}

void OccasionWatch::heed_phase(std::vector<Notice>& notices) {
  if (last_.phase == RunPhase::kPaused) {
    auto const how = last_.held_back.empty() ? "paused" : last_.held_back;
    notices.push_back(notice(Occasion::kPause, fmt::format("{} is {}", last_.migration, how)));
  }
  if (last_.phase == RunPhase::kOutsideWindow) {
    auto const how = last_.held_back.empty() ? "outside its windows" : last_.held_back;
    notices.push_back(notice(Occasion::kWindowClosed, fmt::format("{} is {}", last_.migration, how)));
  }
  // Of a run that goes on after the last row; one that found all done has no news.
  bool const is_complete = last_.phase == RunPhase::kFollowing && std::exchange(has_worked_, false);
  if (is_complete) {
    notices.push_back(notice(Occasion::kDone, fmt::format("{} is complete; it is followed until `complete` or `cancel` "
                                                          "ends that",
                                                          last_.migration)));
  }
  if (is_at_rows(last_.phase)) has_worked_ = true;
}

void OccasionWatch::heed_rows(Progress const& progress, TimePoint now) {
  bool const has_moved = progress.rows_done > last_.rows_done;
  if (!may_stall(progress.phase)) {
    still_since_.reset();
    is_stall_told_ = false;
  } else if (!still_since_ || has_moved) {
    still_since_ = now;
    is_stall_told_ = false;
  }
}

void OccasionWatch::heed_hold(Progress const& progress, TimePoint now) {
  if (is_held_back(progress)) {
    free_since_.reset();
    if (!held_since_) held_since_ = now;
    return;
  }
  if (!free_since_) free_since_ = now;
  if (is_at_rows(progress.phase) && now - *free_since_ < kRelief) return;
  held_since_.reset();
  is_hold_told_ = false;
}

void OccasionWatch::heed_quarantine(TimePoint now, std::vector<Notice>& notices) {
  if (!is_at_rows(last_.phase) && last_.phase != RunPhase::kDraining) return;
  // Before the job is read for the first time its counts say nothing.
  if (!quarantined_ && last_.ranges_total > 0) quarantined_ = last_.quarantined;
  if (!quarantined_) return;
  bool const is_early = quarantine_told_at_ && now - *quarantine_told_at_ < kQuarantineInterval;
  if (last_.quarantined <= *quarantined_ || is_early) return;
  quarantine_told_at_ = now;
  auto told = notice(
      Occasion::kQuarantine,
      fmt::format("{} has set {} more row(s) aside, {} in all: they are not migrated until somebody looks at them",
                  last_.migration, last_.quarantined - *quarantined_, last_.quarantined));
  told.quarantined_before = *quarantined_;
  notices.push_back(std::move(told));
  quarantined_ = last_.quarantined;
}

std::vector<Notice> OccasionWatch::hear(Progress const& progress, TimePoint now) {
  std::vector<Notice> notices;
  heed_rows(progress, now);
  heed_hold(progress, now);
  bool const is_new_phase = !std::exchange(has_heard_, true) || progress.phase != last_.phase;
  last_ = progress;
  if (is_new_phase) heed_phase(notices);
  heed_quarantine(now, notices);
  auto lapsed = tick(now);
  notices.insert(notices.end(), lapsed.begin(), lapsed.end());
  return notices;
}

std::vector<Notice> OccasionWatch::hear(Summary const& summary) {
  std::vector<Notice> notices;
  if (quarantined_ && summary.last.quarantined > *quarantined_) {
    last_ = summary.last;
    last_.phase = RunPhase::kDraining;
    quarantine_told_at_.reset();
    heed_quarantine(TimePoint(), notices);
    if (!notices.empty()) notices.back().is_last = true;
  }
  auto const occasion = occasion_of(summary);
  still_since_.reset();
  held_since_.reset();
  if (!occasion) return notices;
  Notice last = notice(*occasion, summary.headline);
  last.last = summary.last;
  last.last.phase = RunPhase::kEnded;
  last.exit_code = summary.exit_code;
  last.notes = summary.notes;
  notices.push_back(std::move(last));
  return notices;
}

void OccasionWatch::was_too_early(Notice const& notice) {
  bool const is_counted = notice.occasion == Occasion::kQuarantine && quarantined_;
  if (is_counted) quarantined_ = std::min(*quarantined_, notice.quarantined_before);
}

std::vector<Notice> OccasionWatch::tick(TimePoint now) {
  std::vector<Notice> notices;
  bool const is_still = still_since_ && now - *still_since_ >= times_.stall_after;
  if (is_still && !std::exchange(is_stall_told_, true)) {
    auto text = fmt::format("{} has done no row for {}", last_.migration, human_duration(between(*still_since_, now)));
    if (!last_.held_back.empty()) text += "; " + last_.held_back;
    notices.push_back(notice(Occasion::kStall, std::move(text)));
  }
  bool const is_held = held_since_ && is_held_back(last_) && now - *held_since_ >= times_.held_back_after;
  if (is_held && !std::exchange(is_hold_told_, true)) {
    notices.push_back(
        notice(Occasion::kHeldBack, fmt::format("{} has been held back for {}: {}", last_.migration,
                                                human_duration(between(*held_since_, now)), last_.held_back)));
  }
  return notices;
}

}  // namespace pgbackfill::engine
