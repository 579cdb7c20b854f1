#include "throttle/windows.h"
#include "engine/base/command_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

namespace pgbackfill::throttle {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

// An instant in UTC, as "2026-03-29 01:00".
SystemTime utc(std::string const& text) {
  tm fields{};
  char const* const rest = strptime(text.c_str(), "%Y-%m-%d %H:%M", &fields);
  EXPECT_TRUE(rest != nullptr && *rest == '\0') << text;
  return SystemTime{seconds{timegm(&fields)}};
}

Window window(std::string const& text) {
  auto const parsed = parse_window(text);
  if (auto const* error = std::get_if<std::string>(&parsed)) ADD_FAILURE() << *error;
  return std::holds_alternative<Window>(parsed) ? std::get<Window>(parsed) : Window{};
}

std::vector<Window> windows_of(std::vector<std::string> const& texts) {
  std::vector<Window> windows;
  for (auto const& text : texts) windows.push_back(window(text));
  return windows;
}

Schedule schedule(std::vector<std::string> const& texts, std::vector<std::string> const& blackouts = {}) {
  return Schedule(windows_of(texts), windows_of(blackouts));
}

std::string error_of(std::string const& text) {
  auto const parsed = parse_window(text);
  auto const* error = std::get_if<std::string>(&parsed);
  return error ? *error : "parsed";
}

// Closed just before, open at the opening, open just before the end, closed at the end; and both ways of asking agree.
void expect_open(Schedule const& schedule, std::string const& from, std::string const& to) {
  SCOPED_TRACE(from + " to " + to);
  constexpr std::chrono::nanoseconds kMoment{1};
  EXPECT_FALSE(schedule.is_open(utc(from) - kMoment));
  EXPECT_TRUE(schedule.is_open(utc(from)));
  EXPECT_TRUE(schedule.is_open(utc(to) - kMoment));
  EXPECT_FALSE(schedule.is_open(utc(to)));
  EXPECT_EQ(schedule.opens_at(utc(from) - minutes{1}), utc(from));
  EXPECT_EQ(schedule.opens_at(utc(from)), std::nullopt);
  EXPECT_EQ(schedule.closes_at(utc(from)), utc(to));
  EXPECT_EQ(schedule.closes_at(utc(to) - kMoment), utc(to));
  EXPECT_EQ(schedule.closes_at(utc(to)), std::nullopt);
}

TEST(ParseWindow, ReadsDaysTimesAndZone) {
  auto const night = window("Mon-Fri 22:00-06:00 Europe/Berlin");
  EXPECT_EQ(night.days.to_string(), "0011111");
  EXPECT_EQ(night.from, hours{22});
  EXPECT_EQ(night.to, hours{30});
  EXPECT_NE(night.zone, nullptr);
}

TEST(ParseWindow, FillsInWholeDaysAndUtc) {
  auto const weekend = window("Sat-Sun");
  EXPECT_EQ(weekend.days.to_string(), "1100000");
  EXPECT_EQ(weekend.from, minutes{0});
  EXPECT_EQ(weekend.to, hours{24});
  EXPECT_EQ(weekend.zone, nullptr);
  EXPECT_NE(window("Sat-Sun Asia/Kolkata").zone, nullptr);
}

TEST(ParseWindow, ReadsListsRangesThatGoRoundAndDaily) {
  EXPECT_EQ(window("Mon,Wed,Fri 01:00-05:00").days.to_string(), "0010101");
  EXPECT_EQ(window("Fri-Mon").days.to_string(), "1110001");
  EXPECT_EQ(window("Mon-Tue,Sat").days.to_string(), "0100011");
  EXPECT_EQ(window("daily 01:00-04:00 UTC").days.to_string(), "1111111");
  EXPECT_EQ(window("Mon 20:00-24:00").to, hours{24});
}

TEST(ParseWindow, IsKindToSpacesCaseAndFullNames) {
  EXPECT_EQ(window("  monday - FRI,  sun   9:00 - 17:30  utc ").days.to_string(), "1011111");
  EXPECT_EQ(window("Daily 9:00-17:30").to, hours{17} + minutes{30});
}

TEST(ParseWindow, SuggestsTheNearestDay) {
  EXPECT_THAT(error_of("Mno-Fri 22:00-06:00"), HasSubstr("unknown day 'Mno' (did you mean 'Mon'?)"));
  EXPECT_THAT(error_of("Satruday"), HasSubstr("did you mean 'Sat'?"));
  EXPECT_THAT(error_of("weekends"), HasSubstr("days are Mon, Tue"));
}

TEST(ParseWindow, SuggestsTheNearestZone) {
  EXPECT_THAT(error_of("daily Europe/Berln"),
              HasSubstr("unknown time zone 'Europe/Berln' (did you mean 'Europe/Berlin'?)"));
  EXPECT_THAT(error_of("daily 01:00-02:00 Berlin"), HasSubstr("did you mean 'Europe/Berlin'?"));
  EXPECT_THAT(error_of("daily 01:00-02:00 america/new_york"), HasSubstr("did you mean 'America/New_York'?"));
  EXPECT_THAT(error_of("daily 01:00-02:00 Qqqqqqqq/Xxxxxx"), HasSubstr("zones are named like Europe/Berlin"));
}

TEST(ParseWindow, SaysWhatIsWrongAndShowsAnExample) {
  std::vector<std::pair<std::string, std::string>> const cases = {
      {"", "it is empty"},
      {"22:00-06:00", "the days are missing; for every day write 'daily 22:00-06:00'"},
      {"Mon 22:00", "'22:00' is not a span of time"},
      {"Mon 22:00-06:00-07:00", "is not a span of time"},
      {"Mon 2200-06:00", "'2200' is not a time of day such as 22:00"},
      {"Mon 25:00-06:00", "'25:00' is not a time of day: they go from 00:00 to 24:00"},
      {"Mon 22:60-23:00", "'22:60' is not a time of day"},
      {"Mon 22:00-24:01", "'24:01' is not a time of day"},
      {"Mon 24:00-06:00", "24:00 can only be an end"},
      {"Mon 06:00-06:00", "is empty; a whole day is 00:00-24:00"},
      {"Mon-Tue-Wed", "is not a day or a range of days"},
      {"Mon,", "unknown day ''"},
      {"Mon 22:00-06:00 UTC please", "'please' is one word too many"},
  };
  for (auto const& [text, complaint] : cases) {
    EXPECT_THAT(error_of(text), HasSubstr(complaint));
    EXPECT_THAT(error_of(text), HasSubstr("a window looks like \"Mon-Fri 22:00-06:00 Europe/Berlin\""));
  }
  EXPECT_THAT(error_of(std::string(201, 'x')), HasSubstr("at most 200 characters"));
}

RC_GTEST_PROP(ParseWindowProperty, AnswersAnyTextWithAWindowOrASentence, (std::string const& text)) {
  auto const parsed = parse_window(text);
  if (auto const* read = std::get_if<Window>(&parsed)) {
    RC_ASSERT(read->days.any() && read->from < read->to && read->to <= read->from + hours{24});
  } else {
    RC_ASSERT(!std::get<std::string>(parsed).empty());
  }
}

TEST(Schedule, IsAlwaysOpenWithoutWindows) {
  Schedule const always({});
  EXPECT_TRUE(always.is_open(utc("2026-01-01 00:00")));
  EXPECT_EQ(always.opens_at(utc("2026-01-01 00:00")), std::nullopt);
  EXPECT_EQ(always.closes_at(utc("2026-01-01 00:00")), std::nullopt);
}

TEST(Schedule, IsAlwaysOpenIfItsWindowsLeaveNoGap) {
  auto const at = utc("2026-03-01 12:00");
  EXPECT_EQ(schedule({"daily"}).closes_at(at), std::nullopt);
  EXPECT_EQ(schedule({"Mon-Fri", "Sat-Sun"}).closes_at(at), std::nullopt);
  EXPECT_EQ(schedule({"daily 06:00-18:00", "daily 18:00-06:00"}).closes_at(at), std::nullopt);
  EXPECT_TRUE(schedule({"daily"}).is_open(at));
}

TEST(Schedule, GivesAWindowThatCrossesMidnightToItsStartingDay) {
  auto const nights = schedule({"Mon-Fri 22:00-06:00"});
  expect_open(nights, "2026-06-05 22:00", "2026-06-06 06:00");  // Friday night reaches into Saturday
  EXPECT_FALSE(nights.is_open(utc("2026-06-06 23:00")));
  EXPECT_FALSE(nights.is_open(utc("2026-06-08 05:00")));  // Sunday night is not in it
  EXPECT_EQ(nights.opens_at(utc("2026-06-06 06:00")), utc("2026-06-08 22:00"));
}

TEST(Schedule, MergesWholeDaysAndOverlaps) {
  expect_open(schedule({"Sat-Sun"}), "2026-06-06 00:00", "2026-06-08 00:00");
  expect_open(schedule({"Fri-Mon"}), "2026-06-05 00:00", "2026-06-09 00:00");
  expect_open(schedule({"Mon-Fri 22:00-06:00 Europe/Berlin", "Sat-Sun Europe/Berlin"}), "2026-06-05 20:00",
              "2026-06-07 22:00");
  expect_open(schedule({"Mon 01:00-03:00", "Mon 02:00-05:00", "Mon 05:00-06:00"}), "2026-06-08 01:00",
              "2026-06-08 06:00");
}

TEST(Schedule, FollowsTheClocksOfBerlinInSpring) {
  auto const nights = schedule({"daily 22:00-06:00 Europe/Berlin"});
  expect_open(nights, "2026-03-27 21:00", "2026-03-28 05:00");
  expect_open(nights, "2026-03-28 21:00", "2026-03-29 04:00");  // an hour shorter
  expect_open(nights, "2026-03-29 20:00", "2026-03-30 04:00");
}

TEST(Schedule, TakesASkippedTimeAsTheEndOfTheGap) {
  expect_open(schedule({"Sun 02:30-05:00 Europe/Berlin"}), "2026-03-29 01:00", "2026-03-29 03:00");
  expect_open(schedule({"Sun 01:00-02:30 Europe/Berlin"}), "2026-03-29 00:00", "2026-03-29 01:00");
  auto const lost = schedule({"Sun 02:10-02:50 Europe/Berlin"});
  EXPECT_EQ(lost.opens_at(utc("2026-03-28 12:00")), utc("2026-04-05 00:10"));
}

TEST(Schedule, TakesARepeatedTimeAsEarlyForAStartAndLateForAnEnd) {
  expect_open(schedule({"daily 22:00-06:00 Europe/Berlin"}), "2026-10-24 20:00", "2026-10-25 05:00");
  expect_open(schedule({"Sun 02:30-05:00 Europe/Berlin"}), "2026-10-25 00:30", "2026-10-25 04:00");
  expect_open(schedule({"Sun 01:00-02:30 Europe/Berlin"}), "2026-10-24 23:00", "2026-10-25 01:30");
}

TEST(Schedule, KnowsAZoneWithHalfAnHour) {
  expect_open(schedule({"Mon 00:00-05:00 Asia/Kolkata"}), "2026-06-07 18:30", "2026-06-07 23:30");
}

TEST(Schedule, FollowsTheClocksOfNewYork) {
  auto const nights = schedule({"daily 23:00-04:00 America/New_York"});
  expect_open(nights, "2026-03-08 04:00", "2026-03-08 08:00");
  expect_open(nights, "2026-11-01 03:00", "2026-11-01 09:00");
}

TEST(Schedule, FindsAGapThatComesOnceAYear) {
  auto const almost =
      schedule({"Mon-Sat Europe/Berlin", "Sun 00:00-02:00 Europe/Berlin", "Sun 03:00-24:00 Europe/Berlin"});
  EXPECT_EQ(almost.closes_at(utc("2026-03-23 12:00")), utc("2026-04-05 00:00"));
}

TEST(Schedule, IsClosedInABlackoutWhateverTheWindowsSay) {
  auto const nights = schedule({"daily 22:00-06:00"}, {"Sat 00:00-02:00"});
  expect_open(nights, "2026-06-04 22:00", "2026-06-05 06:00");
  expect_open(nights, "2026-06-05 22:00", "2026-06-06 00:00");
  expect_open(nights, "2026-06-06 02:00", "2026-06-06 06:00");
  expect_open(schedule({}, {"Mon 08:00-18:00"}), "2026-06-08 18:00", "2026-06-15 08:00");
}

TEST(Schedule, OpensWhereABlackoutEndsInsideAWindowOrTheNextWindowBegins) {
  auto const days = schedule({"daily 10:00-12:00"}, {"daily 09:00-11:00", "Tue 11:00-20:00"});
  expect_open(days, "2026-06-08 11:00", "2026-06-08 12:00");
  EXPECT_EQ(days.opens_at(utc("2026-06-08 12:00")), utc("2026-06-10 11:00")) << "Tuesday has no open time at all";
}

TEST(Schedule, KnowsThatItNeverOpensOrNeverCloses) {
  auto const never = schedule({"Mon 10:00-12:00"}, {"Mon"});
  EXPECT_FALSE(never.is_open(utc("2026-06-08 11:00")));
  EXPECT_EQ(never.opens_at(utc("2026-06-08 11:00")), std::nullopt);
  EXPECT_EQ(never.after_open_time(utc("2026-06-08 11:00"), minutes{1}), std::nullopt);
  EXPECT_EQ(schedule({}, {"daily"}).opens_at(utc("2026-06-08 11:00")), std::nullopt);
  EXPECT_EQ(schedule({"Mon 10:00-12:00"}, {"Tue"}).closes_at(utc("2026-06-08 11:00")), utc("2026-06-08 12:00"));
}

TEST(Schedule, BlackoutsFollowTheClocks) {
  auto const business = schedule({}, {"daily 01:00-04:00 Europe/Berlin"});
  expect_open(business, "2026-03-28 03:00", "2026-03-29 00:00");
  expect_open(business, "2026-03-29 02:00", "2026-03-29 23:00");  // the blackout was an hour shorter
  expect_open(business, "2026-10-25 03:00", "2026-10-26 00:00");  // and an hour longer
}

TEST(Schedule, CountsOpenTimeOnly) {
  auto const nights = schedule({"daily 22:00-02:00"}, {"Sat 00:00-01:00"});
  auto const friday = utc("2026-06-05 12:00");
  EXPECT_EQ(nights.after_open_time(friday, minutes{0}), utc("2026-06-05 22:00"));
  EXPECT_EQ(nights.after_open_time(friday, hours{2}), utc("2026-06-06 00:00"));
  EXPECT_EQ(nights.after_open_time(friday, hours{3}), utc("2026-06-06 02:00"));
  EXPECT_EQ(nights.after_open_time(friday, hours{4}), utc("2026-06-06 23:00"));
  EXPECT_EQ(nights.after_open_time(utc("2026-06-05 23:30"), minutes{15}), utc("2026-06-05 23:45"));
  EXPECT_EQ(schedule({}).after_open_time(friday, hours{30}), friday + hours{30});
  auto const berlin = schedule({"daily 01:00-04:00 Europe/Berlin"});
  EXPECT_EQ(berlin.after_open_time(utc("2026-03-28 23:00"), minutes{150}), utc("2026-03-29 23:30"));
}

// Reads local time with the C library, which shares nothing with the code under test but the zone files.
class LocalClock {
 public:
  explicit LocalClock(std::string const& zone) {
    char const* const before = getenv("TZ");
    was_set_ = before != nullptr;
    if (was_set_) before_ = before;
    setenv("TZ", zone.c_str(), 1);
    tzset();
  }
  ~LocalClock() {
    was_set_ ? setenv("TZ", before_.c_str(), 1) : unsetenv("TZ");
    tzset();
  }
  LocalClock(LocalClock const&) = delete;
  LocalClock& operator=(LocalClock const&) = delete;

