#include "planner/keys/range_walk.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace pgbackfill::planner {

namespace {

// As many as a page of 32 kB, the largest that there is, can hold.
constexpr double kMostRowsOnAPage = 1'200;

// Statistics may be of a time when the table was another one: an estimate that cannot be would make of each page more
// rows than a ceiling of rows lets pass for long.
double rows_on_a_page(double estimate) {
  return std::clamp(estimate, 1.0, kMostRowsOnAPage);
}

}  // namespace

RangeWalk::RangeWalk(Lease lease, WalkOptions options) : lease_(std::move(lease)), options_(options) {}

Step RangeWalk::next(std::int64_t rows) {
  assert(rows >= 1);
  if (rows_cap_ && *rows_cap_ >= rows) rows_cap_.reset();
  Step step;
  switch (std::exchange(pending_, pending_ == Pending::kWait ? Pending::kNone : pending_)) {
    case Pending::kWait:
      step.kind = Step::Kind::kWait;
      step.attempt = wait_attempt_;
      step.failure = failure_;
      return step;
    case Pending::kReconnect:
      step.kind = Step::Kind::kReconnect;
      break;
    case Pending::kReread:
      step.kind = Step::Kind::kReread;
      break;
    case Pending::kLost:
      step.kind = Step::Kind::kLost;
      break;
    case Pending::kFinished:
      step.kind = Step::Kind::kFinished;
      break;
    case Pending::kFatal:
      step.kind = Step::Kind::kFatal;
      step.key = failed_key_;
      break;
    case Pending::kNone:
      return batch_step(rows_cap_ ? std::min(*rows_cap_, rows) : rows);
  }
  step.failure = failure_;
  return step;
}

Step RangeWalk::batch_step(std::int64_t rows) {
  Step step;
  if (options_.by_block) page_ = block_page(rows);
  if (!page_) {
    step.kind = Step::Kind::kLookAhead;
    step.rows = rows;
    tried_rows_ = rows;
    looking_ahead_ = true;
    return step;
  }
  looking_ahead_ = false;
  step.kind = Step::Kind::kBatch;
  step.batch.lease = lease_;
  step.batch.interval = {lease_.cursor, page_->last ? page_->last : lease_.hi};
  step.batch.ends_range = !page_->last.has_value();
  step.batch.rows = page_->rows;
  step.batch.mode = mode_;
  step.batch.set_aside = set_aside_;
  if (set_aside_ == SetAside::kQuarantine) {
    step.batch.sqlstate = bad_row_.sqlstate;
    step.batch.message = bad_row_.message;
  } else if (mode_ == BatchMode::kSkipLocked) {
    step.batch.set_aside = options_.by_block ? SetAside::kNothing : SetAside::kDefer;
  }
  step.batch.look_ahead_rows = options_.by_block ? 0 : rows;
  step.batch.statement_timeout = statement_timeout();
  step.batch.lock_timeout = options_.lock_timeout;
  tried_rows_ = page_->rows;
  return step;
}

// A page of blocks is arithmetic. The last one ends the range, so that its boundary is the range's own.
Page RangeWalk::block_page(std::int64_t rows) const {
  std::int64_t const done = lease_.cursor ? std::stoll(lease_.cursor->front()) : -1;
  std::int64_t const last = std::stoll(lease_.hi->front());
  double const per_block = rows_on_a_page(options_.rows_per_block);
  auto const blocks = std::max<std::int64_t>(1, std::llround(static_cast<double>(rows) / per_block));
  if (done + blocks >= last) return {std::llround(static_cast<double>(last - done) * per_block), std::nullopt};
  return {std::llround(static_cast<double>(blocks) * per_block), KeyValue{std::to_string(done + blocks)}};
}

std::chrono::milliseconds RangeWalk::statement_timeout() const {
  return options_.batch_target * (kTimeoutOverTarget << timeout_doublings_);
}

void RangeWalk::record_page(Page page) {
  page_ = std::move(page);
}

void RangeWalk::record(BatchDone const& done) {
  auto const& boundary = done.reached ? done.reached : page_->last;
  bool const ended = !boundary.has_value();
  ++lease_.sequence;
  if (boundary) lease_.cursor = boundary;
  if (ended) {
    lease_.cursor = lease_.hi;
    pending_ = Pending::kFinished;
  }
  page_ = done.next;
  mode_ = BatchMode::kPlain;
  set_aside_ = SetAside::kNothing;
  conflicts_ = 0;
  fences_ = 0;
  resource_waits_ = 0;
  timeouts_ = 0;
  // A batch that needed the longer time says that the next one will.
  if (done.duration <= options_.batch_target * kTimeoutOverTarget) timeout_doublings_ = 0;
  empty_failures_ = 0;
  if (rows_cap_) {
    // The look-ahead was taken with the small cap; next() forgets the cap once it no longer binds.
    *rows_cap_ *= 2;
    page_.reset();
  }
}

void RangeWalk::record(Failure const& failure) {
  failure_ = failure;
  switch (failure.trouble) {
    case Trouble::kRowData:
      return isolate_bad_row(failure);
    case Trouble::kLockTimeout:
      return work_around_lock();
    case Trouble::kStatementTimeout:
      return time_out();
    case Trouble::kCancelled:
    case Trouble::kConflict:
      return retry_conflict(failure);
    case Trouble::kConnection:
    case Trouble::kNotWritable:
      pending_ = Pending::kReconnect;
      page_.reset();
      return;
    case Trouble::kFenced:
      pending_ = Pending::kReread;
      page_.reset();
      return;
    case Trouble::kResources:
      return wait_for_resource(failure);
    case Trouble::kFatal:
      return end(failure);
  }
}

