// Whose word the state is: what of it may be run in the name of this role.
//
// A role that may write to the tables can write anything, but not in another role's name: a trigger signs each row that
// holds what is run later. Only who owns the table, the schema or the trigger's function, or may add triggers, can get
// around it.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"
#include "planner/model/sql_text.h"

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

// Rows: sentence, owner, remedy. Of an owner that is NULL nobody is to be trusted.
constexpr char kObjectsOfOthers[] =
    "SELECT format('%s belongs to role %s', o.what, r.rolname) AS text, r.rolname AS owner, '' AS remedy FROM (SELECT "
    "'schema pgbackfill' AS what, n.nspowner AS owner FROM pg_namespace n JOIN ours ON ours.oid = n.oid UNION ALL "
    "SELECT c.oid::regclass::text, c.relowner FROM pg_class c JOIN ours ON ours.oid = c.relnamespace WHERE c.relkind "
    "NOT IN ('i', 'I', 't', 'c') UNION ALL SELECT f.oid::regprocedure::text, f.proowner FROM pg_proc f JOIN ours ON "
    "ours.oid = f.pronamespace) o JOIN pg_roles r ON r.oid = o.owner WHERE NOT r.rolsuper AND r.rolname <> "
    "current_user";

constexpr char kCodeOfOthers[] =
    "SELECT format('trigger %s on %s calls %s', t.tgname, t.tgrelid::regclass, t.tgfoid::regproc), NULL, '' FROM "
    "pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN ours ON ours.oid = c.relnamespace JOIN pg_proc f ON f.oid "
    "= t.tgfoid WHERE NOT t.tgisinternal AND f.pronamespace <> ours.oid UNION ALL SELECT format('rule %s on %s', "
    "w.rulename, w.ev_class::regclass), NULL, '' FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN ours ON "
    "ours.oid = c.relnamespace WHERE c.relkind <> 'v'";

// What is planted while a command works is found by no look at its start. A row that refers to ours goes with it, and
// a trigger of its own, if deferred, fires with the rights of who committed.
std::string rights_of_others() {
  return fmt::format(
      "SELECT format('%s has %s on %s', coalesce('role ' || r.rolname, 'everybody'), g.privilege_type, g.what), "
      "r.rolname, format('REVOKE %s FROM %s', g.rights, coalesce(quote_ident(r.rolname), 'PUBLIC')) FROM (SELECT "
      "'schema pgbackfill' AS what, 'CREATE ON SCHEMA pgbackfill' AS rights, a.* FROM pg_namespace n JOIN ours ON "
      "ours.oid = n.oid, "
      "aclexplode(n.nspacl) a WHERE a.grantee <> n.nspowner AND a.privilege_type = 'CREATE' UNION ALL SELECT "
      "c.oid::regclass::text, 'TRIGGER, REFERENCES ON ALL TABLES IN SCHEMA pgbackfill', a.* FROM pg_class c JOIN ours "
      "ON "
      "ours.oid = c.relnamespace, aclexplode(c.relacl) a WHERE "
      "a.grantee <> c.relowner AND a.privilege_type IN ('TRIGGER', 'REFERENCES') UNION ALL SELECT "
      "c.oid::regclass::text, 'REFERENCES ON ALL TABLES IN SCHEMA pgbackfill', a.* FROM pg_class c JOIN ours ON "
      "ours.oid "
      "= c.relnamespace JOIN pg_attribute t ON "
      "t.attrelid = c.oid, aclexplode(t.attacl) a WHERE a.grantee <> c.relowner AND a.privilege_type = 'REFERENCES') g "
      "CROSS JOIN {0} LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE r.oid IS NULL OR NOT {1} UNION ALL SELECT "
      "format('foreign key %s of %s, of role %s, refers to %s', k.conname, k.conrelid::regclass, r.rolname, "
      "k.confrelid::regclass), r.rolname, format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) "
      "FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN ours ON ours.oid = c.relnamespace JOIN "
      "pg_class "
      "f ON f.oid = k.conrelid CROSS JOIN {0} JOIN pg_roles r ON r.oid = f.relowner WHERE k.contype = 'f' AND "
      "f.relnamespace <> ours.oid AND NOT {1}",
      kMe, is_as_good("r"));
}

}  // namespace

