// doctor: what an operator would check by hand before a migration, each with what to do about it. Reads only.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>

#include "engine/catalog.h"
#include "engine/commands.h"
#include "engine/console.h"
#include "engine/job_setup.h"
#include "engine/probe_sql.h"
#include "planner/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::quote_identifier;
using planner::quote_literal;
using planner::quote_qualified;
using std::chrono::milliseconds;

constexpr int kOldestMajor = 13;
constexpr int kNewestMajor = 18;
constexpr int kRoundTrips = 5;
constexpr auto kSlowRoundTrip = 50ms;
constexpr auto kLongTransaction = 5min;
constexpr auto kIdleInTransaction = 5s;
constexpr auto kLateReplica = 10s;
constexpr std::int64_t kReplicaLagBytes = 256LL << 20;
constexpr std::int64_t kRetainedBytes = 1LL << 30;
constexpr std::int64_t kArchiveBacklog = 20;
constexpr std::int64_t kOldHorizon = 10'000'000;
constexpr std::int64_t kWraparoundWarn = 1'000'000'000;
constexpr std::int64_t kWraparoundFail = 1'600'000'000;  // where vacuum goes into failsafe
constexpr std::int64_t kFewConnections = 10;
constexpr std::int64_t kDefaultWalBytes = 1LL << 30;
constexpr std::int64_t kFewCheckpoints = 10;
constexpr int kListed = 5;

enum class Finding { kPass, kWarn, kFail };

std::string_view word_of(Finding finding) {
  switch (finding) {
    case Finding::kPass:
      return "pass";
    case Finding::kWarn:
      return "warn";
    case Finding::kFail:
      return "fail";
  }
  return "fail";
}

struct Check {
  std::string name;
  Finding finding = Finding::kPass;
  std::string text;
  std::string advice;
};

std::string seconds_text(std::string const& seconds) {
  return human_duration(std::chrono::seconds(std::stoll(seconds)));
}

// What an error of the server is worth to an operator: permission is the usual one.
std::string failure_text(Failure const& failure) {
  return fmt::format("could not be looked at: {} ({})", failure.message, failure.sqlstate);
}

// Two kinds of positions: a standby cannot say where it would write.
constexpr char kWalPosition[] =
    "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)";

class Doctor {
 public:
  explicit Doctor(CommandContext& context) : context_(context) {}

  asio::awaitable<int> go(std::string file);

 private:
  asio::awaitable<void> connect();
  asio::awaitable<void> check_server();
  asio::awaitable<void> check_round_trip();
  asio::awaitable<void> check_role();
  asio::awaitable<void> check_pooler();
  asio::awaitable<void> check_replicas();
  asio::awaitable<void> check_slots();
  asio::awaitable<void> check_archiver();
  asio::awaitable<void> check_transactions();
  asio::awaitable<void> check_prepared();
  asio::awaitable<void> check_horizon();
  asio::awaitable<void> check_wraparound();
  asio::awaitable<void> check_connections();
  asio::awaitable<void> check_settings();
  asio::awaitable<void> check_checkpoints();
  asio::awaitable<void> check_locks();
  asio::awaitable<void> check_indexes();
  asio::awaitable<void> check_jobs();
  asio::awaitable<void> check_file(LoadedMigration loaded);
  asio::awaitable<void> check_size(planner::Backfill const& backfill, planner::TableFacts const& table);
  asio::awaitable<void> check_updates(planner::Backfill const& backfill, planner::TableFacts const& table);
  void note_keys(Preflight const& preflight);
  void note_triggers(planner::Backfill const& backfill, planner::TableFacts const& table);

  asio::awaitable<std::optional<Rows>> ask(std::string name, std::string statement);
  void add(std::string name, Finding finding, std::string text, std::string advice = "");
  void print() const;
  int count(Finding finding) const;
  int major() const { return connection_->server_version() / 10000; }

  CommandContext& context_;
  std::shared_ptr<PgConnection> connection_;
  std::vector<Check> checks_;
  std::string role_;
  bool sees_all_ = false;  // other roles' sessions, and replicas
};

