#include "throttle/windows.h"

#include <date/tz.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <exception>
#include <numeric>
#include <tuple>
#include <utility>

namespace pgbackfill::throttle {
namespace {

using std::chrono::minutes;

constexpr minutes kDay{24 * 60};
constexpr int kHorizonDays = 400;  // more than a year: a gap between windows of two zones may come once a year
constexpr std::string_view kExample = "Mon-Fri 22:00-06:00 Europe/Berlin";
constexpr std::string_view kSpaces = " \t\r\n";
constexpr std::string_view kGlue = ",-";
constexpr std::array<std::string_view, 7> kDays = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
constexpr std::array<std::string_view, 7> kFullDays = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                                       "Friday", "Saturday", "Sunday"};

template <class Value>
using Parsed = std::variant<Value, std::string>;

template <class Value>
std::string const* error_of(Parsed<Value> const& parsed) {
  return std::get_if<std::string>(&parsed);
}

// Appends: GCC 12 warns falsely of overlap where a literal comes before a string (its bug 105651).
std::string quoted(std::string_view text) {
  std::string result(1, '\'');
  return result.append(text).append(1, '\'');
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& letter : result) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return result;
}

bool starts_with_digit(std::string_view text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) != 0;
}

// Edits between two words, where two neighbours that changed places are one edit.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> before(to.size() + 1);
  std::vector<std::size_t> previous(to.size() + 1);
  std::vector<std::size_t> current(to.size() + 1);
  std::iota(previous.begin(), previous.end(), std::size_t{0});
  for (std::size_t row = 1; row <= from.size(); ++row) {
    current[0] = row;
    for (std::size_t column = 1; column <= to.size(); ++column) {
      std::size_t const change = previous[column - 1] + (from[row - 1] == to[column - 1] ? 0 : 1);
      current[column] = std::min({change, previous[column] + 1, current[column - 1] + 1});
      bool const is_swap = row > 1 && column > 1 && from[row - 1] == to[column - 2] && from[row - 2] == to[column - 1];
      if (is_swap) current[column] = std::min(current[column], before[column - 2] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous.back();
}

std::string did_you_mean(std::string_view word) {
  return " (did you mean " + quoted(word) + "?)";
}

std::string unknown_day(std::string_view word) {
  std::string const wanted = lower(word);
  std::string_view nearest;
  std::size_t least = 3;
  for (std::size_t day = 0; day < kDays.size(); ++day) {
    for (std::string_view name : {kDays[day], kFullDays[day]}) {
      std::size_t const distance = edit_distance(wanted, lower(name));
      if (distance >= least) continue;
      least = distance;
      nearest = kDays[day];
    }
  }
  std::string const hint = nearest.empty() ? " (days are Mon, Tue, Wed, Thu, Fri, Sat, Sun)" : did_you_mean(nearest);
  return "unknown day " + quoted(word) + hint;
}

Parsed<std::size_t> parse_day(std::string_view word) {
  std::string const wanted = lower(word);
  for (std::size_t day = 0; day < kDays.size(); ++day) {
    if (wanted == lower(kDays[day]) || wanted == lower(kFullDays[day])) return day;
  }
  return unknown_day(word);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    std::size_t const end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

Parsed<std::bitset<7>> parse_days(std::string_view text) {
  std::bitset<7> days;
  if (lower(text) == "daily") return days.set();
  for (std::string_view item : split(text, ',')) {
    auto const ends = split(item, '-');
    if (ends.size() > 2) return quoted(item) + " is not a day or a range of days";
    auto const first = parse_day(ends.front());
    if (auto const* error = error_of(first)) return *error;
    auto const last = parse_day(ends.back());
    if (auto const* error = error_of(last)) return *error;
    for (std::size_t day = std::get<0>(first);; day = (day + 1) % kDays.size()) {
      days.set(day);
      if (day == std::get<0>(last)) break;
    }
  }
  return days;
}

Parsed<minutes> parse_clock(std::string_view text) {
  auto const parts = split(text, ':');
  bool const is_shaped = parts.size() == 2 && !parts[0].empty() && parts[0].size() <= 2 && parts[1].size() == 2 &&
                         std::all_of(text.begin(), text.end(),
                                     [](unsigned char letter) { return letter == ':' || std::isdigit(letter) != 0; });
  if (!is_shaped) return quoted(text) + " is not a time of day such as 22:00";
  minutes const time{60 * std::stoi(std::string(parts[0])) + std::stoi(std::string(parts[1]))};
  bool const is_a_time = time <= kDay && parts[1] < "60";
  if (!is_a_time) return quoted(text) + " is not a time of day: they go from 00:00 to 24:00";
  return time;
}

Parsed<std::pair<minutes, minutes>> parse_times(std::string_view text) {
  auto const ends = split(text, '-');
  if (ends.size() != 2) return quoted(text) + " is not a span of time such as 22:00-06:00";
  auto const from = parse_clock(ends[0]);
  if (auto const* error = error_of(from)) return *error;
  auto to = parse_clock(ends[1]);
  if (auto const* error = error_of(to)) return *error;
  std::pair<minutes, minutes> span{std::get<0>(from), std::get<0>(to)};
  if (span.first == kDay) return std::string("24:00 can only be an end; a day starts at 00:00");
  if (span.first == span.second) {
    return quoted(text) + " is empty; a whole day is 00:00-24:00, or no times at all";
  }
  if (span.second < span.first) span.second += kDay;
  return span;
}

std::size_t zone_distance(std::string_view wanted, std::string const& zone) {
  std::string const name = lower(zone);
  std::size_t const whole = edit_distance(wanted, name);
  auto const slash = name.rfind('/');
  if (slash == std::string::npos) return whole;
  // Many write the city alone; the full name still wins over a city that is as near.
  return std::min(whole, edit_distance(wanted, std::string_view(name).substr(slash + 1)));
}

std::string unknown_zone(std::string_view word) {
  std::string const wanted = lower(word);
  std::size_t least = std::max<std::size_t>(wanted.size() / 3, 1) + 1;
  std::string_view nearest;
  auto const& zones = date::get_tzdb().zones;
  for (auto const& zone : zones) {
    std::size_t const distance = zone_distance(wanted, zone.name());
    if (distance >= least) continue;
    least = distance;
    nearest = zone.name();
  }
  return "unknown time zone " + quoted(word) +
         (nearest.empty() ? " (zones are named like Europe/Berlin)" : did_you_mean(nearest));
}

Parsed<date::time_zone const*> find_zone(std::string_view word) try {
  if (lower(word) == "utc") return nullptr;
  auto const& zones = date::get_tzdb().zones;
  auto const zone = std::find_if(zones.begin(), zones.end(), [&](auto const& each) { return each.name() == word; });
  if (zone == zones.end()) return unknown_zone(word);
  return &*zone;
} catch (std::exception const& error) {
  return "cannot look up time zone " + quoted(word) + ", is the package tzdata installed: " + error.what();
}

// Words, where spaces beside a comma or hyphen do not separate: "Mon - Fri 22:00 - 06:00" is two words.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t begin = text.find_first_not_of(kSpaces); begin != std::string_view::npos;) {
    std::size_t const end = std::min(text.find_first_of(kSpaces, begin), text.size());
    std::string_view const word = text.substr(begin, end - begin);
    bool const is_glued = !words.empty() && (kGlue.find(word.front()) != std::string_view::npos ||
                                             kGlue.find(words.back().back()) != std::string_view::npos);
    if (is_glued) {
      words.back() += word;
    } else {
      words.emplace_back(word);
    }
    begin = text.find_first_not_of(kSpaces, end);
  }
  return words;
}

Parsed<Window> parse_words(std::vector<std::string> const& words) {
  if (words.empty()) return std::string("it is empty");
  if (starts_with_digit(words[0])) return "the days are missing; for every day write 'daily " + words[0] + "'";
  Window window;
  auto const days = parse_days(words[0]);
  if (auto const* error = error_of(days)) return *error;
  window.days = std::get<0>(days);
  std::size_t next = 1;
  if (next < words.size() && starts_with_digit(words[next])) {
    auto const times = parse_times(words[next]);
    if (auto const* error = error_of(times)) return *error;
    std::tie(window.from, window.to) = std::get<0>(times);
    ++next;
  }
  if (next < words.size()) {
    auto const zone = find_zone(words[next]);
    if (auto const* error = error_of(zone)) return *error;
    window.zone = std::get<0>(zone);
    ++next;
  }
  if (next < words.size()) return quoted(words[next]) + " is one word too many";
  return window;
}

enum class Edge { kStart, kEnd };

date::sys_seconds instant_of(date::local_seconds local, date::time_zone const* zone, Edge edge) {
  if (zone == nullptr) return date::sys_seconds{local.time_since_epoch()};
  auto const info = zone->get_info(local);
  if (info.result == date::local_info::nonexistent) return info.first.end;
  bool const is_later = info.result == date::local_info::ambiguous && edge == Edge::kEnd;
  return date::sys_seconds{local.time_since_epoch() - (is_later ? info.second : info.first).offset};
}

date::local_days local_day_of(SystemTime at, date::time_zone const* zone) {
  auto const utc = date::floor<std::chrono::seconds>(at);
  auto const local = zone == nullptr ? date::local_seconds{utc.time_since_epoch()} : zone->to_local(utc);
  return date::floor<date::days>(local);
}

struct Period {
  SystemTime start;
  SystemTime end;
};

// Nullopt if the window does not start on that day, or if all of it falls into a gap of the local clock.
std::optional<Period> period_on(Window const& window, date::local_days day) {
  unsigned const weekday = date::weekday{day}.iso_encoding() - 1;
  if (!window.days.test(weekday)) return std::nullopt;
  Period const period{instant_of(day + window.from, window.zone, Edge::kStart),
                      instant_of(day + window.to, window.zone, Edge::kEnd)};
  if (period.start >= period.end) return std::nullopt;
  return period;
}

// The latest end of the periods that hold `at`.
std::optional<SystemTime> end_of_periods_at(std::vector<Window> const& windows, SystemTime at) {
  std::optional<SystemTime> latest;
  for (auto const& window : windows) {
    auto const today = local_day_of(at, window.zone);
    // A period may reach into the day after its own; clocks that step across midnight need a day more on either side.
    for (int offset = -2; offset <= 1; ++offset) {
      auto const period = period_on(window, today + date::days{offset});
      if (!period || at < period->start || at >= period->end) continue;
      latest = latest ? std::max(*latest, period->end) : period->end;
    }
  }
  return latest;
}

std::optional<SystemTime> next_start(Window const& window, SystemTime after) {
  auto const today = local_day_of(after, window.zone);
  for (int offset = -1; offset <= kHorizonDays; ++offset) {
    auto const period = period_on(window, today + date::days{offset});
    if (period && period->start > after) return period->start;
  }
  return std::nullopt;
}

std::optional<SystemTime> next_start(std::vector<Window> const& windows, SystemTime after) {
  std::optional<SystemTime> earliest;
  for (auto const& window : windows) {
    auto const start = next_start(window, after);
    if (start) earliest = earliest ? std::min(*earliest, *start) : start;
  }
  return earliest;
}

// Where the periods around `at` that touch or overlap end together; nullopt if there are none, or no end before the
// horizon.
std::optional<SystemTime> end_of_chain_at(std::vector<Window> const& windows, SystemTime at, SystemTime horizon) {
  std::optional<SystemTime> end;
  for (auto next = end_of_periods_at(windows, at); next; next = end_of_periods_at(windows, *next)) {
    if (*next > horizon) return std::nullopt;
    end = next;
  }
  return end;
}

}  // namespace

