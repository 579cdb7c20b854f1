#include "throttle/throttle.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "throttle/cause_book.h"
#include "throttle/fairness.h"
#include "throttle/odometer.h"
#include "throttle/replicas.h"
#include "throttle/wal_cost.h"
#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

constexpr double kBoundSeconds = 2;
constexpr double kBound = 0.9;

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

struct Throttle::State {
  explicit State(Limits limits_now) : limits(std::move(limits_now)) {}

  void count(Reading const& reading, Work const& work, TimePoint now);
  void learn_cost(Reading const& reading, Work const& work);
  double share_of_wal(Reading const& reading, double total, CauseBook& book) const;
  void apply_ceiling(Decision& decision);
  void apply_mode(Decision& decision) const;

  Limits limits;
  CauseBook causes;
  Replicas replicas;
  WalCost cost;
  Odometer own;      // WAL of this job
  Odometer all_own;  // and of its neighbours
  Odometer allowed;  // what all of them were allowed
  std::optional<TimePoint> decided_at;
  Decision last;
  double total_allowed = 0;

  // Since the last reading of the WAL position.
  std::optional<WalReading> wal;
  std::int64_t rows_since_wal = 0;
  bool was_idle_since_wal = true;
};

void Throttle::State::count(Reading const& reading, Work const& work, TimePoint now) {
  double const seconds = decided_at ? std::max(seconds_between(*decided_at, now), 0.0) : 0;
  decided_at = now;
  own.add(work.wal_bytes, now);
  double others = 0;
  if (reading.neighbours.is_seen()) {
    for (auto const& neighbour : reading.neighbours.value) others += neighbour.wal_per_second * seconds;
  }
  all_own.add(work.wal_bytes + others, now);
  // Unlimited counts as much more than anybody can write.
  allowed.add(last.may_start ? std::min(total_allowed, 1e12) * seconds : 0, now);
  learn_cost(reading, work);
}

void Throttle::State::learn_cost(Reading const& reading, Work const& work) {
  rows_since_wal += work.rows;
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

double Throttle::State::share_of_wal(Reading const& reading, double total, CauseBook& book) const {
  if (!reading.neighbours.is_seen() || reading.neighbours.value.empty() || std::isinf(total)) return total;
  double const used = own.rate(kBoundSeconds);
  std::vector<Claim> claims{{"", limits.weight, wanted_of(used, last.wal_per_second)}};
  for (auto const& each : reading.neighbours.value) claims.push_back({each.name, each.weight, each.wal_wanted});
  double const part = share_out(total, claims).front();
  if (part < total && used >= kBound * part) {
    book.note(CauseKind::kSharing, Grip::kSlows, "",
              say_rate(part) + " of WAL of " + say_rate(total) + " is this job's part; " +
                  std::to_string(claims.size() - 1) + " more run here");
  }
  return part;
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

void Throttle::State::apply_mode(Decision& decision) const {
  if (limits.mode == Mode::kOn) return;
  Pace const pace{decision.may_start, decision.wal_per_second, decision.workers, decision.batch_scale};
  if (limits.mode == Mode::kObserve) decision.withheld = pace;
  decision.may_start = true;
  decision.must_stop = false;
  decision.wal_per_second = kUnlimited;
  decision.workers = kUnlimited;
  decision.batch_scale = 1;
  decision.cancel.clear();
  if (limits.mode == Mode::kOff) decision.causes.clear();
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

  double const used = state.all_own.rate(kBoundSeconds);
  double const allowed = state.allowed.rate(kBoundSeconds);
  OwnWal const own{&state.all_own, allowed > 0 && used >= kBound * allowed};
  state.replicas.see(reading.replication, state.limits, own, now);
  auto const verdict = state.replicas.judge(state.limits, own, now, state.causes);

  Decision decision;
  decision.at = now;
  decision.may_start = verdict.may_start;
  decision.must_stop = verdict.must_stop;
  state.total_allowed = verdict.wal_per_second;
  decision.wal_per_second = state.share_of_wal(reading, verdict.wal_per_second, state.causes);
  state.apply_ceiling(decision);
  decision.causes = state.causes.take();
  state.last = decision;
  state.apply_mode(decision);
  return decision;
}

double Throttle::wal_bytes_per_row() const {
  return state_->cost.bytes_per_row();
}

}  // namespace pgbackfill::throttle
