#include "engine/tell/vital_signs.h"

#include "engine/base/text.h"
#include "engine/view/progress_view.h"

namespace pgbackfill::engine {

namespace {

std::string duration_text(std::chrono::steady_clock::duration duration) {
  return human_duration(std::chrono::floor<std::chrono::seconds>(duration));
}

}  // namespace

Verdict liveness(VitalSigns const& signs, VitalSigns::TimePoint now) {
  auto const silent_for = now - signs.beat_at;
  if (silent_for <= kBeatAgeMax) return {true, "alive"};
  return {false, "the thread that does the work has not been heard of for " + duration_text(silent_for)};
}

Verdict readiness(VitalSigns const& signs, VitalSigns::TimePoint now) {
  if (!signs.progress) return {false, "starting"};
  auto const& progress = *signs.progress;
  switch (progress.phase) {
    case RunPhase::kStarting:
      return {false, "starting: not connected to the database yet"};
    case RunPhase::kExpanding:
    case RunPhase::kPlanning:
    case RunPhase::kContracting:
      // A step may take hours, and tells nothing in between.
      return {true, "ready: " + std::string(phase_name(progress.phase))};
    case RunPhase::kDraining:
      return {false, "stopping"};
    case RunPhase::kEnded:
      return {false, "the run has ended"};
    case RunPhase::kBackfilling:
    case RunPhase::kSweeping:
    case RunPhase::kDeferred:
    case RunPhase::kFollowing:
    case RunPhase::kPaused:
    case RunPhase::kOutsideWindow:
      break;
  }
  auto const silent_for = now - signs.progress_at;
  if (silent_for > kProgressAgeMax) {
    return {false, "nothing was heard of the job for " + duration_text(silent_for) + "; the database may be away"};
  }
  if (progress.may_start) return {true, "ready: " + std::string(phase_name(progress.phase))};
  return {false, progress.held_back.empty() ? "no batch may start" : neutralised(progress.held_back)};
}

}  // namespace pgbackfill::engine
