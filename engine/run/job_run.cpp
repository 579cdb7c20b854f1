#include "engine/run/job_run.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/run/limits.h"

namespace pgbackfill::engine {

JobRunOptions job_run_options(planner::Migration const& migration, throttle::Schedule schedule) {
  JobRunOptions options;
  options.probes = user_probes(migration);
  options.settings = setting_texts(migration.throttle);
  options.schedule = std::move(schedule);
  return options;
}

PoolOptions JobRun::pool_options(JobRunOptions options) {
  PoolOptions pool;
  pool.settings = std::move(options.settings);
  pool.schedule = std::move(options.schedule);
  pool.exit_outside_window = options.exit_outside_window;
  pool.tells_batches = options.tells_batches;
  pool.deferred_patience = options.deferred_patience;
  pool.reconnect_patience = options.reconnect_patience;
  pool.control_interval = options.poll_interval;
  pool.control_age_max = std::max(pool.control_age_max, 3 * options.poll_interval);
  return pool;
}

JobRun::JobRun(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget const& target, PgJob job,
               Owner const& owner, JobRunOptions options, EventSink& sink)
    : database_(executor, blocking, target, std::move(job), owner),
      probes_(executor, blocking, target, std::move(options.probes)),
      keeper_(executor, blocking, target, database_.job().job, sink),
      pool_(
          database_, database_.job().job,
          [&] {
            auto pool = pool_options(std::move(options));
            pool.health = &probes_;
            pool.growth = &keeper_;
            return pool;
          }(),
          sink) {
  std::vector<std::uint32_t> tables;
  for (auto const& target_table : database_.job().targets) tables.push_back(target_table.relation_oid);
  probes_.set_tables(std::move(tables));
}

}  // namespace pgbackfill::engine
