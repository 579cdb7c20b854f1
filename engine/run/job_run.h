// One job, worked on by this process: its workers, what they ask of the server's health, and the vacuums between them.
//
// The only place where these are put together, so that `run`, the repairs of `verify` and a program that embeds the
// engine are throttled, heed windows and wait for a server alike. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <optional>
#include <vector>

#include "engine/base/events.h"
#include "engine/compute/programs.h"
#include "engine/probes/probes.h"
#include "engine/run/pg_database.h"
#include "engine/run/vacuum_keeper.h"
#include "engine/run/worker_pool.h"
#include "planner/model/migration.h"
#include "throttle/windows.h"

namespace pgbackfill::engine {

struct JobRunOptions {
  std::vector<UserProbe> probes;
  PreparedResults prepared;  // what its batches read; none: nothing
  PoolOptions pool;          // health, growth and what follows from control_interval are the job run's own
};

// What the migration says of how its job is run.
JobRunOptions job_run_options(planner::Migration const& migration, throttle::Schedule schedule);

class JobRun {
 public:
  JobRun(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget const& target, PgJob job,
         Owner const& owner, JobRunOptions options, EventSink& sink);
  JobRun(JobRun const&) = delete;
  JobRun& operator=(JobRun const&) = delete;

  asio::awaitable<PoolOutcome> run();

  // To be asked to end (request_stop), and for what was done.
  WorkerPool& pool() { return pool_; }
  PgJob const& job() { return database_.job(); }

 private:
  PoolOptions completed(PoolOptions options);

  std::optional<Programs> programs_;
  PreparedResults prepared_;
  PgDatabase database_;
  Probes probes_;
  VacuumKeeper keeper_;
  WorkerPool pool_;
};

}  // namespace pgbackfill::engine
