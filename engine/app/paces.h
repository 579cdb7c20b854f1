// How fast migrations go, from what was read of them one time after another.
//
// Pure, but for the calendar of their windows. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "engine/base/eta.h"
#include "engine/view/status_report.h"

namespace pgbackfill::engine {

class Paces {
 public:
  // A series of many readings, as --watch makes it; else the few of a single look, of which more is guessed.
  bool is_series = false;

  void add(StatusOverview const& one, std::chrono::steady_clock::time_point now);
  StatusPace of(std::string const& name) const;
  std::map<std::string, StatusPace> const& all() const { return paces_; }

 private:
  struct Series {
    RateHistory history;
    std::chrono::steady_clock::time_point began;
    std::int64_t first_rows = 0;
  };

  static void guess(StatusOverview const& one, Series const& series, StatusPace& pace,
                    std::chrono::milliseconds elapsed);

  std::map<std::string, Series> series_;
  std::map<std::string, StatusPace> paces_;
};

}  // namespace pgbackfill::engine
