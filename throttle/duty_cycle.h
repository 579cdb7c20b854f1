// What a fraction of a worker is: the last worker rests after each batch, so that it works that share of the time.
//
// With 2.3 workers, ranks 0 and 1 work without a rest, rank 2 rests 2.3 times as long as its batch took, and all others
// wait. Nothing is remembered here: ask again whenever the number changes, since the answer may be shorter or longer.
// Ranks are dense among the workers that have something to do.
#pragma once

#include <chrono>
#include <optional>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

struct LastBatch {
  TimePoint ended_at{};
  std::chrono::nanoseconds took{0};
};

// A worker rests no longer than this, whatever its batch took, so that a small share is never none at all.
inline constexpr std::chrono::seconds kLongestRest{5};

// Zero: the worker of this rank may start a batch now. Nullopt: not with this many workers.
std::optional<std::chrono::nanoseconds> wait_before_batch(int rank, double workers,
                                                          std::optional<LastBatch> const& last, TimePoint now);

}  // namespace pgbackfill::throttle
