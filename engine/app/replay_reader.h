// Replays a recording of `run --record-readings` through the throttle.
//
// What batches did is part of the recording, so this shows what is decided at each moment, not what would have become
// of it. Throws CommandError (kExitUsage) that names file and line where it cannot be read.
#pragma once

#include <string>

#include "engine/view/throttle_replay.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

// Of a long recording neighbouring moments are joined: kMostStretches at most.
inline constexpr std::size_t kMostStretches = 600;

ThrottleReplay read_replay(std::string const& path, throttle::Limits const& limits);

}  // namespace pgbackfill::engine
