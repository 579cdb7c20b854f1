#include "throttle/throttle.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "throttle/cause_book.h"
#include "throttle/fairness.h"
#include "throttle/foreground_presence.h"
#include "throttle/freshness.h"
#include "throttle/guards.h"
#include "throttle/latency_servo.h"
#include "throttle/odometer.h"
#include "throttle/replicas.h"
#include "throttle/slot_guard.h"
#include "throttle/wal_cost.h"
#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

constexpr double kBoundSeconds = 2;
constexpr double kBound = 0.9;
// A commit of others that meets a batch of ours waits about as long as that lasts. Shorter ones would be all overhead.
constexpr std::chrono::duration<double> kShortestBatch{0.004};

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

std::vector<NeighbourReading> others_of(Reading const& reading) {
  std::vector<NeighbourReading> others;
  for (auto const* sample : {&reading.neighbours, &reading.elsewhere}) {
    if (sample->is_seen()) others.insert(others.end(), sample->value.begin(), sample->value.end());
  }
  return others;
}

// "2 other jobs are running, 1 of them in database shop"
std::string say_others(std::vector<NeighbourReading> const& others) {
  std::set<std::string> databases;
  std::size_t elsewhere = 0;
  for (auto const& each : others) {
    if (each.database.empty()) continue;
    ++elsewhere;
    databases.insert(each.database);
  }
  std::string text =
      std::to_string(others.size()) + (others.size() == 1 ? " other job is running" : " other jobs are running");
  if (databases.empty()) return text;
  text += elsewhere == others.size() ? ", in " : ", " + std::to_string(elsewhere) + " of them in ";
  if (databases.size() > 1) return text + std::to_string(databases.size()) + " other databases";
  return text + "database " + *databases.begin();
}

}  // namespace

struct Throttle::State {
  explicit State(Limits limits_now) : limits(std::move(limits_now)) {}

  void count(Reading const& reading, Work const& work, TimePoint now);
  void learn_cost(Reading const& reading, Work const& work);
  double own_weight() const { return limits.weight / std::max(last_work.processes, 1); }
  double part_of_wal(Reading const& reading, double total) const;
  double share_of_wal(Reading const& reading, double total, CauseBook& book) const;
  double share_of_workers(Reading const& reading, double total, int wanted, CauseBook& book) const;
  void decide_wal(Reading const& reading, TimePoint now, Decision& decision);
  void decide_workers(Reading const& reading, Work const& work, TimePoint now, Decision& decision);
  bool latency_is_felt(Reading const& reading);
  bool can_see_latency(Reading const& reading, TimePoint now, Decision& decision);
  void say_workers(Work const& work, double cores_busy, Decision const& decision);
  void apply_guards(GuardVerdict const& verdict, Decision& decision);
  void apply_slots(Reading const& reading, TimePoint now, Decision& decision);
  void apply_ceiling(Decision& decision);
  void apply_mode(Decision& decision) const;

  Limits limits;
  CauseBook causes;
  Replicas replicas;
  LatencyServo latency;
  ForegroundPresence foreground;
  bool was_felt = true;
  Freshness canary_freshness{0.5};
  Guards guards;
  SlotGuard slots;
  WalCost cost;
  Odometer own;      // WAL of this job
  Odometer all_own;  // and of its neighbours
  Odometer allowed;  // what all of them were allowed
  std::optional<TimePoint> decided_at;
  Decision last;
  double total_allowed = 0;
  Work last_work;

  // Since the last reading of the WAL position.
  std::optional<WalReading> wal;
  std::int64_t rows_since_wal = 0;
  bool was_idle_since_wal = true;
};

void Throttle::State::count(Reading const& reading, Work const& work, TimePoint now) {
  double const seconds = decided_at ? std::max(seconds_between(*decided_at, now), 0.0) : 0;
  decided_at = now;
  last_work = work;
  own.add(work.wal_bytes, now);
  double others = 0;
  for (auto const& neighbour : others_of(reading)) others += neighbour.wal_per_second * seconds;
  all_own.add(work.wal_bytes + others, now);
  // Unlimited counts as much more than anybody can write.
  allowed.add(last.may_start ? std::min(total_allowed, 1e12) * seconds : 0, now);
  learn_cost(reading, work);
}

