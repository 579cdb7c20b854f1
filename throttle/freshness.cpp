#include "throttle/freshness.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kFading = 3;  // periods
constexpr double kBlind = 10;
constexpr double kFade = 0.8;  // per period
constexpr double kWeightOfDelay = 0.2;
// A sensor later than this is no sensor.
constexpr double kMostDelaySeconds = 3;

}  // namespace

void Freshness::see(TimePoint at, TimePoint now) {
  if (at_ && at <= *at_) return;
  at_ = at;
  double const delay = std::clamp(std::chrono::duration<double>(now - at).count(), 0.0, kMostDelaySeconds);
  delay_ = knows_delay_ ? delay_ + kWeightOfDelay * (delay - delay_) : delay;
  knows_delay_ = true;
}

double Freshness::age_seconds(TimePoint now) const {
  return at_ ? std::max(std::chrono::duration<double>(now - *at_).count(), 0.0) : 0;
}

double Freshness::trust(TimePoint now) const {
  if (!at_) return 0;
  double const periods = (age_seconds(now) - delay_) / period_;
  if (periods <= kFading) return 1;
  return periods > kBlind ? 0 : std::pow(kFade, std::ceil(periods - kFading));
}

}  // namespace pgbackfill::throttle
