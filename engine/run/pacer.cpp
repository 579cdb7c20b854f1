#include "engine/run/pacer.h"

#include <algorithm>
#include <set>
#include <utility>

namespace pgbackfill::engine {

namespace {

using std::chrono::nanoseconds;

// A decision is due several times a second: without one for so long, the loop that asks for them is stuck.
constexpr std::chrono::seconds kDecisionAgeMax{5};

// Others tell of themselves every second; what is older says nothing.
constexpr std::chrono::seconds kRunnersAgeMax{10};

// A batch writes its WAL at once. It has to be small beside what waits for a replica (about 0.3 s of WAL), else the
// replica runs dry between two.
constexpr double kSecondsOfWalInBatch = 0.1;

}  // namespace

Pacer::Pacer(throttle::Limits limits, Health* health) : health_(health), throttle_(std::move(limits)) {
  if (health_ == nullptr) {
    decide_unread({});
  } else {
    health_->set_limits(throttle_.limits());
  }
}

void Pacer::set_limits(throttle::Limits limits) {
  throttle_.set_limits(std::move(limits));
  if (health_ != nullptr) health_->set_limits(throttle_.limits());
}

std::shared_ptr<HealthTold const> Pacer::decide(int wanted, TimePoint now) {
  if (health_ == nullptr) return nullptr;
  count_held_time(now);
  wanted_ = wanted;
  work_.wanted = wanted;
  work_.in_flight = static_cast<int>(began_.size());
  work_.busy = mean_in_flight(now);
  auto told = std::make_shared<HealthTold>();
  told->reading = health_->reading();
  add_neighbours(told->reading, now);
  work_.processes = runners_.of_job;
  work_.growth = growth_;
  told->work = work_;
  told->decision = throttle_.decide(told->reading, work_, now);
  told->mode = throttle_.limits().mode;
  decision_ = told->decision;
  wal_.set_rate(decision_.wal_per_second, now);
  health_->set_batches_running(!began_.empty());
  health_->set_listening(decision_.is_listening);
  work_ = throttle::Work();
  return told;
}

void Pacer::decide_unread(TimePoint now) {
  throttle::Work work;
  work.wanted = static_cast<int>(turns_.size());
  work.growth = growth_;
  decision_ = throttle_.decide_unread(work, now);
}

void Pacer::set_runners(RunnersHeard heard, TimePoint now) {
  runners_ = std::move(heard);
  runners_heard_at_ = now;
}

void Pacer::add_neighbours(throttle::Reading& reading, TimePoint now) const {
  if (!runners_heard_at_ || now - *runners_heard_at_ > kRunnersAgeMax) return;
  reading.neighbours.sight = throttle::Sight::kSeen;
  reading.neighbours.value = runners_.others;
  reading.neighbours.at = *runners_heard_at_;
}

RunnerTold Pacer::runner_told(TimePoint now) const {
  RunnerTold told;
  told.mode = throttle_.limits().mode;
  told.weight = throttle_.limits().weight;
  told.may_start = decision_.may_start;
  told.wal_per_second = throttle_.wal_per_second();
  told.wal_limit = decision_.wal_per_second;
  told.wal_wanted = throttle_.wal_wanted();
  told.workers = static_cast<int>(began_.size());
  told.workers_limit = decision_.workers;
  told.workers_wanted = wanted_;
  for (auto const& cause : decision_.causes) {
    auto const lasted = std::chrono::duration_cast<std::chrono::milliseconds>(now - cause.since);
    told.causes.push_back({cause.kind, cause.grip, cause.text, lasted});
  }
  return told;
}

throttle::NeighbourReading Pacer::told_elsewhere(std::string const& job) const {
  throttle::NeighbourReading told;
  told.name = job;
  told.weight = throttle_.limits().weight / std::max(runners_.of_job, 1);
  told.wal_per_second = throttle_.wal_per_second();
  told.wal_wanted = throttle_.wal_wanted();
  told.workers = static_cast<double>(began_.size());
  told.workers_wanted = wanted_;
  return told;
}

void Pacer::set_growth(throttle::GrowthHold hold, TimePoint now) {
  growth_ = std::move(hold);
  if (health_ == nullptr) decide_unread(now);
}

void Pacer::join(int worker) {
  turns_.push_back(worker);
}

void Pacer::leave(int worker) {
  std::erase(turns_, worker);
}

int Pacer::rank_of(int worker) const {
  return static_cast<int>(std::find(turns_.begin(), turns_.end(), worker) - turns_.begin());
}

std::optional<nanoseconds> Pacer::wait_before_batch(int worker, TimePoint now) const {
  if (!decision_.may_start || is_blind(now)) return std::nullopt;
  auto const found = last_.find(worker);
  auto const last = found == last_.end() ? std::nullopt : std::optional(found->second);
  auto const rest = throttle::wait_before_batch(rank_of(worker), decision_.workers, last, now);
  if (!rest) return std::nullopt;
  return std::max({*rest, rows_.wait_before(now), wal_.wait_before(now)});
}

std::chrono::milliseconds Pacer::batch_target(std::chrono::milliseconds target) const {
  auto const most = std::min(target, decision_.longest_batch);
  auto const scaled = std::chrono::duration<double, std::milli>(most) * decision_.batch_scale;
  return std::max(std::chrono::round<std::chrono::milliseconds>(scaled), std::chrono::milliseconds(1));
}

std::int64_t Pacer::most_rows(std::int64_t rows) const {
  double const by_wal = decision_.wal_per_second * kSecondsOfWalInBatch / throttle_.wal_bytes_per_row();
  auto const most = std::min(rows, rows_.most_rows());
  if (by_wal >= static_cast<double>(most)) return std::max<std::int64_t>(1, most);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(by_wal));
}

