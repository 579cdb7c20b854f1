// Hooks that ran, and whose turn it is to run those of a boundary.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

std::string place_of(std::string const& migration, std::string const& boundary) {
  return fmt::format("migration = {} AND boundary = {}", quote_literal(migration), quote_literal(boundary));
}

}  // namespace

std::string hook_done(std::string const& migration, std::string const& boundary, int position, std::string const& hook,
                      std::string const& older_form) {
  return fmt::format(
      "SELECT result FROM pgbackfill.hooks WHERE migration = {} AND boundary = {} AND position = {} AND hook IN ({}, "
      "{})",
      quote_literal(migration), quote_literal(boundary), position, quote_literal(hook), quote_literal(older_form));
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

std::string take_turn(std::string const& migration, std::string const& boundary, Owner const& owner,
                      std::optional<HookTurn> const& silent) {
  std::string const free =
      silent ? fmt::format(" OR (t.owner = {} AND t.beat = {})", quote_literal(silent->owner), silent->beat) : "";
  return fmt::format(
      "INSERT INTO pgbackfill.hook_turns AS t (migration, boundary, owner, host, machine, pid) VALUES ({0}, {1}, {2}, "
      "{3}, {4}, {5}) ON CONFLICT (migration, boundary) DO UPDATE SET owner = excluded.owner, host = excluded.host, "
      "machine = excluded.machine, pid = excluded.pid, beat = 0, taken_at = clock_timestamp() WHERE t.owner = {2}{6} "
      "RETURNING beat",
      quote_literal(migration), quote_literal(boundary), quote_literal(owner.id), quote_literal(owner.host),
      quote_literal(owner.machine), owner.pid, free);
}

std::string read_turn(std::string const& migration, std::string const& boundary) {
  return "SELECT owner, beat, host, machine, pid FROM pgbackfill.hook_turns WHERE " + place_of(migration, boundary);
}

std::string keep_turn(std::string const& migration, std::string const& boundary, Owner const& owner) {
  return fmt::format("UPDATE pgbackfill.hook_turns SET beat = beat + 1 WHERE {} AND owner = {}",
                     place_of(migration, boundary), quote_literal(owner.id));
}

std::string give_turn_back(std::string const& migration, std::string const& boundary, Owner const& owner) {
  return fmt::format("DELETE FROM pgbackfill.hook_turns WHERE {} AND owner = {}", place_of(migration, boundary),
                     quote_literal(owner.id));
}

}  // namespace pgbackfill::engine::state
