// When a job goes over the table once more, and when it is done.
//
// Pure. Pass 0 covers the rows that were there at the start. Pass 1 covers what came meanwhile: keys beyond the old end
// and, where `where` tells done from undone, the whole table again, for rows inserted or moved behind a cursor. The end
// of each pass is fixed when it starts, so a flood of inserts cannot keep a job from ending.
#pragma once

#include <cstdint>

namespace pgbackfill::planner {

// Paging by block: rows that others move may slip past a pass; so it is repeated until one finds nothing, this often.
inline constexpr int kMostBlockPasses = 20;

struct PassState {
  int pass = 0;
  std::int64_t open_ranges = 0;
  std::int64_t deferred = 0;
  std::int64_t rows_changed = 0;  // in this pass
  std::int64_t rows_left = 0;     // in this pass: skipped because somebody held them
  bool by_block = false;          // any leaf
};

enum class PassDecision { kWaitForRanges, kVisitDeferred, kNextPass, kComplete, kGiveUp };

PassDecision after_ranges(PassState const& state);

}  // namespace pgbackfill::planner
