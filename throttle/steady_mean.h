// The mean of a noisy series, which follows a step at once and noise hardly at all.
//
// A value that is off by much more than values usually are is a step and is believed; anything else moves the mean
// slowly. In a calm series the smallest change is a step. Pure.
#pragma once

namespace pgbackfill::throttle {

class SteadyMean {
 public:
  // Values are meant to come once every `period_seconds`; one that covers more time counts for more.
  explicit SteadyMean(double period_seconds) : period_(period_seconds) {}

  void see(double value, double seconds);
  void set(double value);

  bool has_value() const { return has_value_; }
  double value() const { return mean_; }

 private:
  double period_;
  bool has_value_ = false;
  double mean_ = 0;
  double recent_ = 0;
  double deviation_ = 0;  // how far values usually are from the mean
};

}  // namespace pgbackfill::throttle
