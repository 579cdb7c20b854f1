// Other people's work, and how much room the server has beside it.

#include <fmt/format.h>

#include "engine/base/text.h"
#include "engine/cli/doctor.h"
#include "engine/probes/probe_sql.h"
#include "engine/view/console.h"
#include "planner/model/shown_query.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::quote_literal;

constexpr auto kLongTransaction = 5min;
constexpr auto kIdleInTransaction = 5s;
constexpr int kMostQueryShown = 60;
constexpr std::int64_t kOldHorizon = 10'000'000;
constexpr std::int64_t kWraparoundWarn = 1'000'000'000;
constexpr std::int64_t kWraparoundFail = 1'600'000'000;  // where vacuum goes into failsafe
constexpr std::int64_t kFewConnections = 10;
constexpr std::int64_t kDefaultWalBytes = 1LL << 30;
constexpr std::int64_t kFewCheckpoints = 10;

std::string seconds_text(std::string const& seconds) {
  return human_duration(std::chrono::seconds(std::stoll(seconds)));
}

// Cancelling ends a statement; one who is idle in a transaction has none.
std::string lock_advice(std::string const& pid, std::string const& state) {
  if (state.starts_with("idle")) {
    return fmt::format("it does nothing now; if its owner agrees: `SELECT pg_terminate_backend({})`", pid);
  }
  return fmt::format(
      "wait for it; if its owner agrees: `SELECT pg_cancel_backend({0})`, or `SELECT "
      "pg_terminate_backend({0})`",
      pid);
}

}  // namespace

asio::awaitable<void> Doctor::check_transactions() {
  auto const rows = co_await ask(
      "transactions",
      fmt::format("SELECT pid, coalesce(usename, '?'), coalesce(nullif(application_name, ''), 'no application name'), "
                  "state, extract(epoch FROM clock_timestamp() - xact_start)::bigint, {}, state LIKE 'idle "
                  "in%' FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND "
                  "(xact_start < clock_timestamp() - interval '{} s' OR (state LIKE 'idle in transaction%' AND "
                  "state_change < clock_timestamp() - interval '{} s')) ORDER BY xact_start LIMIT {}",
                  planner::shown_query("query", kMostQueryShown), std::chrono::seconds(kLongTransaction).count(),
                  kIdleInTransaction.count(), kListed));
  if (!rows) co_return;
  if (rows->rows.empty()) {
    co_return add("transactions", Finding::kPass,
                  sees_all_ ? "no client transaction is open for 5 minutes or idle"
                            : "no long or idle transaction of this role; those of other roles are not visible to it");
  }
  for (auto const& row : rows->rows) {
    add("transaction", Finding::kWarn,
        fmt::format("pid {} ({}, {}) is {}, its transaction open for {}: {}", *row[0], *row[1], *row[2],
                    row[3].value_or("?"), seconds_text(*row[4]), row[5].value_or("")),
        fmt::format("its locks stop batches and steps, its snapshot stops vacuum; if its owner agrees: `SELECT "
                    "pg_terminate_backend({})`",
                    *row[0]));
  }
}

asio::awaitable<void> Doctor::check_prepared() {
  auto const rows = co_await ask(
      "prepared", fmt::format("SELECT gid, owner, database, extract(epoch FROM clock_timestamp() - prepared)::bigint "
                              "FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - interval '{} s' ORDER BY "
                              "prepared LIMIT {}",
                              kIdleInTransaction.count(), kListed));
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("prepared", Finding::kPass, "no prepared transaction is left over");
  for (auto const& row : rows->rows) {
    add("prepared", Finding::kWarn,
        fmt::format("transaction {} of {} in database {} was prepared {} ago and holds its locks", *row[0], *row[1],
                    *row[2], seconds_text(*row[3])),
        fmt::format("if its coordinator is gone, in that database: `ROLLBACK PREPARED {}`", quote_literal(*row[0])));
  }
}

asio::awaitable<void> Doctor::check_horizon() {
  auto const rows = co_await ask("horizon", probe_sql::horizon_holders(1));
  if (!rows) co_return;
  std::int64_t const age = rows->rows.empty() ? 0 : std::stoll(rows->at(0, 1));
  bool const is_old = age > kOldHorizon;
  add("vacuum", is_old ? Finding::kWarn : Finding::kPass,
      rows->rows.empty() ? std::string("nothing that this role sees keeps vacuum from dead rows")
                         : fmt::format("the oldest snapshot is {} old: {}", counted(age, "transaction", "transactions"),
                                       rows->at(0, 0)),
      is_old ? "end it first: until then a backfill's dead rows stay and the table grows" : "");
}

asio::awaitable<void> Doctor::check_wraparound() {
  auto const rows = co_await ask("wraparound", probe_sql::wraparound_ages(1));
  if (!rows) co_return;
  std::int64_t const age = std::stoll(rows->at(0, 1));
  Finding const finding = age > kWraparoundFail   ? Finding::kFail
                          : age > kWraparoundWarn ? Finding::kWarn
                                                  : Finding::kPass;
  add("wraparound", finding,
      fmt::format("the oldest transaction number, in database {}, is {} of 2,147,000,000 old", rows->at(0, 0),
                  human_count(age)),
      finding == Finding::kPass ? "" : "VACUUM (FREEZE) its oldest tables before adding transactions");
}

