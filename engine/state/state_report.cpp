// What status, history and log show.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

std::string list_jobs() {
  return "SELECT name FROM pgbackfill.jobs ORDER BY id";
}

std::string list_names() {
  return "SELECT name FROM pgbackfill.jobs UNION SELECT name FROM pgbackfill.migrations ORDER BY 1";
}

std::string overviews(std::string const& name) {
  std::string const only = name.empty() ? "" : " WHERE n.name = " + quote_literal(name);
  return "WITH names AS (SELECT name FROM pgbackfill.jobs UNION SELECT name FROM pgbackfill.migrations) SELECT n.name, "
         "m.file, j.id, j.table_schema, j.table_name, j.status, j.status_reason, j.definition, j.pass, j.workers, "
         "j.batch_target_ms, " +
         std::string(kLiveSettings) +
         ", j.rows_estimated, coalesce(sum(r.rows_done) FILTER (WHERE r.pass = "
         "0), 0), coalesce(sum(r.rows_done), 0), coalesce(sum(r.rows_done) FILTER (WHERE r.pass = j.pass), 0), "
         "coalesce(sum(r.rows_estimated) FILTER (WHERE r.pass = j.pass), 0), coalesce(sum(r.rows_changed), 0) + "
         "coalesce(j.rows_changed_on_visits, 0), coalesce(sum(r.batches), 0), count(*) FILTER (WHERE NOT r.done AND "
         "r.pass = j.pass), count(*) FILTER (WHERE r.pass = j.pass), (SELECT count(*) FROM pgbackfill.deferred d WHERE "
         "d.job_id = j.id), (SELECT count(*) FROM pgbackfill.quarantine q WHERE q.job_id = j.id), count(DISTINCT "
         "(r.machine, r.pid)) FILTER (WHERE NOT r.done AND r.owner IS NOT NULL AND " +
         is_live("r") + "), " + utc_text("coalesce(j.created_at, m.first_run_at)") + ", " + utc_text("j.completed_at") +
         ", " + milliseconds_between("max(r.updated_at)", "clock_timestamp()") + ", " +
         milliseconds_between("j.created_at", "coalesce(j.completed_at, clock_timestamp())") +
         ", (SELECT count(*) FROM pgbackfill.steps s WHERE s.migration = n.name AND s.phase = 'expand'), (SELECT "
         "count(*) FROM pgbackfill.steps s WHERE s.migration = n.name AND s.phase = 'contract'), m.source, " +
         utc_text("j.paused_until") + ", " + milliseconds_between("clock_timestamp()", "j.paused_until") +
         ", (SELECT CASE WHEN e.kind = " + quote_literal(kStepFailed) +
         " THEN e.detail END FROM pgbackfill.events e WHERE e.migration = n.name AND e.kind IN (" +
         quote_literal(kStepFailed) +
         ", 'step', 'rolled back', 'created', 'complete', 'stamped') ORDER BY e.id DESC LIMIT 1) FROM names n LEFT "
         "JOIN "
         "pgbackfill.migrations m ON m.name = n.name LEFT JOIN pgbackfill.jobs j ON j.name = n.name LEFT JOIN "
         "pgbackfill.ranges r ON r.job_id = j.id" +
         only + " GROUP BY n.name, m.name, j.id ORDER BY coalesce(j.created_at, m.first_run_at), n.name";
}

std::string job_quarantine(std::string const& name, std::int64_t limit) {
  return fmt::format(
      "SELECT l.table_schema, l.table_name, q.key, q.sqlstate, q.message, l.key_columns FROM pgbackfill.quarantine q "
      "JOIN pgbackfill.leaves l USING (job_id, leaf) WHERE q.job_id = {} ORDER BY q.id LIMIT {}",
      job_id_of(name), limit);
}

std::string unended_runs(std::string const& name) {
  return fmt::format(
      "SELECT host, pid, {}, os_user FROM (SELECT DISTINCT ON (host, pid) host, pid, at, os_user, kind FROM "
      "pgbackfill.events WHERE migration = {} AND kind IN ('started', 'stopped') ORDER BY host, pid, id DESC) latest "
      "WHERE kind = 'started' ORDER BY at",
      utc_text("at"), quote_literal(name));
}

std::string latest_status_change(std::string const& name) {
  return fmt::format(
      "SELECT kind, {}, os_user, host, db_user, id, pid FROM pgbackfill.events WHERE migration = {} AND kind IN "
      "('paused', "
      "'resumed', 'cancelled', 'failed', 'complete', 'rolled back') ORDER BY id DESC LIMIT 1",
      utc_text("at"), quote_literal(name));
}

std::string list_history() {
  return fmt::format(
      "WITH names AS (SELECT name FROM pgbackfill.jobs UNION SELECT name FROM pgbackfill.migrations) SELECT n.name, "
      "j.table_schema, j.table_name, j.status, {}, {}, {}, (SELECT coalesce(sum(rows_changed), 0) FROM "
      "pgbackfill.ranges r WHERE r.job_id = j.id) + j.rows_changed_on_visits, (SELECT string_agg(DISTINCT "
      "coalesce(nullif(e.os_user, ''), e.db_user) || CASE WHEN e.host = '' THEN '' ELSE '@' || e.host END, ', ') FROM "
      "pgbackfill.events e WHERE e.migration = n.name), (SELECT count(*) FROM pgbackfill.steps s WHERE s.migration = "
      "n.name AND s.phase = 'expand'), (SELECT count(*) FROM pgbackfill.steps s WHERE s.migration = n.name AND s.phase "
      "= 'contract'), (SELECT h.result FROM pgbackfill.hooks h WHERE h.migration = n.name AND h.boundary = 'backup') "
      "FROM names n LEFT JOIN pgbackfill.migrations m ON m.name = n.name LEFT JOIN pgbackfill.jobs j ON "
      "j.name = n.name ORDER BY coalesce(j.created_at, m.first_run_at), n.name",
      utc_text("coalesce(j.created_at, m.first_run_at)"), utc_text("j.completed_at"),
      milliseconds_between("j.created_at", "j.completed_at"));
}

std::string list_events(std::string const& name, std::int64_t limit) {
  return fmt::format(
      "SELECT * FROM (SELECT id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), kind, detail, "
      "db_user, os_user, host, pid FROM pgbackfill.events WHERE migration = {} ORDER BY id DESC LIMIT {}) latest ORDER "
      "BY id",
      quote_literal(name), limit);
}

}  // namespace pgbackfill::engine::state
