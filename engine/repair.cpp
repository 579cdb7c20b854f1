#include "engine/repair.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "engine/agreement.h"
#include "engine/job_setup.h"
#include "engine/pg_database.h"
#include "engine/probes.h"
#include "engine/read_pace.h"
#include "engine/worker_pool.h"
#include "planner/migration_file.h"

namespace pgbackfill::engine {

namespace {

// As the job is known while it is under way.
std::string name_of_repair(std::string const& migration, std::size_t position) {
  return fmt::format("{}.repair-{}", migration, position + 1);
}

// A repair that was cut short goes on, one of something else makes place.
asio::awaitable<StoredJob> find_or_create(PgConnection& connection, planner::Migration const& migration,
                                          Preflight const& preflight, Owner const& owner) {
  auto known = value_or_throw(co_await find_job(connection, migration.name), "looking for the repair");
  bool const is_other =
      known && (known->status == JobStatus::kComplete || known->definition != definition_of(*migration.backfill));
  if (is_other) {
    value_or_throw(co_await connection.query(state::drop_job(known->id), Deadlines()), "making place for the repair");
  }
  if (!known || is_other) {
    auto ranges = value_or_throw(co_await plan_ranges(connection, preflight), "cutting the table into ranges");
    value_or_throw(co_await create_job(connection, migration, preflight, std::move(ranges), owner),
                   "creating the repair");
    known = value_or_throw(co_await find_job(connection, migration.name), "looking for the repair");
  }
  if (known->status == JobStatus::kFailed || known->status == JobStatus::kCancelled) {
    std::string const statement = state::set_status(known->id, JobStatus::kRunning, "repair again", owner);
    value_or_throw(co_await connection.query(statement, Deadlines()), "taking the repair up again");
  }
  co_return std::move(*known);
}

asio::awaitable<PoolOutcome> run_pool(CommandContext& context, PgJob job, planner::Migration const& migration,
                                      Interrupts& interrupts, EventSink& sink) {
  PgDatabase database(context.io().get_executor(), context.blocking(), context.target(), std::move(job),
                      context.owner());
  Probes probes(context.io().get_executor(), context.blocking(), context.target(), user_probes(migration));
  std::vector<std::uint32_t> tables;
  for (auto const& target : database.job().targets) tables.push_back(target.relation_oid);
  probes.set_tables(std::move(tables));
  PoolOptions options;
  options.health = &probes;
  options.settings = setting_texts(migration.throttle);
  WorkerPool pool(database, database.job().job, std::move(options), sink);
  interrupts.attach(&pool);
  auto outcome = co_await pool.run();
  interrupts.attach(nullptr);
  co_return outcome;
}

}  // namespace

asio::awaitable<std::int64_t> repair(CommandContext& context, std::shared_ptr<PgConnection> connection,
                                     planner::Migration migration, std::size_t position, Interrupts& interrupts,
                                     EventSink& sink) {
  std::string const of = migration.name;
  auto const check = migration.verify.at(position);
  auto const plan = value_or_throw(co_await plan_agreement(*connection, check), "reading the table");
  if (!plan.problems.empty()) throw CommandError{kExitUsage, planner::to_lines(plan.problems)};
  auto backfill = planner::repair_of(plan.targets.front(), migration.backfill);
  migration.name = name_of_repair(of, position);
  migration.backfill = std::move(backfill);
  auto const preflight =
      value_or_throw(co_await check_backfill(*connection, *migration.backfill), "checking the repair");
  if (!preflight.problems.empty()) throw CommandError{kExitUsage, planner::to_lines(preflight.problems)};
  auto const job = co_await find_or_create(*connection, migration, preflight, context.owner());
  value_or_throw(co_await release_dead_processes(*connection, job.id, context.owner()), "looking for dead processes");
  auto pg_job = value_or_throw(
      co_await load_pg_job(*connection, job.id, migration.name, *migration.backfill, preflight.table, job.sweeps),
      "loading the repair");
  auto const outcome = co_await run_pool(context, std::move(pg_job), migration, interrupts, sink);
  auto const rows = value_or_throw(co_await connection->query(state::control(job.id, context.owner().id), Deadlines()),
                                   "reading the repair");
  auto const changed = state::control_of(rows.rows.front()).rows_changed;
  bool const is_complete = outcome.end == PoolEnd::kComplete;
  std::string const detail = fmt::format("{}: {} row(s) repaired{}", planner::check_text(check), changed,
                                         is_complete ? "" : " so far; " + outcome.reason);
  value_or_throw(co_await connection->query(state::record_event(std::nullopt, of, "repaired", detail, context.owner()),
                                            Deadlines()),
                 "recording the repair");
  if (!is_complete) {
    int const code = outcome.end == PoolEnd::kFailed ? kExitFailed : kExitResumable;
    throw CommandError{code, fmt::format("the repair of {} ended early: {}; `pgbackfill verify {} --repair` goes on",
                                         detail, outcome.reason, of)};
  }
  value_or_throw(co_await connection->query(state::drop_job(job.id), Deadlines()), "ending the repair");
  co_return changed;
}

}  // namespace pgbackfill::engine
