#include "engine/verify/gate.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/command_error.h"
#include "engine/pg/catalog.h"
#include "engine/process/command_context.h"
#include "engine/run/facts_keeper.h"
#include "engine/run/job_setup.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/recorded_steps.h"
#include "planner/model/sql_text.h"
#include "planner/model/work_kind.h"
#include "planner/steps/step_order.h"

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

// The first step of expand that is not done.
asio::awaitable<std::string> read_open_expand(PgConnection& connection, planner::Migration const& migration) {
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(connection, migration.name), "reading the steps that are done");
  for (auto const& placed : planner::expand_steps(migration)) {
    if (is_recorded(recorded, placed)) continue;
    co_return fmt::format("{} step {} ({})", placed.phase, placed.position + 1, placed.step.text);
  }
  co_return std::string();
}

using CountSql = std::string (*)(planner::WorkTarget const&, planner::Interval const&);

asio::awaitable<std::int64_t> count_rows(PgConnection& connection, planner::WorkTarget target, CountSql count_sql,
                                         std::string what) {
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
      next = state::page_of(page.rows.front()).last;
    }
    planner::Interval const interval{cursor, next ? next : upper};
    auto const count =
        value_or_throw(co_await query_read_only(connection, users_sql(count_sql(target, interval))), what);
    remaining += state::value_as<std::int64_t>(count);
    if (!next) co_return remaining;
    cursor = next;
  }
}

constexpr char kCountingRows[] = "counting rows that satisfy `where`";

// The rows of a target that the copy does not have; the copy has a key.
asio::awaitable<std::int64_t> count_missing(PgConnection& connection, planner::WorkTarget const& target) {
  return count_rows(connection, target, planner::uncopied_sql, "counting what is not copied");
}

}  // namespace

asio::awaitable<std::int64_t> count_remaining(PgConnection& connection, planner::WorkTarget const& target) {
  std::optional<std::int64_t> count;
  try {
    count = co_await count_rows(connection, target, planner::remaining_sql, kCountingRows);
  } catch (CommandError const& error) {
    // A contract step may have taken away what it reads.
    if (error.is_passing || is_missing_name(error.sqlstate)) throw;
  }
  // The value of some row cannot be computed: then whoever satisfies `where` counts.
  if (!count) count = co_await count_rows(connection, target, planner::remaining_by_where_sql, kCountingRows);
  co_return *count;
}

asio::awaitable<std::int64_t> count_uncopied(PgConnection& connection, std::vector<planner::WorkTarget> targets) {
  std::int64_t count = 0;
  for (auto const& target : targets) {
    bool const can_tell =
        target.backfill.on_conflict == planner::ConflictMode::kCount && !target.traits.copy_key.empty();
    if (can_tell) count += co_await count_missing(connection, target);
  }
  co_return count;
}

