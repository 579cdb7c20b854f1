// A reading in which everything was seen, with a decision that something binds: for tests of what is shown of them.
#pragma once

#include "engine/base/events.h"

namespace pgbackfill::tests {

// Everything was asked for at `at`. Standby db-2 is 3,000,000 bytes behind and holds the work back.
engine::HealthTold told_health(throttle::TimePoint at);

}  // namespace pgbackfill::tests
