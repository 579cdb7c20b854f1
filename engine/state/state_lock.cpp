// Locks on the state: the one of its layout, and who has those that a statement could not get.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"
#include "planner/model/shown_query.h"
#include "planner/work/lock_watch.h"

namespace pgbackfill::engine::state {

namespace {

constexpr std::int64_t kLayoutLock = 5571360147221349;
constexpr int kMostNamed = 3;
constexpr int kMostQueryShown = 80;

}  // namespace

std::string lock_layout() {
  return fmt::format("SELECT pg_catalog.pg_advisory_xact_lock({})", kLayoutLock);
}

// Asked afterwards, when the wait itself is over: so it names transactions that are older than the wait and have, or
// wait for, a lock that is in the way of statements like ours. Of other roles' sessions a role without pg_monitor sees
// neither age nor query.
std::string who_is_in_the_way() {
  return fmt::format(
      "WITH seen AS MATERIALIZED (SELECT l.pid, l.virtualtransaction, l.mode, l.granted, l.locktype, l.relation, "
      "n.nspname = 'pgbackfill' AS is_state, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name FROM "
      "pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation LEFT JOIN pg_catalog.pg_namespace n "
      "ON n.oid = c.relnamespace WHERE l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = "
      "pg_catalog.current_database()) AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() AND (l.locktype = "
      "'relation' AND n.nspname NOT IN ('pg_catalog', 'pg_toast') OR l.locktype = 'advisory' AND (l.classid::bigint << "
      "32 | l.objid::bigint) = {} AND l.objsubid = 1)), ranked AS (SELECT seen.*, CASE WHEN seen.locktype = 'advisory' "
      "THEN 0 WHEN seen.mode = 'AccessExclusiveLock' AND seen.granted THEN 1 WHEN seen.is_state AND seen.mode <> "
      "'AccessShareLock' AND seen.granted THEN 2 WHEN seen.granted AND EXISTS (SELECT FROM seen w WHERE w.relation = "
      "seen.relation AND NOT w.granted AND w.mode = 'AccessExclusiveLock') THEN 3 WHEN seen.mode = "
      "'AccessExclusiveLock' THEN 4 WHEN seen.is_state AND seen.granted THEN 5 END AS rank FROM seen), named AS "
      "(SELECT "
      "DISTINCT ON (coalesce(r.pid::text, r.virtualtransaction)) r.*, s.application_name, s.usename, s.state, "
      "s.xact_start, s.query, p.gid, p.owner, p.prepared FROM ranked r LEFT JOIN pg_catalog.pg_stat_activity s ON "
      "s.pid = r.pid LEFT JOIN pg_catalog.pg_prepared_xacts p ON r.pid IS NULL AND p.transaction = {} WHERE r.rank IS "
      "NOT NULL AND coalesce(s.xact_start, "
      "p.prepared, '-infinity') < pg_catalog.clock_timestamp() - interval '1 second' ORDER BY "
      "coalesce(r.pid::text, r.virtualtransaction), r.rank) SELECT CASE WHEN pid IS NULL THEN pg_catalog.format("
      "'prepared transaction %L of role %s, %s s old,', coalesce(gid, '?'), coalesce(owner, '?'), coalesce(extract("
      "epoch FROM pg_catalog.clock_timestamp() - prepared)::bigint::text, '?')) ELSE pg_catalog.format('pid %s (%s, "
      "role "
      "%s%s)', pid, coalesce(nullif(application_name, ''), 'no application name'), coalesce(usename, '?'), coalesce("
      "', ' || state, '') || coalesce(', transaction open for ' || extract(epoch FROM pg_catalog.clock_timestamp() - "
      "xact_start)::bigint || ' s', '')) END || CASE WHEN locktype = 'advisory' THEN CASE WHEN granted THEN ' holds' "
      "ELSE ' waits for' END || ' the advisory lock {}' ELSE CASE WHEN granted THEN ' has ' ELSE ' waits for ' END || "
      "name || ' locked (' || mode || ')' END || coalesce(': ' || nullif({}, ''), '') || CASE WHEN state LIKE 'idle in "
      "transaction%' THEN ' (commit first: it "
      "holds this until its transaction ends)' ELSE '' END FROM named ORDER BY rank, pid LIMIT {}",
      kLayoutLock, planner::prepared_transaction_of("r"), kLayoutLock,
      planner::shown_query("pg_catalog.regexp_replace(query, '[[:space:]]+', ' ', 'g')", kMostQueryShown), kMostNamed);
}

}  // namespace pgbackfill::engine::state