asio::awaitable<void> Doctor::check_connections() {
  auto const rows = co_await ask(
      "connections", fmt::format("SELECT current_setting('max_connections')::int, {}, (SELECT sum(numbackends) FROM "
                                 "pg_stat_database), (SELECT count(*) FROM pg_stat_activity WHERE state = 'idle')",
                                 probe_sql::reserved_connections(connection_->server_version())));
  if (!rows) co_return;
  std::int64_t const most = std::stoll(rows->at(0, 0));
  std::int64_t const free = most - std::stoll(rows->at(0, 1)) - std::stoll(rows->at(0, 2));
  bool const is_tight = free < kFewConnections;
  add("connections", is_tight ? Finding::kWarn : Finding::kPass,
      fmt::format("{} of {} are free; {} of the others are idle{}", std::max<std::int64_t>(free, 0), most,
                  rows->at(0, 3), sees_all_ ? "" : ", as far as this role may see"),
      is_tight ? "a run takes one a worker and one more: use fewer workers, or a pooler, or raise max_connections"
               : "");
}

asio::awaitable<void> Doctor::check_settings() {
  auto const rows =
      co_await ask("settings",
                   "SELECT current_setting('autovacuum'), current_setting('track_counts'), "
                   "current_setting('deadlock_timeout'), extract(epoch FROM "
                   "current_setting('deadlock_timeout')::interval) > 5, current_setting('autovacuum_max_workers')");
  if (!rows) co_return;
  bool const vacuums = rows->at(0, 0) == "on" && rows->at(0, 1) == "on";
  add("autovacuum", vacuums ? Finding::kPass : Finding::kWarn,
      vacuums ? fmt::format("is on, {} workers", rows->at(0, 4)) : std::string("is off: dead rows stay"),
      vacuums ? "" : "`ALTER SYSTEM SET autovacuum = on` (and track_counts), then `SELECT pg_reload_conf()`");
  bool const is_long = rows->at(0, 3) == "t";
  add("deadlocks", is_long ? Finding::kWarn : Finding::kPass,
      fmt::format("deadlock_timeout is {}{}", rows->at(0, 2), is_long ? ": deadlocks of others last that long" : ""),
      is_long ? "`ALTER SYSTEM SET deadlock_timeout = '1s'`, then `SELECT pg_reload_conf()`" : "");
}

asio::awaitable<void> Doctor::check_checkpoints() {
  auto const rows = co_await ask(
      "checkpoints",
      fmt::format("SELECT current_setting('max_wal_size'), pg_size_bytes(current_setting('max_wal_size')), "
                  "{}",
                  probe_sql::checkpoint_counts(connection_->server_version())));
  if (!rows) co_return;
  std::int64_t const timed = std::stoll(rows->at(0, 2));
  std::int64_t const requested = std::stoll(rows->at(0, 3));
  std::int64_t const all = timed + requested;
  bool const is_often = all >= kFewCheckpoints && requested * 2 > all;
  bool const is_small = std::stoll(rows->at(0, 1)) <= kDefaultWalBytes;
  std::string text = fmt::format("max_wal_size is {}", rows->at(0, 0));
  if (all > 0) text += fmt::format("; {} of {} checkpoints came before their time", requested, all);
  add("checkpoints", is_often || is_small ? Finding::kWarn : Finding::kPass, text,
      is_often || is_small
          ? "raise max_wal_size (ALTER SYSTEM SET max_wal_size = '8GB', as the disk allows): each early "
            "checkpoint makes every page that changes again be written to the WAL whole"
          : "");
}

asio::awaitable<void> Doctor::check_locks() {
  auto const rows = co_await ask(
      "locks",
      fmt::format(
          "SELECT l.pid, l.mode, coalesce(l.relation::regclass::text, l.locktype), nullif(blocker.pid, 0), "
          "coalesce(nullif(b.application_name, ''), 'no application name'), coalesce(b.usename, '?'), "
          "coalesce(b.state, "
          "'state not visible'), extract(epoch FROM clock_timestamp() - b.xact_start)::bigint, {} FROM "
          "pg_locks l CROSS JOIN LATERAL unnest(pg_blocking_pids(l.pid)) AS blocker (pid) LEFT JOIN pg_stat_activity b "
          "ON b.pid = blocker.pid WHERE NOT l.granted ORDER BY 8 DESC NULLS LAST LIMIT {}",
          planner::shown_query("b.query", kMostQueryShown), kListed));
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("locks", Finding::kPass, "nobody waits for a lock now");
  for (auto const& row : rows->rows) {
    std::string const waits = fmt::format("pid {} waits for {} on {}, held up by ", *row[0], *row[1], *row[2]);
    if (!row[3]) {
      add("lock", Finding::kWarn, waits + "a prepared transaction", "see pg_prepared_xacts");
      continue;
    }
    add("lock", Finding::kWarn,
        waits + fmt::format("pid {} ({}, {}, {}{}){}{}", *row[3], *row[4], *row[5], *row[6],
                            row[7] ? ", transaction open for " + seconds_text(*row[7]) : "", row[8] ? ": " : "",
                            row[8].value_or("")),
        lock_advice(*row[3], *row[6]));
  }
}

}  // namespace pgbackfill::engine
