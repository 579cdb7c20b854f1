// How many keys the next batch takes, so that a batch lasts about as long as the target.
//
// The law: docs/throttle.md#batch-size. The cost of a row rises fast and falls slowly, steps are bounded, and an
// overlong batch halves the next one. Growth is measured from the rows that a batch really took, so that many workers
// that report the same size make one step, not many.
//
// Units: rows are keys of the table; durations are execution and commit only, never the wait for a turn or a token.
// It never reads a clock, never waits, and never asks for fewer than `min_rows`: smaller batches are the caller's own
// bisecting. One thread at a time; several workers of one thread may share a sizer.
#pragma once

#include <chrono>
#include <cstdint>

namespace pgbackfill::throttle {

// `min_rows` is the operator's word and wins over `max_bytes`, which rests on an estimate.
struct BatchLimits {
  std::int64_t min_rows = 50;
  std::int64_t max_rows = 50'000;
  std::int64_t max_bytes = std::int64_t{8} * 1024 * 1024;
  std::int64_t bytes_per_row = 0;  // 0: unknown, no byte cap
};

struct BatchSizerOptions {
  std::chrono::milliseconds target{100};
  std::int64_t first_rows = 500;
  BatchLimits limits;
};

// A batch that committed. Disturbed: it waited for a lock, was retried, or ran while limits changed; its duration
// then says nothing about the cost of rows.
struct BatchSample {
  std::int64_t rows = 0;
  std::chrono::nanoseconds duration{0};
  bool disturbed = false;
};

class BatchSizer {
 public:
  explicit BatchSizer(BatchSizerOptions const& options);

  std::int64_t rows() const { return rows_; }

  // Ignores what is disturbed or of another order of magnitude than rows(); but a batch of over twice the target
  // counts however small it was, so that a caller who takes fewer rows than asked is not left with a blind sizer.
  void record(BatchSample const& sample);

  // The server cancelled a batch of this many rows for its duration: half of it at once.
  void record_timeout(std::int64_t rows);

  // Both act at once where they ask for less, and step by step where they allow more.
  void set_target(std::chrono::milliseconds target);
  void set_limits(BatchLimits const& limits);

  // What a batch takes whatever its rows, as far as it is known.
  std::chrono::nanoseconds overhead() const {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(overhead_ns_));
  }

  // Even the smallest batch allowed is expected to take longer than the target.
  bool is_pinned_at_minimum() const;

 private:
  std::int64_t most_rows() const;
  double rows_for_target() const;
  double cost_of_row(double duration_ns, double rows) const;
  bool is_of_another_magnitude(std::int64_t rows) const;
  void learn_cost(double cost_ns, bool is_restart);
  void learn_overhead(std::int64_t rows, double duration_ns, bool is_overlong);
  void set_overhead(double overhead_ns, double rows);
  void move_to(double rows_wanted);

  BatchLimits limits_;
  double target_ns_;
  std::int64_t rows_;
  bool is_starting_ = true;
  double log_cost_ns_ = 0;        // of one row
  int cost_samples_ = 0;          // since the cost was last taken afresh; 0: nothing known
  double overhead_ns_ = 0;        // of a batch, whatever its rows
  double fastest_ns_ = 0;         // of all batches: no overhead is larger
  std::int64_t anchor_rows_ = 0;  // an earlier batch of another size, to tell the overhead from the rows
  double anchor_duration_ns_ = 0;
};

}  // namespace pgbackfill::throttle