void Doctor::add(std::string name, Finding finding, std::string text, std::string advice) {
  checks_.push_back({std::move(name), finding, neutralised(text), neutralised(advice)});
}

// What cannot be seen is a warning of its own, and the rest goes on.
asio::awaitable<std::optional<Rows>> Doctor::ask(std::string name, std::string statement) {
  auto rows = co_await query_read_only(*connection_, std::move(statement));
  if (rows) co_return std::move(*rows);
  add(std::move(name), Finding::kWarn, failure_text(rows.error()));
  co_return std::nullopt;
}

// --- The server and the way to it ------------------------------------------------------------------------------------

asio::awaitable<void> Doctor::check_server() {
  auto const rows = co_await ask("server",
                                 "SELECT current_setting('server_version'), pg_is_in_recovery(), current_database(), "
                                 "current_setting('default_transaction_read_only')");
  if (!rows) co_return;
  std::string const version = rows->at(0, 0);
  if (major() < kOldestMajor) {
    add("server", Finding::kFail, fmt::format("PostgreSQL {} is older than {}", version, kOldestMajor),
        "upgrade the server first: pgbackfill needs features of 13");
  } else if (major() > kNewestMajor) {
    add("server", Finding::kWarn, fmt::format("PostgreSQL {} is newer than what is tested ({})", version, kNewestMajor),
        "look for a newer pgbackfill, or try it on a copy first");
  } else {
    add("server", Finding::kPass, fmt::format("PostgreSQL {}, database {}", version, rows->at(0, 2)));
  }
  if (rows->at(0, 1) == "t") {
    add("writable", Finding::kFail, "this server is a standby: it accepts no changes",
        "give the primary's address, or those of all servers: the primary is found among them");
  } else if (rows->at(0, 3) == "on") {
    add("writable", Finding::kWarn, "default_transaction_read_only is on for this role or database",
        "ALTER ROLE or ALTER DATABASE ... SET default_transaction_read_only = off");
  } else {
    add("writable", Finding::kPass, "it is a primary");
  }
}

asio::awaitable<void> Doctor::check_round_trip() {
  auto fastest = std::chrono::steady_clock::duration::max();
  for (int trip = 0; trip < kRoundTrips; ++trip) {
    auto const began = std::chrono::steady_clock::now();
    auto const answer = co_await connection_->query("SELECT 1", Deadlines());
    if (!answer) co_return add("connection", Finding::kFail, failure_text(answer.error()));
    fastest = std::min(fastest, std::chrono::steady_clock::now() - began);
  }
  double const taken = std::chrono::duration<double, std::milli>(fastest).count();
  bool const is_slow = fastest > kSlowRoundTrip;
  add("connection", is_slow ? Finding::kWarn : Finding::kPass,
      fmt::format("{}: {:.2f} ms a round trip", describe_target(context_.target().conninfo), taken),
      is_slow ? "each batch takes one round trip more than its work: run pgbackfill nearer to the server" : "");
}

// Poolers hand out session numbers of their own, for cancel requests to find them; the server knows the real one.
asio::awaitable<void> Doctor::check_pooler() {
  auto const rows = co_await ask("pooler", "SELECT pg_backend_pid()");
  if (!rows) co_return;
  if (rows->at(0, 0) == std::to_string(connection_->backend_pid())) {
    co_return add("pooler", Finding::kPass, "none is seen: sessions are the server's own");
  }
  add("pooler", Finding::kPass,
      "a pooler such as PgBouncer is in front (sessions have other numbers than on the server). Batches are safe "
      "behind it, in transaction mode too; pause and cancel are found by polling",
      "a direct connection gives faster cancels, and spares the application's share of the pool");
}

