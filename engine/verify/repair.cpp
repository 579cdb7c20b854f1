#include "engine/verify/repair.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/run/job_run.h"
#include "engine/run/job_setup.h"
#include "engine/verify/agreement.h"
#include "planner/file/migration_file.h"

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
      known && (known->status == JobStatus::kComplete || known->definition != definition_of(*migration.backfill) ||
                known->relation != preflight.table.oid);
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

}  // namespace

asio::awaitable<std::int64_t> repair(CommandContext& context, std::shared_ptr<PgConnection> connection,
                                     LoadedMigration const& loaded, std::size_t position, RepairOptions options,
                                     EventSink& sink) {
  auto migration = loaded.migration;
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
  auto pg_job = value_or_throw(co_await load_pg_job(*connection, job.id, migration.name, *migration.backfill,
                                                    preflight.table, job.sweeps, preflight.traits),
                               "loading the repair");
  auto run_options = job_run_options(migration, loaded.schedule);
  run_options.pool.reconnect_patience = options.reconnect_patience;
  JobRun run(context.io().get_executor(), context.blocking(), context.target(), std::move(pg_job), context.owner(),
             std::move(run_options), sink);
  Interrupts::InOrder const in_order(context.interrupts(), run.pool());
  auto const outcome = co_await run.run();
  // It was idle meanwhile, and the server may have been away.
  auto const alive = co_await connection->query("SELECT 1", Deadlines());
  if (!alive) connection = co_await context.connect();
  auto const control =
      value_or_throw(co_await read_control(*connection, job.id, context.owner().id), "reading the repair");
  auto const changed = control.value().rows_changed;
  bool const is_complete = outcome.end == PoolEnd::kComplete;
  std::string const detail = fmt::format("{}: {} row(s) repaired{}", planner::check_text(check), changed,
                                         is_complete ? "" : " so far; " + outcome.reason);
  value_or_throw(co_await connection->query(state::record_event(std::nullopt, of, "repaired", detail, context.owner()),
                                            Deadlines()),
                 "recording the repair");
  if (!is_complete) {
    int const code = outcome.end == PoolEnd::kFailed      ? kExitFailed
                     : outcome.end == PoolEnd::kCancelled ? kExitHalted
                                                          : kExitResumable;
    throw CommandError{code, fmt::format("the repair of {} ended early: {}; `pgbackfill verify {} --repair` goes on",
                                         detail, outcome.reason, of)};
  }
  value_or_throw(co_await connection->query(state::drop_job(job.id), Deadlines()), "ending the repair");
  co_return changed;
}

}  // namespace pgbackfill::engine
