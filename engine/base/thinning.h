// Which moments of a job's past become one, so that its number is bounded however long the job lasts.
//
// The last hour stays as it is, unless it has more than there is place for. What is older is thinned evenly over the
// whole job, because it is looked at as a whole: when there are too many, neighbours become one until about half are
// left. So a part of the past that is twice as old is as coarse as the rest of it, and a job that worked an hour a
// night keeps as many points as one that worked a day. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace pgbackfill::engine {

inline constexpr std::size_t kMostSamples = 2'000;
// Of a second each.
inline constexpr std::int64_t kRecentMoments = 3'600;
inline constexpr std::size_t kOldSamplesLeft = 640;

struct Thinning {
  std::int64_t before = 0;  // moments below this one
  std::int64_t span = 1;    // those with the same moment / span become one; a power of two
};

// `moments`: numbers of those that are kept, ascending. Nothing while there are not too many.
std::optional<Thinning> thinning_of(std::vector<std::int64_t> const& moments);

}  // namespace pgbackfill::engine