std::string strange_state(std::vector<std::string> const& trusted) {
  return fmt::format(
      "WITH ours AS (SELECT to_regnamespace('pgbackfill') AS oid), strange AS ({} UNION ALL {} UNION ALL {}) SELECT "
      "text, coalesce(owner, ''), remedy FROM strange WHERE owner IS NULL OR owner <> ALL ({}) ORDER BY owner NULLS "
      "FIRST, text LIMIT 5",
      kObjectsOfOthers, kCodeOfOthers, rights_of_others(), planner::text_array(trusted));
}

std::string note_objects() {
  return "SELECT set_config('pgbackfill.objects', concat_ws(',', to_regnamespace('pgbackfill')::oid, (SELECT "
         "string_agg(c.oid::text, ',') FROM pg_class c WHERE c.relnamespace = to_regnamespace('pgbackfill')), (SELECT "
         "string_agg(f.oid::text, ',') FROM pg_proc f WHERE f.pronamespace = to_regnamespace('pgbackfill'))), true); ";
}

// Who works with, or looks at, the ranges may do the same with what an upgrade adds; and what the operator wants for
// this schema alone is no accident.
std::string revoke_default_rights() {
  return R"sql(
DO $do$
DECLARE
  given record;
BEGIN
  FOR given IN
    WITH ours AS (
      SELECT n.oid, 'n' AS type, 'SCHEMA pgbackfill' AS what, n.nspacl AS acl, n.nspowner AS owner
      FROM pg_namespace n WHERE n.nspname = 'pgbackfill'
      UNION ALL
      SELECT c.oid, CASE c.relkind WHEN 'S' THEN 'S' ELSE 'r' END,
        format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass), c.relacl, c.relowner
      FROM pg_class c WHERE c.relnamespace = 'pgbackfill'::regnamespace AND c.relkind IN ('r', 'S')
      UNION ALL
      SELECT f.oid, 'f', format('FUNCTION %s', f.oid::regprocedure),
        coalesce(f.proacl, acldefault('f', f.proowner)), f.proowner
      FROM pg_proc f WHERE f.pronamespace = 'pgbackfill'::regnamespace
    ), before AS (
      SELECT o::oid AS oid FROM string_to_array(current_setting('pgbackfill.objects'), ',') t, unnest(t) o
    ), given_on_purpose AS (
      SELECT w.type, w.privilege_type, a.grantee, a.is_grantable
      FROM pg_class c JOIN before b ON b.oid = c.oid, aclexplode(c.relacl) a
      JOIN (VALUES ('r', 'SELECT', 'SELECT'), ('r', 'INSERT', 'INSERT'), ('r', 'UPDATE', 'UPDATE'),
        ('r', 'DELETE', 'DELETE'), ('f', 'EXECUTE', 'UPDATE')) w (type, privilege_type, on_ranges)
        ON w.on_ranges = a.privilege_type
      WHERE c.oid = 'pgbackfill.ranges'::regclass
      UNION
      SELECT d.defaclobjtype::text, a.privilege_type, a.grantee, a.is_grantable
      FROM pg_default_acl d, aclexplode(d.defaclacl) a
      WHERE d.defaclnamespace = 'pgbackfill'::regnamespace
        AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'EXECUTE')
    ), kept AS (
      SELECT type, privilege_type, grantee, bool_or(is_grantable) AS is_grantable FROM given_on_purpose GROUP BY 1, 2, 3
    )
    SELECT o.what,
      CASE WHEN k.type IS NULL THEN '' ELSE 'GRANT OPTION FOR ' END || a.privilege_type AS privilege,
      coalesce((SELECT quote_ident(r.rolname) FROM pg_roles r WHERE r.oid = a.grantee), 'PUBLIC') AS who
    FROM ours o CROSS JOIN aclexplode(o.acl) a
      LEFT JOIN kept k ON k.type = o.type AND k.privilege_type = a.privilege_type AND k.grantee = a.grantee
    WHERE a.grantee <> o.owner AND NOT EXISTS (SELECT FROM before b WHERE b.oid = o.oid)
      AND (k.type IS NULL OR a.is_grantable AND NOT k.is_grantable)
  LOOP
    EXECUTE format('REVOKE %s ON %s FROM %s CASCADE', given.privilege, given.what, given.who);
  END LOOP;
END $do$;
)sql";
}

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
