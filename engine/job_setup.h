// From a checked migration file to a job in the database: what is checked against the server, and how ranges are made.
//
// check_backfill only reads. create_job writes the job and its ranges in one transaction.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/limits.h"
#include "engine/pg_connection.h"
#include "engine/pg_database.h"
#include "engine/state_store.h"
#include "planner/migration.h"
#include "planner/table_facts.h"
#include "planner/work_sql.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

struct Preflight {
  planner::TableFacts table;
  std::vector<planner::Key> keys;            // by leaf
  std::vector<planner::WorkTarget> targets;  // by leaf
  bool sweeps = false;
  std::vector<planner::Problem> problems;  // with the file's positions; the backfill can run when there are none
  // All problems are of names that are not there yet: an expand step may make them.
  bool only_missing_names = false;
  std::optional<planner::TableName> missing_table;
};

// A column, table, function, schema or type that is not there.
bool is_missing_name(std::string const& sqlstate);

asio::awaitable<Result<Preflight>> check_backfill(PgConnection& connection, planner::Backfill backfill);

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
  std::string definition;
  planner::TableName table;
  JobStatus status = JobStatus::kRunning;
  std::string reason;
  bool sweeps = false;
  int workers = 1;
  std::chrono::milliseconds batch_target{100};
  SettingTexts settings;  // live ones
  bool pause_has_end = false;
};
asio::awaitable<Result<std::optional<StoredJob>>> find_job(PgConnection& connection, std::string name);

// Gives back what processes of this machine held that are no more, so that nobody waits for their leases to run out.
asio::awaitable<Result<int>> release_dead_processes(PgConnection& connection, std::int64_t job, Owner owner);

}  // namespace pgbackfill::engine
