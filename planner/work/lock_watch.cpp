#include "planner/work/lock_watch.h"

#include "planner/model/shown_query.h"
#include "planner/model/sql_text.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {
namespace {

constexpr int kMostQueryShown = 200;

std::string session_columns() {
  return "coalesce(s.usename, ''), coalesce(s.application_name, ''), coalesce(s.state, ''), "
         "coalesce((extract(epoch FROM clock_timestamp() - s.xact_start) * 1000)::bigint, 0), "
         "coalesce((extract(epoch FROM clock_timestamp() - s.state_change) * 1000)::bigint, 0), "
         "coalesce(s.backend_type, ''), coalesce(" +
         shown_query("s.query", kMostQueryShown) +
         ", ''), "
         "coalesce(s.query LIKE '%(to prevent wraparound)%', false)";
}

// Of pg_prepared_xacts p: its id as COMMIT PREPARED takes it, whose it is, and its age.
constexpr char kPrepared[] =
    "pg_catalog.format('%L of %s, %s s old', p.gid, p.owner, extract(epoch FROM clock_timestamp() - "
    "p.prepared)::bigint)";

// Of a name in SQL, which may be without its schema.
std::string oid_of_name(std::string const& relation) {
  auto const parsed = parse_table_name(relation);
  if (!parsed.problem.empty()) return "pg_catalog.to_regclass(" + quote_literal(relation) + ")";
  return oid_of(parsed.table.schema, parsed.table.name);
}

}  // namespace

std::string prepared_transaction_of(std::string const& lock) {
  return "(SELECT x.transactionid FROM pg_catalog.pg_locks x WHERE x.locktype = 'transactionid' AND x.pid IS NULL AND "
         "x.granted AND x.virtualtransaction = " +
         lock + ".virtualtransaction LIMIT 1)";
}

std::string holders_sql(std::vector<TableLock> const& locks, std::vector<int> const& own_pids) {
  std::vector<std::string> conditions;
  for (auto const& lock : locks) {
    if (lock.mode == LockMode::kNone) continue;
    std::string const oid = oid_of_name(lock.relation);
    conditions.push_back("(l.mode = ANY (" + text_array(conflicting_modes(lock.mode)) + ") AND (l.relation = " + oid +
                         " OR l.relation IN (SELECT relid FROM pg_catalog.pg_partition_tree(" + oid + "))))");
  }
  std::vector<std::string> pids;
  for (int const pid : own_pids) pids.push_back(std::to_string(pid));
  std::string const others = pids.empty() ? "true" : "(l.pid IS NULL OR l.pid NOT IN (" + join(pids, ", ") + "))";
  return std::string{"SELECT DISTINCT l.pid, "} + session_columns() + ", CASE WHEN p.gid IS NULL THEN '' ELSE " +
         kPrepared +
         " END FROM pg_catalog.pg_locks l LEFT JOIN "
         "pg_catalog.pg_stat_activity s ON s.pid = l.pid "
         "LEFT JOIN pg_catalog.pg_prepared_xacts p ON l.pid IS NULL AND p.transaction = " +
         prepared_transaction_of("l") +
         " WHERE l.locktype = 'relation' AND l.granted AND l.database = "
         "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AND " +
         others + " AND (" + (conditions.empty() ? "false" : join(conditions, " OR ")) + ") ORDER BY 1 LIMIT 20";
}

std::string blockers_sql(int pid) {
  // A prepared transaction stands in the list as pid 0: one that has what the session waits for.
  std::string const gid =
      std::string{"coalesce((SELECT "} + kPrepared +
      " FROM pg_catalog.pg_locks w JOIN pg_catalog.pg_locks h ON h.pid "
      "IS NULL AND h.granted AND "
      "h.locktype = w.locktype AND h.database IS NOT DISTINCT FROM w.database AND h.relation IS NOT DISTINCT FROM "
      "w.relation AND h.transactionid IS NOT DISTINCT FROM w.transactionid JOIN pg_catalog.pg_prepared_xacts p ON "
      "p.transaction = " +
      prepared_transaction_of("h") + " WHERE w.pid = " + std::to_string(pid) +
      " AND NOT w.granted ORDER BY p.prepared LIMIT 1), '?')";
  return std::string{"SELECT nullif(b.pid, 0), "} + session_columns() + ", CASE WHEN b.pid = 0 THEN " + gid +
         " ELSE '' END FROM (SELECT DISTINCT unnest(pg_catalog.pg_blocking_pids(" + std::to_string(pid) +
         ")) AS pid) b LEFT JOIN pg_catalog.pg_stat_activity s ON s.pid = b.pid ORDER BY 1 LIMIT 20";
}

