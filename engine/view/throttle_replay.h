// What the throttle saw and what it decides from it, over the time of a recording: part of a report.
//
// Pure. app/replay_reader.h makes it from what `run --record-readings` wrote. Times are milliseconds since 1970, UTC.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::engine {

// A stretch of decisions: means over its time, but where it says otherwise.
struct ReplayedStretch {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  std::int64_t decisions = 0;

  // Seen.
  std::map<std::string, double> backlog;  // by replica or slot: most bytes of WAL that it has not replayed yet
  std::optional<double> commit_ms;
  std::optional<double> others_active;  // sessions
  int waiters = 0;                      // most of them

  // Done by this process.
  double rows = 0;       // of batches that began
  double wal_bytes = 0;  // as estimated
  double workers_busy = 0;

  // Decided.
  double workers_allowed = 0;             // of those that wanted to run; 0 while no batch may start
  std::optional<double> wal_allowed;      // bytes per second; absent while nothing limits them
  std::map<std::string, double> held_ms;  // by cause that slows or stops; causes overlap

  double seconds() const { return static_cast<double>(to_ms - from_ms) / 1000; }
};

struct ThrottleReplay {
  std::string file;
  std::int64_t decisions = 0;
  std::vector<ReplayedStretch> stretches;  // in the order of time
};

// The two as one.
ReplayedStretch joined(ReplayedStretch const& first, ReplayedStretch const& second);

// "1,234 decisions over 4 min 7 s", and a line for each cause with its share of the time.
std::vector<std::string> replay_lines(ThrottleReplay const& replay);
// Charts; empty where there is too little to draw.
std::string replay_html(ThrottleReplay const& replay);
boost::json::object json_of(ThrottleReplay const& replay);

}  // namespace pgbackfill::engine
