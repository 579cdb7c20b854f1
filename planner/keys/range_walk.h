// How one worker goes through one range: which batch is next, and what an error means for it.
//
// A pure state machine. The caller asks next(), does what it says (see Step), and records what came of it; no step is
// skipped and nothing is guessed: after a lost connection the only step is to read the range back.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "planner/work/batch.h"

namespace pgbackfill::planner {

// How often the same page is tried again after a deadlock or a cancel before it is made smaller, and a resource error
// (no memory, the table locked) before the run ends: about eight minutes.
inline constexpr int kMostConflicts = 8;
inline constexpr int kMostResourceWaits = 200;
// statement_timeout, as a multiple of the batch target; doubled up to this many times for a single slow row, or for
// work that takes long whatever its rows.
inline constexpr int kTimeoutOverTarget = 4;
inline constexpr int kMostTimeoutDoublings = 6;
// Timeouts in a row after which fewer rows do not help: what takes so long is not of the rows.
inline constexpr int kTimeoutsOfRows = 4;

struct WalkOptions {
  bool by_block = false;
  double rows_per_block = 1;
  bool can_skip_locked = true;  // a copy reads and has nothing to skip
  bool can_quarantine = false;  // the budget is not zero
  std::chrono::milliseconds batch_target{100};
  std::chrono::milliseconds lock_timeout{50};
};

struct Step {
  enum class Kind {
    kLookAhead,  // ask for a page of `rows` keys after the cursor, then record_page()
    kBatch,      // run `batch`, then record(BatchDone)
    kWait,       // back off (`attempt` counts from 1), then next() again
    kReconnect,  // the connection is gone: get a new one, then record_reconnected()
    kReread,     // read the range back, then record_state()
    kFinished,   // the range is done
    kLost,       // the range belongs to somebody else now
    kFatal,      // `failure` ends the run
  };
  Kind kind = Kind::kFinished;
  std::int64_t rows = 0;
  BatchRequest batch;
  int attempt = 0;
  Failure failure;
  Bound key;  // kFatal: the row that failed, where it is known
};

class RangeWalk {
 public:
  RangeWalk(Lease lease, WalkOptions options);

  // `rows`: how many keys the batch sizer asks for.
  Step next(std::int64_t rows);

  void record_page(Page page);
  void record(BatchDone const& done);
  void record(Failure const& failure);
  // The batch would have changed more rows than it may. False: no smaller one is possible.
  bool record_too_many();
  void record_reconnected();
  // Absent: the range is not ours any more, or is done.
  void record_state(std::optional<Lease> state);

  void set_target(std::chrono::milliseconds target) { options_.batch_target = target; }
  void set_lock_timeout(std::chrono::milliseconds timeout) { options_.lock_timeout = timeout; }

  Lease const& lease() const { return lease_; }
  // Between batches: nothing is in flight and nothing is unknown, so the range can be given back.
  bool is_settled() const { return pending_ == Pending::kNone; }
  // The latest outcome came while something was wrong; its duration says nothing about the cost of a row.
  bool is_disturbed() const { return rows_cap_.has_value() || mode_ != BatchMode::kPlain || conflicts_ > 0; }
  std::chrono::milliseconds statement_timeout() const;

 private:
  enum class Pending { kNone, kWait, kReconnect, kReread, kLost, kFinished, kFatal };

  Step batch_step(std::int64_t rows);
  Page block_page(std::int64_t rows) const;
  bool is_single() const;
  void halve();
  void work_around_lock();
  void retry_conflict(Failure const& failure);
  void time_out();
  void isolate_bad_row(Failure const& failure);
  void defer_row();
  void end_beside(Failure const& failure);
  void wait_for_resource(Failure const& failure);
  void wait(Failure const& failure, int attempt);
  void end(Failure failure);

  Lease lease_;
  WalkOptions options_;
  std::optional<Page> page_;
  BatchMode mode_ = BatchMode::kPlain;
  SetAside set_aside_ = SetAside::kNothing;
  Failure bad_row_;
  std::optional<std::int64_t> rows_cap_;  // while closing in on trouble; grows back after each success
  std::int64_t tried_rows_ = 0;
  bool looking_ahead_ = false;
  int conflicts_ = 0;
  int fences_ = 0;  // in a row, from a range that had not moved
  int empty_failures_ = 0;
  int resource_waits_ = 0;
  int timeouts_ = 0;  // in a row
  int timeout_doublings_ = 0;
  int wait_attempt_ = 0;
  Pending pending_ = Pending::kNone;
  Failure failure_;
  Bound failed_key_;
};

}  // namespace pgbackfill::planner
