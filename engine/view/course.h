// How a job went, from the moments that are kept of it: stretches of time with a rate, and where it stood and why.
//
// Pure functions over base/sample.h. Times are milliseconds since 1970, UTC.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/sample.h"

namespace pgbackfill::engine {

// The time between two moments, or a part of it in which no process was there.
struct Stretch {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  std::int64_t rows = 0;
  bool is_gone = false;    // nobody wrote: no process worked on it
  std::size_t sample = 0;  // the moment at its end; of is_gone the one after it

  std::int64_t length_ms() const { return to_ms - from_ms; }
  double rows_per_second() const {
    return length_ms() > 0 ? static_cast<double>(rows) * 1000 / static_cast<double>(length_ms()) : 0;
  }
};

// In the order of time, without overlaps. `samples` oldest first.
std::vector<Stretch> stretches_of(std::vector<StoredSample> const& samples);

// A time in which no row was passed.
struct Standstill {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  std::string cause;  // "paused", "window", "no process", a cause of the throttle; empty: not known
  std::string text;   // the cause as a sentence, as far as it has one
};

struct CourseSummary {
  std::chrono::milliseconds covered{0};  // from the first to the last moment
  std::chrono::milliseconds at_work{0};  // of it, while a process was there
  std::int64_t rows = 0;
  std::map<std::string, std::int64_t> held_ms;  // by cause; causes overlap
  std::vector<Standstill> standstills;          // of at least kShortestStandstill

  double rows_per_second() const {
    return covered.count() > 0 ? static_cast<double>(rows) * 1000 / static_cast<double>(covered.count()) : 0;
  }
};

inline constexpr std::chrono::milliseconds kShortestStandstill{20'000};

CourseSummary summary_of(std::vector<StoredSample> const& samples);

// "1,234 rows/s; stood 12 min: paused 8 min, replica_lag 4 min"; empty where there is too little to say anything of.
std::string course_text(CourseSummary const& summary);
boost::json::object json_of(CourseSummary const& summary);

// What a cause is called by people: "replica_lag" stays, "blind" is "missing readings".
std::string cause_label(std::string const& cause);

}  // namespace pgbackfill::engine
