// Other people's work, and how much room the server has beside it.

#include <fmt/format.h>

#include "engine/base/text.h"
#include "engine/cli/doctor.h"
#include "engine/probes/probe_sql.h"
#include "engine/state/typed_rows.h"
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

std::string seconds_text(std::int64_t seconds) {
  return human_duration(std::chrono::seconds(seconds));
}

struct OpenTransaction {
  std::string pid;
  std::string role;
  std::string application;
  std::optional<std::string> state;
  std::int64_t age_s = 0;
  std::optional<std::string> query;
};

struct PreparedTransaction {
  std::string gid;
  std::string owner;
  std::string database;
  std::int64_t age_s = 0;
};

struct LockWait {
  std::string pid;
  std::string mode;
  std::string relation;
  std::optional<std::string> holder;  // its pid; absent: a prepared transaction
  std::string application;
  std::string role;
  std::string state;
  std::optional<std::int64_t> age_s;
  std::optional<std::string> query;
};

// By transactions.
struct Aged {
  std::string name;
  std::int64_t age = 0;
};

struct ConnectionCounts {
  std::int64_t most = 0;
  std::int64_t reserved = 0;
  std::int64_t taken = 0;
  std::int64_t idle = 0;
};

struct VacuumSettings {
  std::string autovacuum;
  std::string track_counts;
  std::string deadlock_timeout;
  bool waits_long = false;
  std::string workers;
};

struct CheckpointRow {
  std::string max_wal;
  std::int64_t max_wal_bytes = 0;
  std::int64_t timed = 0;
  std::int64_t requested = 0;
};

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
  for (auto const& session : state::rows_as<OpenTransaction>(*rows)) {
    add("transaction", Finding::kWarn,
        fmt::format("pid {} ({}, {}) is {}, its transaction open for {}: {}", session.pid, session.role,
                    session.application, session.state.value_or("?"), seconds_text(session.age_s),
                    session.query.value_or("")),
        fmt::format("its locks stop batches and steps, its snapshot stops vacuum; if its owner agrees: `SELECT "
                    "pg_terminate_backend({})`",
                    session.pid));
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
  for (auto const& left : state::rows_as<PreparedTransaction>(*rows)) {
    add("prepared", Finding::kWarn,
        fmt::format("transaction {} of {} in database {} was prepared {} ago and holds its locks", left.gid, left.owner,
                    left.database, seconds_text(left.age_s)),
        fmt::format("if its coordinator is gone, in that database: `ROLLBACK PREPARED {}`", quote_literal(left.gid)));
  }
}

asio::awaitable<void> Doctor::check_horizon() {
  auto const rows = co_await ask("horizon", probe_sql::horizon_holders(1));
  if (!rows) co_return;
  auto const oldest = state::first_as<Aged>(*rows);
  bool const is_old = oldest && oldest->age > kOldHorizon;
  add("vacuum", is_old ? Finding::kWarn : Finding::kPass,
      oldest ? fmt::format("the oldest snapshot is {} old: {}", counted(oldest->age, "transaction", "transactions"),
                           oldest->name)
             : std::string("nothing that this role sees keeps vacuum from dead rows"),
      is_old ? "end it first: until then a backfill's dead rows stay and the table grows" : "");
}

asio::awaitable<void> Doctor::check_wraparound() {
  auto const rows = co_await ask("wraparound", probe_sql::wraparound_ages(1));
  if (!rows) co_return;
  auto const [database, age] = state::row_as<Aged>(rows->rows.at(0));
  Finding const finding = age > kWraparoundFail   ? Finding::kFail
                          : age > kWraparoundWarn ? Finding::kWarn
                                                  : Finding::kPass;
  add("wraparound", finding,
      fmt::format("the oldest transaction number, in database {}, is {} of 2,147,000,000 old", database,
                  human_count(age)),
      finding == Finding::kPass ? "" : "VACUUM (FREEZE) its oldest tables before adding transactions");
}

asio::awaitable<void> Doctor::check_connections() {
  auto const rows = co_await ask(
      "connections", fmt::format("SELECT current_setting('max_connections')::int, {}, (SELECT sum(numbackends) FROM "
                                 "pg_stat_database), (SELECT count(*) FROM pg_stat_activity WHERE state = 'idle')",
                                 probe_sql::reserved_connections(connection_->server_version())));
  if (!rows) co_return;
  auto const now = state::row_as<ConnectionCounts>(rows->rows.at(0));
  std::int64_t const free = now.most - now.reserved - now.taken;
  bool const is_tight = free < kFewConnections;
  add("connections", is_tight ? Finding::kWarn : Finding::kPass,
      fmt::format("{} of {} are free; {} of the others are idle{}", std::max<std::int64_t>(free, 0), now.most, now.idle,
                  sees_all_ ? "" : ", as far as this role may see"),
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
  auto const settings = state::row_as<VacuumSettings>(rows->rows.at(0));
  bool const vacuums = settings.autovacuum == "on" && settings.track_counts == "on";
  add("autovacuum", vacuums ? Finding::kPass : Finding::kWarn,
      vacuums ? fmt::format("is on, {} workers", settings.workers) : std::string("is off: dead rows stay"),
      vacuums ? "" : "`ALTER SYSTEM SET autovacuum = on` (and track_counts), then `SELECT pg_reload_conf()`");
  bool const is_long = settings.waits_long;
  add("deadlocks", is_long ? Finding::kWarn : Finding::kPass,
      fmt::format("deadlock_timeout is {}{}", settings.deadlock_timeout,
                  is_long ? ": deadlocks of others last that long" : ""),
      is_long ? "`ALTER SYSTEM SET deadlock_timeout = '1s'`, then `SELECT pg_reload_conf()`" : "");
}

asio::awaitable<void> Doctor::check_checkpoints() {
  auto const rows = co_await ask(
      "checkpoints",
      fmt::format("SELECT current_setting('max_wal_size'), pg_size_bytes(current_setting('max_wal_size')), "
                  "{}",
                  probe_sql::checkpoint_counts(connection_->server_version())));
  if (!rows) co_return;
  auto const [max_wal, max_wal_bytes, timed, requested] = state::row_as<CheckpointRow>(rows->rows.at(0));
  std::int64_t const all = timed + requested;
  bool const is_often = all >= kFewCheckpoints && requested * 2 > all;
  bool const is_small = max_wal_bytes <= kDefaultWalBytes;
  std::string text = fmt::format("max_wal_size is {}", max_wal);
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
  for (auto const& wait : state::rows_as<LockWait>(*rows)) {
    std::string const waits = fmt::format("pid {} waits for {} on {}, held up by ", wait.pid, wait.mode, wait.relation);
    if (!wait.holder) {
      add("lock", Finding::kWarn, waits + "a prepared transaction", "see pg_prepared_xacts");
      continue;
    }
    add("lock", Finding::kWarn,
        waits + fmt::format("pid {} ({}, {}, {}{}){}{}", *wait.holder, wait.application, wait.role, wait.state,
                            wait.age_s ? ", transaction open for " + seconds_text(*wait.age_s) : "",
                            wait.query ? ": " : "", wait.query.value_or("")),
        lock_advice(*wait.holder, wait.state));
  }
}

}  // namespace pgbackfill::engine
