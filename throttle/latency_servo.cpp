#include "throttle/latency_servo.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kRecent{1'500};
constexpr std::size_t kMostCommits = 200;
// Less would starve the run on a small server, where even a quiet run doubles the latency of a commit.
constexpr double kLeastWorkers = 0.17;
// One commit of a second says nothing that one of eight times the quiet latency does not say.
constexpr double kMostOutlier = 8;

constexpr int kQuietCommits = 24;  // of a window
constexpr seconds kLongestWindow{2};
constexpr seconds kWindowEvery{60};
constexpr seconds kWindowSoon{8};        // after much has changed
constexpr double kMuchChanged = 0.6;     // of the workers at the last window
constexpr double kMostQuiet = 60;        // commits that the quiet latency is the mean of
constexpr double kQuietAfterStep = 5;    // so many count as much as all before, once much has changed
constexpr double kWeightOfLower = 0.01;  // of a step in which commits are much faster than quiet ones were
constexpr double kMuchFaster = 0.9;
constexpr double kWeightOfSpread = 0.05;
constexpr double kRecentCommits = 40;  // about what the ratio is the mean of
constexpr double kSlowCommits = 200;   // and the slow one
constexpr double kSure = 2;            // doubts
constexpr double kSureOfSlow = 1;
// Until what a batch left behind is written: the WAL writer wakes every 200 ms by default.
constexpr milliseconds kEchoOfBatch{300};
constexpr seconds kCutHolds{60};  // what has cut once is measured well
constexpr seconds kDoubtEvery{3};
constexpr double kDeviationOfSpread = 1.25;  // of a bell curve

// Measured: the p99 of others goes with about the square of the mean commit. At the default the two are one, since
// noise alone would starve a run that kept within the root of 1.15.
constexpr double kAboveRoot = 0.17;
constexpr double kWeightOfRatio = 0.4;  // per second
constexpr double kWeightOfSlow = 0.1;
constexpr double kMargin = 0.015;  // the tail of others is ahead of the mean of commits
constexpr double kDeadBand = 0.04;
constexpr double kFullError = 0.22;
constexpr double kUp = 0.05;          // per second
constexpr double kUpWithRoom = 0.12;  // when commits are hardly slower than without us, for long
constexpr double kDown = 0.30;
constexpr double kRecovery = 0.26;
constexpr double kRecoveryError = 0.10;
constexpr double kRecoveryBelow = 0.8;  // of good workers
constexpr double kGood = 0.08;
constexpr double kWeightOfGood = 0.05;
constexpr double kStartGrowth = 0.45;  // per second, about 1.6: what comes meanwhile is seen after two seconds
constexpr double kStartEnds = -0.05;
constexpr double kAfterStart = 0.8;
constexpr double kCoresOfWorker = 1.25;  // its session, and what writes and sends its WAL
constexpr double kShed = 2;              // times the allowed ratio
constexpr seconds kHold{2};
// So many commits in a row that are so much too slow are no noise: the server is full, and what waits there grows with
// every moment. Half would not empty it.
constexpr std::size_t kAlarmCommits = 3;
constexpr double kAlarm = 4;      // times the allowed ratio, of their mean
constexpr double kMostAlarm = 6;  // times the quiet latency, whatever is allowed
constexpr double kShedAtAlarm = 0.25;
constexpr seconds kAlarmHold{1};  // until the commits that alarmed are over
constexpr double kUsedAtStart = 0.5;
constexpr double kUsed = 0.7;  // of the workers that may run

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

double mean_allowed(double latency_ratio) {
  return std::max(std::sqrt(std::max(latency_ratio, 1.0) + kAboveRoot), 1.01);
}

void LatencyServo::see(CanaryReading const& canary) {
  bool const is_known = !commits_.empty() && canary.at <= commits_.back().at;
  if (is_known) return;
  double const taken = std::chrono::duration<double>(canary.latency).count();
  commits_.push_back({canary.at, taken});
  unsorted_.push_back(commits_.back());
  if (commits_.size() > kMostCommits) commits_.pop_front();
  if (unsorted_.size() > kMostCommits) unsorted_.pop_front();
}

void LatencyServo::step(PoolState const& pool, std::optional<double> cores_busy, Limits const& limits, TimePoint now) {
  double const passed = stepped_at_ ? std::clamp(seconds_between(*stepped_at_, now), 0.0, 1.0) : 0;
  stepped_at_ = now;
  busy_workers_ += std::min(passed, 1.0) * (pool.busy - busy_workers_);
  if (pool.wanted > 0) most_workers_ = pool.wanted;
  note_quiet(pool, now);
  listen_or_not(pool, limits, now);
  judge(now, passed);
  if (!is_listening_ && !pool.is_held) move(pool, limits, now, passed);
  cap(pool, cores_busy, limits);
}

