// What `report` reads of a migration beside what `status` does: steps, hooks, approvals, its gate, rows that are set
// aside.
//
// Pure text, as in state_store.h. Goes by older layouts, as far as they have the tables.
#pragma once

#include <cstdint>
#include <string>

namespace pgbackfill::engine::state {

// phase, position, sql, done_at, took_ms, lock_wait_ms, waited_for
std::string list_steps(std::string const& migration);
// plan, plan_hash, reason, db_user, os_user, host, approved_at
std::string list_approvals(std::string const& migration);
// boundary, position, hook, result, ran_at
std::string list_hooks(std::string const& migration);
// is_open, reasons, measured_at, measured_by
std::string gate_reading(std::string const& migration);
// table, sqlstate, how many
std::string quarantine_kinds(std::string const& migration);
// ms since 1970, kind, detail, db_user, os_user, host, pid; the latest ones, oldest first
std::string list_past_events(std::string const& migration, std::int64_t limit);
// database, version of the server, now in UTC, ms since 1970 of now, of the beginning of the job, of its end
std::string report_facts(std::string const& migration);

}  // namespace pgbackfill::engine::state
