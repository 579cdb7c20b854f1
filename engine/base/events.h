// What the engine tells: values handed from the engine's thread to the teller's thread.
//
// The engine never waits for a reader: emitting is a move into a lock-free queue. Texts are complete sentences
// without secrets; connection strings never appear in them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "planner/model/trouble.h"
#include "throttle/decision.h"
#include "throttle/limits.h"
#include "throttle/reading.h"
#include "throttle/throttle.h"
#include "throttle/windows.h"

namespace pgbackfill::engine {

enum class Severity { kDebug, kInfo, kWarning, kError };

// One line of the log. `fields` are for machines (JSON log); `text` already says everything to a person.
struct LogLine {
  std::chrono::system_clock::time_point at;
  Severity severity = Severity::kInfo;
  std::string text;
  std::vector<std::pair<std::string, std::string>> fields;
};

inline LogLine log_line(Severity severity, std::string text,
                        std::vector<std::pair<std::string, std::string>> fields = {},
                        std::chrono::system_clock::time_point at = std::chrono::system_clock::now()) {
  return {at, severity, std::move(text), std::move(fields)};
}

enum class RunPhase {
  kStarting,
  kExpanding,
  kContracting,
  kPlanning,
  kBackfilling,
  kSweeping,
  kDeferred,
  kFollowing,  // complete, and looking for rows that come after all
  kPaused,
  kOutsideWindow,
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
  // The most that was asked for; it may be far above what is reached.
  std::optional<std::int64_t> max_rows_per_second;
  double rows_per_second = 0;   // over the last few seconds, all processes that work on the job
  std::int64_t batch_rows = 0;  // of the latest batch
  std::chrono::milliseconds batch_duration{0};
  std::chrono::milliseconds batch_target{0};
  std::chrono::milliseconds elapsed{0};  // of this run
  bool may_start = false;                // whether a batch may start now; if not, held_back says why
  std::chrono::milliseconds worked{0};   // of it, without pauses and closed windows
  std::chrono::system_clock::time_point at;
  std::shared_ptr<throttle::Schedule const> schedule;  // null: always open
  std::string held_back;  // why it is slower than it could be; empty if nothing holds it back
  std::string step;       // expanding and contracting: the step, and how far it is
};

// Why a run ended that did not fail, as far as it matters to whoever is told.
enum class Ending { kByItself, kInterrupted, kCancelled, kWindowClosed, kNothingToDo };

struct Summary {
  Progress last;
  bool complete = false;
  Ending ending = Ending::kByItself;
  int exit_code = 0;
  std::string headline;            // "users_display_name is complete: 3,000,000 rows changed in 11.2 s"
  std::vector<std::string> notes;  // what the operator should know or do next
  std::int64_t batches = 0;
};

// One batch of this process that came to an end: committed, or failed with `sqlstate`.
struct BatchTold {
  std::int64_t rows = 0;  // keys passed; none when it failed
  std::chrono::nanoseconds duration{0};
  // Spent waiting for a lock. Known only of a batch that lock_timeout ended; the server does not tell it of others.
  std::optional<std::chrono::nanoseconds> lock_wait;
  std::string sqlstate;  // empty: committed
};

// A call to the database that failed; most are tried again. Of failed batches too.
struct TroubleTold {
  std::string sqlstate;
  planner::Trouble trouble = planner::Trouble::kFatal;
};

// What the probes saw, what the throttle was told of our own work, and what it said; at every decision.
struct HealthTold {
  throttle::Reading reading;
  throttle::Work work;  // since the decision before
  throttle::Decision decision;
  throttle::Mode mode = throttle::Mode::kOn;
};

// Health is larger than all others together and is shared, so that a queue of other events stays small.
using Event = std::variant<LogLine, Progress, Summary, BatchTold, TroubleTold, std::shared_ptr<HealthTold const>>;

// Where the engine hands its events. Thread rule: emit() may be called from any thread and never blocks.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void emit(Event event) = 0;
};

}  // namespace pgbackfill::engine
