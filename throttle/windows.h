// When a backfill may run: windows such as "Mon-Fri 22:00-06:00 Europe/Berlin", blackouts written the same way, and the
// schedule they make together: open in a window and in no blackout.
//
//   window = days [from "-" to] [zone]
//   days   = "daily" | item {"," item}        item = day | day "-" day        (Mon .. Sun; "Fri-Mon" goes round)
//   from   = "00:00" .. "23:59"               to = "00:00" .. "24:00"
//
// Without times a window is whole days, without a zone it is UTC. A window that ends before it starts crosses
// midnight and belongs to the day on which it starts. Times are local: a time that the clocks skip in spring stands
// for the first instant after the gap; a time that comes twice in autumn is the earlier one for a start and the later
// one for an end.
//
// Time comes in as an argument. The only thing read from outside is the system's time zone database, once. It never
// waits and keeps no state; safe from any thread.
#pragma once

#include <bitset>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace date {
class time_zone;
}

namespace pgbackfill::throttle {

using SystemTime = std::chrono::system_clock::time_point;

inline constexpr std::size_t kLongestWindowText = 200;

// Comes from parse_window. `to` is counted from the midnight before `from` and is beyond 24 hours when the window
// crosses midnight.
struct Window {
  std::bitset<7> days;  // 0 is Monday
  std::chrono::minutes from{0};
  std::chrono::minutes to{24 * 60};
  date::time_zone const* zone = nullptr;  // null is UTC, which needs no time zone database
};

// The window, or what is wrong with the text and how to write it.
std::variant<Window, std::string> parse_window(std::string_view text);

class Schedule {
 public:
  // Without windows it is always open but for the blackouts.
  explicit Schedule(std::vector<Window> windows, std::vector<Window> blackouts = {});

  bool is_always_open() const { return windows_.empty() && blackouts_.empty(); }
  bool is_open(SystemTime at) const;

  // The next opening, if closed at `at`; nullopt if open, and if it does not open within a year: that is, never.
  std::optional<SystemTime> opens_at(SystemTime at) const;

  // The end of the open period around `at`, where windows that touch or overlap count as one. Nullopt if closed, or
  // if it stays open for more than a year: that is, always.
  std::optional<SystemTime> closes_at(SystemTime at) const;

  // When so much open time has passed since `from`; nullopt if that takes more than a year of closed times.
  std::optional<SystemTime> after_open_time(SystemTime from, std::chrono::milliseconds open) const;

 private:
  std::vector<Window> windows_;
  std::vector<Window> blackouts_;
};

}  // namespace pgbackfill::throttle
