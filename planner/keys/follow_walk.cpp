#include "planner/keys/follow_walk.h"

#include <algorithm>
#include <utility>

namespace pgbackfill::planner {

FollowStep FollowWalk::next(std::int64_t rows) const {
  FollowStep step;
  bool const is_through = at_ >= leaves_.size();
  if (found_ >= kMostFound || (is_through && found_ > 0)) {
    step.kind = FollowStep::Kind::kVisit;
    return step;
  }
  if (is_through) return step;
  step.leaf = leaves_[at_];
  step.kind = has_page_ ? FollowStep::Kind::kDefer : FollowStep::Kind::kFindPage;
  step.interval = {cursor_, has_page_ ? page_.last : Bound()};
  step.rows = has_page_ ? page_.rows : std::max<std::int64_t>(rows, 1);
  return step;
}

void FollowWalk::record_page(Page page) {
  has_page_ = true;
  page_ = std::move(page);
}

bool FollowWalk::record_too_many() {
  bool const is_one = has_page_ && page_.rows == 1;
  has_page_ = false;
  return !is_one;
}

void FollowWalk::record_deferred(std::int64_t rows) {
  found_ += rows;
  has_page_ = false;
  cursor_ = std::exchange(page_, {}).last;
  if (!cursor_) ++at_;
}

}  // namespace pgbackfill::planner
