// Every setting of the throttle: name, kind of value, unit, bounds, default and a line of help.
//
// One table for all who speak of settings: the file's section `throttle:`, the JSON Schema, `pgbackfill set`, status
// and the documents. What a setting does is throttle/limits.h's; engine/run/limits.h puts the two together. Bytes are
// PostgreSQL's: 1 kB is 1024 B. Never guesses a unit. Pure functions and constant data, safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace pgbackfill::planner {

enum class SettingKind {
  kDuration,  // 500ms
  kBytes,     // 40MB
  kByteRate,  // 40MB/s
  kPercent,   // 20%
  kRatio,     // 1.15
  kCount,     // 3
  kNames,     // db-2, db-3
  kWord,      // one of `words`
};

struct SettingRule {
  std::string_view name;
  SettingKind kind;
  std::string_view help;
  std::string_view standard;  // the default as people write it
  std::string_view example;
  double min = 0;  // in milliseconds, bytes, bytes a second, percent, as it is
  double max = 0;
  std::span<std::string_view const> words = {};
  std::string_view nothing = {};  // the word for no value, if there may be none: "none", "all"
};

// kDuration: milliseconds, kBytes, kByteRate, kCount: a whole number. kPercent (0.2 for 20%) and kRatio: a double.
// kNames: a list. kWord: a text. No value: monostate.
using SettingValue = std::variant<std::monostate, std::int64_t, double, std::vector<std::string>, std::string>;

struct ParsedSetting {
  std::optional<SettingValue> value;
  std::string problem;  // if there is no value: what is wrong, to be put behind the text: "has no unit (write ...)"
};

inline constexpr std::size_t kMaxNamesOfASetting = 64;

std::span<SettingRule const> throttle_settings();

// Null when there is none of that name.
SettingRule const* find_throttle_setting(std::string_view name);

ParsedSetting parse_setting(SettingRule const& rule, std::string_view text);

// Two settings of which one could never take hold, or that no server could satisfy.
struct SettingConflict {
  std::string_view name;
  std::string_view other;
  std::string text;  // a sentence that names both, with their values
};

// `said`: by name, texts that parse_setting() takes. What is not said has its default, and can be at odds as well.
std::vector<SettingConflict> setting_conflicts(std::map<std::string, std::string> const& said);

// "500ms to 24h", "on, observe or off": what parse_setting takes.
std::string setting_bounds(SettingRule const& rule);

// The same rules for durations and counts of other sections: bounds in milliseconds, `example` as a problem shows it.
ParsedSetting parse_bounded_duration(std::string_view text, std::int64_t min, std::int64_t max,
                                     std::string_view example);
ParsedSetting parse_bounded_count(std::string_view text, std::int64_t min, std::int64_t max, std::string_view example);

}  // namespace pgbackfill::planner
