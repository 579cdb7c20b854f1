#include "throttle/lag_servo.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kStartRate = 2e6;
constexpr double kLeastRate = 128e3;        // a soft limit slows, and never starves
constexpr double kLeastShare = 0.01;        // of the capacity, for the same end
constexpr double kGrowthAtStart = 1.6;      // per second
constexpr double kGrowth = 1.5;             // per second, of the limit when it rises
constexpr double kProbing = 1.25;           // per second, while the queue is empty
constexpr double kStartEnds = 0.5;          // of the set-point
constexpr double kBusy = 0.3;               // of the set-point: with this much to do at both ends, it was busy between
constexpr double kWeight = 0.4;             // of a sample
constexpr double kSampleSeconds = 0.5;      // that weight is for samples this far apart
constexpr double kLeastHorizonSeconds = 4;  // in which a backlog is to be corrected
constexpr double kHorizonDelays = 3;
constexpr double kReleased = 0.7;  // of the limit
constexpr double kMostOverOwn = 1.5;

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

double weight_for(double seconds) {
  return 1 - std::pow(1 - kWeight, seconds / kSampleSeconds);
}

}  // namespace

LagServoOptions options_for_standby(double limit_seconds) {
  return {limit_seconds, std::min(0.5, 0.25 * limit_seconds), 0.2};
}

LagServoOptions options_for_slot(double limit_seconds) {
  return {limit_seconds, 0.25 * limit_seconds, std::clamp(0.125 * limit_seconds, 0.2, 5.0)};
}

LagServo::LagServo(LagServoOptions const& options) : options_(options), rate_(kStartRate) {}

void LagServo::set_options(LagServoOptions const& options) {
  options_ = options;
  stop_or_go();
}

double LagServo::headroom() const {
  return std::max(capacity_ - others_, 0.0);
}

void LagServo::see(LagSample const& sample) {
  if (!has_last_ || sample.flushed < last_.flushed || sample.replayed < last_.replayed) {
    // The first, or another timeline: there is nothing to take a difference to.
    has_last_ = true;
    last_ = sample;
    return stop_or_go();
  }
  double const seconds = seconds_between(last_.at, sample.at);
  if (seconds < options_.least_interval_seconds) {
    // Still news, if bad news.
    last_.lag_seconds = std::max(last_.lag_seconds, sample.lag_seconds);
    return stop_or_go();
  }
  double const wal_rate = static_cast<double>(sample.flushed - last_.flushed) / seconds;
  double const replay_rate = static_cast<double>(sample.replayed - last_.replayed) / seconds;
  auto const backlog = static_cast<double>(sample.flushed - std::min(sample.replayed, sample.flushed));
  auto const backlog_before = static_cast<double>(last_.flushed - std::min(last_.replayed, last_.flushed));
  double const rate_of_threshold = std::max(replay_rate, 0.1 * capacity_);
  bool const is_busy = std::min(backlog, backlog_before) > kBusy * options_.set_point_seconds * rate_of_threshold;

  delay_ = delay_ > 0 ? delay_ + 0.2 * (sample.delay_seconds - delay_) : sample.delay_seconds;
  learn(seconds, wal_rate, replay_rate, is_busy, sample.own_per_second);
  last_ = sample;
  bool const was_stopped = is_stopped_;
  stop_or_go();
  if (is_stopped_) return;
  if (was_stopped) {
    is_starting_ = false;
    rate_ = std::max(std::min(rate_, 0.5 * headroom()), kLeastRate);
  }
  command(seconds, is_busy, sample);
}

void LagServo::learn(double seconds, double wal_rate, double replay_rate, bool is_busy, double own_rate) {
  double const weight = weight_for(seconds);
  // With an empty queue it replays what comes, which says only that it can do at least that.
  capacity_ = is_busy ? capacity_ + (capacity_ > 0 ? weight : 1.0) * (replay_rate - capacity_)
                      : std::max(capacity_, replay_rate);
  double const others = std::max(wal_rate - own_rate, 0.0);
  others_ = knows_others_ ? others_ + weight * (others - others_) : others;
  knows_others_ = true;
}

void LagServo::command(double seconds, bool is_busy, LagSample const& sample) {
  auto const backlog = static_cast<double>(sample.flushed - std::min(sample.replayed, sample.flushed));
  if (is_starting_) is_starting_ = !(is_busy && backlog > kStartEnds * options_.set_point_seconds * rate_);
  double const least = std::max(kLeastRate, kLeastShare * capacity_);
  double wanted = rate_;
  if (is_starting_) {
    wanted = sample.is_bound ? rate_ * std::pow(kGrowthAtStart, seconds) : rate_;
  } else if (is_busy) {
    double const horizon =
        std::max(kLeastHorizonSeconds, kHorizonDelays * (delay_ + std::max(seconds, kSampleSeconds)));
    wanted = headroom() + (options_.set_point_seconds * capacity_ - backlog) / horizon;
  } else {
    double const base = std::max(rate_, 0.5 * headroom());
    wanted = sample.is_bound ? base * std::pow(kProbing, seconds) : base;
    // What was not used proves nothing.
    if (!sample.is_bound) wanted = std::min(wanted, std::max(headroom(), kMostOverOwn * sample.own_per_second));
  }
  if (!is_starting_) wanted = std::min(wanted, rate_ * std::pow(kGrowth, seconds) + least);
  rate_ = std::max(wanted, least);
}

void LagServo::stop_or_go() {
  double const limit = options_.limit_seconds;
  is_stopped_ = last_.lag_seconds > (is_stopped_ ? kReleased * limit : limit);
}

}  // namespace pgbackfill::throttle
