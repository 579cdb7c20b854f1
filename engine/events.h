// What the engine tells: values handed from the engine's thread to the teller's thread.
//
// The engine never waits for a reader: emitting is a move into a lock-free queue. Texts are complete sentences
// without secrets; connection strings never appear in them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace pgbackfill::engine {

enum class Severity { kDebug, kInfo, kWarning, kError };

// One line of the log. `fields` are for machines (JSON log); `text` already says everything to a person.
struct LogLine {
  std::chrono::system_clock::time_point at;
  Severity severity = Severity::kInfo;
  std::string text;
  std::vector<std::pair<std::string, std::string>> fields;
};

enum class RunPhase {
  kStarting,
  kExpanding,
  kPlanning,
  kBackfilling,
  kSweeping,
  kDeferred,
  kPaused,
  kDraining,
  kEnded
};

// A snapshot of the whole job as this process knows it; emitted a few times a second while a job runs.
// Rows are keys passed (`rows_done`) and rows that the work statements changed (`rows_changed`).
struct Progress {
  std::string migration;
  std::string table;
  RunPhase phase = RunPhase::kStarting;
  std::int64_t rows_done = 0;
  std::int64_t rows_estimated = 0;
  std::int64_t rows_changed = 0;
  std::int64_t ranges_open = 0;
  std::int64_t ranges_total = 0;
  std::int64_t deferred = 0;
  std::int64_t quarantined = 0;
  std::int64_t retries = 0;
  int workers = 0;
  double rows_per_second = 0;   // over the last few seconds, all processes that work on the job
  std::int64_t batch_rows = 0;  // of the latest batch
  std::chrono::milliseconds batch_duration{0};
  std::chrono::milliseconds batch_target{0};
  std::chrono::milliseconds elapsed{0};  // of this run
  std::string held_back;                 // why it is slower than it could be; empty if nothing holds it back
};

struct Summary {
  Progress last;
  bool complete = false;
  int exit_code = 0;
  std::string headline;            // "users_display_name is complete: 3,000,000 rows changed in 11.2 s"
  std::vector<std::string> notes;  // what the operator should know or do next
  std::int64_t batches = 0;
};

using Event = std::variant<LogLine, Progress, Summary>;

// Where the engine hands its events. Thread rule: emit() may be called from any thread and never blocks.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void emit(Event event) = 0;
};

}  // namespace pgbackfill::engine
