#include "engine/probes/probe_sql.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "planner/model/shown_query.h"
#include "planner/model/sql_text.h"
#include "throttle/announcement.h"

namespace pgbackfill::engine::probe_sql {

namespace {

// Runs, or waits for anything but its client.
constexpr char kIsActive[] = "s.state = 'active' AND s.wait_event_type IS DISTINCT FROM 'Client'";

constexpr int kWithWaitStart = 140000;
constexpr int kWithWalStatistics = 140000;
constexpr int kWithReservedConnections = 160000;
constexpr int kWithCheckpointer = 170000;
constexpr int kWithWalOfBackends = 180000;

// pg_blocking_pids() takes the lock manager's partitions exclusively, so it is asked for a bounded number of pids.
constexpr int kMostWaitersLookedAt = 50;
constexpr int kMostQueryShown = 60;

std::string pid_array(std::vector<int> const& pids) {
  return fmt::format("'{{{}}}'::int[]", fmt::join(pids, ","));
}

// Of `session`, an alias with pid and application_name.
std::string is_ours(OwnSessions const& own, std::string const& session) {
  std::vector<int> pids = own.workers;
  pids.insert(pids.end(), own.probes.begin(), own.probes.end());
  // A user's conninfo may give all our sessions another name; the one that asks has it as well.
  char const* const named =
      own.is_pooled ? " OR ({0}.application_name = current_setting('application_name') AND {0}.application_name <> '')"
                    : "";
  return fmt::format("({0}.pid = ANY ({1}) OR {0}.application_name LIKE 'pgbackfill%'{2})", session, pid_array(pids),
                     fmt::format(fmt::runtime(named), session));
}

// A row set of the pids whose locks are ours.
std::string lock_holders(OwnSessions const& own) {
  if (!own.is_pooled) return fmt::format("SELECT unnest({}) AS pid", pid_array(own.workers));
  return fmt::format("SELECT s.pid FROM pg_stat_get_activity(NULL) s WHERE {}", is_ours(own, "s"));
}

// pid, ms of all that wait for a lock.
std::string waiting(int version, KnownWaiters const& known) {
  if (version >= kWithWaitStart) {
    return "SELECT l.pid, coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart) * 1000), 0)::float8 AS ms "
           "FROM pg_locks l WHERE NOT l.granted GROUP BY l.pid";
  }
  std::string seen = "(0, 0::float8)";
  for (auto const& [pid, waited] : known) seen += fmt::format(", ({}, {})", pid, waited.count());
  return fmt::format(
      "SELECT l.pid, coalesce(max(seen.ms), 0)::float8 AS ms FROM pg_locks l LEFT JOIN (VALUES {}) AS seen (pid, ms) "
      "ON "
      "seen.pid = l.pid WHERE NOT l.granted GROUP BY l.pid",
      seen);
}

std::string oid_array(std::vector<std::uint32_t> const& oids) {
  return fmt::format("'{{{}}}'::oid[]", fmt::join(oids, ","));
}

}  // namespace

std::string canary() {
  return "SELECT pg_logical_emit_message(true, 'pgbackfill', '')";
}

std::string server() {
  return fmt::format(
      "SELECT pg_is_in_recovery(), pg_has_role('pg_read_all_stats', 'USAGE'), "
      "has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE'), current_user, pg_backend_pid(), (SELECT age "
      "FROM "
      "({}) oldest)",
      wraparound_ages(1));
}

// A walsender that serves a logical slot is looked at as the slot. By the functions below the views pg_stat_replication
// and pg_replication_slots, which join more than is asked here.
std::string replication() {
  return "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0'), seen.*, "
         "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) FROM (SELECT) AS once LEFT JOIN (SELECT 'standby' AS "
         "kind, "
         "coalesce(nullif(s.application_name, ''), 'no name'), coalesce(host(s.client_addr), ''), w.state, "
         "pg_wal_lsn_diff(w.replay_lsn, '0/0'), extract(epoch FROM w.reply_time)::text, l.slot_name::text, "
         "NULL::boolean, NULL::text, w.pid FROM pg_stat_get_wal_senders() w CROSS JOIN LATERAL "
         "pg_stat_get_activity(w.pid) s LEFT JOIN pg_get_replication_slots() l ON l.active_pid = w.pid WHERE "
         "l.slot_type "
         "IS DISTINCT FROM 'logical' UNION ALL SELECT 'slot', l.slot_name, coalesce((SELECT d.datname FROM pg_database "
         "d "
         "WHERE d.oid = l.datoid), ''), NULL, pg_wal_lsn_diff(l.confirmed_flush_lsn, '0/0'), NULL, l.slot_name, "
         "l.active, "
         "l.wal_status, NULL FROM pg_get_replication_slots() l WHERE l.slot_type = 'logical') AS seen ON true ORDER BY "
         "2, "
         "3, 4, 8, 11";
}

std::string may_somebody_wait() {
  return "SELECT EXISTS (SELECT FROM pg_stat_get_activity(NULL) s WHERE s.wait_event_type = 'Lock' OR (s.backend_type "
         "IS NULL AND s.usesysid IS NOT NULL))";
}

std::string waiters(int version, OwnSessions const& own, std::chrono::milliseconds longer_than,
                    KnownWaiters const& known) {
  return fmt::format(
      "WITH RECURSIVE waiting AS MATERIALIZED ({0}), late AS MATERIALIZED (SELECT w.pid, w.ms FROM waiting w JOIN "
      "pg_stat_get_activity(w.pid) s ON s.pid = w.pid WHERE w.ms > {1} AND NOT {2} ORDER BY w.ms DESC LIMIT {3}), "
      "edges "
      "AS MATERIALIZED (SELECT late.pid, blocker.pid AS blocker FROM late CROSS JOIN LATERAL "
      "unnest(pg_blocking_pids(late.pid)) AS blocker (pid)), blocked (pid, ours) AS (SELECT e.pid, e.blocker FROM "
      "edges "
      "e JOIN ({4}) AS own ON own.pid = e.blocker UNION SELECT e.pid, b.ours FROM edges e JOIN blocked b ON b.pid = "
      "e.blocker), longest AS (SELECT b.pid, b.ours, late.ms FROM blocked b JOIN late USING (pid) ORDER BY late.ms "
      "DESC "
      "LIMIT 1) SELECT (SELECT count(DISTINCT pid) FROM blocked), longest.ms::bigint, longest.ours, longest.pid, "
      "s.application_name, pg_get_userbyid(s.usesysid), {5}, (SELECT string_agg(pid::text, ',') FROM "
      "waiting) FROM (SELECT) AS once LEFT JOIN longest ON true LEFT JOIN LATERAL pg_stat_get_activity(longest.pid) s "
      "ON "
      "longest.pid IS NOT NULL",
      waiting(version, known), longer_than.count(), is_ours(own, "s"), kMostWaitersLookedAt, lock_holders(own),
      planner::shown_query("s.query", kMostQueryShown));
}

std::string presence(OwnSessions const& own, std::chrono::milliseconds period) {
  return fmt::format(
      "SELECT count(*) FILTER (WHERE is_active), count(*) FROM (SELECT {2} AS is_active, s.state_change FROM "
      "pg_stat_get_activity(NULL) s WHERE s.backend_type = 'client backend' AND NOT {0}) AS other WHERE is_active OR "
      "state_change > clock_timestamp() - interval '{1} ms'",
      is_ours(own, "s"), period.count(), kIsActive);
}

std::string activity(int version, OwnSessions const& own) {
  return fmt::format(
      "SELECT now.active, current_setting('max_connections')::int - {1} - now.clients, "
      "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), held.who, held.seconds, held.xid FROM (SELECT count(*) "
      "FILTER (WHERE {3} AND s.backend_type IN ('client backend', 'parallel worker') AND NOT {0}) AS active, count(*) "
      "FILTER (WHERE s.backend_type = 'client backend') AS clients FROM pg_stat_get_activity(NULL) s) AS now LEFT JOIN "
      "({2}) AS held ON true",
      is_ours(own, "s"), reserved_connections(version), horizon_holders(1), kIsActive);
}

std::string elsewhere() {
  return fmt::format(
      "SELECT d.datname, s.application_name FROM pg_stat_get_activity(NULL) s JOIN pg_database d ON d.oid = s.datid "
      "WHERE starts_with(s.application_name, {}) AND d.datname <> current_database() ORDER BY s.pid LIMIT {}",
      planner::quote_literal(throttle::kAnnouncementBegin), kMostElsewhere);
}

std::string announce(std::string const& name) {
  return fmt::format("SELECT set_config('application_name', {}, false)", planner::quote_literal(name));
}

std::string wal(int version, OwnSessions const& own) {
  std::string const counted = version >= kWithWalStatistics
                                  ? "(SELECT wal_records FROM pg_stat_wal), (SELECT wal_fpi FROM pg_stat_wal)"
                                  : "NULL, NULL";
  std::string const ours =
      version >= kWithWalOfBackends && !own.is_pooled
          ? fmt::format(
                "(SELECT string_agg(own.pid || ':' || w.wal_bytes, ',') FROM unnest({}) AS own (pid) CROSS JOIN "
                "LATERAL pg_stat_get_backend_wal(own.pid) w WHERE w.wal_bytes IS NOT NULL)",
                pid_array(own.workers))
          : "NULL";
  return fmt::format(
      "SELECT {}, c.requested, c.timed, pg_size_bytes(current_setting('max_wal_size')), (extract(epoch FROM "
      "current_setting('checkpoint_timeout')::interval) * 1000)::bigint, "
      "current_setting('checkpoint_completion_target')::float8, {} FROM (SELECT {}) AS c (timed, requested)",
      counted, ours, checkpoint_counts(version));
}

std::string slots() {
  return "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), s.slot_name, s.active, coalesce(s.wal_status, ''), "
         "pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint, s.safe_wal_size FROM (SELECT) AS once LEFT "
         "JOIN "
         "pg_get_replication_slots() s ON true ORDER BY s.slot_name";
}

std::string archive(bool may_list) {
  return fmt::format(
      "SELECT current_setting('archive_mode') <> 'off', a.failed_count, a.last_archived_wal, "
      "pg_walfile_name(pg_current_wal_insert_lsn()), pg_size_bytes(current_setting('wal_segment_size')), {} FROM "
      "pg_stat_archiver a",
      may_list ? files_to_archive() : "NULL");
}

// After a crash, a fail-over or a reset the statistics count live rows from zero; pg_class remembers them.
// Whoever may not see an autovacuum worker's query sees its lock. That of ANALYZE is the same, but short and harmless.
std::string vacuum(std::vector<std::uint32_t> const& tables) {
  return fmt::format(
      "WITH ours AS MATERIALIZED (SELECT oid, reltoastrelid, reltuples FROM pg_class WHERE oid = ANY ({})), works AS "
      "(SELECT "
      "s.query FROM pg_stat_get_activity(NULL) s WHERE (s.backend_type = 'autovacuum worker' OR (s.backend_type IS "
      "NULL "
      "AND s.usesysid IS NULL AND s.datid <> 0)) AND coalesce(s.query, '') NOT LIKE 'autovacuum: ANALYZE%' AND EXISTS "
      "(SELECT FROM pg_locks l WHERE l.pid = s.pid AND l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND "
      "l.database "
      "= (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.relation IN (SELECT oid FROM ours "
      "UNION "
      "ALL SELECT reltoastrelid FROM ours))) SELECT EXISTS (SELECT FROM works), coalesce((SELECT bool_or(query LIKE "
      "'%(to prevent wraparound)%') FROM works), false), coalesce(sum(greatest(pg_stat_get_live_tuples(oid), "
      "reltuples)), 0)::bigint, "
      "coalesce(sum(pg_stat_get_dead_tuples(oid)), 0)::bigint, coalesce(sum(pg_total_relation_size(oid)), 0)::bigint, "
      "coalesce(sum(pg_relation_size(oid)), 0)::bigint, count(*) FROM ours",
      oid_array(tables));
}

std::string limits_of_user_sql(std::chrono::milliseconds timeout) {
  return fmt::format(
      "SELECT set_config('transaction_read_only', 'on', true), set_config('statement_timeout', '{0}', true), "
      "set_config('lock_timeout', '{0}', true)",
      timeout.count());
}

// Sessions and prepared transactions of other databases do not matter to vacuum here. Vacuum ignores vacuum, and
// logical slots hold back the catalogs only.
std::string horizon_holders(int limit) {
  return fmt::format(
      "SELECT who, greatest(age(xmin), age(xid)) AS age, seconds, CASE WHEN age(xid) > coalesce(age(xmin), -1) THEN "
      "xid "
      "ELSE xmin END::text AS xid FROM (SELECT 'the transaction of pid ' || s.pid || ' (' || "
      "coalesce(nullif(s.application_name, ''), 'no application name') || ', ' || "
      "coalesce(pg_get_userbyid(s.usesysid), "
      "'?') || ')' AS who, s.backend_xmin AS xmin, s.backend_xid AS xid, extract(epoch FROM clock_timestamp() - "
      "s.xact_start)::bigint AS seconds FROM pg_stat_get_activity(NULL) s WHERE (s.backend_xmin IS NOT NULL OR "
      "s.backend_xid IS NOT NULL) AND s.pid <> pg_backend_pid() AND s.datid = (SELECT oid FROM pg_database WHERE "
      "datname = current_database()) AND s.pid NOT IN (SELECT v.pid FROM pg_stat_get_progress_info('VACUUM') v) UNION "
      "ALL SELECT 'the prepared transaction ' || gid, transaction, NULL, extract(epoch FROM clock_timestamp() - "
      "prepared)::bigint FROM pg_prepared_xacts WHERE database = current_database() UNION ALL SELECT 'the slot ' || "
      "slot_name, xmin, NULL, NULL FROM pg_replication_slots WHERE xmin IS NOT NULL UNION ALL SELECT 'a query on "
      "replica "
      "' || application_name, backend_xmin, NULL, NULL FROM pg_stat_replication WHERE backend_xmin IS NOT NULL) AS "
      "held "
      "ORDER BY 2 DESC, 3 DESC NULLS LAST LIMIT {}",
      limit);
}

std::string checkpoint_counts(int version) {
  return version >= kWithCheckpointer ? "num_timed, num_requested FROM pg_stat_checkpointer"
                                      : "checkpoints_timed, checkpoints_req FROM pg_stat_bgwriter";
}

std::string reserved_connections(int version) {
  std::string const superusers = "current_setting('superuser_reserved_connections')::int";
  if (version < kWithReservedConnections) return superusers;
  return "(" + superusers + " + current_setting('reserved_connections')::int)";
}

std::string files_to_archive() {
  return "(SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')";
}

std::string wraparound_ages(int limit) {
  return fmt::format(
      "SELECT datname, greatest(age(datfrozenxid), mxid_age(datminmxid)) AS age FROM pg_database ORDER BY 2 DESC LIMIT "
      "{}",
      limit);
}

}  // namespace pgbackfill::engine::probe_sql
