// Where an idle worker cuts the range that another one works on.
//
// A pure state machine: ask next(), do what it says, record what came of it. It cuts where half of the rows that are
// left lie on either side, as far as the estimate knows; its holder goes on meanwhile, and the database refuses a cut
// that the holder is past.
#pragma once

#include <cstdint>
#include <optional>

#include "planner/work/batch.h"

namespace pgbackfill::planner {

// A claim and the first look into a range are round trips in which no row moves: smaller halves are not worth them.
inline constexpr std::int64_t kLeastRowsOfAHalf = 5'000;
// Of keys that a split walks over in search of the middle.
inline constexpr std::int64_t kMostRowsToWalk = 100'000;
inline constexpr std::int64_t kLeastBlocksToSplit = 4;

// The range with most rows left of those that somebody works on.
struct SplitCandidate {
  Lease range;  // of which only the place is known: id, leaf, cursor, hi
  std::int64_t rows_left = 0;
  bool by_block = false;
};

struct SplitStep {
  enum class Kind {
    kLookAhead,  // ask for a page of `rows` keys after the range's cursor, then record_page()
    kCut,        // at `middle`, the last key of the near part
    kNothing,    // it is not worth cutting
  };
  Kind kind = Kind::kNothing;
  std::int64_t rows = 0;
  KeyValue middle;
};

class RangeSplit {
 public:
  explicit RangeSplit(SplitCandidate candidate, std::int64_t least_rows = kLeastRowsOfAHalf);

  SplitStep next() const;
  void record_page(Page page);

  Lease const& range() const { return candidate_.range; }

 private:
  Bound middle_block() const;

  SplitCandidate candidate_;
  std::int64_t least_rows_;
  std::optional<Page> page_;
};

}  // namespace pgbackfill::planner
