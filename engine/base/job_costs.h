// What a job was thought to cost when it began, and what it cost.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace pgbackfill::engine {

// Bytes are of the heap, and of WAL. What older programs began has no estimates; what sets no columns has one of its
// time alone.
struct JobCosts {
  std::optional<std::chrono::milliseconds> estimated_time;
  std::optional<std::int64_t> estimated_bytes;
  std::optional<std::int64_t> estimated_wal_bytes;
  std::chrono::milliseconds time{0};  // from its start to its end, or until now: with pauses, and while nothing ran
  std::int64_t bytes_at_start = 0;
  std::int64_t bytes = 0;
  std::optional<std::int64_t> wal_bytes;  // that the server wrote in that time, whoever asked it to
  bool is_over = false;
};

}  // namespace pgbackfill::engine
