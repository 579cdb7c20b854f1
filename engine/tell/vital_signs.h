// Whether a process that works on a job is alive, and whether it is ready: able and allowed to start batches.
//
// Alive is what a supervisor should restart for; ready is what people and dashboards look at: a paused job is alive and
// not ready. Pure: time is an argument.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "engine/base/events.h"

namespace pgbackfill::engine {

struct VitalSigns {
  using TimePoint = std::chrono::steady_clock::time_point;

  std::optional<Progress> progress;  // the latest
  TimePoint progress_at{};
  TimePoint beat_at{};  // when the engine's thread was last known to run
};

struct Verdict {
  bool is_good = false;
  std::string text;  // one line for people: "ready", or why not
};

// A thread that is silent for longer is stuck. It beats every second, and nothing may keep it for long.
inline constexpr std::chrono::seconds kBeatAgeMax{15};
// The job's progress comes five times a second, also while it is paused; not while the database cannot be reached.
inline constexpr std::chrono::seconds kProgressAgeMax{5};

Verdict liveness(VitalSigns const& signs, VitalSigns::TimePoint now);
Verdict readiness(VitalSigns const& signs, VitalSigns::TimePoint now);

}  // namespace pgbackfill::engine
