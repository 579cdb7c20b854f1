#include "throttle/steady_mean.h"

#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kWeight = 0.12;
constexpr double kWeightOfRecent = 0.6;
constexpr double kWeightOfDeviation = 0.1;
constexpr double kStep = 2.5;  // deviations

double weight_for(double weight, double periods) {
  return 1 - std::pow(1 - weight, periods);
}

}  // namespace

void SteadyMean::see(double value, double seconds) {
  if (!has_value_) return set(value);
  double const periods = seconds / period_;
  recent_ += weight_for(kWeightOfRecent, periods) * (value - recent_);
  bool const is_step = std::abs(recent_ - mean_) > kStep * deviation_;
  deviation_ += weight_for(kWeightOfDeviation, periods) * (std::abs(value - mean_) - deviation_);
  mean_ = is_step ? recent_ : mean_ + weight_for(kWeight, periods) * (value - mean_);
}

void SteadyMean::set(double value) {
  has_value_ = true;
  mean_ = recent_ = value;
}

}  // namespace pgbackfill::throttle