void LatencyServo::note_quiet(PoolState const& pool, TimePoint now) {
  bool const is_quiet = pool.in_flight == 0 && !pool.has_started_any;
  if (!is_quiet) {
    quiet_since_.reset();
    has_worked_ = true;
  } else if (!quiet_since_) {
    quiet_since_ = now;
  }
  // A commit at a time that both decisions around it found quiet was quiet.
  while (!unsorted_.empty()) {
    Commit const commit = unsorted_.front();
    unsorted_.pop_front();
    if (!quiet_since_ || commit.at < *quiet_since_ + (has_worked_ ? kEchoOfBatch : milliseconds{0}) || commit.at > now)
      continue;
    ++quiet_seen_;
    learn_quiet(commit.seconds);
  }
}

void LatencyServo::learn_quiet(double taken) {
  if (!(quiet_ > 0)) quiet_ = std::max(taken, 1e-6);
  double const bounded = std::min(taken, kMostOutlier * quiet_);
  quiet_count_ = std::min(quiet_count_ + 1, kMostQuiet);
  spread_ += std::max(kWeightOfSpread, 1 / quiet_count_) * (std::abs(bounded / quiet_ - 1) - spread_);
  quiet_ += (bounded - quiet_) / quiet_count_;
}

// How far the logarithm of a ratio may be off, about one time in six to either side.
double LatencyServo::doubt(double commits) const {
  return kDeviationOfSpread * spread_ * std::sqrt(1 / std::max(quiet_count_, 1.0) + 1 / commits);
}

double LatencyServo::room(double ratio, Limits const& limits) const {
  return std::log(mean_allowed(limits.latency_ratio)) - kMargin - std::log(std::max(ratio, 1e-3));
}

// Noise must not cut, nor a small excess stay for ever: a large one is believed soon, a small one after a while.
void LatencyServo::judge_excess(Limits const& limits, TimePoint now) {
  double const recent = room(ratio_, limits);
  double const slow = room(slow_ratio_, limits);
  if (recent < -kDeadBand - kSure * doubt(kRecentCommits) || slow < -kSureOfSlow * doubt(kSlowCommits))
    is_cutting_ = true;
  if (recent >= 0) is_cutting_ = false;
  if (!is_cutting_) return;
  slow_ratio_ = ratio_;
  cut_at_ = now;
}

void LatencyServo::listen_or_not(PoolState const& pool, Limits const& limits, TimePoint now) {
  if (is_listening_) {
    if (listening_since_ == TimePoint{}) listening_since_ = now;
    bool const is_too_long = now - listening_since_ > kLongestWindow;
    if (quiet_seen_ < kQuietCommits && !is_too_long) return;
    is_listening_ = false;
    listened_at_ = now;
    workers_at_listening_ = workers_;
    return;
  }
  // A server that did not answer in the first window would leave it at its start for ever.
  bool const is_unknown = !(quiet_ > 0);
  bool const is_disputed =
      is_unknown || room(ratio_, limits) < -doubt(kRecentCommits) || (cut_at_ && now - *cut_at_ < kCutHolds);
  bool const is_free = !is_used_ || workers_ >= kMostStretch * pool.wanted;
  if (pool.is_held || !is_disputed || (is_free && !is_unknown)) return;
  bool const is_changed = workers_ < kMuchChanged * workers_at_listening_;
  bool const is_doubtful = quiet_count_ < kMostQuiet;
  auto const pause = is_doubtful ? kDoubtEvery : is_changed ? kWindowSoon : kWindowEvery;
  if (now - listened_at_ < pause) return;
  if (is_changed) quiet_count_ = std::min(quiet_count_, kQuietAfterStep);
  listened_at_ = now;
  workers_at_listening_ = workers_;
  // The rests of a fraction of a worker may have told it for nothing.
  bool const is_told = quiet_seen_ >= kQuietCommits;
  quiet_seen_ = 0;
  if (is_told) return;
  is_listening_ = true;
  listening_since_ = now;
}