asio::awaitable<void> Doctor::check_role() {
  auto const rows =
      co_await ask("role",
                   "SELECT current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), "
                   "has_database_privilege(current_database(), 'CREATE'), to_regnamespace('pgbackfill') IS NOT NULL, "
                   "coalesce(has_schema_privilege(to_regnamespace('pgbackfill'), 'USAGE'), false), "
                   "pg_has_role('pg_read_all_stats', 'USAGE'), current_database()");
  if (!rows) co_return;
  role_ = rows->at(0, 0);
  std::string const who = fmt::format("role {}{}", role_, rows->at(0, 1) == "t" ? ", a superuser," : "");
  bool const has_schema = rows->at(0, 3) == "t";
  if (has_schema) {
    auto const rights = co_await ask("state", state::has_state_rights());
    bool const may_write = rights && rows->at(0, 4) == "t" && rights->rows.front()[0].value_or("t") == "t";
    add("state", may_write ? Finding::kPass : Finding::kFail,
        fmt::format("schema pgbackfill is there, and {} may {}work in it", who, may_write ? "" : "not "),
        may_write
            ? ""
            : fmt::format(
                  "`GRANT USAGE ON SCHEMA pgbackfill TO {0}; GRANT ALL ON ALL TABLES IN SCHEMA pgbackfill TO {0}`",
                  quote_identifier(role_)));
  } else {
    bool const may_create = rows->at(0, 2) == "t";
    add("state", may_create ? Finding::kPass : Finding::kFail,
        fmt::format("schema pgbackfill is not there yet, and {} may {}create it", who, may_create ? "" : "not "),
        may_create ? ""
                   : fmt::format("let an owner run `pgbackfill init`, or `GRANT CREATE ON DATABASE {} TO {}`",
                                 quote_identifier(rows->at(0, 6)), quote_identifier(role_)));
  }
  sees_all_ = rows->at(0, 5) == "t" || rows->at(0, 1) == "t";
  add("sight", sees_all_ ? Finding::kPass : Finding::kWarn,
      sees_all_ ? "the role sees other roles' sessions, and the replicas"
                : fmt::format("role {} sees neither other roles' transactions and queries nor how far the replicas "
                              "are; checks below that need them say so",
                              role_),
      sees_all_ ? "" : "`GRANT pg_monitor TO " + quote_identifier(role_) + "`");
}

// --- Replicas, slots, archive ----------------------------------------------------------------------------------------

asio::awaitable<void> Doctor::check_replicas() {
  auto const rows = co_await ask(
      "replicas",
      fmt::format(
          "SELECT coalesce(nullif(application_name, ''), 'no name'), coalesce(' (' || host(client_addr) || ')', '')"
          ", state, sync_state, pg_wal_lsn_diff({}, replay_lsn)::bigint, "
          "(extract(epoch FROM replay_lag) * 1000)::bigint FROM pg_stat_replication ORDER BY 1, 2",
          kWalPosition));
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("replicas", Finding::kPass, "none is attached");
  for (auto const& row : rows->rows) {
    std::string const who = *row[0] + *row[1];
    if (!row[2]) {
      add("replica", Finding::kWarn, fmt::format("{}: this role does not see its state and lag", who),
          "`GRANT pg_monitor TO " + quote_identifier(role_) + "`");
      continue;
    }
    if (*row[2] == "backup") {
      add("replica", Finding::kPass, who + ": a base backup is being taken");
      continue;
    }
    std::int64_t const behind = row[4] ? std::stoll(*row[4]) : 0;
    milliseconds const late(row[5] ? std::stoll(*row[5]) : 0);
    bool const is_well = *row[2] == "streaming" && behind < kReplicaLagBytes && late < kLateReplica;
    add("replica", is_well ? Finding::kPass : Finding::kWarn,
        fmt::format("{}: {}, {}, {} behind{}", who, *row[2], row[3].value_or("async"), human_bytes(behind),
                    late > 0ms ? ", " + human_duration(late) + " late" : ""),
        is_well ? "" : "let it catch up first: a backfill writes more WAL than usual");
  }
}

std::string slot_advice(std::string const& name, bool is_lost) {
  return fmt::format(
      "{}: `SELECT pg_drop_replication_slot({})`",
      is_lost ? "it cannot be used any more; drop it" : "start its consumer, or drop it if nobody needs it",
      quote_literal(name));
}

