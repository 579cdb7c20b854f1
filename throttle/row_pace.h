// The ceiling that an operator sets on rows per second, shared by all workers of a process.
//
// A TokenBucket in rows: what it promises about time, debts and threads holds here.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "throttle/token_bucket.h"

namespace pgbackfill::throttle {

class RowPace {
 public:
  // Rows per second; nullopt is unlimited. A limit below one row per second counts as one.
  explicit RowPace(std::optional<std::int64_t> limit = std::nullopt);

  // Zero: a batch may start now.
  std::chrono::nanoseconds wait_before(TimePoint now) const { return bucket_.wait_before(now); }

  // Negative rows give back what a batch was charged and did not take.
  void charge(std::int64_t rows, TimePoint now) { bucket_.charge(static_cast<double>(rows), now); }

  // What is owed stays owed, at the new rate; lifting the limit forgives it.
  void set_limit(std::optional<std::int64_t> limit);
  std::optional<std::int64_t> limit() const { return limit_; }

  // A batch of more rows would go beyond one second of the limit: short steps instead of bursts and long waits.
  std::int64_t most_rows() const;

 private:
  std::optional<std::int64_t> limit_;
  TokenBucket bucket_;
};

}  // namespace pgbackfill::throttle