void LatencyServo::judge(TimePoint now, double passed) {
  while (!commits_.empty() && now - commits_.front().at > kRecent && commits_.size() > 1) commits_.pop_front();
  if (!(quiet_ > 0) || commits_.empty() || is_listening_) return;
  double sum = 0;
  int count = 0;
  for (auto const& commit : commits_) {
    // Those of a quiet window tell of it and not of us.
    if (commit.at <= listened_at_) continue;
    sum += std::min(commit.seconds, kMostOutlier * quiet_);
    ++count;
  }
  if (count < 3) return;
  fresh_ratio_ = sum / count / quiet_;
  double const weight = 1 - std::pow(1 - kWeightOfRatio, passed);
  ratio_ += weight * (fresh_ratio_ - ratio_);
  slow_ratio_ += (1 - std::pow(1 - kWeightOfSlow, passed)) * (fresh_ratio_ - slow_ratio_);
  if (ratio_ < kMuchFaster) quiet_ *= 1 - kWeightOfLower * (1 - ratio_);
}

void LatencyServo::move(PoolState const& pool, Limits const& limits, TimePoint now, double passed) {
  if (!(quiet_ > 0)) return;
  double const allowed = mean_allowed(limits.latency_ratio);
  double const left = room(ratio_, limits);
  judge_excess(limits, now);
  if (std::abs(left) < kGood) {
    good_workers_ = good_workers_ > 0 ? good_workers_ + kWeightOfGood * (workers_ - good_workers_) : workers_;
  }
  is_held_by_latency_ = left < kGood && workers_ < pool.wanted;
  if (is_alarmed(allowed) && now >= alarm_holds_until_) return shed(kShedAtAlarm, now);
  if (fresh_ratio_ > kShed * allowed && now >= hold_until_) return shed(0.5, now);
  if (is_starting_ && (is_cutting_ || left < kStartEnds - 2 * doubt(kRecentCommits))) {
    is_starting_ = false;
    workers_ *= kAfterStart;
    return;
  }
  // A fraction of a worker is seen at work too seldom to tell.
  is_used_ = workers_ < 1 || busy_workers_ >= (is_starting_ ? kUsedAtStart : kUsed) *
                                                  std::min(workers_, static_cast<double>(pool.wanted));
  if (left > 0 && (now < hold_until_ || !is_used_)) return;
  workers_ = std::max(workers_ * std::exp(grown(left, room(slow_ratio_, limits), passed)), kLeastWorkers);
}

// Where fewer run than may, a share of those that run.
void LatencyServo::shed(double share, TimePoint now) {
  workers_ = std::max(share * std::min(workers_, busy_workers_ + 1), kLeastWorkers);
  hold_until_ = now + kHold;
  alarm_holds_until_ = now + kAlarmHold;
  is_starting_ = false;
}

bool LatencyServo::is_alarmed(double allowed) const {
  if (commits_.size() < kAlarmCommits) return false;
  auto const first = commits_.end() - kAlarmCommits;
  if (first->at <= listened_at_) return false;
  double sum = 0;
  for (auto commit = first; commit != commits_.end(); ++commit) sum += std::min(commit->seconds, kMostOutlier * quiet_);
  return sum > kAlarmCommits * std::min(kAlarm * allowed, kMostAlarm) * quiet_;
}

double LatencyServo::grown(double left, double room_in_the_long_run, double passed) const {
  if (left < 0) return is_starting_ || is_cutting_ ? kDown * std::max(left, -1.0) / kFullError * passed : 0;
  if (is_starting_) return left > 0 ? kStartGrowth * passed : 0;
  if (left < kDeadBand) return 0;
  bool const is_recovering = left > kRecoveryError && (good_workers_ <= 0 || workers_ < kRecoveryBelow * good_workers_);
  bool const has_room = left > kRecoveryError && room_in_the_long_run > kRecoveryError;
  double const speed = is_recovering ? kRecovery : has_room ? kUpWithRoom : kUp;
  return speed * std::min(left, kFullError) / kFullError * passed;
}

void LatencyServo::cap(PoolState const& pool, std::optional<double> cores_busy, Limits const& limits) {
  is_held_by_cores_ = false;
  if (limits.cores > 0) {
    double const most = (limits.utilization * limits.cores - cores_busy.value_or(0)) / kCoresOfWorker;
    double const least_cap = std::max(most, kLeastWorkers);
    double const half = std::max(0.5 * limits.cores, 1.0);
    is_held_by_cores_ = workers_ >= std::min(least_cap, half) && std::min(least_cap, half) < pool.wanted;
    workers_ = std::min({workers_, least_cap, half});
  }
  workers_ = std::min(workers_, kMostStretch * most_workers_);
}

}  // namespace pgbackfill::throttle
