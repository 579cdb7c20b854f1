#include "throttle/slot_guard.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

constexpr double kSecondsToMargin = 2;
constexpr double kMostOfSlot = 0.5;  // a slot may keep less than the headroom asks for
constexpr double kLetGo = 1.25;      // of the margin
// Of the margin, for a slot that nobody reads.
constexpr double kForsaken = 0.5;
constexpr std::chrono::seconds kPatienceWithConsumer{30};
// Readings are compared over so long.
constexpr double kLeastWindow = 0.4;
constexpr double kMostWindow = 1.2;
// What a row costs is not measured yet: so many times as much as it was charged with.
constexpr double kCaution = 8;
constexpr double kMostGrowth = 2;  // of what is allowed, from one reading to the next
constexpr double kLeastRate = 64e3;
constexpr double kBoundSeconds = 2;
constexpr double kBound = 0.8;
constexpr std::size_t kMostNames = 1'000;
// max_slot_wal_keep_size may be set at any time, and what was written before that is seen counts: no more than this is
// written between two readings while there is a slot without a bound. Slots are read four times a second.
constexpr double kMostUnseen = 32e6;

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

// "it holds 120 MB for its consumer"
std::string say_consumer(SlotReading const& slot) {
  std::string const held = slot.retained ? "it holds " + say_bytes(static_cast<double>(*slot.retained)) : "it is held";
  return held + (slot.active ? " for its consumer, which has to catch up"
                             : " and nobody reads it now: start its consumer, or drop it if nobody needs it");
}

}  // namespace

SlotVerdict SlotGuard::judge(Sample<SlotsReading> const& sample, Limits const& limits, Odometer const& own,
                             TimePoint now, CauseBook& causes) {
  verdict_ = {};
  narrowest_ = {};
  if (sample.sight == Sight::kNoPrivilege || sample.sight == Sight::kUnsupported) {
    causes.note(CauseKind::kBlind, Grip::kWarns, "slots",
                "replication slots are not shown to this role; they do not hold this run back");
    return verdict_;
  }
  if (sample.is_seen()) see(sample.value, own, now);
  double const trust = freshness_.trust(now);
  if (trust < 1) {
    std::string const text = freshness_.was_seen()
                                 ? "replication slots were not read for " + say_seconds(freshness_.age_seconds(now))
                                 : std::string("replication slots were not read yet");
    verdict_.may_start = trust > 0;
    causes.note(CauseKind::kBlind, trust > 0 ? Grip::kSlows : Grip::kStops, "slots",
                text + (sample.why.empty() ? "" : ": " + sample.why));
  }
  if (!freshness_.was_seen()) return verdict_;
  written_since_ = std::max(server_per_second_, own_per_second_) * freshness_.age_seconds(now);
  for (auto const& slot : sample.value.slots) judge_slot(slot, limits, now, causes);
  if (!sample.value.slots.empty()) wait_for_reading(own, now, causes);
  pace(own, trust, causes);
  return verdict_;
}

void SlotGuard::wait_for_reading(Odometer const& own, TimePoint now, CauseBook& causes) {
  double const cost = own_per_second_ > 0 ? std::clamp(server_per_second_ / own_per_second_, 1.0, kCaution) : 1;
  double const unseen = cost * own.between(marks_.back().at, now);
  if (unseen <= kMostUnseen) return;
  verdict_.may_start = false;
  causes.note(CauseKind::kSlotAtRisk, Grip::kSlows, "slots",
              "waits for the next reading of the replication slots, after " + say_bytes(unseen) + " of WAL");
}

void SlotGuard::see(SlotsReading const& reading, Odometer const& own, TimePoint now) {
  freshness_.see(reading.at, now);
  is_news_ = marks_.empty() || reading.at > marks_.back().at;
  if (!is_news_) return;
  if (!knows_slots_) {
    for (auto const& slot : reading.slots) {
      if (slot.wal_status == "lost") lost_from_the_start_.insert(slot.name);
    }
    knows_slots_ = true;
  }
  // Another server, or one that was set back.
  if (!marks_.empty() && reading.written < marks_.back().written) marks_.clear();
  marks_.push_back({reading.at, reading.written});
  while (marks_.size() > 2 && seconds_between(marks_[1].at, reading.at) >= kLeastWindow &&
         seconds_between(marks_[0].at, reading.at) > kMostWindow) {
    marks_.pop_front();
  }
  Mark const& first = marks_.front();
  double const seconds = seconds_between(first.at, reading.at);
  if (seconds < kLeastWindow) return;
  server_per_second_ = static_cast<double>(reading.written - first.written) / seconds;
  own_per_second_ = own.between(first.at, reading.at) / seconds;
}

