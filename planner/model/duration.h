// Durations as people write them in a migration file and on the command line: a number and its unit.
//
// Never guesses a unit: a bare number is refused. Pure functions, safe from any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

// No limit, pause or target of a backfill is longer; a longer text is not a duration.
inline constexpr std::chrono::milliseconds kMaxDuration = std::chrono::hours{24 * 365};

// "100ms", "1s", "1.5s", "2m", "1h". Nothing for any other text, and nothing for less than whole milliseconds.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

// The shortest exact text without a fraction of minutes or hours: "100ms", "1.5s", "90s", "2m", "1h".
std::string format_duration(std::chrono::milliseconds duration);

}  // namespace pgbackfill::planner
