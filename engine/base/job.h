// A job as its workers know it, and as the database has it. Values only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "planner/model/migration.h"
#include "planner/work/batch.h"

namespace pgbackfill::engine {

enum class JobStatus { kRunning, kPaused, kCancelled, kFailed, kComplete };

// What a worker has to know of a leaf besides its SQL.
struct LeafPlan {
  std::string relation;  // quoted, for messages
  planner::Key key;
  std::int64_t rows_estimated = 0;
  double rows_per_block = 1;
  std::int64_t bytes_per_row = 0;
  std::uint64_t heap_bytes = 0;  // when the job began
};

struct Job {
  std::int64_t id = 0;
  std::string name;
  std::string table;  // quoted, for messages
  planner::Backfill backfill;
  std::vector<LeafPlan> leaves;  // by leaf number
};

// The job as the database has it: what everybody asked of it, and how far it is.
struct Control {
  JobStatus status = JobStatus::kRunning;
  std::string reason;  // why it is paused, cancelled or failed, and who said so
  int pass = 0;
  int workers = 1;
  std::chrono::milliseconds batch_target{100};
  std::map<std::string, std::string> throttle_settings;  // set live: name without "throttle.", and text
  std::map<std::string, std::string> compute_settings;   // the same of "compute."
  std::string follow_ended;                              // when and by whom those that follow were last told to end
  std::string paused_until;                              // of a pause with an end, in UTC, for people
  std::optional<std::chrono::milliseconds> pause_left;   // until then, by the database's clock
  std::int64_t rows_estimated = 0;
  std::int64_t rows_done = 0;
  std::int64_t rows_changed = 0;
  std::int64_t batches = 0;
  std::int64_t ranges_open = 0;
  std::int64_t ranges_total = 0;
  std::int64_t ranges_held_elsewhere = 0;
  std::int64_t deferred = 0;
  std::int64_t quarantined = 0;
  std::int64_t rows_again = 0;  // changed rows that still satisfied `where` afterwards
};

// A leaf with keys that wait for a visit, and how many.
struct DeferredLeaf {
  int leaf = 0;
  std::int64_t keys = 0;
};

}  // namespace pgbackfill::engine