asio::awaitable<void> Doctor::check_slots() {
  auto const rows = co_await ask(
      "slots",
      fmt::format("SELECT slot_name, slot_type, active, coalesce(wal_status, ''), coalesce(pg_wal_lsn_diff({}, "
                  "restart_lsn), 0)::bigint, current_setting('max_slot_wal_keep_size') FROM "
                  "pg_replication_slots WHERE NOT temporary ORDER BY active, 5 DESC",
                  kWalPosition));
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("slots", Finding::kPass, "there are no replication slots");
  bool is_limited = rows->at(0, 5) != "-1";
  int inactive = 0;
  for (auto const& row : rows->rows) {
    bool const is_active = *row[2] == "t";
    bool const is_lost = *row[3] == "lost";
    std::int64_t const kept = std::stoll(*row[4]);
    inactive += is_active ? 0 : 1;
    bool const is_well = is_active && kept < kRetainedBytes && !is_lost && *row[3] != "unreserved";
    std::string advice;
    if (!is_active || is_lost) advice = slot_advice(*row[0], is_lost);
    if (is_active && !is_well) advice = "see why its consumer is behind";
    add("slot", is_well ? Finding::kPass : Finding::kWarn,
        fmt::format("{} ({}) is {}, keeps {} of WAL{}", *row[0], *row[1], is_active ? "active" : "inactive",
                    human_bytes(std::max<std::int64_t>(kept, 0)), row[3]->empty() ? "" : ", " + *row[3]),
        advice);
  }
  if (inactive > 0 && !is_limited) {
    add("slots", Finding::kWarn, "max_slot_wal_keep_size is unlimited, so an inactive slot fills the disk in the end",
        "with what the disk can spare: `ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'`, then `SELECT "
        "pg_reload_conf()`");
  }
}

asio::awaitable<void> Doctor::check_archiver() {
  auto const rows =
      co_await ask("archiver",
                   "SELECT current_setting('archive_mode'), coalesce(last_failed_time > coalesce(last_archived_time, "
                   "'-infinity'), false), failed_count, coalesce(last_failed_wal, ''), extract(epoch FROM "
                   "clock_timestamp() - coalesce(last_archived_time, stats_reset))::bigint FROM pg_stat_archiver");
  if (!rows || rows->rows.empty()) co_return;
  if (rows->at(0, 0) == "off") co_return add("archiver", Finding::kPass, "WAL archiving is off");
  if (rows->at(0, 1) == "t") {
    co_return add(
        "archiver", Finding::kWarn,
        fmt::format("archiving fails: {} ({} failures); WAL piles up until it works", rows->at(0, 3), rows->at(0, 2)),
        "mend archive_command first (see the server's log): a backfill adds WAL quickly");
  }
  auto const waiting = co_await query_read_only(*connection_, "SELECT " + probe_sql::files_to_archive());
  if (!waiting) {
    co_return add("archiver", Finding::kPass, "archiving works; this role cannot see how many files wait for it",
                  "`GRANT pg_monitor TO " + quote_identifier(role_) + "`");
  }
  bool const is_late = std::stoll(waiting->at(0, 0)) > kArchiveBacklog;
  add("archiver", is_late ? Finding::kWarn : Finding::kPass,
      fmt::format("archiving works, {} WAL files wait for it", waiting->at(0, 0)),
      is_late ? "let it catch up first: a backfill adds WAL quickly" : "");
}

// --- Other people's work ---------------------------------------------------------------------------------------------