void Pacer::batch_started(int worker, std::int64_t rows, TimePoint now) {
  double const wal_per_row = throttle_.wal_bytes_per_row();
  double const bytes = static_cast<double>(rows) * wal_per_row;
  rows_.charge(rows, now);
  wal_.charge(bytes, now);
  work_.rows += rows;
  work_.wal_bytes += bytes;
  began_[worker] = {now, wal_per_row};
}

void Pacer::page_started(int worker, std::int64_t rows, TimePoint now) {
  rows_.charge(rows, now);
  work_.rows += rows;
  began_[worker] = {now, 0};
}

void Pacer::batch_ended(int worker, std::int64_t rows, std::optional<std::int64_t> rows_changed, TimePoint now) {
  auto const began = began_.find(worker);
  if (!rows_changed) {
    // What a failed batch wrote to the WAL stays written; only its rows are still to be done.
    rows_.charge(-rows, now);
  } else if (began != began_.end()) {
    double const unused =
        static_cast<double>(std::max(rows - *rows_changed, std::int64_t{0})) * began->second.wal_per_row;
    wal_.charge(-unused, now);
    work_.wal_bytes -= unused;
    work_.rows_changed += *rows_changed;
    ++work_.batches;
  }
  ended(worker, now);
}

void Pacer::page_ended(int worker, std::int64_t rows, bool is_read, TimePoint now) {
  if (is_read) {
    ++work_.batches;
  } else {
    rows_.charge(-rows, now);
  }
  ended(worker, now);
}

void Pacer::ended(int worker, TimePoint now) {
  auto const began = began_.find(worker);
  if (began == began_.end()) return;
  last_[worker] = {now, now - began->second.at};
  time_busy_ += now - std::max(began->second.at, counted_from_);
  began_.erase(began);
}

// Since the last call. What runs at one moment says little of batches that are shorter than the time between two.
double Pacer::mean_in_flight(TimePoint now) {
  auto busy = std::exchange(time_busy_, nanoseconds{0});
  for (auto const& [worker, began] : began_) busy += now - std::max(began.at, counted_from_);
  auto const passed = now - std::exchange(counted_from_, now);
  if (passed <= nanoseconds{0}) return static_cast<double>(began_.size());
  return std::chrono::duration<double>(busy) / std::chrono::duration<double>(passed);
}

bool Pacer::is_blind(TimePoint now) const {
  return health_ != nullptr && now - decision_.at > kDecisionAgeMax;
}

std::string Pacer::held_back() const {
  std::string first;
  int others = 0;
  for (auto const& cause : decision_.causes) {
    if (cause.grip == throttle::Grip::kWarns) continue;
    if (first.empty()) {
      first = cause.text;
    } else {
      ++others;
    }
  }
  if (others > 0) first += " (and " + std::to_string(others) + " more)";
  bool const is_observed_only = decision_.withheld && decision_.may_start;
  return is_observed_only && !first.empty() ? "observed only: " + first : first;
}

void Pacer::count_held_time(TimePoint now) {
  std::set<throttle::CauseKind> kinds;
  for (auto const& cause : decision_.causes) {
    if (cause.grip != throttle::Grip::kWarns) kinds.insert(cause.kind);
  }
  // After a longer time the process stood still; that was not work held back.
  auto const held = std::min<nanoseconds>(now - decision_.at, kDecisionAgeMax);
  for (auto const kind : kinds) held_[kind] += held;
}

}  // namespace pgbackfill::engine