void SlotGuard::judge_slot(SlotReading const& slot, Limits const& limits, TimePoint now, CauseBook& causes) {
  std::string const name = "slot " + slot.name;
  if (slot.wal_status == "lost") {
    std::string const text = name + " has lost its WAL";
    if (lost_from_the_start_.contains(slot.name)) {
      causes.note(CauseKind::kSlotAtRisk, Grip::kWarns, name, text + " before this run");
      return;
    }
    return stop(slot, text + " during this run; drop it or let its consumer start anew", causes);
  }
  if (slot.wal_status == "unreserved") {
    bool const is_forsaken_now = is_forsaken(slot, true, now);
    verdict_.must_stop = verdict_.must_stop || is_forsaken_now;
    return stop(slot, name + " is about to lose its WAL (unreserved); " + say_consumer(slot), causes);
  }
  if (slot.safe_wal_size) return judge_room(slot, limits, now, causes);
  auto const retained = static_cast<double>(slot.retained.value_or(0));
  if (!slot.active && retained > static_cast<double>(limits.slot_headroom)) {
    causes.note(CauseKind::kSlotAtRisk, Grip::kWarns, name,
                name + " has no consumer and keeps " + say_bytes(retained) +
                    " of WAL, without a bound; drop it if nobody needs it");
  }
}

void SlotGuard::judge_room(SlotReading const& slot, Limits const& limits, TimePoint now, CauseBook& causes) {
  auto const safe = static_cast<double>(*slot.safe_wal_size);
  auto const retained = static_cast<double>(slot.retained.value_or(0));
  double const margin =
      std::min(static_cast<double>(limits.slot_headroom), kMostOfSlot * (retained + std::max(safe, 0.0)));
  std::string const text = "slot " + slot.name + " may keep only " + say_bytes(std::max(safe, 0.0)) +
                           " more of WAL (stop at " + say_bytes(margin) + "); " + say_consumer(slot);
  if (latches_.size() > kMostNames) latches_.clear();
  bool const is_forsaken_now = is_forsaken(slot, safe < kForsaken * margin, now);
  verdict_.must_stop = verdict_.must_stop || is_forsaken_now;
  if (latches_[slot.name].update(-safe, -margin, -kLetGo * margin)) {
    return stop(slot, is_forsaken_now ? text + "; run again when it is read" : text, causes);
  }
  double const rate = std::max(safe - written_since_ - margin, 0.0) / kSecondsToMargin;
  if (rate < narrowest_.wal_per_second) narrowest_ = {rate, slot.name, text};
}

// The pace at which all that we charge leads to what the server may write.
void SlotGuard::pace(Odometer const& own, double trust, CauseBook& causes) {
  double const most = narrowest_.wal_per_second;
  if (most == kUnlimited) {
    allowed_ = kUnlimited;
    return;
  }
  double next = std::max((most - server_per_second_) / kCaution, kLeastRate);
  if (server_per_second_ > 0) next = std::max(next, own_per_second_ * most / server_per_second_);
  next = std::min(next, std::max(most, kLeastRate));
  if (allowed_ == kUnlimited || next <= allowed_) {
    allowed_ = next;
  } else if (is_news_) {
    allowed_ = std::min(next, kMostGrowth * allowed_);
  }
  is_news_ = false;
  verdict_.wal_per_second = std::max(trust, 0.0) * allowed_;
  if (own.rate(kBoundSeconds) < kBound * verdict_.wal_per_second) return;
  causes.note(CauseKind::kSlotAtRisk, Grip::kSlows, "slot " + narrowest_.name,
              narrowest_.text + "; " + say_rate(verdict_.wal_per_second) + " of WAL meanwhile");
}

void SlotGuard::stop(SlotReading const& slot, std::string text, CauseBook& causes) {
  verdict_.may_start = false;
  causes.note(CauseKind::kSlotAtRisk, Grip::kStops, "slot " + slot.name, std::move(text));
}

bool SlotGuard::is_forsaken(SlotReading const& slot, bool is_near, TimePoint now) {
  if (slot.active || !is_near) {
    forsaken_since_.erase(slot.name);
    return false;
  }
  if (forsaken_since_.size() > kMostNames) forsaken_since_.clear();
  auto const since = forsaken_since_.try_emplace(slot.name, now).first->second;
  return now - since >= kPatienceWithConsumer;
}

}  // namespace pgbackfill::throttle