void Throttle::State::learn_cost(Reading const& reading, Work const& work) {
  rows_since_wal += work.rows_changed;
  was_idle_since_wal = was_idle_since_wal && work.rows == 0 && work.in_flight == 0;
  if (!reading.wal.is_seen()) return;
  WalReading const& next = reading.wal.value;
  if (wal && next.at <= wal->at) return;
  if (wal && next.inserted >= wal->inserted) {
    WalInterval interval{seconds_between(wal->at, next.at),
                         static_cast<double>(next.inserted - wal->inserted),
                         {},
                         rows_since_wal,
                         was_idle_since_wal};
    bool const is_counted = next.own_bytes && wal->own_bytes && *next.own_bytes >= *wal->own_bytes;
    if (is_counted) interval.own_bytes = static_cast<double>(*next.own_bytes - *wal->own_bytes);
    cost.see(interval);
  }
  wal = next;
  rows_since_wal = 0;
  was_idle_since_wal = work.in_flight == 0;
}

double Throttle::State::part_of_wal(Reading const& reading, double total) const {
  auto const others = others_of(reading);
  if (others.empty() || std::isinf(total)) return total;
  double const used = own.rate(kBoundSeconds);
  // What it would use shows once it may write.
  double const wanted = used > 0 ? wanted_of(used, last.wal_per_second) : kUnlimited;
  std::vector<Claim> claims{{"", own_weight(), wanted}};
  for (auto const& each : others) claims.push_back({each.name, each.weight, each.wal_wanted});
  return share_out(total, claims).front();
}

double Throttle::State::share_of_wal(Reading const& reading, double total, CauseBook& book) const {
  double const part = part_of_wal(reading, total);
  if (part < total && own.rate(kBoundSeconds) >= kBound * part) {
    book.note(CauseKind::kSharing, Grip::kSlows, "",
              "this job's share is " + say_rate(part) + " of " + say_rate(total) + " of WAL; " +
                  say_others(others_of(reading)));
  }
  return part;
}

double Throttle::State::share_of_workers(Reading const& reading, double total, int wanted, CauseBook& book) const {
  auto const others = others_of(reading);
  if (others.empty() || std::isinf(total)) return total;
  std::vector<Claim> claims{{"", own_weight(), kUnlimited}};
  for (auto const& each : others) claims.push_back({each.name, each.weight, each.workers_wanted});
  double const part = share_out(total, claims).front();
  if (part < total && part < wanted) {
    book.note(
        CauseKind::kSharing, Grip::kSlows, "workers",
        "this job's share is " + say_number(part) + " of " + say_number(total) + " workers; " + say_others(others));
  }
  return part;
}

void Throttle::State::decide_wal(Reading const& reading, TimePoint now, Decision& decision) {
  double const used = all_own.rate(kBoundSeconds);
  double const most = allowed.rate(kBoundSeconds);
  OwnWal const wal_of_all{&all_own, most > 0 && used >= kBound * most};
  replicas.see(reading.replication, limits, wal_of_all, now);
  auto const verdict = replicas.judge(limits, wal_of_all, now, causes);
  decision.may_start = verdict.may_start;
  decision.must_stop = verdict.must_stop;
  total_allowed = verdict.wal_per_second;
  decision.wal_per_second = share_of_wal(reading, verdict.wal_per_second, causes);
}

void Throttle::State::decide_workers(Reading const& reading, Work const& work, TimePoint now, Decision& decision) {
  if (!latency_is_felt(reading)) {
    can_see_latency(reading, now, decision);
    return;
  }
  if (reading.canaries.empty() && reading.canary.is_seen()) latency.see(reading.canary.value);
  for (auto const& canary : reading.canaries) latency.see(canary);

  PoolState pool{work.in_flight, work.busy, work.wanted, work.rows > 0, !decision.may_start};
  for (auto const& each : others_of(reading)) {
    pool.in_flight += static_cast<int>(std::ceil(each.workers));
    pool.busy += each.workers;
  }
  std::optional<double> cores_busy;
  if (reading.activity.is_seen()) cores_busy = reading.activity.value.active;
  decision.is_beside_others = true;
  latency.step(pool, cores_busy, limits, now);
  if (!can_see_latency(reading, now, decision)) return;

  decision.workers = std::min(decision.workers, share_of_workers(reading, latency.workers(), work.wanted, causes));
  // Many short disturbances instead of a few long ones.
  decision.longest_batch = std::chrono::round<std::chrono::milliseconds>(latency.stretch() * kShortestBatch);
  say_workers(work, cores_busy.value_or(0), decision);
  if (!latency.is_listening()) return;
  decision.may_start = false;
  decision.is_listening = true;
  causes.note(latency.is_starting() ? CauseKind::kStarting : CauseKind::kForegroundLatency, Grip::kStops, "listening",
              "pausing briefly to measure commit latency without this job");
}

