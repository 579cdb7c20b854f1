// What is done of a migration beside its rows: steps and their claims, and approvals.

#include <fmt/format.h>

#include "engine/base/secret_mask.h"
#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

std::string remember_migration(std::string const& name, std::string const& file, std::string const& source) {
  return fmt::format(
      "INSERT INTO pgbackfill.migrations (name, file, source) VALUES ({}, {}, {}) ON CONFLICT (name) DO UPDATE SET "
      "file = "
      "excluded.file, source = excluded.source, stored_by = current_user, last_run_at = clock_timestamp()",
      quote_literal(name), quote_literal(file), quote_literal(source));
}

std::string session_settings(std::string const& name) {
  // Through jsonb, since an older schema has no such column.
  return "SELECT to_jsonb(m) ->> 'session_settings' FROM pgbackfill.migrations m WHERE m.name = " + quote_literal(name);
}

std::string record_session_settings(std::string const& name, std::string const& settings) {
  return fmt::format(
      "UPDATE pgbackfill.migrations SET session_settings = {}::jsonb WHERE name = {} AND session_settings IS NULL",
      quote_literal(settings), quote_literal(name));
}

std::string find_migration(std::string const& name) {
  return "SELECT file, source FROM pgbackfill.migrations WHERE name = " + quote_literal(name);
}

std::string names_with_params(std::string const& name) {
  return fmt::format(
      "SELECT name FROM pgbackfill.migrations WHERE name = {} OR starts_with(name, {}) ORDER BY last_run_at DESC LIMIT "
      "20",
      quote_literal(name), quote_literal(name + "["));
}

std::string other_migrations(std::string const& name) {
  return "SELECT m.name, m.file, m.source, coalesce(j.status, ''), ARRAY(SELECT s.phase || ' ' || s.position FROM "
         "pgbackfill.steps s WHERE s.migration = m.name)::text, ARRAY(SELECT DISTINCT l.key_index FROM "
         "pgbackfill.leaves l WHERE l.job_id = j.id)::text, ARRAY(SELECT DISTINCT k.name FROM pgbackfill.leaves l, "
         "unnest(l.key_columns) k (name) WHERE l.job_id = j.id)::text FROM pgbackfill.migrations m LEFT JOIN "
         "pgbackfill.jobs j ON j.name = m.name WHERE m.name <> " +
         quote_literal(name) + " ORDER BY m.name";
}

std::string step_done(std::string const& migration, std::string const& phase, int position) {
  return fmt::format("SELECT sql, proof FROM pgbackfill.steps WHERE migration = {} AND phase = {} AND position = {}",
                     quote_literal(migration), quote_literal(phase), position);
}

std::string recorded_steps(std::string const& migration) {
  return "SELECT phase, position, sql FROM pgbackfill.steps WHERE migration = " + quote_literal(migration);
}

std::string record_step(std::string const& migration, std::string const& phase, int position, std::string const& sql,
                        Owner const& owner, std::string const& proof) {
  return fmt::format(
      "WITH step AS (INSERT INTO pgbackfill.steps (migration, phase, position, sql, proof) VALUES ({}, {}, {}, {}, "
      "coalesce(({})::text, '')) RETURNING migration) INSERT INTO pgbackfill.events {} SELECT {} FROM step",
      quote_literal(migration), quote_literal(phase), position, quote_literal(sql),
      proof.empty() ? std::string("NULL") : proof, kEventColumns,
      event_values("NULL", "migration", "step",
                   quote_literal(without_passwords(fmt::format("{} step {}: {}", phase, position + 1, sql))), owner));
}

std::string note_step_time(std::string const& migration, std::string const& phase, int position,
                           std::chrono::milliseconds took, std::chrono::milliseconds lock_wait,
                           std::string const& waited_for) {
  return fmt::format(
      "UPDATE pgbackfill.steps SET took_ms = {}, lock_wait_ms = {}, waited_for = {} WHERE migration = {} AND phase = "
      "{} "
      "AND position = {}",
      took.count(), lock_wait.count(), quote_literal(without_passwords(waited_for)), quote_literal(migration),
      quote_literal(phase), position);
}

std::string forget_step(std::string const& migration, std::string const& phase, int position, Owner const& owner) {
  std::string const place = fmt::format("migration = {} AND phase = {} AND position = {}", quote_literal(migration),
                                        quote_literal(phase), position);
  return fmt::format(
      "WITH step AS (DELETE FROM pgbackfill.steps WHERE {} RETURNING migration), claim AS (DELETE FROM "
      "pgbackfill.claims WHERE {} RETURNING migration) INSERT INTO pgbackfill.events {} SELECT {} FROM (SELECT "
      "migration FROM step UNION SELECT migration FROM claim) gone",
      place, place, kEventColumns,
      event_values("NULL", "migration", "rolled back", quote_literal(fmt::format("{} step {}", phase, position + 1)),
                   owner));
}

std::string has_claims() {
  return "SELECT pg_catalog.to_regclass('pgbackfill.claims') IS NOT NULL";
}

std::string claim_step(std::string const& migration, std::string const& phase, int position, std::string const& step,
                       std::string const& before) {
  return fmt::format(
      "INSERT INTO pgbackfill.claims (migration, phase, position, step, before) VALUES ({}, {}, {}, {}, "
      "coalesce(({})::text, '')) ON CONFLICT DO NOTHING",
      quote_literal(migration), quote_literal(phase), position, quote_literal(step),
      before.empty() ? std::string("NULL") : before);
}

std::string are_steps_pending(std::string const& migration) {
  return "SELECT steps_pending FROM pgbackfill.migrations WHERE name = " + quote_literal(migration);
}

std::string mark_steps_pending(std::string const& migration, bool is_pending) {
  return fmt::format("UPDATE pgbackfill.migrations SET steps_pending = {0} WHERE name = {1} AND steps_pending <> {0}",
                     is_pending, quote_literal(migration));
}

std::string approve(std::string const& migration, std::string const& plan, std::string const& reason,
                    Owner const& owner) {
  std::string const detail = "'plan ' || left(plan_hash, 12) || CASE WHEN reason = '' THEN '' ELSE ': ' || reason END";
  return fmt::format(
      "WITH approval AS (INSERT INTO pgbackfill.approvals (migration, plan_hash, plan, reason, os_user, host) VALUES "
      "({}, {}, {}, {}, {}, {}) RETURNING *), event AS (INSERT INTO pgbackfill.events {} SELECT {} FROM approval) "
      "SELECT plan_hash, db_user, os_user, host, {} FROM approval",
      quote_literal(migration), hash_of(plan), quote_literal(plan), quote_literal(reason), quote_literal(owner.user),
      quote_literal(owner.host), kEventColumns, event_values("NULL", "migration", "approved", detail, owner),
      utc_text("approved_at"));
}

std::string find_approval(std::string const& migration, std::string const& plan) {
  return fmt::format(
      "SELECT plan_hash = {}, plan_hash, plan, reason, db_user, os_user, host, {} FROM pgbackfill.approvals WHERE "
      "migration = {} ORDER BY id DESC LIMIT 1",
      hash_of(plan), utc_text("approved_at"), quote_literal(migration));
}

}  // namespace pgbackfill::engine::state
