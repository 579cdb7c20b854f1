#include "throttle/replicas.h"

#include <algorithm>
#include <utility>

#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

constexpr double kBoundSeconds = 2;
constexpr double kUsed = 0.9;  // of what is allowed: then the limit is what binds
constexpr std::size_t kMostMembers = 1'000;

double seconds_of(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

bool contains(std::vector<std::string> const& names, std::string const& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_slot(ReplicaReading const& reading) {
  return reading.kind == ReplicaKind::kLogicalSlot;
}

bool is_wanted(ReplicaReading const& reading, Limits const& limits) {
  if (reading.state == ReplicaState::kReceiver || contains(limits.ignore_replicas, reading.name)) return false;
  return limits.replicas.empty() || contains(limits.replicas, reading.name);
}

std::string label_of(ReplicaReading const& reading) {
  std::string const label = (is_slot(reading) ? "slot " : "replica ") + reading.name;
  return reading.address.empty() ? label : label + " (" + reading.address + ")";
}

double limit_of(ReplicaReading const& reading, Limits const& limits) {
  return seconds_of(is_slot(reading) ? limits.slot_lag : limits.replica_lag);
}

LagServoOptions options_of(ReplicaReading const& reading, Limits const& limits) {
  double const limit = std::max(limit_of(reading, limits), 0.05);
  return is_slot(reading) ? options_for_slot(limit) : options_for_standby(limit);
}

// There, as far as its row tells.
bool is_present(ReplicaState state) {
  return state == ReplicaState::kStreaming || state == ReplicaState::kJoining;
}

// Not a failure of the question: it would not be answered another time either.
bool is_withheld(Sight sight) {
  return sight == Sight::kNoPrivilege || sight == Sight::kUnsupported;
}

std::string because(std::string const& why) {
  return why.empty() ? "" : ": " + why;
}

std::string hint_of(Sight sight) {
  return sight == Sight::kNoPrivilege ? "; grant pg_monitor to this role to let it see" : "";
}

// A standby that nobody asked for may be gone for good: switched off, or promoted.
MissingReplica policy_of(Limits const& limits, bool is_asked_for) {
  if (limits.missing_replica != MissingReplica::kAuto) return limits.missing_replica;
  return is_asked_for ? MissingReplica::kPause : MissingReplica::kIgnore;
}

}  // namespace

void Replicas::see(Sample<ReplicationReading> const& sample, Limits const& limits, OwnWal const& own, TimePoint now) {
  sight_ = sample.sight;
  why_ = sample.why;
  if (!sample.is_seen()) return;
  TimePoint const at = sample.value.at;
  bool const is_news = !freshness_.was_seen() || seconds_of(now - at) < freshness_.age_seconds(now);
  if (!is_news) return;
  freshness_.see(at, now);
  clock_.see(at, sample.value.flushed);
  if (sample.value.timeline != timeline_) members_.clear();
  timeline_ = sample.value.timeline;
  for (auto& [label, member] : members_) member.is_here = false;
  for (auto const& reading : sample.value.replicas) {
    if (is_wanted(reading, limits)) see_member(reading, sample.value, limits, own, now);
  }
  for (auto& [label, member] : members_) {
    if (member.is_here) member.missing_since = now;
  }
  std::erase_if(members_, [](auto const& entry) { return !entry.second.is_here && !entry.second.has_streamed; });
}

void Replicas::see_member(ReplicaReading const& reading, ReplicationReading const& all, Limits const& limits,
                          OwnWal const& own, TimePoint now) {
  std::string const label = label_of(reading);
  if (members_.size() >= kMostMembers && !members_.contains(label)) return;
  Member& member = members_.try_emplace(label, options_of(reading, limits)).first->second;
  member.reading = reading;
  member.is_here = is_present(reading.state);
  if (!member.is_here) return;
  member.has_streamed = member.has_streamed || reading.state == ReplicaState::kStreaming;
  if (!reading.replayed.is_seen()) return;

  Lsn const replayed = reading.replayed.value;
  std::chrono::nanoseconds const silence =
      reading.reply_age.is_seen() && replayed < all.flushed ? reading.reply_age.value : std::chrono::nanoseconds{0};
  TimePoint const at = all.at - std::max(silence, std::chrono::nanoseconds{0});
  member.freshness.see(at, now);
  // A receiver that is silent repeats its last position; that it replayed nothing since is not known.
  auto const sampled_at = member.servo.sampled_at();
  if (sampled_at && 2 * silence > all.at - *sampled_at) return;

  auto const age = clock_.age_of(replayed, all.at);
  double const lag = seconds_of(age.age) - seconds_of(reading.apply_delay);
  member.is_lag_at_least = age.is_at_least;
  LagSample sample{all.at, all.flushed, replayed, std::max(lag, 0.0), seconds_of(now - at), 0, 0, own.is_bound};
  sample.own_since = own.written->between(all.at, now);
  if (sampled_at) sample.own_per_second = own.written->between(*sampled_at, all.at) / seconds_of(all.at - *sampled_at);
  member.servo.set_options(options_of(reading, limits));
  member.servo.see(sample);
}

ReplicaVerdict Replicas::judge(Limits const& limits, OwnWal const& own, TimePoint now, CauseBook& causes) {
  ReplicaVerdict verdict;
  if (!judge_sight(limits, own, now, verdict, causes)) return verdict;
  for (auto& [label, member] : members_) {
    if (is_wanted(member.reading, limits)) judge_member(label, member, limits, own, now, verdict, causes);
  }
  judge_expected(limits, now, verdict, causes);
  return verdict;
}

// False: there is nothing to say about single replicas.
bool Replicas::judge_sight(Limits const& limits, OwnWal const& own, TimePoint now, ReplicaVerdict& verdict,
                           CauseBook& causes) {
  if (is_withheld(sight_)) {
    std::string const text = "replication cannot be seen" + because(why_) + hint_of(sight_);
    verdict.may_start = !limits.must_see_replicas;
    causes.note(CauseKind::kBlind, verdict.may_start ? Grip::kWarns : Grip::kStops, "replication",
                text + (verdict.may_start ? "; the lag of replicas does not slow this run" : ""));
    return false;
  }
  double const trust = freshness_.trust(now);
  if (trust >= 1) return true;
  std::string const age = freshness_.was_seen()
                              ? "no reading of replication for " + say_seconds(freshness_.age_seconds(now))
                              : "replication was not read yet";
  verdict.may_start = trust > 0;
  causes.note(CauseKind::kBlind, trust > 0 ? Grip::kSlows : Grip::kStops, "replication", age + because(why_));
  verdict.wal_per_second = trust * own.written->rate(kBoundSeconds);
  return freshness_.was_seen();
}

void Replicas::judge_member(std::string const& label, Member& member, Limits const& limits, OwnWal const& own,
                            TimePoint now, ReplicaVerdict& verdict, CauseBook& causes) {
  ReplicaReading const& reading = member.reading;
  if (!member.is_here) {
    // What became of a slot whose WAL is gone is for the guards; and a slot that nobody reads is not waited for.
    if (!member.has_streamed || reading.state == ReplicaState::kLost) return;
    std::string const what = reading.state == ReplicaState::kInactive ? " has had no consumer" : " has been gone";
    auto const policy = policy_of(limits, contains(limits.replicas, reading.name));
    return judge_missing(label, label + what, member.missing_since, policy, limits, now, verdict, causes);
  }
  if (!member.has_streamed) {
    causes.note(CauseKind::kReplicaJoining, Grip::kWarns, label,
                label + " has not caught up yet and is not waited for");
    return;
  }
  if (is_withheld(reading.replayed.sight)) {
    bool const may_start = !limits.must_see_replicas;
    verdict.may_start = verdict.may_start && may_start;
    causes.note(CauseKind::kBlind, may_start ? Grip::kWarns : Grip::kStops, label,
                "the position of " + label + " cannot be seen" + because(reading.replayed.why) +
                    hint_of(reading.replayed.sight) + (may_start ? "; its lag does not slow this run" : ""));
    return;
  }
  judge_lag(label, member, limits, own, now, verdict, causes);
}

void Replicas::judge_lag(std::string const& label, Member const& member, Limits const& limits, OwnWal const& own,
                         TimePoint now, ReplicaVerdict& verdict, CauseBook& causes) {
  bool const is_of_slot = is_slot(member.reading);
  LagServo const& servo = member.servo;
  double const trust = member.freshness.trust(now);
  if (trust < 1) {
    std::string const text = member.freshness.was_seen()
                                 ? label + " has told nothing for " + say_seconds(member.freshness.age_seconds(now))
                                 : label + " has told no position yet";
    // A reading of none of them is told of once.
    if (freshness_.trust(now) >= 1) {
      causes.note(CauseKind::kBlind, trust > 0 ? Grip::kSlows : Grip::kStops, label,
                  text + because(member.reading.replayed.why));
    }
    verdict.may_start = verdict.may_start && trust > 0;
    verdict.wal_per_second = std::min(verdict.wal_per_second, trust * own.written->rate(kBoundSeconds));
    if (!member.freshness.was_seen()) return;
  }
  std::string const lag = label + " is " + (member.is_lag_at_least ? "at least " : "") +
                          say_seconds(servo.lag_seconds()) + " behind (" +
                          say_seconds(limit_of(member.reading, limits)) + " allowed)";
  CauseKind const kind = is_of_slot ? CauseKind::kSlotLag : CauseKind::kReplicaLag;
  if (servo.is_stopped()) {
    verdict.may_start = false;
    causes.note(kind, Grip::kStops, label, lag);
    return;
  }
  if (servo.rate() >= verdict.wal_per_second) return;
  verdict.wal_per_second = servo.rate();
  verdict.is_starting = servo.is_starting();
  if (own.written->rate(kBoundSeconds) < kUsed * servo.rate()) return;
  std::string const rates = "; " + say_rate(servo.rate()) + " of WAL can be absorbed from this job now";
  std::string const capacity = servo.capacity() > 0 ? ", of " + say_rate(servo.capacity()) + " in all" : "";
  causes.note(servo.is_starting() ? CauseKind::kStarting : kind, Grip::kSlows, label, lag + rates + capacity);
}

void Replicas::judge_missing(std::string const& subject, std::string const& what, TimePoint since,
                             MissingReplica policy, Limits const& limits, TimePoint now, ReplicaVerdict& verdict,
                             CauseBook& causes) {
  double const seconds = seconds_of(now - since);
  double const patience = seconds_of(limits.missing_patience);
  bool const is_patient = seconds < patience;
  std::string const text = what + " for " + say_seconds(std::max(seconds, 0.0));
  if (!is_patient && policy == MissingReplica::kIgnore) {
    causes.note(CauseKind::kReplicaMissing, Grip::kWarns, subject, text + " and is not waited for any more");
    return;
  }
  verdict.may_start = false;
  if (is_patient) {
    causes.note(CauseKind::kReplicaMissing, Grip::kStops, subject,
                text + "; waiting for it, up to " + say_seconds(patience));
    return;
  }
  verdict.must_stop = verdict.must_stop || policy == MissingReplica::kAbort;
  causes.note(CauseKind::kReplicaMissing, Grip::kStops, subject,
              text + "; bring it back, or go on without it by ignore_replicas or missing_replica: ignore");
}

void Replicas::judge_expected(Limits const& limits, TimePoint now, ReplicaVerdict& verdict, CauseBook& causes) {
  std::map<std::string, std::string> missed;
  for (auto const& name : limits.replicas) {
    bool const is_known = std::any_of(members_.begin(), members_.end(),
                                      [&name](auto const& entry) { return entry.second.reading.name == name; });
    if (!is_known && !contains(limits.ignore_replicas, name)) {
      missed["replica " + name] = "replica " + name + " has not been there";
    }
  }
  auto const here = std::count_if(members_.begin(), members_.end(), [&limits](auto const& entry) {
    Member const& member = entry.second;
    return member.is_here && member.has_streamed && !is_slot(member.reading) && is_wanted(member.reading, limits);
  });
  if (here < limits.expected_replicas) {
    missed["expected"] = std::to_string(here) + " of " + std::to_string(limits.expected_replicas) +
                         " expected replicas have been streaming";
  }
  std::erase_if(missed_since_, [&missed](auto const& entry) { return !missed.contains(entry.first); });
  for (auto const& [subject, what] : missed) {
    TimePoint const since = missed_since_.try_emplace(subject, now).first->second;
    judge_missing(subject, what, since, policy_of(limits, true), limits, now, verdict, causes);
  }
}

}  // namespace pgbackfill::throttle
