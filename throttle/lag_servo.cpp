#include "throttle/lag_servo.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kStartRate = 16e6;
constexpr double kLeastRate = 128e3;  // a soft limit slows, and never starves
constexpr double kLeastShare = 0.01;  // of the capacity, for the same end
constexpr double kGrowthAtStart = 4;  // per second
constexpr double kGrowth = 1.5;       // per second, of the limit when it rises
constexpr double kProbing = 1.25;     // per second, while the queue is empty
constexpr double kStartEnds = 0.5;    // of the set-point
constexpr double kBusy = 0.3;         // of the set-point: with this much to do at both ends, it was busy between
constexpr double kSampleSeconds = 0.5;
constexpr double kLeastHorizonSeconds = 1.4;  // in which a backlog is to be corrected
constexpr double kReleased = 0.7;             // of the limit
constexpr double kRestart = 0.8;              // of the headroom
constexpr double kMostOverOwn = 1.5;

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

double backlog_of(LagSample const& sample) {
  return static_cast<double>(sample.flushed - std::min(sample.replayed, sample.flushed));
}

}  // namespace

LagServoOptions options_for_standby(double limit_seconds) {
  return {limit_seconds, std::min(0.3, 0.15 * limit_seconds), 0.2};
}

LagServoOptions options_for_slot(double limit_seconds) {
  return {limit_seconds, 0.25 * limit_seconds, std::clamp(0.125 * limit_seconds, 0.2, 5.0)};
}

LagServo::LagServo(LagServoOptions const& options)
    : options_(options), capacity_(kSampleSeconds), others_(kSampleSeconds), rate_(kStartRate) {}

void LagServo::set_options(LagServoOptions const& options) {
  options_ = options;
  stop_or_go();
}

double LagServo::headroom() const {
  return std::max(capacity_.value() - others_.value(), 0.0);
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
  double const least_backlog = std::min(backlog_of(sample), backlog_of(last_));
  double const rate_of_threshold = std::max(replay_rate, 0.1 * capacity_.value());
  bool const is_busy = least_backlog > kBusy * options_.set_point_seconds * rate_of_threshold;

  delay_ = delay_ > 0 ? delay_ + 0.2 * (sample.delay_seconds - delay_) : sample.delay_seconds;
  // An estimate may be wrong; it is not more than all.
  double const own_rate = std::min(sample.own_per_second, wal_rate);
  learn(seconds, wal_rate, replay_rate, is_busy, own_rate);
  last_ = sample;
  bool const was_stopped = is_stopped_;
  stop_or_go();
  if (is_stopped_) return;
  if (was_stopped) {
    // It has just replayed as fast as it can, so what it bears is known.
    is_starting_ = false;
    rate_ = std::max(kRestart * headroom(), kLeastRate);
  }
  command(seconds, is_busy, own_rate, wal_rate);
}

void LagServo::learn(double seconds, double wal_rate, double replay_rate, bool is_busy, double own_rate) {
  // With an empty queue it replays what comes, which says only that it can do at least that.
  if (is_busy) {
    capacity_.see(replay_rate, seconds);
  } else if (replay_rate > capacity_.value()) {
    capacity_.set(replay_rate);
  }
  others_.see(std::max(wal_rate - own_rate, 0.0), seconds);
}

void LagServo::command(double seconds, bool is_busy, double own_rate, double wal_rate) {
  LagSample const& sample = last_;
  double const backlog = backlog_of(sample);
  double const written = std::min(rate_, wal_rate);
  // What came since the reading was taken is known of us, and likely of the others.
  double const drained = (capacity_.value() - others_.value()) * sample.delay_seconds;
  double const expected = std::max(backlog + sample.own_since - drained, 0.0);
  if (is_starting_) is_starting_ = !(is_busy && backlog > kStartEnds * options_.set_point_seconds * written);
  double const least = std::max(kLeastRate, kLeastShare * capacity_.value());
  double wanted = rate_;
  if (is_starting_) {
    wanted = sample.is_bound ? rate_ * std::pow(kGrowthAtStart, seconds) : rate_;
  } else if (is_busy) {
    double const horizon = std::max(kLeastHorizonSeconds, delay_ + std::max(seconds, kSampleSeconds));
    wanted = headroom() + (options_.set_point_seconds * capacity_.value() - expected) / horizon;
  } else {
    double const base = std::max(rate_, 0.5 * headroom());
    wanted = sample.is_bound ? base * std::pow(kProbing, seconds) : base;
    // What was not used proves nothing.
    if (!sample.is_bound) wanted = std::min(wanted, std::max(headroom(), kMostOverOwn * own_rate));
  }
  if (!is_starting_) {
    // What is known to be bearable needs no approach by steps.
    wanted = std::min(wanted, std::max(rate_ * std::pow(kGrowth, seconds) + least, kRestart * headroom()));
  }
  rate_ = std::max(wanted, least);
}

void LagServo::stop_or_go() {
  double const limit = options_.limit_seconds;
  if (!is_stopped_ || last_.lag_seconds > limit) {
    is_stopped_ = last_.lag_seconds > limit;
    return;
  }
  // A queue that empties fast is short by the time at which a batch that starts now would write.
  double const backlog = std::max(backlog_of(last_), 1.0);
  double const expected = std::max(backlog - headroom() * (delay_ + kSampleSeconds), 0.0);
  is_stopped_ = last_.lag_seconds * expected / backlog > kReleased * limit;
}

}  // namespace pgbackfill::throttle
