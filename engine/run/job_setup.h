// From a checked migration file to a job in the database: what is checked against the server, and how ranges are made.
//
// check_backfill only reads. create_job writes the job and its ranges in one transaction.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/run/limits.h"
#include "engine/run/pg_database.h"
#include "engine/state/state_store.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"
#include "planner/work/work_sql.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

struct Preflight {
  planner::TableFacts table;
  std::vector<planner::Key> keys;            // by leaf
  std::vector<planner::WorkTarget> targets;  // by leaf
  planner::WorkTraits traits;                // of all targets
  bool sweeps = false;
  // What else the work reads: qualified names, and functions ("()") that may read any.
  std::vector<std::string> other_relations;
  // Of a job of some keys: how many there are.
  std::optional<std::int64_t> listed_rows;
  std::vector<std::string> warnings;       // to be told, whatever is done
  std::vector<std::string> notes;          // of how it is done
  bool lacks_rights = false;               // to do the work; reading may be allowed
  std::string cannot_lock;                 // the role, where it may not lock rows of the table
  std::vector<planner::Problem> problems;  // with the file's positions; the backfill can run when there are none
  // All problems are of names that are not there yet: an expand step may make them.
  bool only_missing_names = false;
  std::optional<planner::TableName> missing_table;
  bool lacks_key = false;      // one problem is that there is none to page by
  bool refuses_value = false;  // or that the server takes a value for none of its type
  bool is_hopeless = false;    // whatever expand steps make, one problem stays
};

// A column, table, function, schema or type that is not there.
bool is_missing_name(std::string const& sqlstate);

enum class Purpose {
  kWork,
  kMeasure,  // only reads what is left: no right is needed but SELECT
};
asio::awaitable<Result<Preflight>> check_backfill(PgConnection& connection, planner::Backfill backfill,
                                                  Purpose purpose = Purpose::kWork);

// Whether the expand steps may put right all that is wrong.
bool may_come_with_expand(Preflight const& preflight, planner::Migration const& migration);

// What the server says against the queries of `probes:`; it plans them and does not run them.
asio::awaitable<Result<std::vector<planner::Problem>>> check_probes(PgConnection& connection,
                                                                    std::vector<planner::ProbeOptions> probes);

struct LeafRanges {
  planner::Bound upper;
  std::vector<planner::PlannedRange> ranges;
};
asio::awaitable<Result<std::vector<LeafRanges>>> plan_ranges(PgConnection& connection, Preflight const& preflight);

// What the job does, in a form that changes only when the work does; workers and pace are not part of it.
std::string definition_of(planner::Backfill const& backfill);

// What the file and the table say of it; without leaves and ranges.
state::NewJob new_job(planner::Migration const& migration, Preflight const& preflight);

asio::awaitable<Result<Done>> create_job(PgConnection& connection, planner::Migration const& migration,
                                         Preflight const& preflight, std::vector<LeafRanges> ranges,
                                         Owner const& owner);

struct StoredJob {
  std::int64_t id = 0;
  std::string name;
  std::string definition;
  planner::TableName table;
  JobStatus status = JobStatus::kRunning;
  std::string reason;
  int pass = 0;
  bool sweeps = false;
  int workers = 1;
  std::chrono::milliseconds batch_target{100};
  SettingTexts settings;  // live ones of the throttle
  std::map<std::string, std::string> compute_settings;
  bool pause_has_end = false;
  std::optional<std::uint32_t> relation;  // of the table that it began on; none in jobs of older versions
  // Schema pgbackfill is not the one in which the job was last bound to its table: it was restored from a dump.
  bool is_state_restored = false;
};
asio::awaitable<Result<std::optional<StoredJob>>> find_job(PgConnection& connection, std::string name);

// How far the job is, by its own record; nothing when it is gone. `owner`: the id of the process that asks, or "".
asio::awaitable<Result<std::optional<Control>>> read_control(PgConnection& connection, std::int64_t job,
                                                             std::string owner);

// Gives back what processes of this machine held that are no more, so that nobody waits for their leases to run out.
asio::awaitable<Result<int>> release_dead_processes(PgConnection& connection, std::int64_t job, Owner owner);

}  // namespace pgbackfill::engine
