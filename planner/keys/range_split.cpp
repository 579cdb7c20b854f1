#include "planner/keys/range_split.h"

#include <algorithm>
#include <string>
#include <utility>

namespace pgbackfill::planner {

RangeSplit::RangeSplit(SplitCandidate candidate, std::int64_t least_rows)
    : candidate_(std::move(candidate)), least_rows_(least_rows) {
  if (candidate_.by_block) page_ = Page{0, middle_block()};
}

SplitStep RangeSplit::next() const {
  SplitStep step;
  if (!page_) {
    step.kind = SplitStep::Kind::kLookAhead;
    step.rows = std::clamp(candidate_.rows_left / 2, least_rows_, std::max(least_rows_, kMostRowsToWalk));
  } else if (page_->last && page_->last != candidate_.range.hi) {
    step.kind = SplitStep::Kind::kCut;
    step.middle = *page_->last;
  }
  return step;
}

void RangeSplit::record_page(Page page) {
  page_ = std::move(page);
}

// Blocks are counted, not looked for.
Bound RangeSplit::middle_block() const {
  std::int64_t const first = candidate_.range.cursor ? std::stoll(candidate_.range.cursor->front()) : -1;
  std::int64_t const last = std::stoll(candidate_.range.hi.value().front());
  if (last - first < kLeastBlocksToSplit) return std::nullopt;
  return KeyValue{std::to_string(first + (last - first) / 2)};
}

}  // namespace pgbackfill::planner
