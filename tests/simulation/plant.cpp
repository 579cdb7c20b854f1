#include "tests/simulation/plant.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <random>
#include <utility>

#include "throttle/duty_cycle.h"
#include "throttle/lsn_clock.h"
#include "throttle/token_bucket.h"
#include "throttle/wal_cost.h"

namespace pgbackfill::tests {
namespace {

using throttle::Decision;
using throttle::Reading;
using throttle::Sight;
using throttle::TimePoint;
using throttle::Work;

constexpr double kStep = 0.002;
constexpr double kPoint = 0.05;
constexpr double kCanarySeconds = 0.05;
constexpr double kListeningCanarySeconds = 0.025;
constexpr double kWalSeconds = 1;
constexpr double kActivitySeconds = 1;
constexpr double kQuietCommit = 0.0005;
constexpr double kLoadInertia = 0.5;  // seconds in which queues fill and empty
constexpr double kMostLoad = 0.98;
constexpr throttle::Lsn kFirstLsn = 1'000'000'000'000;

TimePoint time_at(double seconds) {
  return TimePoint{std::chrono::hours{1}} + std::chrono::nanoseconds{static_cast<std::int64_t>(seconds * 1e9)};
}

class OurLaw : public Law {
 public:
  explicit OurLaw(throttle::Limits limits) : throttle_(std::move(limits)) {}
  Decision decide(Reading const& reading, Work const& work, TimePoint now) override {
    return throttle_.decide(reading, work, now);
  }
  double wal_bytes_per_row() const override { return throttle_.wal_bytes_per_row(); }
  double decision_seconds() const override { return 0.25; }
  double replication_seconds() const override { return 0.5; }

 private:
  throttle::Throttle throttle_;
};

class OnOffLaw : public Law {
 public:
  explicit OnOffLaw(double threshold) : threshold_(threshold) {}
  Decision decide(Reading const& reading, Work const&, TimePoint now) override {
    auto const& replication = reading.replication;
    if (replication.is_seen() && replication.value.replicas.front().replayed.is_seen()) {
      clock_.see(replication.value.at, replication.value.flushed);
      auto const age = clock_.age_of(replication.value.replicas.front().replayed.value, replication.value.at);
      lag_ = std::chrono::duration<double>(age.age).count();
    }
    Decision decision;
    decision.at = now;
    decision.may_start = lag_ <= threshold_;
    return decision;
  }
  double wal_bytes_per_row() const override { return 1; }
  double decision_seconds() const override { return 0.1; }
  double replication_seconds() const override { return 0.1; }

 private:
  double threshold_;
  double lag_ = 0;
  throttle::LsnClock clock_;
};

class FixedLaw : public Law {
 public:
  explicit FixedLaw(double workers) : workers_(workers) {}
  Decision decide(Reading const&, Work const&, TimePoint now) override {
    Decision decision;
    decision.at = now;
    decision.may_start = true;
    decision.workers = workers_;
    return decision;
  }
  double wal_bytes_per_row() const override { return 1; }
  double decision_seconds() const override { return 0.25; }
  double replication_seconds() const override { return 0.5; }

 private:
  double workers_;
};

// Ornstein-Uhlenbeck, around one.
class Noise {
 public:
  Noise(double sigma, double memory_seconds) : sigma_(sigma), memory_(memory_seconds) {}
  double next(std::mt19937_64& random) {
    double const keep = std::exp(-kStep / memory_);
    state_ = keep * state_ + sigma_ * std::sqrt(1 - keep * keep) * normal_(random);
    return std::max(1 + state_, 0.05);
  }

