#include "planner/file/throttle_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>

#include "planner/model/duration.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::planner {
namespace {

constexpr double kSecond = 1'000;
constexpr double kHour = 3'600 * kSecond;
constexpr double kDay = 24 * kHour;
constexpr double kKilobyte = 1'024;
constexpr double kTerabyte = kKilobyte * kKilobyte * kKilobyte * kKilobyte;
constexpr std::size_t kMaxShownBytes = 60;
constexpr std::size_t kMaxNumberBytes = 40;

constexpr std::array<std::string_view, 3> kModes{"on", "observe", "off"};
constexpr std::array<std::string_view, 4> kMissingReplicaWords{"auto", "pause", "ignore", "abort"};

constexpr std::array<SettingRule, 23> kSettings{{
    {.name = "mode",
     .kind = SettingKind::kWord,
     .help = "on; observe decides and shows but does not act; off runs flat out.",
     .standard = "on",
     .example = "observe",
     .words = kModes},
    {.name = "replica_lag",
     .kind = SettingKind::kDuration,
     .help = "How far a standby may fall behind.",
     .standard = "2s",
     .example = "1s",
     .min = 1,
     .max = kDay},
    {.name = "slot_lag",
     .kind = SettingKind::kDuration,
     .help = "How far a logical slot may fall behind.",
     .standard = "30s",
     .example = "10s",
     .min = 1,
     .max = kDay},
    {.name = "replicas",
     .kind = SettingKind::kNames,
     .help = "The standbys and slots that count, by name; all: every one that streams.",
     .standard = "all",
     .example = "db-2, db-3",
     .nothing = "all"},
    {.name = "ignore_replicas",
     .kind = SettingKind::kNames,
     .help = "Standbys and slots that never count.",
     .standard = "none",
     .example = "reporting",
     .nothing = "none"},
    {.name = "expected_replicas",
     .kind = SettingKind::kCount,
     .help = "How many standbys are expected to stream; fewer counts as one having vanished.",
     .standard = "0",
     .example = "2",
     .max = 100},
    {.name = "missing_replica",
     .kind = SettingKind::kWord,
     .help = "When one is gone for longer than missing_patience; auto pauses for those named or counted here.",
     .standard = "auto",
     .example = "ignore",
     .words = kMissingReplicaWords},
    {.name = "missing_patience",
     .kind = SettingKind::kDuration,
     .help = "How long a vanished standby is waited for before missing_replica is done.",
     .standard = "30s",
     .example = "2m",
     .max = kDay},
    {.name = "latency_ratio",
     .kind = SettingKind::kRatio,
     .help = "How much slower the slowest hundredth of what others do may get.",
     .standard = "1.15",
     .example = "1.3",
     .min = 1.01,
     .max = 100},
    {.name = "utilization",
     .kind = SettingKind::kPercent,
     .help = "How much of the server's cores may be busy, all sessions together.",
     .standard = "85%",
     .example = "75%",
     .min = 1,
     .max = 100},
    {.name = "cores",
     .kind = SettingKind::kCount,
     .help = "Cores of the server, which it does not tell; 0: unknown.",
     .standard = "0",
     .example = "16",
     .max = 4'096},
    {.name = "lock_wait",
     .kind = SettingKind::kDuration,
     .help = "How long a batch waits for a row that somebody holds, and somebody for a row of a batch.",
     .standard = "50ms",
     .example = "50ms",
     .min = 1,
     .max = kDay},
    {.name = "slot_headroom",
     .kind = SettingKind::kBytes,
     .help = "Stop when a slot may retain only so much more WAL before it is lost.",
     .standard = "2GB",
     .example = "4GB",
     .max = 1'024 * kTerabyte},
    {.name = "archive_slow",
     .kind = SettingKind::kCount,
     .help = "Slow down when so many WAL segments wait for the archive.",
     .standard = "42",
     .example = "20",
     .min = 1,
     .max = 1'000'000},
    {.name = "archive_stop",
     .kind = SettingKind::kCount,
     .help = "Stop when so many WAL segments wait for the archive.",
     .standard = "128",
     .example = "64",
     .min = 1,
     .max = 1'000'000},
    {.name = "wraparound_age",
     .kind = SettingKind::kCount,
     .help = "Stop when the oldest row is so many transactions old.",
     .standard = "1200000000",
     .example = "1000000000",
     .min = 1'000'000,
     .max = 2'000'000'000},
    {.name = "xmin_age",
     .kind = SettingKind::kDuration,
     .help = "Slow down when a snapshot has kept vacuum from dead rows for so long.",
     .standard = "30m",
     .example = "10m",
     .min = kSecond,
     .max = 30 * kDay},
    {.name = "dead_rows",
     .kind = SettingKind::kPercent,
     .help = "Slow down when so many rows more are dead than when it began, of the live ones.",
     .standard = "20%",
     .example = "10%",
     .min = 1,
     .max = 1'000},
    {.name = "bloat",
     .kind = SettingKind::kPercent,
     .help = "How much larger the table may get than its rows needed at the start; room from before counts.",
     .standard = "20%",
     .example = "10%",
     .min = 1,
     .max = 1'000},
    {.name = "min_free_connections",
     .kind = SettingKind::kCount,
     .help = "Slow down to one worker when fewer connections than this are free.",
     .standard = "3",
     .example = "10",
     .max = 10'000},
    {.name = "max_rows_per_second",
     .kind = SettingKind::kCount,
     .help = "A ceiling for the keys that all workers of a process pass in a second.",
     .standard = "none",
     .example = "5000",
     .min = 1,
     .max = 1e12,
     .nothing = "none"},
    {.name = "max_wal_per_second",
     .kind = SettingKind::kByteRate,
     .help = "A ceiling for the WAL that the batches of a process write.",
     .standard = "none",
     .example = "40MB/s",
     .min = kKilobyte,
     .max = kTerabyte,
     .nothing = "none"},
    {.name = "nice",
     .kind = SettingKind::kCount,
     .help = "Among jobs of one server, each step takes a fifth off this one's share, as nice(1) does.",
     .standard = "0",
     .example = "5",
     .min = -20,
     .max = 19},
}};

struct ByteUnit {
  std::string_view suffix;
  double bytes;
};
// "B" is a part of all others and stands last.
constexpr std::array<ByteUnit, 5> kByteUnits{{{"kB", kKilobyte},
                                              {"MB", kKilobyte* kKilobyte},
                                              {"GB", kKilobyte* kKilobyte* kKilobyte},
                                              {"TB", kTerabyte},
                                              {"B", 1}}};

ParsedSetting good(SettingValue value) {
  return {std::move(value), ""};
}

ParsedSetting bad(std::string problem) {
  return {std::nullopt, std::move(problem)};
}

std::string for_example(std::string_view example) {
  return "for example " + std::string{example};
}

bool is_number_alone(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789.") == std::string_view::npos;
}

std::string_view trimmed(std::string_view text) {
  auto const first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string shortened(std::string_view text) {
  return std::string{text.substr(0, kMaxShownBytes)};
}

// Digits with at most one point; no sign, no exponent, no "inf".
std::optional<double> parse_decimal(std::string_view text) {
  bool const is_shaped = is_number_alone(text) && text.size() <= kMaxNumberBytes && text.front() != '.' &&
                         text.back() != '.' && std::count(text.begin(), text.end(), '.') <= 1;
  if (!is_shaped) return std::nullopt;
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string decimal_text(double value) {
  std::array<char, 32> buffer{};
  auto const written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), written.ptr};
}

std::string bytes_text(double bytes) {
  std::string_view suffix = "B";
  double unit = 1;
  for (auto const& each : kByteUnits) {
    if (each.bytes > unit && bytes >= each.bytes && std::fmod(bytes, each.bytes) == 0) {
      suffix = each.suffix;
      unit = each.bytes;
    }
  }
  return std::to_string(static_cast<std::int64_t>(bytes / unit)) + std::string{suffix};
}

std::string duration_text(double milliseconds) {
  return format_duration(std::chrono::milliseconds{static_cast<std::int64_t>(milliseconds)});
}

// A bound in the form of the kind.
std::string bound_text(SettingKind kind, double bound) {
  switch (kind) {
    case SettingKind::kDuration:
      return duration_text(bound);
    case SettingKind::kBytes:
      return bytes_text(bound);
    case SettingKind::kByteRate:
      return bytes_text(bound) + "/s";
    case SettingKind::kPercent:
      return decimal_text(bound) + "%";
    case SettingKind::kRatio:
      return decimal_text(bound);
    case SettingKind::kCount:
      return std::to_string(static_cast<std::int64_t>(bound));
    case SettingKind::kNames:
    case SettingKind::kWord:
      break;
  }
  return "";
}

std::string list_of(std::span<std::string_view const> words) {
  std::string list;
  for (auto const word : words) list += (list.empty() ? "'" : ", '") + std::string{word} + "'";
  return list;
}

bool is_within(SettingRule const& rule, double value) {
  return value >= rule.min && value <= rule.max;
}

ParsedSetting out_of_bounds(SettingRule const& rule) {
  return bad("is out of bounds, which are " + bound_text(rule.kind, rule.min) + " and " +
             bound_text(rule.kind, rule.max));
}

// `per` is "/s" for a rate.
ParsedSetting parse_bytes(SettingRule const& rule, std::string_view text, std::string_view per) {
  std::string_view rest = text;
  bool const has_per = rest.ends_with(per);
  if (has_per) rest.remove_suffix(per.size());
  for (auto const& unit : kByteUnits) {
    if (!rest.ends_with(unit.suffix)) continue;
    auto const number = parse_decimal(trimmed(rest.substr(0, rest.size() - unit.suffix.size())));
    if (!number) break;
    if (!has_per) return bad("has no '" + std::string{per} + "' (write " + shortened(text) + std::string{per} + ")");
    double const bytes = std::round(*number * unit.bytes);
    if (!is_within(rule, bytes)) return out_of_bounds(rule);
    return good(static_cast<std::int64_t>(bytes));
  }
  if (is_number_alone(rest)) {
    return bad("has no unit (write " + shortened(rest) + "MB" + std::string{per} + " or " + shortened(rest) + "GB" +
               std::string{per} + ")");
  }
  return bad("is not an amount of bytes" + std::string{per.empty() ? "" : " a second"} +
             "; write a number and one of B, kB, MB, GB, TB, " + for_example(rule.example));
}

ParsedSetting parse_percent(SettingRule const& rule, std::string_view text) {
  if (is_number_alone(text)) return bad("has no unit (write " + shortened(text) + "%)");
  auto const number =
      text.ends_with('%') ? parse_decimal(trimmed(text.substr(0, text.size() - 1))) : std::optional<double>{};
  if (!number) return bad("is not a percentage; " + for_example(rule.example));
  if (!is_within(rule, *number)) return out_of_bounds(rule);
  return good(*number / 100);
}

ParsedSetting parse_ratio(SettingRule const& rule, std::string_view text) {
  auto const number = parse_decimal(text);
  if (!number) return bad("is not a number; " + for_example(rule.example));
  if (!is_within(rule, *number)) return out_of_bounds(rule);
  return good(*number);
}

ParsedSetting parse_names(SettingRule const& rule, std::string_view text) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= text.size();) {
    auto const end = std::min(text.find(',', begin), text.size());
    auto const name = trimmed(text.substr(begin, end - begin));
    if (name.empty()) return bad("has an empty name; " + for_example(rule.example));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
    begin = end + 1;
  }
  if (names.size() > kMaxNamesOfASetting) {
    return bad("has more than " + std::to_string(kMaxNamesOfASetting) + " names");
  }
  return good(std::move(names));
}

ParsedSetting parse_word(SettingRule const& rule, std::string_view text) {
  auto const found = std::find(rule.words.begin(), rule.words.end(), text);
  if (found != rule.words.end()) return good(std::string{*found});
  return bad("is not one of " + list_of(rule.words) + did_you_mean(text, rule.words));
}

std::string with_nothing(SettingRule const& rule, ParsedSetting const& parsed) {
  return parsed.problem + "; or " + std::string{rule.nothing};
}

ParsedSetting parse_some(SettingRule const& rule, std::string_view text) {
  auto const min = static_cast<std::int64_t>(rule.min);
  auto const max = static_cast<std::int64_t>(rule.max);
  switch (rule.kind) {
    case SettingKind::kDuration:
      return parse_bounded_duration(text, min, max, rule.example);
    case SettingKind::kBytes:
      return parse_bytes(rule, text, "");
    case SettingKind::kByteRate:
      return parse_bytes(rule, text, "/s");
    case SettingKind::kPercent:
      return parse_percent(rule, text);
    case SettingKind::kRatio:
      return parse_ratio(rule, text);
    case SettingKind::kCount:
      return parse_bounded_count(text, min, max, rule.example);
    case SettingKind::kNames:
      return parse_names(rule, text);
    case SettingKind::kWord:
      return parse_word(rule, text);
  }
  return bad("is not understood");
}

}  // namespace

std::span<SettingRule const> throttle_settings() {
  return kSettings;
}

SettingRule const* find_throttle_setting(std::string_view name) {
  auto const found =
      std::find_if(kSettings.begin(), kSettings.end(), [&](SettingRule const& rule) { return rule.name == name; });
  return found == kSettings.end() ? nullptr : &*found;
}

ParsedSetting parse_setting(SettingRule const& rule, std::string_view text) {
  auto const word = trimmed(text);
  if (!rule.nothing.empty() && word == rule.nothing) return good(std::monostate{});
  if (word.empty()) return bad("has no value; " + for_example(rule.example));
  auto parsed = parse_some(rule, word);
  if (!parsed.value && !rule.nothing.empty()) parsed.problem = with_nothing(rule, parsed);
  return parsed;
}

namespace {

using Said = std::map<std::string, std::string>;

SettingValue value_of(Said const& said, std::string_view name) {
  auto const& rule = *find_throttle_setting(name);
  auto const found = said.find(std::string{name});
  auto parsed = parse_setting(rule, found == said.end() ? rule.standard : std::string_view{found->second});
  return parsed.value.value_or(SettingValue{});
}

// "archive_stop is 128 (the default)"
std::string shown(Said const& said, std::string_view name) {
  auto const found = said.find(std::string{name});
  std::string const text{name};
  if (found != said.end()) return text + " is " + shortened(found->second);
  return text + " is " + std::string{find_throttle_setting(name)->standard} + " (the default)";
}

// What slows has to come before what stops.
void find_soft_above_hard(Said const& said, std::vector<SettingConflict>& conflicts) {
  auto const soft = value_of(said, "archive_slow");
  auto const hard = value_of(said, "archive_stop");
  bool const is_above = std::holds_alternative<std::int64_t>(soft) && std::holds_alternative<std::int64_t>(hard) &&
                        std::get<std::int64_t>(soft) > std::get<std::int64_t>(hard);
  if (!is_above) return;
  conflicts.push_back({"archive_slow", "archive_stop",
                       shown(said, "archive_slow") + " and " + shown(said, "archive_stop") +
                           ": it would stop before it ever slows down; make archive_slow the smaller one"});
}

void find_impossible_replicas(Said const& said, std::vector<SettingConflict>& conflicts) {
  auto const named = value_of(said, "replicas");
  auto const* names = std::get_if<std::vector<std::string>>(&named);
  if (names == nullptr) return;
  auto const ignored = value_of(said, "ignore_replicas");
  if (auto const* others = std::get_if<std::vector<std::string>>(&ignored)) {
    auto const both = std::find_first_of(names->begin(), names->end(), others->begin(), others->end());
    if (both != names->end()) {
      conflicts.push_back({"ignore_replicas", "replicas",
                           "'" + *both + "' is in replicas, which count, and in ignore_replicas, which never do"});
    }
  }
  auto const expected = value_of(said, "expected_replicas");
  auto const* count = std::get_if<std::int64_t>(&expected);
  if (count == nullptr || *count <= static_cast<std::int64_t>(names->size())) return;
  conflicts.push_back({"expected_replicas", "replicas",
                       shown(said, "expected_replicas") + " and replicas names " + std::to_string(names->size()) +
                           ": no other one counts, so that it would wait for ever"});
}

}  // namespace

std::vector<SettingConflict> setting_conflicts(std::map<std::string, std::string> const& said) {
  std::vector<SettingConflict> conflicts;
  find_soft_above_hard(said, conflicts);
  find_impossible_replicas(said, conflicts);
  return conflicts;
}

std::string setting_bounds(SettingRule const& rule) {
  std::string text;
  switch (rule.kind) {
    case SettingKind::kWord:
      return list_of(rule.words);
    case SettingKind::kNames:
      text = "names with commas between them";
      break;
    default:
      text = bound_text(rule.kind, rule.min) + " to " + bound_text(rule.kind, rule.max);
  }
  return rule.nothing.empty() ? text : text + ", or " + std::string{rule.nothing};
}

ParsedSetting parse_bounded_duration(std::string_view text, std::int64_t min, std::int64_t max,
                                     std::string_view example) {
  auto const duration = parse_duration(text);
  if (!duration && is_number_alone(text)) {
    return bad("has no unit (write " + shortened(text) + "ms or " + shortened(text) + "s)");
  }
  if (!duration) return bad("is not a duration; write a number and one of ms, s, m, h, " + for_example(example));
  if (duration->count() < min || duration->count() > max) {
    return bad("is out of bounds, which are " + duration_text(static_cast<double>(min)) + " and " +
               duration_text(static_cast<double>(max)));
  }
  return good(std::int64_t{duration->count()});
}

ParsedSetting parse_bounded_count(std::string_view text, std::int64_t min, std::int64_t max, std::string_view example) {
  std::int64_t count = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  bool const is_number = end == text.data() + text.size() && error != std::errc::invalid_argument;
  if (!is_number) return bad("is not a whole number; " + for_example(example));
  if (error != std::errc{} || count < min || count > max) {
    return bad("is out of bounds, which are " + std::to_string(min) + " and " + std::to_string(max));
  }
  return good(count);
}

}  // namespace pgbackfill::planner