// Nobody waits for commits where nobody else works. Whoever comes finds no batch running, and what a commit takes is
// measured anew, with them.
bool Throttle::State::latency_is_felt(Reading const& reading) {
  if (reading.presence.is_seen()) foreground.see(reading.presence.value);
  bool const is_felt = !reading.presence.is_seen() || foreground.is_there();
  if (is_felt && !std::exchange(was_felt, true)) latency = LatencyServo();
  was_felt = is_felt;
  return is_felt;
}

bool Throttle::State::can_see_latency(Reading const& reading, TimePoint now, Decision& decision) {
  Sight const sight = reading.canary.sight;
  if (sight == Sight::kNoPrivilege || sight == Sight::kUnsupported) {
    bool const may_start = !limits.must_see_latency;
    decision.may_start = decision.may_start && may_start;
    causes.note(CauseKind::kBlind, may_start ? Grip::kWarns : Grip::kStops, "canary",
                "the latency of a commit cannot be measured" +
                    (reading.canary.why.empty() ? "" : ": " + reading.canary.why) +
                    (may_start ? "; it does not slow this run" : ""));
    return false;
  }
  if (reading.canary.is_seen()) canary_freshness.see(reading.canary.value.at, now);
  double const trust = canary_freshness.trust(now);
  if (trust >= 1) return true;
  std::string const text = canary_freshness.was_seen()
                               ? "no commit was measured for " + say_seconds(canary_freshness.age_seconds(now))
                               : std::string("the latency of a commit was not measured yet");
  causes.note(CauseKind::kBlind, trust > 0 ? Grip::kSlows : Grip::kStops, "canary",
              text + (reading.canary.why.empty() ? "" : ": " + reading.canary.why));
  decision.may_start = decision.may_start && trust > 0;
  decision.workers = std::min(decision.workers, trust * latency.workers());
  return trust > 0;
}

