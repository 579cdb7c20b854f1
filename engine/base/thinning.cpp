#include "engine/base/thinning.h"

#include <algorithm>
#include <cstddef>

namespace pgbackfill::engine {

namespace {

// So that there is place for some more before they are thinned again.
constexpr std::size_t kMostRecent = 1'200;

std::size_t spans_in(std::vector<std::int64_t> const& moments, std::size_t count, std::int64_t span) {
  std::size_t spans = 0;
  for (std::size_t at = 0; at < count; ++at) {
    bool const is_new = at == 0 || moments[at] / span != moments[at - 1] / span;
    if (is_new) ++spans;
  }
  return spans;
}

}  // namespace

std::optional<Thinning> thinning_of(std::vector<std::int64_t> const& moments) {
  if (moments.size() < kMostSamples) return std::nullopt;
  auto const hour = std::lower_bound(moments.begin(), moments.end(), moments.back() - kRecentMoments);
  auto const recent = std::min<std::size_t>(static_cast<std::size_t>(moments.end() - hour), kMostRecent);
  std::size_t const old = moments.size() - recent;
  Thinning thinning;
  thinning.before = moments[old];
  while (spans_in(moments, old, thinning.span) > kOldSamplesLeft) thinning.span *= 2;
  return thinning;
}

}  // namespace pgbackfill::engine
