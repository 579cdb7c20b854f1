// Whose word the state is: what of it may be run in the name of this role.
//
// A role that may write to the tables can write anything, but not in another role's name: a trigger signs each row that
// holds what is run later. Only who owns the table, the schema or the trigger's function, or may add triggers, can get
// around it.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

// Before each INSERT and UPDATE of a row, also where triggers are off for a replica's sake.
std::string is_signed(std::string const& table) {
  constexpr int kBeforeRowInsertUpdate = 1 + 2 + 4 + 16;
  return fmt::format(
      "EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid JOIN "
      "pg_catalog.pg_namespace n ON n.oid = f.pronamespace WHERE t.tgrelid = 'pgbackfill.{}'::pg_catalog.regclass AND "
      "f.proname = 'sign' AND n.nspname = 'pgbackfill' AND t.tgenabled = 'A' AND t.tgtype = {} AND t.tgqual IS NULL "
      "AND "
      "t.tgattr = '')",
      table, kBeforeRowInsertUpdate);
}

// Such a role can act as this one anyway, or is a superuser.
std::string is_as_good(std::string const& role) {
  return fmt::format("({0}.rolsuper OR pg_catalog.pg_has_role({0}.oid, me.oid, 'MEMBER'))", role);
}

// Who can log in, and is or can become somebody who can get around the signature. PUBLIC is everybody.
std::string forger_of(std::string const& table) {
  return fmt::format(
      "(SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolcanlogin AND NOT {1} AND EXISTS (SELECT FROM ("
      "SELECT c.relowner AS role FROM pg_catalog.pg_class c WHERE c.oid = 'pgbackfill.{0}'::pg_catalog.regclass UNION "
      "SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.nspname = 'pgbackfill' UNION SELECT f.proowner FROM "
      "pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace WHERE n.nspname = 'pgbackfill' "
      "AND "
      "f.proname = 'sign' UNION SELECT a.grantee FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE "
      "c.oid = 'pgbackfill.{0}'::pg_catalog.regclass AND a.privilege_type = 'TRIGGER') w WHERE w.role = 0 OR "
      "pg_catalog.pg_has_role(r.oid, w.role, 'MEMBER')) ORDER BY r.rolname LIMIT 1)",
      table, is_as_good("r"));
}

constexpr char kMe[] = "(SELECT oid, rolname FROM pg_catalog.pg_roles WHERE rolname = current_user) me";

}  // namespace

// Through jsonb, since an older layout has no such column.
std::string trust_in_source(std::string const& name) {
  return fmt::format(
      "SELECT s.stored_by, EXISTS (SELECT FROM pg_catalog.pg_roles a WHERE a.rolname = s.stored_by AND {}), {}, {} "
      "FROM "
      "(SELECT pg_catalog.to_jsonb(m) ->> 'stored_by' AS stored_by FROM pgbackfill.migrations m WHERE m.name = {}) s "
      "CROSS JOIN {}",
      is_as_good("a"), is_signed("migrations"), forger_of("migrations"), quote_literal(name), kMe);
}

std::string find_claim(std::string const& migration, std::string const& phase, int position) {
  return fmt::format(
      "SELECT c.step, c.before, c.stored_by, c.before = '' OR (c.stored_by IS NOT NULL AND EXISTS (SELECT FROM "
      "pg_catalog.pg_roles a WHERE a.rolname = c.stored_by AND {}) AND {} AND {} IS NULL) FROM (SELECT k.step, "
      "k.before, "
      "pg_catalog.to_jsonb(k) ->> 'stored_by' AS stored_by FROM pgbackfill.claims k WHERE k.migration = {} AND k.phase "
      "= "
      "{} AND k.position = {}) c CROSS JOIN {}",
      is_as_good("a"), is_signed("claims"), forger_of("claims"), quote_literal(migration), quote_literal(phase),
      position, kMe);
}

}  // namespace pgbackfill::engine::state
