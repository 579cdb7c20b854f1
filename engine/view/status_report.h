// How far migrations are, as values: app/status_reader.h reads them, status_view.h shows them as text or JSON.
//
// Pure values, complete: whoever shows them asks nobody. Times are UTC as the server writes them, or milliseconds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/approval.h"
#include "engine/base/eta.h"
#include "engine/base/job_costs.h"
#include "engine/base/sample.h"
#include "engine/state/state_store.h"
#include "engine/state/stored_overview.h"
#include "engine/view/runners_view.h"
#include "planner/model/migration.h"
#include "throttle/reading.h"
#include "throttle/windows.h"

namespace pgbackfill::engine {

struct StatusSetting {
  std::string name;
  std::string text;
  std::string origin;  // "default", "file", "live"
};

struct StatusOverview : state::StoredOverview {
  std::vector<StatusSetting> settings;  // of the throttle, all of them
  std::optional<std::int64_t> max_rows_per_second;
  throttle::Schedule schedule{{}};
  std::string broken;                           // why nothing more of it can be read
  std::optional<planner::Migration> migration;  // the file, where this version can read it
  std::int64_t followers = 0;                   // processes of a complete job, which look for rows that come

  bool is(JobStatus wanted) const { return job && status == state::status_name(wanted); }
  bool has_ended() const { return is(JobStatus::kComplete) || is(JobStatus::kFailed) || is(JobStatus::kCancelled); }
  bool is_followed() const { return is(JobStatus::kComplete) && contract_done == 0 && followers > 0; }
  bool is_idle() const { return is(JobStatus::kRunning) && processes == 0; }
  bool is_worked_on() const { return is(JobStatus::kRunning) && processes > 0; }
  std::int64_t rows_left() const {
    return std::max<std::int64_t>(pass == 0 ? rows_estimated - rows_done : pass_estimated - pass_done, 0);
  }
};

struct RangeHolder {  // a process that holds ranges
  std::string host;
  std::int64_t pid = 0;
  std::int64_t ranges = 0;
  std::int64_t lease_ms = 0;  // until the first lease runs out; negative: ran out
  bool is_gone = false;       // known to have ended
};

struct UnendedRun {
  std::string host;
  std::int64_t pid = 0;
  std::string since;
};

struct BadRow {
  std::string table;
  std::vector<std::pair<std::string, std::string>> key;
  std::string sqlstate;
  std::string message;
};

struct StatusChange {
  std::string kind;
  std::string at;
  std::string who;
};

struct PreparedSeen {  // a result of `prepare`
  std::string name;
  std::int64_t rows = 0;
  std::int64_t age_s = 0;
  std::int64_t pass = 0;
  std::int64_t bytes = 0;
};

// Everything that one page shows.
struct StatusPage {
  StatusOverview overview;
  std::vector<RangeHolder> holders;
  std::vector<UnendedRun> waiting;  // processes that are there but hold no range
  std::vector<BadRow> bad_rows;
  std::optional<StatusChange> change;
  std::vector<RunnerSeen> runners;                    // processes that told of themselves lately
  std::vector<throttle::NeighbourReading> elsewhere;  // processes of jobs in other databases of the server
  std::vector<PreparedSeen> prepared;                 // what the batches read
  std::string growth;                                 // of the table since the job began
  std::optional<JobCosts> costs;
  std::vector<std::string> in_the_way;  // who holds deferred rows, or locks that a batch waits for
  std::optional<Approval> approval;     // the latest one, of the contract steps
  std::vector<StoredSample> last_hour;  // moments of it that are kept
  bool shows_course = false;            // as small charts
};

struct StatusPace {
  double rows_per_second = 0;
  std::optional<Eta> eta;
};

}  // namespace pgbackfill::engine
