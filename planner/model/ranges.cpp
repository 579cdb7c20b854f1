#include "planner/model/ranges.h"

#include <algorithm>

namespace pgbackfill::planner {

std::int64_t ranges_wanted(std::int64_t rows_estimated) {
  std::int64_t const most = std::max(kManyRanges, rows_estimated / kRowsInARange);
  return std::clamp<std::int64_t>(rows_estimated / kLeastRowsInARange, 1, std::min(most, kMostRangesOfALeaf));
}

std::vector<PlannedRange> cut_by_bounds(std::vector<KeyValue> const& bounds, Bound const& upper,
                                        std::int64_t rows_estimated) {
  std::vector<PlannedRange> ranges;
  if (!upper) return ranges;
  std::int64_t const available = static_cast<std::int64_t>(bounds.size()) + 1;
  std::int64_t const wanted = std::min(ranges_wanted(rows_estimated), available);
  Bound lo;
  for (std::int64_t part = 1; part <= wanted; ++part) {
    // bounds[i] ends the (i+1)-th of `available` equal shares; take the share that is nearest to part/wanted.
    std::int64_t const share = part * available / wanted;
    Bound const hi = part == wanted ? upper : Bound(bounds[static_cast<std::size_t>(share - 1)]);
    ranges.push_back({{lo, hi}, rows_estimated / wanted});
    lo = hi;
  }
  return ranges;
}

std::vector<PlannedRange> cut_by_blocks(std::int64_t blocks, std::int64_t rows_estimated) {
  std::vector<PlannedRange> ranges;
  if (blocks <= 0) return ranges;
  std::int64_t const wanted = std::min(ranges_wanted(rows_estimated), blocks);
  Bound lo;
  for (std::int64_t part = 1; part <= wanted; ++part) {
    Bound const hi = KeyValue{std::to_string(part * blocks / wanted - 1)};
    ranges.push_back({{lo, hi}, rows_estimated / wanted});
    lo = hi;
  }
  return ranges;
}

}  // namespace pgbackfill::planner
