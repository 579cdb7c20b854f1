// Cutting a table into ranges.
//
// Pure. Many more ranges than workers keep everybody busy to the end, and an idle worker splits what is left; not so
// many that claiming them is felt, for a claim and the first look into a range are round trips in which no row moves.
// Bounds come from the server, sorted and without repeats in key order.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/model/key.h"

namespace pgbackfill::planner {

// A few batches at least.
inline constexpr std::int64_t kLeastRowsInARange = 50'000;
// From kManyRanges on, ranges grow up to this before there are more of them.
inline constexpr std::int64_t kRowsInARange = 200'000;
inline constexpr std::int64_t kManyRanges = 16;
inline constexpr std::int64_t kMostRangesOfALeaf = 512;

struct PlannedRange {
  Interval interval;
  std::int64_t rows_estimated = 0;
};

// How many ranges a leaf with this many rows is cut into, if there are bounds enough.
std::int64_t ranges_wanted(std::int64_t rows_estimated);

// Ranges that cover (-infinity, upper] without gap or overlap, in key order. `bounds` may hold more than needed
// (every so many is used) or fewer. All bounds must be before `upper`; empty result when upper is absent (no rows).
std::vector<PlannedRange> cut_by_bounds(std::vector<KeyValue> const& bounds, Bound const& upper,
                                        std::int64_t rows_estimated);

// The same for a table paged by blocks: (-1, blocks - 1] in even parts.
std::vector<PlannedRange> cut_by_blocks(std::int64_t blocks, std::int64_t rows_estimated);

}  // namespace pgbackfill::planner
