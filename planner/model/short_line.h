// A text of any length as a part of a message: one line, bounded.
//
// Pure function, safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

// The first `most_bytes`, with "..." behind them if there is more; a character is never cut in two, and a word only if
// there is hardly anything else. Line breaks and
// other control characters become blanks.
std::string short_line(std::string_view text, std::size_t most_bytes);

}  // namespace pgbackfill::planner
