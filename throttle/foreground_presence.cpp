#include "throttle/foreground_presence.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kMeanSeconds = 3;
constexpr double kComes = 0.1;
constexpr double kGoes = 0.03;
constexpr int kSeveral = 3;         // at once
constexpr double kMany = 5;         // more are not more present, and are to be forgotten as soon
constexpr double kLongestStep = 5;  // after a gap, one look does not count as much as it lasted

}  // namespace

void ForegroundPresence::see(PresenceReading const& presence) {
  if (seen_at_ && presence.at <= *seen_at_) return;
  bool const are_several = presence.worked >= kSeveral;
  double const working = std::min<double>(are_several ? std::max(presence.active, 1) : presence.active, kMany);
  if (!seen_at_) {
    mean_ = working;
  } else {
    double const passed = std::chrono::duration<double>(presence.at - *seen_at_).count();
    mean_ += (1 - std::exp(-std::min(passed, kLongestStep) / kMeanSeconds)) * (working - mean_);
  }
  seen_at_ = presence.at;
  is_there_ = mean_ >= (is_there_ ? kGoes : kComes) || are_several;
}

}  // namespace pgbackfill::throttle