bool RangeWalk::record_too_many() {
  if (is_single()) return false;
  halve();
  return true;
}

void RangeWalk::record_reconnected() {
  pending_ = Pending::kReread;
}

void RangeWalk::record_state(std::optional<Lease> state) {
  page_.reset();
  // Fenced off from a range that is as it was believed to be: what was in the way may be there the next time as well.
  bool const is_same = state && *state == lease_ && failure_.trouble == Trouble::kFenced;
  // Whatever was to be set aside may have been: never set aside the row after it.
  mode_ = BatchMode::kPlain;
  set_aside_ = SetAside::kNothing;
  if (!state) {
    pending_ = Pending::kLost;
    return;
  }
  lease_ = std::move(*state);
  pending_ = Pending::kNone;
  if (!is_same) return;
  if (++fences_ > kMostConflicts) return end(failure_);
  wait(failure_, fences_);
}

bool RangeWalk::is_single() const {
  if (!options_.by_block) return tried_rows_ <= 1;
  // As block_page() counts a page of one block.
  return tried_rows_ <= std::llround(rows_on_a_page(options_.rows_per_block));
}

void RangeWalk::halve() {
  rows_cap_ = std::max<std::int64_t>(1, tried_rows_ / 2);
  page_.reset();
}

// First around the held rows; if even that meets a lock (taken by a trigger, a foreign key, a unique index), close in
// on the row, and defer that one.
void RangeWalk::work_around_lock() {
  // Reading waits only for a lock on the whole table, and so does setting aside: somebody alters it.
  if (looking_ahead_ || mode_ == BatchMode::kSetAside) return wait_for_resource(failure_);
  if (mode_ == BatchMode::kPlain && options_.can_skip_locked) {
    mode_ = BatchMode::kSkipLocked;
    return;
  }
  if (!is_single()) {
    halve();
    mode_ = BatchMode::kPlain;
    return;
  }
  if (!options_.can_skip_locked) return retry_conflict(failure_);
  defer_row();
}

// When paging by block a later pass finds the row again; a key has to be written down.
void RangeWalk::defer_row() {
  mode_ = BatchMode::kSetAside;
  set_aside_ = options_.by_block ? SetAside::kNothing : SetAside::kDefer;
}

void RangeWalk::retry_conflict(Failure const& failure) {
  if (++conflicts_ <= kMostConflicts) return wait(failure, conflicts_);
  conflicts_ = 0;
  if (looking_ahead_ || mode_ == BatchMode::kSetAside) return end(failure);
  if (!is_single()) return halve();
  if (!options_.can_skip_locked) return end(failure);
  defer_row();
}

void RangeWalk::time_out() {
  bool const may_be_rows = ++timeouts_ <= kTimeoutsOfRows;
  if (may_be_rows && !is_single()) return halve();
  if (timeout_doublings_ < kMostTimeoutDoublings) {
    ++timeout_doublings_;
    return;
  }
  if (!is_single()) return halve();
  failure_.trouble = Trouble::kFatal;
  failure_.message += "; even one row takes longer than " + std::to_string(statement_timeout().count()) + " ms";
  end(failure_);
}

void RangeWalk::isolate_bad_row(Failure const& failure) {
  if (mode_ == BatchMode::kSetAside) return end_beside(failure);
  mode_ = BatchMode::kPlain;
  // A look-ahead changes nothing, so a smaller one fails as well.
  if (looking_ahead_) return end(failure);
  if (!is_single()) return halve();
  if (options_.by_block) return end(failure);
  // The row has to be known by its key, lest another that comes beside it is taken for it; a page of one row has it.
  // Without a row on the page it is the statement that fails, unless one came in just now.
  bool const is_empty = !page_->last && page_->rows == 0;
  if (is_empty && ++empty_failures_ > 1) return end(failure);
  if (!page_->last) return halve();
  if (!options_.can_quarantine) return end(failure);
  bad_row_ = failure;
  mode_ = BatchMode::kSetAside;
  set_aside_ = SetAside::kQuarantine;
}

// The row cannot be set aside either. Its own error comes first: that is what the operator can fix.
void RangeWalk::end_beside(Failure const& failure) {
  bool const is_bad = set_aside_ == SetAside::kQuarantine;
  Failure both = is_bad ? bad_row_ : failure;
  std::string const second = failure.message + " (" + failure.sqlstate + ")";
  both.message = is_bad ? both.message + "; and it cannot be set aside: " + second
                        : "a row that somebody holds cannot be noted for later: " + failure.message;
  end(std::move(both));
}

void RangeWalk::wait_for_resource(Failure const& failure) {
  if (++resource_waits_ > kMostResourceWaits) return end(failure);
  wait(failure, resource_waits_);
}

void RangeWalk::wait(Failure const& failure, int attempt) {
  failure_ = failure;
  wait_attempt_ = attempt;
  pending_ = Pending::kWait;
}

void RangeWalk::end(Failure failure) {
  if (page_ && !looking_ahead_ && !options_.by_block && is_single()) failed_key_ = page_->last;
  failure_ = std::move(failure);
  pending_ = Pending::kFatal;
}

}  // namespace pgbackfill::planner