 private:
  double sigma_;
  double memory_;
  double state_ = 0;
  std::normal_distribution<double> normal_;
};

struct Worker {
  bool is_busy = false;
  double left_seconds = 0;  // of the batch, on an idle server
  double started_at = 0;
  double wal_per_second = 0;  // on an idle server
  std::optional<throttle::LastBatch> last;
};

class Plant {
 public:
  Plant(PlantOptions const& options, Law& law) : options_(options), law_(law), random_(options.seed) {
    capacity_noise_ = Noise(0.35 * options.noise, 1);
    foreground_noise_ = Noise(0.25 * options.noise, 2);
    workers_.resize(static_cast<std::size_t>(options.workers));
    run_.moment = options.moment;
  }

  PlantRun run() {
    auto const steps = static_cast<std::int64_t>(options_.seconds / kStep);
    for (std::int64_t count = 0; count < steps; ++count) {
      now_ = static_cast<double>(count) * kStep;
      write();
      replay();
      sense();
      if (is_due(law_.decision_seconds())) decide();
      start_batches();
      if (is_due(kPoint)) note_point();
    }
    return std::move(run_);
  }

 private:
  // Once every so many seconds, on the grid of steps.
  bool is_due(double period) const {
    auto const every = std::max<std::int64_t>(std::llround(period / kStep), 1);
    return std::llround(now_ / kStep) % every == 0;
  }

  double load() const { return std::min(options_.foreground_load(now_) + smooth_busy_ / options_.cores, kMostLoad); }

  void write() {
    double const slow = slow_down(load(), options_.cores);
    double const pages = options_.has_full_pages ? 1 + 2 * std::exp(-std::fmod(now_, 300) / 20) : 1;
    double own = 0;
    int busy = 0;
    for (auto& worker : workers_) {
      if (!worker.is_busy) continue;
      ++busy;
      double const share = std::min(kStep / slow, worker.left_seconds);
      own += worker.wal_per_second * share * pages;
      worker.left_seconds -= kStep / slow;
      if (worker.left_seconds > 0.5 * kStep / slow) continue;  // to the nearest step
      worker.is_busy = false;
      worker.last = throttle::LastBatch{
          time_at(now_), std::chrono::nanoseconds{static_cast<std::int64_t>((now_ - worker.started_at) * 1e9)}};
    }
    double const alone = slow_down(std::min(options_.foreground_load(now_), kMostLoad), options_.cores);
    slow_ratio_ = slow / alone;
    busy_seconds_ += busy * kStep;
    smooth_busy_ += kStep / kLoadInertia * (busy - smooth_busy_);
    double const others = options_.foreground_wal(now_) * foreground_noise_.next(random_) * pages * kStep;
    own_ += own;
    point_own_ += own;
    flushed_ += own + others;
    history_.emplace_back(now_, flushed_);
  }

  void replay() {
    double const capacity = options_.capacity(now_) * capacity_noise_.next(random_);
    while (arrived_at_ + 1 < history_.size() && history_[arrived_at_ + 1].first <= now_ - options_.transport_seconds) {
      ++arrived_at_;
    }
    double const arrived =
        history_[arrived_at_].first <= now_ - options_.transport_seconds ? history_[arrived_at_].second : 0.0;
    replayed_ = std::max(replayed_, std::min(replayed_ + capacity * kStep, arrived));
    while (head_ + 1 < history_.size() && history_[head_].second <= replayed_) ++head_;
  }

  double lag() const { return replayed_ >= flushed_ ? 0 : now_ - history_[head_].first; }

  bool is_blind() const {
    return options_.blindness != Blindness::kPauseOfNone && now_ >= options_.blind_from && now_ < options_.blind_to;
  }

  bool is_lost() { return std::uniform_real_distribution<double>(0, 1)(random_) < options_.sensor_loss; }