std::variant<Window, std::string> parse_window(std::string_view text) {
  if (text.size() > kLongestWindowText) {
    return "a window is at most " + std::to_string(kLongestWindowText) + " characters long, such as \"" +
           std::string(kExample) + "\"";
  }
  auto parsed = parse_words(words_of(text));
  if (auto const* error = error_of(parsed)) {
    return "window \"" + std::string(text) + "\": " + *error + "; a window looks like \"" + std::string(kExample) +
           "\"";
  }
  return parsed;
}

Schedule::Schedule(std::vector<Window> windows, std::vector<Window> blackouts)
    : windows_(std::move(windows)), blackouts_(std::move(blackouts)) {}

bool Schedule::is_open(SystemTime at) const {
  bool const is_in_window = windows_.empty() || end_of_periods_at(windows_, at).has_value();
  return is_in_window && !end_of_periods_at(blackouts_, at).has_value();
}

std::optional<SystemTime> Schedule::opens_at(SystemTime at) const {
  if (is_open(at)) return std::nullopt;
  SystemTime const horizon = at + date::days{kHorizonDays};
  // Each round leaves one closed stretch behind: a blackout, or the time before the next window.
  for (SystemTime candidate = at; candidate <= horizon;) {
    if (is_open(candidate)) return candidate;
    bool const is_in_blackout = end_of_periods_at(blackouts_, candidate).has_value();
    auto const next =
        is_in_blackout ? end_of_chain_at(blackouts_, candidate, horizon) : next_start(windows_, candidate);
    if (!next) return std::nullopt;
    candidate = *next;
  }
  return std::nullopt;
}

std::optional<SystemTime> Schedule::closes_at(SystemTime at) const {
  if (!is_open(at)) return std::nullopt;
  SystemTime const horizon = at + date::days{kHorizonDays};
  auto const window_end = end_of_chain_at(windows_, at, horizon);
  auto const blackout_start = next_start(blackouts_, at);
  if (!window_end || !blackout_start) return window_end ? window_end : blackout_start;
  return std::min(*window_end, *blackout_start);
}

std::optional<SystemTime> Schedule::after_open_time(SystemTime from, std::chrono::milliseconds open) const {
  SystemTime const horizon = from + open + date::days{kHorizonDays};
  SystemTime at = from;
  auto left = std::max(open, std::chrono::milliseconds{0});
  while (at <= horizon) {
    auto const start = is_open(at) ? std::optional(at) : opens_at(at);
    if (!start) return std::nullopt;
    auto const end = closes_at(*start);
    if (!end || *end - *start >= left) return *start + left;
    left -= std::chrono::floor<std::chrono::milliseconds>(*end - *start);
    at = *end;
  }
  return std::nullopt;
}

}  // namespace pgbackfill::throttle
