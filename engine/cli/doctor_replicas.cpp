// Replicas, slots and the archive.

#include <fmt/format.h>

#include "engine/base/text.h"
#include "engine/cli/doctor.h"
#include "engine/pg/catalog.h"
#include "engine/probes/probe_sql.h"
#include "engine/state/typed_rows.h"
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

namespace {

struct ReplicaRow {
  std::string name;
  std::string address;  // in brackets, or empty
  std::optional<std::string> state;
  std::optional<std::string> sync_state;
  std::optional<std::int64_t> bytes_behind;
  std::optional<milliseconds> late;
};

struct ArchiverRow {
  std::string mode;
  bool is_failing = false;
  std::int64_t failures = 0;
  std::string last_failed;  // WAL file
};

struct SlotRow {
  std::string name;
  std::string type;
  bool is_active = false;
  std::string wal_status;
  std::int64_t kept = 0;
  std::string kept_at_most;  // max_slot_wal_keep_size
};

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
  for (auto const& replica : state::rows_as<ReplicaRow>(*rows)) {
    std::string const who = replica.name + replica.address;
    if (!replica.state) {
      add("replica", Finding::kWarn, fmt::format("{}: this role does not see its state and lag", who),
          "`GRANT pg_monitor TO " + quote_identifier(role_) + "`");
      continue;
    }
    if (*replica.state == "backup") {
      add("replica", Finding::kPass, who + ": a base backup is being taken");
      continue;
    }
    std::int64_t const behind = replica.bytes_behind.value_or(0);
    auto const late = replica.late.value_or(0ms);
    bool const is_well = *replica.state == "streaming" && behind < kReplicaLagBytes && late < kLateReplica;
    add("replica", is_well ? Finding::kPass : Finding::kWarn,
        fmt::format("{}: {}, {}, {} behind{}", who, *replica.state, replica.sync_state.value_or("async"),
                    human_bytes(behind), late > 0ms ? ", " + human_duration(late) + " late" : ""),
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
  auto const slots = state::rows_as<SlotRow>(*rows);
  bool const is_limited = slots.front().kept_at_most != "-1";
  int inactive = 0;
  for (auto const& slot : slots) {
    bool const is_lost = slot.wal_status == "lost";
    inactive += slot.is_active ? 0 : 1;
    bool const is_well = slot.is_active && slot.kept < kRetainedBytes && !is_lost && slot.wal_status != "unreserved";
    std::string advice;
    if (!slot.is_active || is_lost) advice = slot_advice(slot.name, is_lost);
    if (slot.is_active && !is_well) advice = "see why its consumer is behind";
    add("slot", is_well ? Finding::kPass : Finding::kWarn,
        fmt::format("{} ({}) is {}, keeps {} of WAL{}", slot.name, slot.type, slot.is_active ? "active" : "inactive",
                    human_bytes(std::max<std::int64_t>(slot.kept, 0)),
                    slot.wal_status.empty() ? "" : ", " + slot.wal_status),
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
  auto const names = state::column_as<std::string>(*rows);
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
  auto const archiver = state::row_as<ArchiverRow>(rows->rows.front());
  if (archiver.mode == "off") co_return add("archiver", Finding::kPass, "WAL archiving is off");
  if (archiver.is_failing) {
    co_return add("archiver", Finding::kWarn,
                  fmt::format("archiving fails: {} ({} failures); WAL piles up until it works", archiver.last_failed,
                              archiver.failures),
                  "fix archive_command first (see the server's log): a backfill adds WAL quickly");
  }
  auto const waiting = co_await query_read_only(*connection_, "SELECT " + probe_sql::files_to_archive());
  if (!waiting) {
    co_return add("archiver", Finding::kPass, "archiving works; this role cannot see how many files wait for it",
                  "`GRANT pg_monitor TO " + quote_identifier(role_) + "`");
  }
  auto const files = state::value_as<std::int64_t>(*waiting);
  bool const is_late = files > kArchiveBacklog;
  add("archiver", is_late ? Finding::kWarn : Finding::kPass,
      fmt::format("archiving works, {} WAL files wait for it", files),
      is_late ? "let it catch up first: a backfill adds WAL quickly" : "");
}

}  // namespace pgbackfill::engine
