// Fewer moments of a job's past than are kept, for charts that are sent again and again.
//
// Pure. Moments become one with the next ones of the same phase, as the state thins them: counts are those of the last
// one, times are added up, and what others felt is the worst of them. A time without a process stays one.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/base/sample.h"

namespace pgbackfill::engine {

// About `most` of them; all where there are no more than that.
std::vector<StoredSample> fewer_samples(std::vector<StoredSample> const& samples, std::size_t most);

}  // namespace pgbackfill::engine
