#include "engine/app/replay_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>
#include <variant>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/tell/reading_json.h"
#include "throttle/throttle.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::duration;

// As many decisions a stretch as keep the number of stretches within bounds, the same in all of them.
class Thinned {
 public:
  void add(ReplayedStretch stretch) {
    if (in_last_ > 0 && in_last_ < width_) {
      kept_.back() = joined(kept_.back(), stretch);
    } else {
      if (kept_.size() >= kMostStretches) halve();
      kept_.push_back(std::move(stretch));
      in_last_ = 0;
    }
    ++in_last_;
  }

  std::vector<ReplayedStretch> take() { return std::move(kept_); }

 private:
  void halve() {
    std::vector<ReplayedStretch> half;
    for (std::size_t at = 0; at + 1 < kept_.size(); at += 2) half.push_back(joined(kept_[at], kept_[at + 1]));
    kept_ = std::move(half);
    width_ *= 2;
  }

  std::vector<ReplayedStretch> kept_;
  std::int64_t width_ = 1;
  std::int64_t in_last_ = 0;
};

void take_seen(throttle::Reading const& reading, ReplayedStretch& stretch) {
  if (reading.replication.is_seen()) {
    for (auto const& replica : reading.replication.value.replicas) {
      if (!replica.replayed.is_seen()) continue;
      auto const flushed = static_cast<double>(reading.replication.value.flushed);
      auto const behind = std::max(flushed - static_cast<double>(replica.replayed.value), 0.0);
      stretch.backlog[replica.name] = std::max(stretch.backlog[replica.name], behind);
    }
  }
  if (reading.canary.is_seen()) {
    stretch.commit_ms = duration<double, std::milli>(reading.canary.value.latency).count();
  }
  if (reading.activity.is_seen()) stretch.others_active = reading.activity.value.active;
  if (reading.waiters.is_seen()) stretch.waiters = reading.waiters.value.waiters;
}

void take_decided(throttle::Decision const& decision, throttle::Work const& work, ReplayedStretch& stretch) {
  stretch.workers_allowed = decision.may_start ? std::min(decision.workers, static_cast<double>(work.wanted)) : 0;
  if (!std::isinf(decision.wal_per_second)) stretch.wal_allowed = decision.wal_per_second;
  for (auto const& cause : decision.causes) {
    if (cause.grip == throttle::Grip::kWarns) continue;
    stretch.held_ms[throttle::name_of(cause.kind)] = static_cast<double>(stretch.to_ms - stretch.from_ms);
  }
}

class Player {
 public:
  explicit Player(throttle::Limits const& limits) : law_(limits) {}

  // What was done is known at the moment after it, and so is how long a decision held.
  void play(RecordedMoment moment) {
    auto decision = law_.decide(moment.reading, moment.work, moment.at);
    if (!first_at_) first_at_ = moment.at;
    if (before_) close(moment);
    if (decisions_ == 0) began_ms_ = moment.clock_ms;
    before_ = std::move(moment);
    decided_ = std::move(decision);
    ++decisions_;
  }

  std::int64_t decisions() const { return decisions_; }
  std::vector<ReplayedStretch> stretches() { return thinned_.take(); }

 private:
  void close(RecordedMoment const& next) {
    ReplayedStretch stretch;
    stretch.from_ms = ms_of(before_->at);
    stretch.to_ms = ms_of(next.at);
    stretch.decisions = 1;
    stretch.rows = static_cast<double>(next.work.rows);
    stretch.wal_bytes = next.work.wal_bytes;
    stretch.workers_busy = next.work.busy;
    take_seen(before_->reading, stretch);
    take_decided(decided_, before_->work, stretch);
    thinned_.add(std::move(stretch));
  }

  // By the steady clock: that of the day may have been set meanwhile.
  std::int64_t ms_of(throttle::TimePoint at) const {
    return began_ms_ + std::chrono::duration_cast<std::chrono::milliseconds>(at - *first_at_).count();
  }

  throttle::Throttle law_;
  Thinned thinned_;
  std::optional<throttle::TimePoint> first_at_;
  std::int64_t began_ms_ = 0;
  std::optional<RecordedMoment> before_;
  throttle::Decision decided_;
  std::int64_t decisions_ = 0;
};

}  // namespace

ThrottleReplay read_replay(std::string const& path, throttle::Limits const& limits) {
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    throw CommandError{kExitUsage, fmt::format("cannot read {}: {}", neutralised(path),
                                               std::error_code(errno, std::generic_category()).message())};
  }
  Player player(limits);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    // A process that was killed may leave half a line at the end.
    bool const is_cut = file.eof();
    auto read = moment_from_json(line);
    if (auto const* error = std::get_if<std::string>(&read)) {
      if (is_cut) break;
      throw CommandError{kExitUsage, fmt::format("{}:{}: {}; --replay takes what run --record-readings wrote",
                                                 neutralised(path), number, neutralised(*error))};
    }
    player.play(std::get<RecordedMoment>(std::move(read)));
  }
  ThrottleReplay replay{path, player.decisions(), player.stretches()};
  if (replay.stretches.empty()) {
    throw CommandError{kExitUsage,
                       fmt::format("{} holds no two readings of a run: there is nothing to replay", neutralised(path))};
  }
  return replay;
}

}  // namespace pgbackfill::engine
