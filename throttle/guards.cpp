#include "throttle/guards.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "throttle/vacuum_debt.h"
#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr double kLeastRate = 128e3;    // what a soft guard leaves in any case
constexpr double kReferenceRate = 2e6;  // where nothing was written when it began
constexpr double kShareOfSoft = 0.3;
constexpr double kLetGo = 0.8;            // of what made a guard bind
constexpr seconds kPatienceWithRole{10};  // a failover's moment, or a server that stays read-only
constexpr double kArchiveHalvesIn = 10;   // seconds
constexpr double kLeastArchiveShare = 0.05;
// Nobody vacuums a table for us that was too small for it at the start, and it may have doubled since.
constexpr std::uint64_t kSmallTable = 2 * kLeastBytesToVacuum;
constexpr double kWraparoundLetsGo = 0.98;
constexpr minutes kCheckpointsHold{10};
constexpr double kWaiterCut = 0.5;
constexpr double kWaiterRecovery = 0.1;  // of the log, per second: back from a half in seven seconds
constexpr double kLeastBatchScale = 1.0 / 64;
constexpr double kProbePeriod = 20;  // seconds; three of them without an answer are too many
constexpr std::size_t kMostNames = 1'000;

double seconds_of(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string because(std::string const& why) {
  return why.empty() ? "" : ": " + why;
}

char const* words_for(Sight sight) {
  switch (sight) {
    case Sight::kNeverSampled:
      return "not read yet";
    case Sight::kSeen:
      return "seen";
    case Sight::kMissing:
      return "not there";
    case Sight::kNull:
      return "null";
    case Sight::kNoPrivilege:
      return "not shown to this role (pg_monitor would be)";
    case Sight::kUnsupported:
      return "not known to this server";
    case Sight::kFailed:
      return "not readable";
  }
  return "unknown";
}

}  // namespace

GuardVerdict Guards::judge(Reading const& reading, Limits const& limits, double own_per_second, TimePoint now,
                           CauseBook& causes) {
  causes_ = &causes;
  verdict_ = {};
  own_per_second_ = own_per_second;
  judge_health(reading, limits, now);
  judge_activity(reading, limits, now);
  judge_waiters(reading, limits, now);
  judge_checkpoints(reading, now);
  judge_probes(reading, now);
  return std::exchange(verdict_, {});
}

void Guards::judge_health(Reading const& reading, Limits const& limits, TimePoint now) {
  if (reading.health.is_seen()) health_freshness_.see(reading.health.value.at, now);
  double const trust = health_freshness_.trust(now);
  if (trust < 1) {
    std::string const age = health_freshness_.was_seen() ? "the server's health was not read for " +
                                                               say_seconds(health_freshness_.age_seconds(now))
                                                         : std::string("the server's health was not read yet");
    std::string const text = age + because(reading.health.why);
    if (trust <= 0) return stop(CauseKind::kBlind, "health", text);
    causes_->note(CauseKind::kBlind, Grip::kSlows, "health", text);
    verdict_.wal_per_second = std::min(verdict_.wal_per_second, std::max(trust * own_per_second_, kLeastRate));
  }
  if (!reading.health.is_seen()) return;
  HealthReading const& health = reading.health.value;
  judge_role(health, now);
  judge_archive(health, limits, now);
  judge_wraparound(health, limits);
  judge_dead_rows(health, limits);
}

void Guards::judge_role(HealthReading const& health, TimePoint now) {
  if (health.is_writable) return unwritable_since_.reset();
  if (!unwritable_since_) unwritable_since_ = now;
  bool const is_to_stay = now - *unwritable_since_ >= kPatienceWithRole;
  verdict_.must_stop = verdict_.must_stop || is_to_stay;
  stop(CauseKind::kServerRole, "",
       "the server takes no writes: it is a standby or read-only; " +
           std::string(is_to_stay ? "start again against the primary" : "waiting to see whether it becomes writable"),
       true);
}

void Guards::judge_archive(HealthReading const& health, Limits const& limits, TimePoint now) {
  double const passed = archive_judged_at_ ? std::max(seconds_of(now - *archive_judged_at_), 0.0) : 0;
  archive_judged_at_ = now;
  if (!can_see(health.archive, "the archive") || !health.archive.value.is_on) return;
  auto const waiting = static_cast<double>(health.archive.value.segments_waiting);
  auto const slow_above = static_cast<double>(limits.archive_slow);
  auto const stop_above = static_cast<double>(limits.archive_stop);
  std::string const text = say_number(waiting) + " segments of WAL wait for the archive";
  bool const is_slow = archive_slow_.update(waiting, slow_above, kLetGo * slow_above);
  double const halvings = passed / kArchiveHalvesIn;
  archive_share_ = std::clamp(archive_share_ * std::exp2(is_slow ? -halvings : halvings), kLeastArchiveShare, 1.0);
  if (archive_stop_.update(waiting, stop_above, kLetGo * stop_above)) {
    return stop(CauseKind::kArchive, "", text + " (" + say_number(stop_above) + " allowed)");
  }
  if (archive_share_ >= 1) {
    archive_soft_ = {};
    return;
  }
  slow(archive_soft_, archive_share_, CauseKind::kArchive, "", text + " (slower above " + say_number(slow_above) + ")");
}

