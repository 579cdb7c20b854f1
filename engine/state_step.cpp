// What is done of a migration beside its rows: steps and their claims, hooks, and approvals.

#include <fmt/format.h>

#include "engine/state_sql.h"
#include "engine/state_store.h"

namespace pgbackfill::engine::state {

std::string remember_migration(std::string const& name, std::string const& file, std::string const& source) {
  return fmt::format(
      "INSERT INTO pgbackfill.migrations (name, file, source) VALUES ({}, {}, {}) ON CONFLICT (name) DO UPDATE SET "
      "file = "
      "excluded.file, source = excluded.source, last_run_at = clock_timestamp()",
      quote_literal(name), quote_literal(file), quote_literal(source));
}

std::string find_migration(std::string const& name) {
  return "SELECT file, source FROM pgbackfill.migrations WHERE name = " + quote_literal(name);
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
      event_values("NULL", "migration", "step", quote_literal(fmt::format("{} step {}: {}", phase, position + 1, sql)),
                   owner));
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

std::string claim_step(std::string const& migration, std::string const& phase, int position, std::string const& step,
                       std::string const& before) {
  return fmt::format(
      "INSERT INTO pgbackfill.claims (migration, phase, position, step, before) VALUES ({}, {}, {}, {}, "
      "coalesce(({})::text, '')) ON CONFLICT DO NOTHING",
      quote_literal(migration), quote_literal(phase), position, quote_literal(step),
      before.empty() ? std::string("NULL") : before);
}

std::string find_claim(std::string const& migration, std::string const& phase, int position) {
  return fmt::format("SELECT step, before FROM pgbackfill.claims WHERE migration = {} AND phase = {} AND position = {}",
                     quote_literal(migration), quote_literal(phase), position);
}

std::string are_steps_pending(std::string const& migration) {
  return "SELECT steps_pending FROM pgbackfill.migrations WHERE name = " + quote_literal(migration);
}

std::string mark_steps_pending(std::string const& migration, bool is_pending) {
  return fmt::format("UPDATE pgbackfill.migrations SET steps_pending = {0} WHERE name = {1} AND steps_pending <> {0}",
                     is_pending, quote_literal(migration));
}

std::string hook_done(std::string const& migration, std::string const& boundary, int position,
                      std::string const& hook) {
  return fmt::format(
      "SELECT result FROM pgbackfill.hooks WHERE migration = {} AND boundary = {} AND position = {} AND hook = {}",
      quote_literal(migration), quote_literal(boundary), position, quote_literal(hook));
}

std::string record_hook(std::string const& migration, std::string const& boundary, int position,
                        std::string const& hook, std::string const& result, std::string const& detail,
                        Owner const& owner) {
  return fmt::format(
      "WITH done AS (INSERT INTO pgbackfill.hooks (migration, boundary, position, hook, result) VALUES ({}, {}, {}, "
      "{}, {}) ON CONFLICT (migration, boundary, position) DO UPDATE SET hook = excluded.hook, result = "
      "excluded.result, ran_at = clock_timestamp() RETURNING migration) INSERT INTO pgbackfill.events {} SELECT {} "
      "FROM done",
      quote_literal(migration), quote_literal(boundary), position, quote_literal(hook), quote_literal(result),
      kEventColumns, event_values("NULL", "migration", "hook", quote_literal(detail), owner));
}

std::string forget_hooks(std::string const& migration) {
  return "DELETE FROM pgbackfill.hooks WHERE migration = " + quote_literal(migration);
}

std::string find_backup(std::string const& migration) {
  return "SELECT max(result) FROM pgbackfill.hooks WHERE boundary = 'backup' AND migration = " +
         quote_literal(migration);
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
