// Numbers, durations and names as people read them, in one line and within a width.
//
// Names come from other people's databases, so control characters and invisible direction marks in them are shown, not
// obeyed. The widths of rare scripts and emoji are estimates that err on the wide side. Thread rule: none; all
// functions are pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::engine {

std::string human_count(std::int64_t count);                           // 1,356,000
std::string human_rate(double rows_per_second);                        // 281 k rows/s
std::string human_percent(std::int64_t done, std::int64_t estimated);  // 45.2 %, rounded down; > 100 %
std::string human_duration(std::chrono::milliseconds duration);        // 71 ms, 12.3 s, 4 min 05 s, 1 h 04 min
std::string human_wait(std::chrono::milliseconds duration);            // the same in steps that suit a guess

// Harmless text on one line: controls become visible escapes (\x1b), bytes that are not UTF-8 too, line breaks a space.
std::string neutralised(std::string_view text, bool unicode = true);

// The text itself, with U+FFFD for bytes that are not UTF-8: for machines.
std::string valid_utf8(std::string_view text);

// Columns that the text takes on a terminal; colour sequences take none.
int display_width(std::string_view text);

// Cut at the end with an ellipsis if the (neutralised, uncoloured) text is wider than `columns`.
std::string fitted(std::string_view text, int columns, bool unicode = true);

// Lines of whole words; what stands between backticks stays in one piece for copying, however long it is.
std::vector<std::string> folded(std::string_view text, int columns);

}  // namespace pgbackfill::engine