void Guards::judge_wraparound(HealthReading const& health, Limits const& limits) {
  if (!can_see_hard(health.wraparound_age, "the age of the database's oldest transaction")) return;
  auto const age = static_cast<double>(health.wraparound_age.value);
  auto const most = static_cast<double>(limits.wraparound_age);
  if (!wraparound_.update(age, most, kWraparoundLetsGo * most)) return;
  stop(CauseKind::kWraparound, "",
       "the oldest transaction is " + say_number(age / 1e6) + " million transactions old (" + say_number(most / 1e6) +
           " allowed); let VACUUM freeze first",
       true);
}

void Guards::judge_dead_rows(HealthReading const& health, Limits const& limits) {
  if (!can_see(health.vacuum, "dead rows")) return;
  VacuumReading const& vacuum = health.vacuum.value;
  double const share = static_cast<double>(vacuum.rows_dead) / std::max(static_cast<double>(vacuum.rows_live), 1'000.0);
  // What was dead before is nobody's of those who write now: waiting for it would not make it less.
  dead_rows_least_ = std::min(dead_rows_least_.value_or(share), share);
  if (vacuum.heap_bytes < kSmallTable) {
    dead_rows_soft_ = {};
    return;
  }
  double const since = share - *dead_rows_least_;
  if (!dead_rows_.update(since, limits.dead_rows, kLetGo * limits.dead_rows) || !(limits.dead_rows > 0)) {
    dead_rows_soft_ = {};
    return;
  }
  // Gently at the limit, fully at three times it.
  double const excess = std::clamp((since / limits.dead_rows - 1) / 2, 0.0, 1.0);
  slow(dead_rows_soft_, 1 - (1 - kShareOfSoft) * excess, CauseKind::kDeadRows, "",
       "dead rows are " + say_percent(share) + " of the live ones, " + say_percent(since) +
           " more than there were (slower above " + say_percent(limits.dead_rows) + " more); autovacuum " +
           (vacuum.autovacuum_runs ? "is at work" : "is not at work"));
}

void Guards::judge_activity(Reading const& reading, Limits const& limits, TimePoint now) {
  if (reading.activity.is_seen()) activity_freshness_.see(reading.activity.value.at, now);
  if (!can_see(reading.activity, "the activity of other sessions")) return;
  if (activity_freshness_.trust(now) <= 0) {
    return warn(CauseKind::kBlind, "activity",
                "no data on the activity of other sessions for " + say_seconds(activity_freshness_.age_seconds(now)));
  }
  ActivityReading const& activity = reading.activity.value;
  double const missing = limits.min_free_connections - activity.connections_free;
  if (connections_.update(missing, 0, -1)) {
    verdict_.most_workers = std::min(verdict_.most_workers, 1.0);
    causes_->note(CauseKind::kConnections, Grip::kSlows, "",
                  std::to_string(activity.connections_free) + " connections are free (" +
                      std::to_string(limits.min_free_connections) + " wanted); one worker goes on");
  }
  if (!activity.oldest_xmin_age) {
    xmin_soft_ = {};
    return;
  }
  double const age = seconds_of(*activity.oldest_xmin_age);
  double const most = seconds_of(limits.xmin_age);
  if (!xmin_.update(age, most, kLetGo * most)) {
    xmin_soft_ = {};
    return;
  }
  std::string const holder =
      activity.oldest_xmin_holder.empty() ? "" : "; " + activity.oldest_xmin_holder + " holds a snapshot";
  slow(xmin_soft_, kShareOfSoft, CauseKind::kXminHorizon, "",
       "vacuum cannot remove rows that died in the last " + say_seconds(age) + holder + " (slower above " +
           say_seconds(most) + ")");
}

void Guards::judge_waiters(Reading const& reading, Limits const& limits, TimePoint now) {
  double const passed = waiters_judged_at_ ? std::clamp(seconds_of(now - *waiters_judged_at_), 0.0, 1.0) : 0;
  waiters_judged_at_ = now;
  waiter_scale_ = std::min(waiter_scale_ * std::exp(kWaiterRecovery * passed), 1.0);
  if (reading.waiters.is_seen()) waiter_freshness_.see(reading.waiters.value.at, now);
  bool const is_visible = can_see(reading.waiters, "who waits for our locks");
  if (is_visible && waiter_freshness_.trust(now) <= 0) {
    warn(CauseKind::kBlind, "waiters",
         "no data on sessions waiting for our locks for " + say_seconds(waiter_freshness_.age_seconds(now)) +
             "; batches are shorter");
    verdict_.batch_scale = std::min(verdict_.batch_scale, kWaiterCut);
  }
  if (is_visible && waiters_seen_at_ != reading.waiters.value.at) {
    WaiterReading const& waiters = reading.waiters.value;
    waiters_seen_at_ = waiters.at;
    if (waiters.waiters > 0 && waiters.longest > limits.lock_wait) {
      if (waiters.our_pid != 0) verdict_.cancel.push_back(waiters.our_pid);
      waiter_scale_ = std::max(waiter_scale_ * kWaiterCut, kLeastBatchScale);
      waiter_text_ = (waiters.who.empty() ? std::string("a session") : waiters.who) + " waited " +
                     std::to_string(waiters.longest.count()) + " ms for a lock of ours (" +
                     std::to_string(limits.lock_wait.count()) + " ms allowed), " + std::to_string(waiters.waiters) +
                     " in all";
    }
  }
  if (waiter_scale_ > 0.95) return;
  causes_->note(CauseKind::kLockWaiters, Grip::kSlows, "",
                waiter_text_ + "; batches have " + say_percent(waiter_scale_) + " of their rows");
  verdict_.batch_scale = std::min(verdict_.batch_scale, waiter_scale_);
}

void Guards::judge_checkpoints(Reading const& reading, TimePoint now) {
  if (!can_see(reading.wal, "the rate of WAL")) return;
  WalReading const& wal = reading.wal.value;
  if (checkpoints_requested_ && wal.checkpoints_requested > *checkpoints_requested_) checkpoint_requested_at_ = now;
  checkpoints_requested_ = wal.checkpoints_requested;
  if (!checkpoint_requested_at_ || now - *checkpoint_requested_at_ > kCheckpointsHold) return;
  warn(CauseKind::kCheckpoints, "",
       "WAL forces checkpoints, and each makes the next writes dearer; max_wal_size is " +
           say_bytes(static_cast<double>(wal.max_wal_size)) + ", more would spare them");
}

void Guards::judge_probes(Reading const& reading, TimePoint now) {
  for (auto const& probe : reading.probes) {
    if (probe_freshness_.size() > kMostNames) probe_freshness_.clear();
    Freshness& freshness = probe_freshness_.try_emplace(probe.name, kProbePeriod).first->second;
    bool const is_number = probe.value.is_seen() && !std::isnan(probe.value.value);
    if (is_number) freshness.see(probe.value.at, now);
    std::string const name = "probe " + probe.name;
    if (is_number && probe.value.value > probe.limit) {
      stop(CauseKind::kUserProbe, name,
           name + " is at " + say_number(probe.value.value) + " (" + say_number(probe.limit) + " allowed)");
    } else if (!freshness.was_seen() || freshness.trust(now) < 1) {
      stop(CauseKind::kUserProbe, name, name + " has no answer" + because(probe.value.why));
    } else if (!is_number) {
      warn(CauseKind::kUserProbe, name, name + " is " + words_for(probe.value.sight) + because(probe.value.why));
    }
  }
}

void Guards::stop(CauseKind kind, std::string const& subject, std::string text, bool is_hard) {
  verdict_.may_start = false;
  verdict_.is_hard = verdict_.is_hard || is_hard;
  causes_->note(kind, Grip::kStops, subject, std::move(text));
}

void Guards::slow(Soft& soft, double share, CauseKind kind, std::string const& subject, std::string text) {
  if (!(soft.reference > 0)) soft.reference = std::max(own_per_second_, kReferenceRate);
  double const rate = std::max(share * soft.reference, kLeastRate);
  verdict_.wal_per_second = std::min(verdict_.wal_per_second, rate);
  causes_->note(kind, Grip::kSlows, subject, std::move(text) + "; " + say_rate(rate) + " of WAL meanwhile");
}

void Guards::warn(CauseKind kind, std::string const& subject, std::string text) {
  causes_->note(kind, Grip::kWarns, subject, std::move(text));
}

template <typename Value>
bool Guards::can_see(Sample<Value> const& sample, std::string const& what) {
  if (sample.is_seen()) return true;
  warn(CauseKind::kBlind, what,
       what + ": " + words_for(sample.sight) + because(sample.why) + "; it does not hold this run back");
  return false;
}

// What must not be overlooked: a question that failed stops, until it is answered.
template <typename Value>
bool Guards::can_see_hard(Sample<Value> const& sample, std::string const& what) {
  if (sample.sight != Sight::kFailed) return can_see(sample, what);
  stop(CauseKind::kBlind, what, what + ": " + words_for(sample.sight) + because(sample.why));
  return false;
}

}  // namespace pgbackfill::throttle