namespace {

// What is read at once, until the first such row: tables that inherit, which have keys of their own or none.
constexpr std::chrono::milliseconds kLongLook = std::chrono::hours(1);

// leaves_gone()
struct GoneLeaf {
  std::string schema;
  std::string name;
};

asio::awaitable<void> look_into_children(PgConnection& connection, Preflight const& preflight, GateReading& gate) {
  gate.children = preflight.table.children;
  if (gate.children.empty() || preflight.targets.empty()) co_return;
  std::vector<Statement> statements = {users_sql(planner::in_children_sql(preflight.targets.front()))};
  auto const found = value_or_throw(co_await read_only(connection, std::move(statements), kLongLook),
                                    "looking into tables that inherit");
  gate.is_left_in_children = state::value_as<bool>(found);
}

// Rows of a partition that was attached fire no trigger, nor do those of one that is detached, dropped or truncated by
// itself. Where a trigger carries what is written, or rows are copied, nothing else would tell.
asio::awaitable<void> look_at_partitions(PgConnection& connection, planner::Migration const& migration,
                                         std::int64_t job, Preflight const& preflight, GateReading& gate) {
  bool const is_copy = migration.backfill->kind == planner::WorkKind::kCopy;
  bool const is_told_by_key = !is_copy || !preflight.traits.copy_key.empty();
  if (preflight.table.kind != 'p' || !is_told_by_key) co_return;
  if (!is_copy && !planner::sync_guards_backfill(migration)) co_return;
  auto const root = preflight.table.oid;
  auto const found = value_or_throw(co_await query_read_only(connection, state::new_leaves(job, root)),
                                    "looking for partitions that came");
  auto const came = state::column_as<std::uint32_t>(found);
  for (auto const& target : preflight.targets) {
    if (std::find(came.begin(), came.end(), target.relation_oid) == came.end()) continue;
    std::int64_t left = 0;
    if (is_copy) {
      left = co_await count_missing(connection, target);
    } else {
      left = co_await count_remaining(connection, target);
    }
    if (left > 0) gate.came.push_back(target.relation);
  }
  if (!is_copy || preflight.targets.empty()) co_return;
  auto const gone = value_or_throw(co_await query_read_only(connection, state::leaves_gone(job, root)),
                                   "looking for partitions that are gone");
  if (gone.rows.empty()) co_return;
  std::vector<Statement> statements = {users_sql(planner::in_copy_alone_sql(preflight.targets.front()))};
  auto const is_left = value_or_throw(co_await read_only(connection, std::move(statements), kLongLook),
                                      "looking for rows of partitions that are gone");
  if (!state::value_as<bool>(is_left)) co_return;
  for (auto const& leaf : state::rows_as<GoneLeaf>(gone)) {
    gate.went.push_back(planner::quote_qualified(leaf.schema, leaf.name));
  }
}

asio::awaitable<void> look_into_copy(PgConnection& connection, planner::Migration const& migration,
                                     Preflight const& preflight, GateReading& gate) {
  if (migration.backfill->kind != planner::WorkKind::kCopy) co_return;
  auto const look = value_or_throw(co_await look_at_copy(connection, migration), "looking for the copy");
  gate.is_other_copy = look.is_other;
  if (look.is_other || !look.is_written_anew || preflight.traits.copy_key.empty()) co_return;
  for (auto const& target : preflight.targets) {
    gate.lost_from_copy += co_await count_missing(connection, target);
  }
}

// All but the checks.
asio::awaitable<GateReading> measure_work(PgConnection& connection, planner::Migration const& migration) {
  GateReading gate;
  gate.writers = co_await read_writers(connection, migration);
  gate.sync = value_or_throw(co_await read_sync_guard(connection, migration), "looking for the sync trigger");
  gate.open_expand = co_await read_open_expand(connection, migration);
  gate.has_backfill = migration.backfill.has_value();
  if (!gate.has_backfill) co_return gate;
  auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
  gate.job_exists = job.has_value();
  if (!job) co_return gate;
  auto const control = value_or_throw(co_await read_control(connection, job->id, ""), "reading the job");
  auto const& now = control.value();
  gate.status = state::status_name(now.status);
  gate.open_ranges = now.ranges_open;
  gate.deferred = now.deferred;
  gate.quarantined = now.quarantined;
  gate.where_tells_nothing = now.rows_again != 0;
  bool const means_undone =
      planner::traits_of(migration.backfill->kind).where_is_undone && !migration.backfill->where.empty();
  bool const counts_copies = migration.backfill->on_conflict == planner::ConflictMode::kCount;
  if (gate.status != "complete") co_return gate;
  auto preflight =
      value_or_throw(co_await check_backfill(connection, *migration.backfill, Purpose::kWork), "reading the table");
  // Whoever only counts rows needs no right to write.
  if (preflight.lacks_rights && !counts_copies) {
    preflight = value_or_throw(co_await check_backfill(connection, *migration.backfill, Purpose::kMeasure),
                               "reading the table");
  }
  if (!preflight.problems.empty()) {
    if (gate.where_tells_nothing || (!means_undone && !counts_copies)) co_return gate;
    throw CommandError{kExitFailed, planner::to_string(preflight.problems.front())};
  }
  if (counts_copies) gate.uncopied = co_await count_uncopied(connection, preflight.targets);
  if (preflight.table.has_children) co_await look_into_children(connection, preflight, gate);
  if (gate.sync != SyncGuard::kEnded) {
    co_await look_into_copy(connection, migration, preflight, gate);
    co_await look_at_partitions(connection, migration, job->id, preflight, gate);
  }
  if (gate.where_tells_nothing || !means_undone) co_return gate;
  gate.remaining = 0;
  try {
    for (auto const& target : preflight.targets) gate.remaining += co_await count_remaining(connection, target);
  } catch (CommandError const&) {
    // `where` itself may fail on a row that is set aside; that row closes the gate anyway.
    if (gate.quarantined == 0) throw;
  }
  co_return gate;
}

}  // namespace

