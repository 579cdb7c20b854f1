#include "engine/state/state_past.h"

#include <fmt/format.h>

#include "engine/state/state_sql.h"

namespace pgbackfill::engine::state {

namespace {

std::string epoch_ms(std::string const& time) {
  return "(extract(epoch FROM " + finite(time) + ") * 1000)::bigint";
}

}  // namespace

std::string list_steps(std::string const& migration) {
  // Through jsonb, since an older schema has no such columns.
  return fmt::format(
      "SELECT s.phase, s.position, s.sql, {}, to_jsonb(s) ->> 'took_ms', to_jsonb(s) ->> 'lock_wait_ms', to_jsonb(s) "
      "->> 'waited_for' FROM pgbackfill.steps s WHERE s.migration = {} ORDER BY s.done_at, s.phase, s.position",
      utc_text("s.done_at"), quote_literal(migration));
}

std::string list_approvals(std::string const& migration) {
  return fmt::format(
      "SELECT plan, plan_hash, reason, db_user, os_user, host, {} FROM pgbackfill.approvals WHERE migration = {} ORDER "
      "BY id",
      utc_text("approved_at"), quote_literal(migration));
}

std::string list_hooks(std::string const& migration) {
  return fmt::format(
      "SELECT boundary, position, hook, result, {} FROM pgbackfill.hooks WHERE migration = {} ORDER BY ran_at, "
      "boundary, position",
      utc_text("ran_at"), quote_literal(migration));
}

std::string gate_reading(std::string const& migration) {
  return fmt::format("SELECT is_open, reasons, {}, measured_by FROM pgbackfill.gate_readings WHERE migration = {}",
                     utc_text("measured_at"), quote_literal(migration));
}

std::string quarantine_kinds(std::string const& migration) {
  return fmt::format(
      "SELECT l.table_schema || '.' || l.table_name, q.sqlstate, count(*) FROM pgbackfill.quarantine q JOIN "
      "pgbackfill.leaves l USING (job_id, leaf) WHERE q.job_id = {} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 50",
      job_id_of(migration));
}

std::string list_past_events(std::string const& migration, std::int64_t limit) {
  return fmt::format(
      "SELECT at, kind, detail, db_user, os_user, host, pid FROM (SELECT id, {} AS at, kind, detail, db_user, os_user, "
      "host, pid FROM pgbackfill.events WHERE migration = {} ORDER BY id DESC LIMIT {}) latest ORDER BY id",
      epoch_ms("at"), quote_literal(migration), limit);
}

std::string report_facts(std::string const& migration) {
  return fmt::format(
      "SELECT current_database(), current_setting('server_version'), {}, {}, {}, {} FROM (SELECT 1) one LEFT JOIN "
      "pgbackfill.jobs j ON j.name = {}",
      utc_text("clock_timestamp()"), epoch_ms("clock_timestamp()"), epoch_ms("j.created_at"),
      epoch_ms("j.completed_at"), quote_literal(migration));
}

}  // namespace pgbackfill::engine::state
