// How a rehearsal went and what it foretells, as one value: engine/rehearse makes it, rehearsal_view.h shows it.
//
// Pure values. "Here" is the stand-in, "there" is production. Sizes are bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::engine {

// What is expected, and between which bounds.
struct Forecast {
  double low = 0;
  double expected = 0;
  double high = 0;
};

struct RehearsedPhase {
  std::string name;
  std::chrono::milliseconds here{0};
  bool grows = false;  // with the rows; else it takes as long there
  Forecast there_ms;
  std::int64_t wal_here = 0;
  double wal_there = 0;
};

struct RehearsedStep {
  std::string phase;
  std::string text;
  std::int64_t took_ms = 0;
  std::int64_t lock_wait_ms = 0;
  std::string waited_for;
};

struct RehearsedSize {
  std::string what;  // table, indexes, TOAST
  std::int64_t before = 0;
  std::int64_t after = 0;
};

enum class LimitVerdict { kKept, kDoubtful, kBroken };

struct RehearsedLimit {
  std::string name;   // as in the file
  std::string limit;  // for people, as the value is
  std::string value;
  LimitVerdict verdict = LimitVerdict::kKept;
};

// Applications beside it, for a part of the time: "before", "during" or "after" the migration.
struct TrafficPart {
  std::string name;
  std::int64_t statements = 0;
  std::int64_t failed = 0;
  double p50_ms = 0;
  double p99_ms = 0;
  double p999_ms = 0;
};

struct RehearsalReport {
  std::string migration;
  std::string file;
  std::string profile_taken_at;
  std::string server;  // "PostgreSQL 15, a sandbox of this machine"
  std::int64_t rows_there = 0;
  std::int64_t rows_here = 0;
  std::int64_t built_rows = 0;
  std::chrono::milliseconds fill_time{0};
  std::chrono::milliseconds build_time{0};
  // Of what a batch costs there to what it costs here; nothing: the profile or this server has no sample of it.
  std::optional<double> hardware_ratio;
  double commit_ms_there = 0;
  double commit_ms_here = 0;
  std::string ended;  // how, where it did not come to its end
  std::string trouble;
  std::vector<RehearsedPhase> phases;
  Forecast total_ms;
  std::vector<RehearsedStep> steps;
  std::int64_t rows_changed = 0;
  double rows_per_second = 0;  // of the backfill here, once it was under way
  std::string held_back;
  std::int64_t wal_here = 0;
  double wal_there = 0;
  std::vector<RehearsedSize> sizes;
  double growth = 0;  // of all that the database holds, at most, as a share
  std::int64_t disk_peak_here = 0;
  double disk_peak_there = 0;
  std::int64_t lag_ms = 0;
  std::int64_t lock_wait_ms = 0;
  std::string who_waited;
  std::vector<TrafficPart> traffic;  // none: it had the server to itself
  std::vector<RehearsedLimit> limits;
  std::vector<std::string> notes;
};

}  // namespace pgbackfill::engine
