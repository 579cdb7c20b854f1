// The ceiling that an operator sets on rows per second, shared by all workers of a process.
//
// Source: proposed law H4, anti-windup (b): a token bucket in rows. A batch may start while nothing is owed; its rows
// are charged when it starts and may overdraw, and the next batch waits the debt out. What is left unused is kept for
// at most half a second, so over any time t at most limit * (t + 0.5 s) rows and one batch start, and a pause is never
// made up for afterwards.
//
// Time comes in as an argument and may stand still or step back without harm. It never reads a clock and never waits.
// One thread at a time: ask and charge without anything between, and ask again after a wait, since another worker may
// have been first.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace pgbackfill::throttle {

using TimePoint = std::chrono::steady_clock::time_point;

// The longest answer of wait_before; who waits that long asks again.
inline constexpr std::chrono::hours kLongestPaceWait{1};

class RowPace {
 public:
  // Rows per second; nullopt is unlimited. A limit below one row per second counts as one.
  explicit RowPace(std::optional<std::int64_t> limit = std::nullopt);

  // Zero: a batch may start now.
  std::chrono::nanoseconds wait_before(TimePoint now) const;

  // Negative rows give back what a batch was charged and did not take.
  void charge(std::int64_t rows, TimePoint now);

  // What is owed stays owed, at the new rate; lifting the limit forgives it.
  void set_limit(std::optional<std::int64_t> limit);
  std::optional<std::int64_t> limit() const { return limit_; }

  // A batch of more rows would go beyond one second of the limit: short steps instead of bursts and long waits.
  std::int64_t most_rows() const;

 private:
  double owed_rows(TimePoint now) const;

  std::optional<std::int64_t> limit_;
  double owed_rows_ = 0;  // at as_of_; below zero: unused allowance
  std::optional<TimePoint> as_of_;
};

}  // namespace pgbackfill::throttle
