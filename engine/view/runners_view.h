// Processes at work as they told of themselves (engine/base/runner.h, throttle/announcement.h), in words for status and
// as JSON.
//
// Pure: rows in, texts out. Texts hold names that came from the server and are neutralised here.
#pragma once

#include <boost/json/array.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/text.h"
#include "throttle/reading.h"

namespace pgbackfill::engine {

struct RunnerSeen {
  struct Cause {
    std::string kind;
    std::string grip;
    std::string text;
    std::chrono::milliseconds lasted{0};
  };

  std::string host;
  std::int64_t pid = 0;
  std::chrono::milliseconds age{0};  // of what it told
  std::string mode;
  bool may_start = true;
  double wal_per_second = 0;
  std::optional<double> wal_limit;
  std::int64_t workers = 0;
  std::optional<double> workers_limit;
  std::vector<Cause> causes;
};

// Rows of state::job_runners().
std::vector<RunnerSeen> runners_of(std::vector<std::vector<std::optional<std::string>>> const& rows);

// How fast each goes of what it may: "31 MB/s of WAL of 40 MB/s allowed, 1 batch at once of 1.2 allowed".
std::vector<std::string> pace_texts(std::vector<RunnerSeen> const& runners);
// What slows or stops each of them, with its numbers and since when; what would, in mode observe.
std::vector<std::string> held_back_texts(std::vector<RunnerSeen> const& runners);
std::vector<std::string> warning_texts(std::vector<RunnerSeen> const& runners);
// The first cause that binds; empty if none does.
std::string first_cause(std::vector<RunnerSeen> const& runners);

// Whom the server is shared with: "the server with prices in database shop, weight 0.33: ...".
std::vector<std::string> elsewhere_texts(std::vector<throttle::NeighbourReading> const& neighbours);

boost::json::array json_of(std::vector<RunnerSeen> const& runners);
boost::json::array elsewhere_json(std::vector<throttle::NeighbourReading> const& elsewhere);

}  // namespace pgbackfill::engine
