// Replicas, slots and the archive.

#include <fmt/format.h>

#include "engine/base/text.h"
#include "engine/cli/doctor.h"
#include "engine/pg/catalog.h"
#include "engine/probes/probe_sql.h"
#include "engine/steps/subscribers.h"
#include "engine/view/console.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::quote_identifier;
using planner::quote_literal;
using std::chrono::milliseconds;

constexpr auto kLateReplica = 10s;
constexpr std::int64_t kReplicaLagBytes = 256LL << 20;
constexpr std::int64_t kRetainedBytes = 1LL << 30;
constexpr std::int64_t kArchiveBacklog = 20;

std::string slot_advice(std::string const& name, bool is_lost) {
  return fmt::format(
      "{}: `SELECT pg_drop_replication_slot({})`",
      is_lost ? "it cannot be used any more; drop it" : "start its consumer, or drop it if nobody needs it",
      quote_literal(name));
}

}  // namespace

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

asio::awaitable<void> Doctor::check_publications(std::vector<planner::SchemaStep> steps) {
  auto const rows = co_await ask("publications",
                                 "SELECT pubname || CASE WHEN puballtables THEN ' (FOR ALL TABLES)' ELSE '' END FROM "
                                 "pg_catalog.pg_publication ORDER BY pubname");
  if (!rows) co_return;
  if (rows->rows.empty()) co_return add("publications", Finding::kPass, "there are none");
  std::vector<std::string> names;
  for (auto const& row : rows->rows) names.push_back(*row[0]);
  auto const subscribers = co_await read_subscribers(*connection_);
  std::string const who =
      subscribers.empty() ? "nobody subscribes" : "subscribers: " + planner::join(subscribers, ", ");
  auto const text = co_await subscribers_text(*connection_, std::move(steps));
  add("publications", text.empty() ? Finding::kPass : Finding::kWarn,
      fmt::format("{}; {}", planner::join(names, ", "), who), text);
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
        "fix archive_command first (see the server's log): a backfill adds WAL quickly");
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

}  // namespace pgbackfill::engine
