#include "throttle/foreground_presence.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kMeanSeconds = 10;
constexpr double kComes = 0.1;
constexpr double kGoes = 0.03;
constexpr double kLongestStep = 5;  // after a gap, one look does not count as much as it lasted

}  // namespace

void ForegroundPresence::see(ActivityReading const& activity) {
  if (seen_at_ && activity.at <= *seen_at_) return;
  if (!seen_at_) {
    mean_ = activity.active;
  } else {
    double const passed = std::chrono::duration<double>(activity.at - *seen_at_).count();
    mean_ += (1 - std::exp(-std::min(passed, kLongestStep) / kMeanSeconds)) * (activity.active - mean_);
  }
  seen_at_ = activity.at;
  is_there_ = mean_ >= (is_there_ ? kGoes : kComes);
}

}  // namespace pgbackfill::throttle
