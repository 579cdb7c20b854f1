// One moment of a job's past: what `report` draws and `status` sums up.
//
// Plain values. What counts up is kept as a count and not as a rate, so that moments can be taken out between two
// others and the rate between these stays what it was. Bytes of WAL are a second's.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace pgbackfill::engine {

// Of every job so often, and at every turn: when it begins, ends, is paused or resumed.
inline constexpr std::chrono::milliseconds kSampleInterval{5'000};

// What the process that writes it saw, since it wrote last.
struct JobSample {
  std::chrono::milliseconds took{0};       // the time that it is of
  std::string phase;                       // "backfill", "sweep", "deferred", "paused", "window", "stopping"
  std::optional<std::int64_t> batch_rows;  // of batches that committed, in the mean
  std::optional<std::chrono::milliseconds> batch_duration;
  std::map<std::string, std::int64_t> lag_ms;   // by replica or slot, at worst
  std::optional<double> latency_ratio;          // of a commit to one without us, at worst
  std::int64_t waiters = 0;                     // for locks of ours, at most
  std::map<std::string, std::int64_t> held_ms;  // by cause, of `took`; causes overlap
  std::string held_by;                          // the first cause, as a sentence
  std::optional<std::int64_t> table_bytes;      // with indexes and TOAST
};

// The same with what the database knows: of all processes together.
struct StoredSample : JobSample {
  std::int64_t at_ms = 0;  // since 1970, UTC
  std::int64_t rows_done = 0;
  std::int64_t rows_changed = 0;
  double workers = 0;  // batches in flight
  std::int64_t processes = 0;
  double wal_per_second = 0;
};

}  // namespace pgbackfill::engine