std::string build_progress_sql(int pid) {
  return "SELECT coalesce(phase, ''), coalesce(CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END, 0), "
         "coalesce(CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END, 0), coalesce(lockers_done, 0), "
         "coalesce(lockers_total, 0), coalesce(current_locker_pid, 0) FROM "
         "pg_catalog.pg_stat_progress_create_index WHERE pid = " +
         std::to_string(pid);
}

std::string terminate_sql(int pid) {
  return "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client "
         "backend' AND pid = " +
         std::to_string(pid);
}

std::string table_sessions_sql(std::vector<std::string> const& relations) {
  std::vector<std::string> oids;
  for (auto const& relation : relations) oids.push_back("(" + oid_of_name(relation) + ")::pg_catalog.oid");
  return "WITH tables AS (SELECT DISTINCT t.oid FROM unnest(ARRAY[" + join(oids, ", ") +
         "]::pg_catalog.oid[]) AS n (oid) CROSS JOIN LATERAL (SELECT n.oid AS oid UNION SELECT p.relid::pg_catalog.oid "
         "FROM pg_catalog.pg_partition_tree(n.oid::pg_catalog.regclass) p) t WHERE t.oid "
         "IS "
         "NOT NULL), held AS (SELECT l.pid, l.virtualtransaction, l.relation, l.granted, string_agg(DISTINCT "
         "replace(l.mode, 'Lock', ''), ', "
         "' "
         "ORDER BY replace(l.mode, 'Lock', '')) AS modes FROM pg_catalog.pg_locks l JOIN tables ON tables.oid = "
         "l.relation WHERE l.locktype = 'relation' AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE "
         "d.datname = pg_catalog.current_database()) AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() GROUP BY "
         "l.pid, l.virtualtransaction, l.relation, l.granted) SELECT coalesce(h.pid, 0), coalesce(s.application_name, "
         "p.gid, ''), coalesce(s.usename::text, p.owner::text, ''), coalesce(s.backend_type, ''), coalesce(s.state, "
         "''), "
         "h.modes, h.granted, "
         "(SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN "
         "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = h.relation), coalesce((extract(epoch FROM "
         "clock_timestamp() - CASE WHEN h.granted THEN coalesce(s.xact_start, p.prepared) ELSE s.query_start END) * "
         "1000)::bigint, 0), "
         "coalesce(" +
         shown_query("s.query", kMostQueryShown) +
         ", ''), CASE WHEN NOT h.granted OR s.wait_event_type = 'Lock' THEN "
         "pg_catalog.pg_blocking_pids(h.pid)::text END, coalesce(s.query LIKE '%(to prevent wraparound)%', false), "
         "coalesce(s.backend_start::text, '') FROM held h LEFT JOIN pg_catalog.pg_stat_activity s ON s.pid = h.pid "
         "LEFT JOIN pg_catalog.pg_prepared_xacts p ON h.pid IS NULL AND p.transaction = " +
         prepared_transaction_of("h") +
         " ORDER "
         "BY h.granted, 9 DESC, 1 LIMIT " +
         std::to_string(kMostTableSessions);
}

std::string release_session_sql(int pid, std::string const& began, bool is_ended) {
  return std::string{"SELECT pg_catalog."} + (is_ended ? "pg_terminate_backend" : "pg_cancel_backend") +
         "(s.pid) FROM pg_catalog.pg_stat_activity s WHERE s.pid = " + std::to_string(pid) +
         " AND s.backend_start::text = " + quote_literal(began);
}

}  // namespace pgbackfill::planner