  // What the clock on the wall shows, as minutes since its own 1970.
  long reading(time_t minute) const {
    time_t const second = minute * 60;
    tm fields{};
    localtime_r(&second, &fields);
    return timegm(&fields) / 60;
  }

 private:
  bool was_set_ = false;
  std::string before_;
};

constexpr int kOracleDays = 16;
constexpr int kOracleMinutes = kOracleDays * 24 * 60;
constexpr long kDayMinutes = 24 * 60;

struct OracleWindow {
  std::array<bool, 7> days{};
  int from = 0;
  int length = 1;
  std::size_t zone = 0;

  std::string text(std::vector<std::string> const& zones) const {
    constexpr std::array<char const*, 7> kNames = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    std::string list;
    for (std::size_t day = 0; day < days.size(); ++day) {
      if (days[day]) list.append(list.empty() ? "" : ",").append(kNames[day]);
    }
    int const to = from + length == 1440 ? 1440 : (from + length) % 1440;
    std::array<char, 32> times{};
    std::snprintf(times.data(), times.size(), " %02d:%02d-%02d:%02d ", from / 60, from % 60, to / 60, to % 60);
    return list + times.data() + zones[zone];
  }
};

// The minute at which the wall clock shows `local`: the first, the last, or else the first that shows a later time.
int minute_of(std::vector<long> const& readings, long local, bool is_last) {
  auto const begin = readings.begin();
  auto const from = std::find(begin, readings.end(), local);
  if (from == readings.end()) {
    auto const after = std::find_if(begin, readings.end(), [&](long reading) { return reading > local; });
    return static_cast<int>(after - begin);
  }
  if (!is_last) return static_cast<int>(from - begin);
  return static_cast<int>(readings.rend() - std::find(readings.rbegin(), readings.rend(), local)) - 1;
}

std::vector<bool> open_minutes(std::vector<OracleWindow> const& windows, std::vector<std::string> const& zones,
                               time_t base) {
  std::vector<bool> open(kOracleMinutes, false);
  for (auto const& window : windows) {
    LocalClock const clock(zones[window.zone]);
    std::vector<long> readings;
    for (int minute = 0; minute < kOracleMinutes; ++minute) readings.push_back(clock.reading(base + minute));
    for (long day = readings.front() / kDayMinutes; day <= readings.back() / kDayMinutes; ++day) {
      if (!window.days[static_cast<std::size_t>((day + 3) % 7)]) continue;  // 1970-01-01 was a Thursday
      long const from = day * kDayMinutes + window.from;
      int const first = minute_of(readings, from, false);
      int const last = minute_of(readings, from + window.length, true);
      for (int minute = first; minute < last; ++minute) open[static_cast<std::size_t>(minute)] = true;
    }
  }
  return open;
}

rc::Gen<OracleWindow> any_window(std::size_t zones) {
  return rc::gen::apply(
      [](unsigned days, int from, int length, std::size_t zone) {
        OracleWindow window;
        for (std::size_t day = 0; day < 7; ++day) window.days[day] = (days >> day & 1) != 0;
        window.from = from * 5;
        window.length = length * 5;
        if (window.length == 1440) window.from = 0;
        window.zone = zone;
        return window;
      },
      rc::gen::inRange(1u, 128u), rc::gen::inRange(0, 288), rc::gen::inRange(1, 289),
      rc::gen::inRange(std::size_t{0}, zones));
}

RC_GTEST_PROP(ScheduleProperty, AgreesWithAClockReadMinuteByMinute, ()) {
  static std::vector<std::string> const kZones = {"UTC",          "Europe/Berlin",       "America/New_York",
                                                  "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo",
                                                  "Pacific/Apia"};
  // A week before clocks changed in Berlin, New York, Berlin, Lord Howe, Cairo; before Apia skipped a day; a plain
  // week.
  static std::vector<std::string> const kBases = {"2026-03-22 00:00", "2026-03-01 07:00", "2026-10-18 00:00",
                                                  "2026-09-27 00:00", "2024-04-19 00:00", "2011-12-23 00:00",
                                                  "2026-06-03 00:00"};
  auto const base = utc(*rc::gen::elementOf(kBases));
  auto const windows =
      *rc::gen::resize(3, rc::gen::nonEmpty(rc::gen::container<std::vector<OracleWindow>>(any_window(kZones.size()))));
  auto const blackouts = *rc::gen::resize(2, rc::gen::container<std::vector<OracleWindow>>(any_window(kZones.size())));
  std::vector<std::string> texts;
  for (auto const& each : windows) texts.push_back(each.text(kZones));
  std::vector<std::string> blackout_texts;
  for (auto const& each : blackouts) blackout_texts.push_back(each.text(kZones));
  RC_LOG() << testing::PrintToString(texts) << " but not " << testing::PrintToString(blackout_texts);
  auto const tested = schedule(texts, blackout_texts);
  auto open = open_minutes(windows, kZones, base.time_since_epoch() / minutes{1});
  auto const closed = open_minutes(blackouts, kZones, base.time_since_epoch() / minutes{1});
  std::transform(open.begin(), open.end(), closed.begin(), open.begin(), [](bool in, bool out) { return in && !out; });

  // The oracle sees no window that reaches in from before its first minute, nor past its last.
  constexpr int kFirst = 3 * 24 * 60;
  constexpr int kLast = kOracleMinutes - kFirst;
  for (int minute = kFirst; minute < kLast; ++minute) {
    auto const at = base + minutes{minute};
    auto const here = open.begin() + minute;
    RC_ASSERT(tested.is_open(at) == *here);
    if (minute % 97 != 0) continue;
    auto const change = std::find(here, open.begin() + kLast, !*here);
    if (change == open.begin() + kLast) continue;
    auto const expected = base + minutes{change - open.begin()};
    RC_ASSERT((*here ? tested.closes_at(at) : tested.opens_at(at)) == expected);
    RC_ASSERT((*here ? tested.opens_at(at) : tested.closes_at(at)) == std::nullopt);
  }
}

}  // namespace
}  // namespace pgbackfill::throttle
