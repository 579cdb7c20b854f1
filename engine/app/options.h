// What the use cases are asked to do, whoever asks: a command line or a program.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/base/listen_address.h"
#include "planner/model/risk.h"

namespace pgbackfill::engine {

enum class PlanFormat { kText, kJson, kMarkdown };
struct PlanOptions {
  std::string file;
  std::optional<PlanFormat> format;      // absent: as for all commands
  bool sample = false;                   // run one batch and roll it back
  std::optional<planner::Risk> fail_on;  // exit 3 when an open step is this bad or worse; absent: never
};
// How steps get their locks.
struct LockOptions {
  std::chrono::milliseconds patience{1'800'000};
  std::vector<int> terminate_pids;
  std::chrono::milliseconds terminate_idle{0};  // 0: never
  std::vector<std::string> standbys;            // conninfos, where readers are looked for
};

struct RunOptions {
  std::string file;
  EventSink* sink = nullptr;  // gets every event, and has to outlive the run; null: told on standard error
  LockOptions locks;
  bool skip_hooks = false;
  std::optional<int> workers;  // overrides the file for a new job
  bool exit_outside_window = false;
  bool is_rehearsal = false;  // on a stand-in: without hooks, receivers, windows and probes (rehearsed.h)
  bool accept_drift = false;
  bool subscribers_ready = false;
  bool is_dry_run = false;            // tries the work on some rows, and rolls it back
  std::optional<std::int64_t> limit;  // rows that it changes before it stops, resumable
  bool may_follow = true;             // whether `follow:` of the file is heeded
  std::chrono::milliseconds lease_time{30'000};
  std::chrono::milliseconds deferred_patience{60'000};
  std::chrono::milliseconds reconnect_patience{300'000};
  std::chrono::milliseconds poll_interval{1'000};
  std::optional<ListenAddress> listen;        // for metrics and health; absent: nowhere
  std::chrono::milliseconds final_scrape{0};  // how long to wait at the end for one more scrape
  std::string record_readings;                // a file for what the throttle sees; empty: none
};
struct FinishOptions {
  std::string file_or_name;
  LockOptions locks;
  bool skip_hooks = false;
  bool yes = false;
  bool subscribers_ready = false;  // complete
  bool is_dry_run = false;         // rollback: says what it would do
  bool is_rehearsal = false;       // as of RunOptions; prints nothing
  std::string to;                  // rollback of a folder: the migration that stays
};

}  // namespace pgbackfill::engine