std::vector<std::string> GateReading::reasons() const {
  std::vector<std::string> reasons;
  if (sync == SyncGuard::kMissing) reasons.emplace_back("the sync trigger is not installed");
  if (sync == SyncGuard::kChanged) reasons.emplace_back(kSyncChanged);
  if (!open_expand.empty()) reasons.push_back(open_expand + " is not done: `pgbackfill run` does it");
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
  if (uncopied > 0) {
    reasons.push_back(
        fmt::format("{} row(s) are not in the copy: another unique index of it has their values", uncopied));
  }
  if (is_other_copy) {
    reasons.emplace_back(
        "the table of copy_to is not the one that rows were copied to; put that back in its place, or roll the "
        "migration "
        "back and begin anew");
  }
  if (lost_from_copy > 0) {
    reasons.push_back(
        fmt::format("{} row(s) are not in the copy, which was emptied or written anew since they were copied; roll the "
                    "migration back and begin anew",
                    lost_from_copy));
  }
  for (auto const& partition : came) {
    reasons.push_back(fmt::format(
        "partition {0} was attached with rows that no trigger saw; UPDATE each of its rows once through the "
        "table, to itself, or detach it and insert its rows",
        partition));
  }
  for (auto const& partition : went) {
    reasons.push_back(fmt::format(
        "partition {0} is gone from the table, and rows of the copy are not in the table any more; delete them "
        "from the copy, or attach it again",
        partition));
  }
  if (is_left_in_children) {
    reasons.push_back(
        fmt::format("tables that inherit from this one have rows that satisfy `where`: {}; give them "
                    "migrations of their own",
                    planner::join(children, ", ")));
  }
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

asio::awaitable<void> keep_reading(PgConnection& connection, std::string name, GateReading gate,
                                   std::chrono::steady_clock::time_point began, EventSink& sink) {
  auto const age = std::chrono::ceil<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  auto const sql = state::record_gate(name, gate.has_backfill, gate.reasons(), age);
  auto const kept = co_await connection.query(sql, Deadlines());
  // A layout that is older has no such function either.
  if (kept || kept.error().sqlstate == "42P01") co_return;
  sink.emit(log_line(Severity::kWarning,
                     "pgbackfill.require_gate() will not know of this reading, since it could not "
                     "be kept: " +
                         kept.error().message));
}

std::string gate_text(std::string const& name, GateReading const& gate) {
  auto const reasons = gate.reasons();
  char const* const by_record =
      gate.where_tells_nothing ? " by the job's own record; changed rows still satisfy `where`, so it cannot be counted"
                               : "";
  std::string const beside =
      gate.children.empty() ? "" : "; tables that inherit were left alone: " + planner::join(gate.children, ", ");
  if (reasons.empty()) return "the gate of " + name + " is open" + by_record + beside;
  return "the gate of " + name + " is closed: " + planner::join(reasons, "; ");
}

}  // namespace pgbackfill::engine
