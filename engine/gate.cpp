#include "engine/gate.h"

#include <fmt/format.h>

#include "engine/catalog.h"
#include "engine/command_context.h"
#include "engine/job_setup.h"
#include "planner/sql_text.h"

namespace pgbackfill::engine {

namespace {

// Keys that one counting statement goes over: short snapshots, as in batches.
constexpr std::int64_t kKeysAtOnce = 50'000;

asio::awaitable<std::vector<std::string>> read_writers(PgConnection& connection, planner::Migration const& migration) {
  std::vector<std::string> writers;
  if (migration.writers_gone.empty()) co_return writers;
  auto const sessions =
      value_or_throw(co_await query_read_only(connection, planner::writers_sql(migration.writers_gone)),
                     "looking for sessions that writers_gone names");
  for (auto const& row : sessions.rows) writers.push_back(planner::writer_text(row));
  co_return writers;
}

}  // namespace

asio::awaitable<std::int64_t> count_remaining(PgConnection& connection, planner::WorkTarget const& target) {
  auto const upper = value_or_throw(co_await read_last_key(connection, target), "reading the last key");
  if (!upper) co_return 0;
  std::int64_t remaining = 0;
  planner::Bound cursor;
  while (true) {
    planner::Bound next;
    if (target.key.is_by_block()) {
      std::int64_t const from = cursor ? std::stoll(cursor->front()) : -1;
      std::int64_t const to = from + kKeysAtOnce / 50;
      if (to < std::stoll(upper->front())) next = planner::KeyValue{std::to_string(to)};
    } else {
      std::string statement = planner::look_ahead_sql(target, {cursor, upper}, kKeysAtOnce);
      auto const page = value_or_throw(co_await query_read_only(connection, std::move(statement)), "paging the table");
      if (page.rows.front()[1]) {
        next.emplace();
        for (std::size_t column = 1; column < page.rows.front().size(); ++column) {
          next->push_back(*page.rows.front()[column]);
        }
      }
    }
    planner::Interval const interval{cursor, next ? next : upper};
    auto const count = value_or_throw(co_await query_read_only(connection, planner::remaining_sql(target, interval)),
                                      "counting rows that satisfy `where`");
    remaining += std::stoll(count.at(0, 0));
    if (!next) co_return remaining;
    cursor = next;
  }
}

namespace {

// All but the checks.
asio::awaitable<GateReading> measure_work(PgConnection& connection, planner::Migration const& migration) {
  GateReading gate;
  gate.writers = co_await read_writers(connection, migration);
  gate.sync = value_or_throw(co_await read_sync_guard(connection, migration), "looking for the sync trigger");
  gate.has_backfill = migration.backfill.has_value();
  if (!gate.has_backfill) co_return gate;
  auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
  gate.job_exists = job.has_value();
  if (!job) co_return gate;
  auto const control =
      value_or_throw(co_await connection.query(state::control(job->id, ""), Deadlines()), "reading the job");
  gate.status = control.at(0, 0);
  gate.open_ranges = std::stoll(control.at(0, 10));
  gate.deferred = std::stoll(control.at(0, 13));
  gate.quarantined = std::stoll(control.at(0, 14));
  gate.where_tells_nothing = control.at(0, 15) != "0";
  if (gate.where_tells_nothing || migration.backfill->where.empty() || gate.status != "complete") co_return gate;
  bool const means_undone = migration.backfill->kind != planner::WorkKind::kCopy;
  if (!means_undone) co_return gate;
  auto const preflight = value_or_throw(co_await check_backfill(connection, *migration.backfill), "reading the table");
  if (!preflight.problems.empty()) {
    throw CommandError{kExitFailed, planner::to_string(preflight.problems.front())};
  }
  gate.remaining = 0;
  for (auto const& target : preflight.targets) gate.remaining += co_await count_remaining(connection, target);
  co_return gate;
}

}  // namespace

std::vector<std::string> GateReading::reasons() const {
  std::vector<std::string> reasons;
  if (sync == SyncGuard::kMissing) reasons.emplace_back("the sync trigger is not installed");
  if (sync == SyncGuard::kChanged) reasons.emplace_back(kSyncChanged);
  for (auto const& writer : writers) reasons.push_back("a writer is still connected: " + writer);
  for (auto const& one : checks) {
    if (!one.holds) reasons.push_back("the check " + one.check + " does not hold: " + one.text);
  }
  if (!has_backfill) return reasons;
  if (!job_exists) {
    reasons.emplace_back("the backfill has not started");
    return reasons;
  }
  if (status != "complete")
    reasons.push_back(fmt::format("the backfill is {}, {} range(s) are open", status, open_ranges));
  if (deferred > 0) reasons.push_back(fmt::format("{} row(s) are deferred: somebody held them", deferred));
  if (quarantined > 0) reasons.push_back(fmt::format("{} row(s) are quarantined", quarantined));
  if (remaining > 0) reasons.push_back(fmt::format("{} row(s) still satisfy `where`", remaining));
  return reasons;
}

asio::awaitable<GateReading> measure_gate(CommandContext& context, PgConnection& connection,
                                          planner::Migration const& migration, std::function<bool()> is_stopping,
                                          EventSink& sink) {
  auto gate = co_await measure_work(connection, migration);
  if (!gate.is_open() || migration.verify.empty()) co_return gate;
  LastingConnection rows(connection);
  CheckTerms terms{context, rows, nullptr, std::move(is_stopping), sink};
  gate.checks = co_await run_checks(terms, migration);
  // They may have taken long.
  gate.writers = co_await read_writers(connection, migration);
  co_return gate;
}

std::string gate_text(std::string const& name, GateReading const& gate) {
  auto const reasons = gate.reasons();
  char const* const by_record =
      gate.where_tells_nothing ? " by the job's own record; changed rows still satisfy `where`, so it cannot be counted"
                               : "";
  if (reasons.empty()) return "the gate of " + name + " is open" + by_record;
  return "the gate of " + name + " is closed: " + planner::join(reasons, "; ");
}

}  // namespace pgbackfill::engine
