// How long to rest between two looks at a table whose job is complete and followed.
//
// A look reads all of a table, or an index of it, for what mostly is nothing: it may take a tenth of the time at most,
// however large the table is. Free of state, safe from any thread.
#pragma once

#include <algorithm>
#include <chrono>

namespace pgbackfill::throttle {

inline constexpr int kRestOverLook = 9;

// `look`: how long the last one took; `least`: what the file asks for.
constexpr std::chrono::nanoseconds rest_after_look(std::chrono::nanoseconds look, std::chrono::nanoseconds least) {
  return std::max(least, kRestOverLook * std::max(look, std::chrono::nanoseconds(0)));
}

}  // namespace pgbackfill::throttle
