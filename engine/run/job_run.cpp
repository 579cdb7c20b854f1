#include "engine/run/job_run.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/run/limits.h"

namespace pgbackfill::engine {

JobRunOptions job_run_options(planner::Migration const& migration, throttle::Schedule schedule) {
  JobRunOptions options;
  options.probes = user_probes(migration);
  options.pool.settings = setting_texts(migration.throttle);
  options.pool.schedule = std::move(schedule);
  options.pool.keeps_history = migration.backfill && migration.backfill->keeps_history;
  return options;
}

PoolOptions JobRun::completed(PoolOptions options) {
  options.control_age_max = std::max(options.control_age_max, 3 * options.control_interval);
  options.health = &probes_;
  options.growth = &keeper_;
  return options;
}

JobRun::JobRun(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget const& target, PgJob job,
               Owner const& owner, JobRunOptions options, EventSink& sink)
    : prepared_(std::move(options.prepared)),
      database_(executor, blocking, target, std::move(job), owner),
      probes_(executor, blocking, target, std::move(options.probes)),
      keeper_(executor, blocking, target, database_.job().job, sink),
      pool_(database_, database_.job().job, completed(std::move(options.pool)), sink) {
  std::vector<std::uint32_t> tables;
  for (auto const& target_table : database_.job().targets) tables.push_back(target_table.relation_oid);
  probes_.set_tables(std::move(tables));
  if (!prepared_.all.empty()) database_.set_prepared(&prepared_);
  auto const& work = database_.job().job;
  if (!work.backfill.compute) return;
  programs_.emplace(executor, *work.backfill.compute, work.name, work.table, sink);
  database_.set_programs(&*programs_);
}

asio::awaitable<PoolOutcome> JobRun::run() {
  PoolOutcome outcome;
  if (programs_) outcome.reason = programs_->missing();
  if (!outcome.reason.empty()) co_return outcome;
  outcome = co_await pool_.run();
  if (programs_) co_await programs_->stop();
  co_return outcome;
}

}  // namespace pgbackfill::engine