void Throttle::State::say_workers(Work const& work, double cores_busy, Decision const& decision) {
  if (decision.workers >= work.wanted) return;
  std::string const workers = "; " + say_number(decision.workers) + " of " + std::to_string(work.wanted) + " workers";
  if (latency.is_held_by_cores()) {
    causes.note(CauseKind::kUtilization, Grip::kSlows, "",
                say_number(cores_busy) + " of " + std::to_string(limits.cores) + " cores are busy without us (" +
                    say_percent(limits.utilization) + " allowed with us)" + workers);
  } else if (latency.is_held_by_latency()) {
    causes.note(CauseKind::kForegroundLatency, Grip::kSlows, "",
                "a commit takes " + say_number(latency.ratio()) + " times its quiet " +
                    say_number(1'000 * latency.quiet_seconds()) + " ms (" +
                    say_number(mean_allowed(limits.latency_ratio)) + " allowed)" + workers);
  } else if (latency.is_starting()) {
    causes.note(CauseKind::kStarting, Grip::kSlows, "workers", "on the way up" + workers);
  }
}

void Throttle::State::apply_guards(GuardVerdict const& verdict, Decision& decision) {
  decision.may_start = decision.may_start && verdict.may_start;
  decision.must_stop = decision.must_stop || verdict.must_stop;
  decision.wal_per_second = std::min(decision.wal_per_second, verdict.wal_per_second);
  decision.workers = std::min(decision.workers, verdict.most_workers);
  decision.batch_scale = verdict.batch_scale;
  decision.cancel = verdict.cancel;
  decision.must_rest = verdict.is_hard;
}

void Throttle::State::apply_slots(Reading const& reading, TimePoint now, Decision& decision) {
  auto const verdict = slots.judge(reading.slots, limits, all_own, now, causes);
  decision.may_start = decision.may_start && verdict.may_start;
  decision.must_stop = decision.must_stop || verdict.must_stop;
  decision.must_rest = decision.must_rest || !verdict.may_start;
  decision.slot_wal_per_second = part_of_wal(reading, verdict.wal_per_second);
  decision.wal_per_second = std::min(decision.wal_per_second, decision.slot_wal_per_second);
}

void Throttle::State::apply_ceiling(Decision& decision) {
  if (!limits.max_wal_per_second) return;
  auto const most = static_cast<double>(*limits.max_wal_per_second);
  if (most > decision.wal_per_second) return;
  decision.wal_per_second = most;
  double const used = own.rate(kBoundSeconds);
  if (used < kBound * most) return;
  causes.note(CauseKind::kWalRate, Grip::kSlows, "",
              say_rate(used) + " of WAL (max_wal_per_second is " + say_rate(most) + ")");
}

// Off and observe let everything run but for what the guards of the server itself forbid.
void Throttle::State::apply_mode(Decision& decision) const {
  if (limits.mode == Mode::kOn) return;
  Pace const pace{decision.may_start, decision.wal_per_second, decision.workers, decision.batch_scale,
                  decision.longest_batch};
  if (limits.mode == Mode::kObserve) decision.withheld = pace;
  decision.may_start = !decision.must_rest;
  decision.must_stop = decision.must_stop && decision.must_rest;
  decision.wal_per_second = decision.slot_wal_per_second;
  decision.workers = kUnlimited;
  decision.batch_scale = 1;
  decision.longest_batch = kAnyLength;
  decision.is_beside_others = false;
  decision.cancel.clear();
  if (limits.mode == Mode::kOff) {
    std::erase_if(decision.causes, [&](Cause const& cause) {
      // Slots that were not read.
      bool const is_blind = cause.kind == CauseKind::kBlind && cause.grip == Grip::kStops;
      if (is_blind && decision.must_rest) return false;
      return cause.kind != CauseKind::kSlotAtRisk && cause.kind != CauseKind::kWraparound &&
             cause.kind != CauseKind::kServerRole;
    });
  }
}

Throttle::Throttle(Limits limits) : state_(std::make_unique<State>(std::move(limits))) {}
Throttle::~Throttle() = default;
Throttle::Throttle(Throttle&&) noexcept = default;
Throttle& Throttle::operator=(Throttle&&) noexcept = default;

void Throttle::set_limits(Limits limits) {
  state_->limits = std::move(limits);
}

Limits const& Throttle::limits() const {
  return state_->limits;
}

Decision Throttle::decide(Reading const& reading, Work const& work, TimePoint now) {
  State& state = *state_;
  state.causes.begin(now);
  state.count(reading, work, now);

  Decision decision;
  decision.at = now;
  state.decide_wal(reading, now, decision);
  auto const guards = state.guards.judge(reading, state.limits, state.own.rate(kBoundSeconds), now, state.causes);
  state.apply_guards(guards, decision);
  state.apply_slots(reading, now, decision);
  state.decide_workers(reading, work, now, decision);
  judge_growth(work.growth, work.wanted, decision, state.causes);
  state.apply_ceiling(decision);
  decision.causes = state.causes.take();
  state.last = decision;
  state.apply_mode(decision);
  return decision;
}

Decision Throttle::decide_unread(Work const& work, TimePoint now) {
  State& state = *state_;
  state.causes.begin(now);
  Decision decision;
  decision.at = now;
  decision.may_start = true;
  judge_growth(work.growth, work.wanted, decision, state.causes);
  decision.causes = state.causes.take();
  return decision;
}

double Throttle::wal_bytes_per_row() const {
  return state_->cost.bytes_per_row();
}

double Throttle::wal_per_second() const {
  return state_->own.rate(kBoundSeconds);
}

double Throttle::wal_wanted() const {
  return state_->last_work.wanted == 0 ? 0 : wanted_of(wal_per_second(), state_->last.wal_per_second);
}

std::optional<double> Throttle::latency_ratio() const {
  if (state_->latency.quiet_seconds() <= 0) return std::nullopt;
  return state_->latency.ratio();
}

}  // namespace pgbackfill::throttle