  void sense() {
    if (!is_blind()) silent_since_lsn_ = lsn_of(replayed_);
    if (is_due(law_.replication_seconds())) sense_replication();
    if (is_due(decision_.is_listening ? kListeningCanarySeconds : kCanarySeconds)) sense_canary();
    if (is_due(kWalSeconds)) sense_wal();
    if (is_due(kActivitySeconds)) {
      // Whole sessions at one look; right in the mean of several.
      active_ += options_.foreground_load(now_) * options_.cores * slow_ratio_;
      int const active = static_cast<int>(active_);
      active_ -= active;
      reading_.activity = {Sight::kSeen, {time_at(now_), active, 50, {}, ""}, time_at(now_), ""};
      int const worked = options_.foreground_load(now_) > 0 ? 5 : 0;
      reading_.presence = {Sight::kSeen, {time_at(now_), active, worked}, time_at(now_), ""};
    }
    while (!on_the_way_.empty() && on_the_way_.front().first <= now_ + 1e-9) {
      reading_.replication = std::move(on_the_way_.front().second);
      on_the_way_.pop_front();
    }
  }

  void sense_replication() {
    TimePoint const now = time_at(now_);
    if (is_blind() && options_.blindness == Blindness::kNoReading) return;
    if (is_lost()) return;
    throttle::Sample<throttle::ReplicationReading> sample{Sight::kSeen, {now, lsn_of(flushed_), {}}, now, ""};
    if (is_blind() && options_.blindness == Blindness::kFailing) {
      sample = {Sight::kFailed, {}, now, "server closed the connection"};
    } else {
      throttle::ReplicaReading replica;
      replica.name = "db-2";
      replica.replayed = {Sight::kSeen, lsn_of(replayed_), now, ""};
      replica.reply_age = {Sight::kSeen, std::chrono::milliseconds{20}, now, ""};
      if (is_blind() && options_.blindness == Blindness::kNull) replica.replayed.sight = Sight::kNull;
      if (is_blind() && options_.blindness == Blindness::kSilent) {
        replica.replayed.value = silent_since_lsn_;
        replica.reply_age.value =
            std::chrono::milliseconds{static_cast<std::int64_t>((now_ - options_.blind_from) * 1'000)};
      }
      sample.value.replicas.push_back(std::move(replica));
    }
    on_the_way_.emplace_back(now_ + options_.sensor_seconds, std::move(sample));
  }

  void sense_canary() {
    double const sigma = options_.canary_noise;
    std::lognormal_distribution<double> noise(-sigma * sigma / 2, sigma);
    double const seconds = kQuietCommit * slow_down(load(), options_.cores) * noise(random_);
    throttle::CanaryReading canary{time_at(now_), std::chrono::nanoseconds{static_cast<std::int64_t>(seconds * 1e9)}};
    reading_.canary = {Sight::kSeen, canary, canary.at, ""};
    reading_.canaries.push_back(canary);
    if (reading_.canaries.size() > 60) reading_.canaries.erase(reading_.canaries.begin());
  }

  void sense_wal() {
    TimePoint const now = time_at(now_);
    throttle::WalReading wal;
    wal.at = now;
    wal.inserted = lsn_of(flushed_);
    if (options_.does_server_count_own_wal) wal.own_bytes = static_cast<std::uint64_t>(own_);
    reading_.wal = {Sight::kSeen, wal, now, ""};
    reading_.slots = {Sight::kSeen, {now, wal.inserted, {}}, now, ""};
    throttle::HealthReading health;
    health.at = now;
    health.archive.sight = health.vacuum.sight = health.wraparound_age.sight = Sight::kSeen;
    health.archive.at = health.vacuum.at = health.wraparound_age.at = now;
    reading_.health = {Sight::kSeen, health, now, ""};
    reading_.waiters = {Sight::kSeen, {now, 0, std::chrono::milliseconds{0}, 0, ""}, now, ""};
  }

  void decide() {
    work_.in_flight = in_flight();
    work_.busy = busy_seconds_ / law_.decision_seconds();
    busy_seconds_ = 0;
    work_.wanted = options_.workers;
    decision_ = law_.decide(reading_, work_, time_at(now_));
    work_ = {};
    bucket_.set_rate(decision_.wal_per_second, time_at(now_));
    run_.decisions.push_back(decision_);
  }

  int in_flight() const {
    return static_cast<int>(
        std::count_if(workers_.begin(), workers_.end(), [](Worker const& worker) { return worker.is_busy; }));
  }

  void start_batches() {
    for (std::size_t rank = 0; rank < workers_.size(); ++rank) {
      Worker& worker = workers_[rank];
      if (worker.is_busy || !decision_.may_start) continue;
      TimePoint const now = time_at(now_);
      auto const rest = throttle::wait_before_batch(static_cast<int>(rank), decision_.workers, worker.last, now);
      if (!rest || rest->count() > 0 || bucket_.wait_before(now).count() > 0) continue;
      start_batch(worker);
    }
  }

  void start_batch(Worker& worker) {
    double const cost = law_.wal_bytes_per_row();
    double const longest = std::chrono::duration<double>(decision_.longest_batch).count();
    double const batch_seconds = std::min(options_.batch_seconds, std::max(longest, kStep));
    auto const full = static_cast<std::int64_t>(options_.worker_wal * batch_seconds / options_.row_bytes);
    std::int64_t const most = throttle::most_rows(decision_.wal_per_second, cost);
    auto const rows = std::max<std::int64_t>(
        static_cast<std::int64_t>(static_cast<double>(std::min(full, most)) * decision_.batch_scale), 1);
    double const seconds = static_cast<double>(rows) * options_.row_bytes / options_.worker_wal;
    worker.is_busy = true;
    worker.left_seconds = seconds;
    worker.started_at = now_;
    worker.wal_per_second = options_.worker_wal;
    bucket_.charge(static_cast<double>(rows) * cost, time_at(now_));
    work_.rows += rows;
    work_.rows_changed += rows;
    work_.batches += 1;
    work_.wal_bytes += static_cast<double>(rows) * cost;
  }

  void note_point() {
    double const foreground = std::min(options_.foreground_load(now_), kMostLoad);
    double const alone = p99_at(foreground, options_.cores);
    run_.points.push_back({now_, lag(), point_own_, decision_.may_start ? decision_.wal_per_second : 0, smooth_busy_,
                           p99_at(load(), options_.cores) / alone, ideal_workers(foreground, options_.cores, 1.25)});
    point_own_ = 0;
  }

  static throttle::Lsn lsn_of(double bytes) { return kFirstLsn + static_cast<throttle::Lsn>(bytes); }

  PlantOptions const& options_;
  Law& law_;
  std::mt19937_64 random_;
  Noise capacity_noise_{0, 1};
  Noise foreground_noise_{0, 1};
  double now_ = 0;
  std::vector<Worker> workers_;
  double smooth_busy_ = 0;
  double busy_seconds_ = 0;  // since the last decision
  double slow_ratio_ = 1;
  double active_ = 0;  // sessions at work that the next look will show
  double own_ = 0;
  double point_own_ = 0;
  double flushed_ = 0;
  double replayed_ = 0;
  std::deque<std::pair<double, double>> history_;  // time, flushed
  std::size_t arrived_at_ = 0;
  std::size_t head_ = 0;
  throttle::Lsn silent_since_lsn_ = 0;
  std::deque<std::pair<double, throttle::Sample<throttle::ReplicationReading>>> on_the_way_;
  Reading reading_;
  Work work_;
  Decision decision_;
  throttle::TokenBucket bucket_{throttle::kUnlimited};
  PlantRun run_;
};

}  // namespace

std::unique_ptr<Law> our_law(throttle::Limits limits) {
  return std::make_unique<OurLaw>(std::move(limits));
}

std::unique_ptr<Law> on_off_law(double threshold_seconds) {
  return std::make_unique<OnOffLaw>(threshold_seconds);
}

std::unique_ptr<Law> fixed_law(double workers) {
  return std::make_unique<FixedLaw>(workers);
}

Course always(double value) {
  return [value](double) { return value; };
}

Course step(double before, double after, double at) {
  return [=](double now) { return now < at ? before : after; };
}

PlantRun run_plant(PlantOptions const& options, Law& law) {
  return Plant(options, law).run();
}

double slow_down(double load, int cores) {
  double const exponent = std::sqrt(2.0 * (cores + 1)) - 1;
  return 1 + std::pow(load, exponent) / (cores * (1 - load));
}

double p99_at(double load, int cores) {
  return (3 + 4.6 * (slow_down(load, cores) - 1)) / 3;
}

double ideal_workers(double foreground_load, int cores, double most_p99_ratio) {
  double const most = most_p99_ratio * p99_at(foreground_load, cores);
  double low = 0;
  double high = cores;
  for (int round = 0; round < 30; ++round) {
    double const middle = (low + high) / 2;
    double const load = std::min(foreground_load + middle / cores, kMostLoad);
    (p99_at(load, cores) <= most ? low : high) = middle;
  }
  return low;
}

namespace {

std::vector<PlantPoint> between(PlantRun const& run, double from, double to) {
  std::vector<PlantPoint> points;
  std::copy_if(run.points.begin(), run.points.end(), std::back_inserter(points),
               [=](PlantPoint const& point) { return point.at >= from && point.at < to; });
  return points;
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(static_cast<std::size_t>(share * static_cast<double>(values.size())), values.size() - 1)];
}

template <class Value>
std::vector<double> values_of(std::vector<PlantPoint> const& points, Value value) {
  std::vector<double> values;
  for (auto const& point : points) values.push_back(value(point));
  return values;
}

template <class Fact>
double share_of(std::vector<PlantPoint> const& points, Fact fact) {
  auto const count = std::count_if(points.begin(), points.end(), fact);
  return points.empty() ? 0 : static_cast<double>(count) / static_cast<double>(points.size());
}

}  // namespace

double PlantRun::own_rate(double from, double to) const {
  double sum = 0;
  for (auto const& point : between(*this, from, to)) sum += point.own_bytes;
  return sum / (to - from);
}

double PlantRun::highest_lag(double from, double to) const {
  return lag_quantile(from, to, 1);
}

double PlantRun::lag_quantile(double from, double to, double share) const {
  return quantile(values_of(between(*this, from, to), [](auto const& point) { return point.lag; }), share);
}

double PlantRun::p99_quantile(double from, double to, double share) const {
  return quantile(values_of(between(*this, from, to), [](auto const& point) { return point.p99_ratio; }), share);
}

double PlantRun::share_of_time_above(double lag, double from, double to) const {
  return share_of(between(*this, from, to), [lag](auto const& point) { return point.lag > lag; });
}

double PlantRun::mean_p99(double from, double to) const {
  auto const ratios = values_of(between(*this, from, to), [](auto const& point) { return point.p99_ratio; });
  return std::accumulate(ratios.begin(), ratios.end(), 0.0) /
         static_cast<double>(std::max<std::size_t>(ratios.size(), 1));
}

double PlantRun::rate_variation(double from, double to) const {
  std::vector<double> bins;
  for (double at = from; at + 1 <= to; at += 1) bins.push_back(own_rate(at, at + 1));
  double const mean = std::accumulate(bins.begin(), bins.end(), 0.0) / static_cast<double>(bins.size());
  double squares = 0;
  for (double const bin : bins) squares += (bin - mean) * (bin - mean);
  return mean > 0 ? std::sqrt(squares / static_cast<double>(bins.size())) / mean : 0;
}

std::optional<double> PlantRun::seconds_until_rate(double from, double rate) const {
  for (double at = from; at + 1 <= points.back().at; at += 0.1) {
    if (own_rate(at, at + 1) >= rate) return at + 0.5 - from;
  }
  return std::nullopt;
}

double PlantRun::share_of_ideal(double from, double to) const {
  double used = 0;
  double ideal = 0;
  for (auto const& point : between(*this, from, to)) {
    used += point.workers;
    ideal += point.ideal_workers;
  }
  return ideal > 0 ? used / ideal : 0;
}

}  // namespace pgbackfill::tests