asio::awaitable<void> Doctor::check_transactions() {
  auto const rows = co_await ask(
      "transactions",
      fmt::format(
          "SELECT pid, coalesce(usename, '?'), coalesce(nullif(application_name, ''), 'no application name'), "
          "state, extract(epoch FROM clock_timestamp() - xact_start)::bigint, left(query, 60), state LIKE 'idle "
          "in%' FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND "
          "(xact_start < clock_timestamp() - interval '{} s' OR (state LIKE 'idle in transaction%' AND "
          "state_change < clock_timestamp() - interval '{} s')) ORDER BY xact_start LIMIT {}",
          std::chrono::seconds(kLongTransaction).count(), kIdleInTransaction.count(), kListed));
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
                                 "pg_stat_database)",
                                 probe_sql::reserved_connections(connection_->server_version())));
  if (!rows) co_return;
  std::int64_t const most = std::stoll(rows->at(0, 0));
  std::int64_t const free = most - std::stoll(rows->at(0, 1)) - std::stoll(rows->at(0, 2));
  bool const is_tight = free < kFewConnections;
  add("connections", is_tight ? Finding::kWarn : Finding::kPass,
      fmt::format("{} of {} are free", std::max<std::int64_t>(free, 0), most),
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

asio::awaitable<void> Doctor::check_locks() {
  auto const rows = co_await ask(
      "locks",
      fmt::format(
          "SELECT l.pid, l.mode, coalesce(l.relation::regclass::text, l.locktype), nullif(blocker.pid, 0), "
          "coalesce(nullif(b.application_name, ''), 'no application name'), coalesce(b.usename, '?'), "
          "coalesce(b.state, "
          "'state not visible'), extract(epoch FROM clock_timestamp() - b.xact_start)::bigint, left(b.query, 60) FROM "
          "pg_locks l CROSS JOIN LATERAL unnest(pg_blocking_pids(l.pid)) AS blocker (pid) LEFT JOIN pg_stat_activity b "
          "ON b.pid = blocker.pid WHERE NOT l.granted ORDER BY 8 DESC NULLS LAST LIMIT {}",
          kListed));
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

// --- Leftovers -------------------------------------------------------------------------------------------------------

asio::awaitable<void> Doctor::check_indexes() {
  auto const rows = co_await ask(
      "indexes", fmt::format("SELECT n.nspname, c.relname, i.indrelid::regclass::text, pg_relation_size(c.oid) FROM "
                             "pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = "
                             "c.relnamespace WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (SELECT 1 FROM "
                             "pg_stat_progress_create_index p WHERE p.index_relid = c.oid) ORDER BY 4 DESC LIMIT {}",
                             kListed));
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("indexes", Finding::kPass, "none is invalid");
  for (auto const& row : rows->rows) {
    std::string const name = quote_qualified(*row[0], *row[1]);
    add("index", Finding::kWarn,
        fmt::format("{} on {} is invalid ({}): every write pays for it, no query uses it", name, *row[2],
                    human_bytes(std::stoll(*row[3]))),
        fmt::format("`DROP INDEX CONCURRENTLY {0}`, or `REINDEX INDEX CONCURRENTLY {0}`", name));
  }
}

// Columns of state::overviews().
constexpr std::size_t kNameColumn = 0;
constexpr std::size_t kStatusColumn = 5;
constexpr std::size_t kReasonColumn = 6;
constexpr std::size_t kQuarantinedColumn = 22;
constexpr std::size_t kProcessesColumn = 23;

asio::awaitable<void> Doctor::check_jobs() {
  auto const there = co_await ask("jobs", state::has_version());
  if (!there || there->at(0, 0) != "t") co_return;
  auto const version = co_await ask("jobs", state::read_version());
  if (!version || version->rows.front()[0].value_or("") != std::to_string(kStateVersion)) co_return;
  auto const rows = co_await ask("jobs", state::overviews(""));
  if (!rows) co_return;
  auto const before = checks_.size();
  for (auto const& row : rows->rows) {
    std::string const name = *row[kNameColumn];
    std::string const status = row[kStatusColumn].value_or("");
    std::string const look = fmt::format("`pgbackfill status {}` says more", name);
    if (status == "running" && row[kProcessesColumn] == "0") {
      add("job", Finding::kWarn, name + " is running by its status, but no process holds a range of it",
          look + "; run it again, or cancel it");
    } else if (status == "failed") {
      add("job", Finding::kWarn, fmt::format("{} failed: {}", name, row[kReasonColumn].value_or("")), look);
    } else if (row[kQuarantinedColumn].value_or("0") != "0") {
      add("job", Finding::kWarn, fmt::format("{} has {} rows set aside", name, *row[kQuarantinedColumn]), look);
    }
  }
  if (checks_.size() == before) {
    add("jobs", Finding::kPass,
        rows->rows.empty() ? "no migration ran here yet"
                           : fmt::format("{} known, none is stuck or failed", rows->rows.size()));
  }
}

// --- The table of a file ---------------------------------------------------------------------------------------------

std::string oid_list(planner::TableFacts const& table) {
  std::vector<std::string> oids;
  for (auto const& leaf : table.leaves) oids.push_back(std::to_string(leaf.oid));
  return planner::join(oids, ", ");
}

asio::awaitable<void> Doctor::check_size(planner::Backfill const& backfill, planner::TableFacts const& table) {
  auto const rows = co_await ask(
      "size", fmt::format("SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE "
                          "oid IN ({})",
                          oid_list(table)));
  if (!rows) co_return;
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  for (auto const& leaf : table.leaves) {
    count += leaf.rows_estimated;
    bytes += leaf.bytes;
  }
  std::string text =
      fmt::format("{}: about {} rows, {} with indexes, {} without", quote_qualified(table.schema, table.name),
                  human_count(count), human_bytes(std::stoll(rows->at(0, 0))), human_bytes(bytes));
  if (table.leaves.size() > 1) text += fmt::format(", in {} partitions", table.leaves.size());
  add("table", Finding::kPass, text);
  std::string const unseen = "free disk space cannot be seen through SQL: look at it on the server (df), WAL included";
  switch (backfill.kind) {
    case planner::WorkKind::kUpdate:
    case planner::WorkKind::kSql:
      co_return add("growth", Finding::kPass,
                    fmt::format("if every row changes and vacuum does not keep up, it grows by {}, and its indexes too",
                                human_bytes(bytes)),
                    unseen);
    case planner::WorkKind::kCopy:
      co_return add("growth", Finding::kPass, fmt::format("a copy of every row takes about {}", human_bytes(bytes)),
                    unseen);
    case planner::WorkKind::kDelete:
      co_return add("growth", Finding::kPass,
                    "the file does not shrink: vacuum makes the room free for new rows of this table");
  }
}

void Doctor::note_keys(Preflight const& preflight) {
  if (preflight.keys.empty()) return;
  auto const& key = preflight.keys.front();
  if (key.is_by_block()) {
    return add("key", Finding::kPass, "no usable key: it is paged by physical blocks",
               "a primary key makes batches even, and lets the job be checked row by row");
  }
  std::vector<std::string> columns;
  for (auto const& column : key.columns) columns.push_back(quote_identifier(column.name));
  add("key", Finding::kPass, fmt::format("index {}: {}", quote_identifier(key.index), planner::join(columns, ", ")));
}

void Doctor::note_triggers(planner::Backfill const& backfill, planner::TableFacts const& table) {
  bool const is_delete = backfill.kind == planner::WorkKind::kDelete;
  bool const writes_here = is_delete || backfill.kind == planner::WorkKind::kUpdate;
  std::vector<std::string> names;
  for (auto const& trigger : table.triggers) {
    bool const fires = trigger.enabled != 'D' && (is_delete ? trigger.on_delete : trigger.on_update);
    if (fires && writes_here) names.push_back(quote_identifier(trigger.name));
  }
  if (!writes_here) return;
  if (names.empty()) return add("triggers", Finding::kPass, "none fires on the rows that change");
  bool const are_skipped = backfill.triggers == planner::TriggerMode::kSkip;
  add("triggers", are_skipped ? Finding::kPass : Finding::kWarn,
      fmt::format("{} fire on each row that changes{}", planner::join(names, ", "),
                  are_skipped ? ", but the file says to skip them" : ""),
      are_skipped ? "" : "if they must not, write `triggers: skip` (needs the right to set session_replication_role)");
}

asio::awaitable<void> Doctor::check_updates(planner::Backfill const& backfill, planner::TableFacts const& table) {
  std::vector<std::string> columns;
  for (auto const& assignment : backfill.assignments) columns.push_back(assignment.column);
  auto const indexed = co_await ask(
      "updates",
      fmt::format(
          "SELECT DISTINCT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN "
          "pg_am m ON m.oid = c.relam JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = ANY ({0}) "
          "WHERE i.indrelid IN ({1}) AND NOT (m.amname = 'brin' AND "
          "current_setting('server_version_num')::int >= 160000) AND (a.attnum = ANY (i.indkey) OR EXISTS "
          "(SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND "
          "d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum)) ORDER "
          "BY 1, 2 LIMIT {2}",
          planner::text_array(columns), oid_list(table), kListed));
  auto const options = co_await ask(
      "updates",
      fmt::format(
          "SELECT bool_and(coalesce((SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) o WHERE "
          "o.option_name = 'fillfactor'), 100) < 100), bool_and(coalesce((SELECT o.option_value::boolean FROM "
          "pg_options_to_table(c.reloptions) o WHERE o.option_name = 'autovacuum_enabled'), true)), "
          "max((SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)), "
          "max(coalesce((SELECT o.option_value::float8 FROM pg_options_to_table(c.reloptions) o WHERE "
          "o.option_name = 'autovacuum_vacuum_scale_factor'), "
          "current_setting('autovacuum_vacuum_scale_factor')::float8) * greatest(c.reltuples, 0) + "
          "coalesce((SELECT o.option_value::float8 FROM pg_options_to_table(c.reloptions) o WHERE o.option_name "
          "= 'autovacuum_vacuum_threshold'), current_setting('autovacuum_vacuum_threshold')::float8))::bigint "
          "FROM pg_class c WHERE c.oid IN ({})",
          oid_list(table)));
  if (!indexed || !options) co_return;
  std::string const entries =
      fmt::format("each changed row gets a new entry in {}",
                  options->at(0, 2) == "1" ? "the index" : fmt::format("all {} indexes", options->at(0, 2)));
  for (auto const& row : indexed->rows) {
    add("updates", Finding::kWarn,
        fmt::format("index {} uses column {}: {}", quote_identifier(*row[0]), quote_identifier(*row[1]), entries),
        "if queries can do without it meanwhile, drop it first and create it again in contract");
  }
  bool const has_room = options->at(0, 0) == "t";
  if (indexed->rows.empty() && options->at(0, 2) != "0") {
    add("updates", has_room ? Finding::kPass : Finding::kWarn,
        has_room ? std::string("no index uses a changed column, and pages have room: most updates are cheap (HOT)")
                 : "fillfactor is 100, so full pages have no room for new versions of rows: there " + entries,
        has_room ? ""
                 : fmt::format("`ALTER TABLE {} SET (fillfactor = 90)` helps pages written from now on, not those that "
                               "are full",
                               quote_qualified(table.schema, table.name)));
  }
  bool const vacuums = options->at(0, 1) == "t";
  add("autovacuum", vacuums ? Finding::kPass : Finding::kWarn,
      vacuums ? fmt::format("comes to the table after {} dead rows", human_count(std::stoll(options->at(0, 3))))
              : std::string("is off for the table: dead rows of the backfill stay"),
      vacuums ? ""
              : fmt::format("`ALTER TABLE {} RESET (autovacuum_enabled)`", quote_qualified(table.schema, table.name)));
}

asio::awaitable<void> Doctor::check_file(LoadedMigration loaded) {
  auto const& migration = loaded.migration;
  add("file", Finding::kPass, fmt::format("{} can be read: migration {}", migration.file, migration.name));
  if (!migration.backfill) co_return;
  auto const preflight = co_await check_backfill(*connection_, *migration.backfill);
  if (!preflight) co_return add("file", Finding::kWarn, failure_text(preflight.error()));
  bool const may_come = may_come_with_expand(*preflight, migration);
  for (auto const& problem : preflight->problems) {
    add("file", may_come ? Finding::kWarn : Finding::kFail, planner::to_string(problem),
        may_come ? "right if the expand steps make it: `pgbackfill run` checks again after them" : "");
  }
  auto const& table = preflight->table;
  if (table.leaves.empty()) co_return;
  co_await check_size(*migration.backfill, table);
  note_keys(*preflight);
  note_triggers(*migration.backfill, table);
  if (migration.backfill->kind == planner::WorkKind::kUpdate) co_await check_updates(*migration.backfill, table);
}

// --- The whole -------------------------------------------------------------------------------------------------------

int Doctor::count(Finding finding) const {
  return static_cast<int>(
      std::count_if(checks_.begin(), checks_.end(), [&](Check const& check) { return check.finding == finding; }));
}

void Doctor::print() const {
  if (context_.is_json()) {
    boost::json::array array;
    for (auto const& check : checks_) {
      array.push_back({{"name", check.name},
                       {"result", word_of(check.finding)},
                       {"text", valid_utf8(check.text)},
                       {"advice", valid_utf8(check.advice)}});
    }
    return context_.print(boost::json::object{{"checks", std::move(array)}});
  }
  constexpr int kWordWidth = 6;
  constexpr int kNameWidth = 14;
  auto const view = standard_output().view;
  std::string text;
  for (auto const& check : checks_) {
    std::string_view const color = check.finding == Finding::kPass   ? kGood
                                   : check.finding == Finding::kWarn ? kDoubtful
                                                                     : kBad;
    auto narrow = view;
    narrow.columns -= kWordWidth;
    std::string prefix = coloured(word_of(check.finding), color, view) + "  ";
    for (auto const& line : labelled(check.name, kNameWidth, check.text, narrow)) {
      text += prefix + line + "\n";
      prefix = std::string(kWordWidth, ' ');
    }
    if (check.advice.empty()) continue;
    for (auto const& line : labelled("", kNameWidth, "-> " + check.advice, narrow)) text += prefix + line + "\n";
  }
  text +=
      fmt::format("{} pass, {} warn, {} fail\n", count(Finding::kPass), count(Finding::kWarn), count(Finding::kFail));
  context_.print(text);
}

asio::awaitable<void> Doctor::connect() {
  CommandError refused;
  try {
    connection_ = co_await context_.connect();
    co_return;
  } catch (CommandError const& error) {
    refused = error;
  }
  if (refused.exit_code == kExitUsage) throw refused;
  ConnectTarget target = context_.target();
  // Other commands refuse a standby; here it is worth a look.
  target.accepts_standby = true;
  auto opened = co_await PgConnection::open(std::move(target), context_.blocking());
  if (opened) {
    connection_ = *opened;
  } else {
    add("connection", Finding::kFail, refused.text, "check address, server, firewall, pg_hba.conf and password");
  }
}

asio::awaitable<int> Doctor::go(std::string file) {
  std::optional<LoadedMigration> loaded;
  if (!file.empty()) loaded = load_migration(file);
  co_await connect();
  if (!connection_) {
    print();
    co_return kExitGateClosed;
  }
  co_await check_server();
  co_await check_round_trip();
  co_await check_pooler();
  co_await check_role();
  co_await check_replicas();
  co_await check_slots();
  co_await check_archiver();
  co_await check_transactions();
  co_await check_prepared();
  co_await check_locks();
  co_await check_horizon();
  co_await check_wraparound();
  co_await check_connections();
  co_await check_settings();
  co_await check_checkpoints();
  co_await check_indexes();
  co_await check_jobs();
  if (loaded) co_await check_file(std::move(*loaded));
  print();
  co_return count(Finding::kFail) > 0 ? kExitGateClosed : kExitDone;
}

}  // namespace

int doctor_command(CommandContext& context, DoctorOptions const& options) {
  Doctor doctor(context);
  return context.run(doctor.go(options.file));
}

}  // namespace pgbackfill::engine
