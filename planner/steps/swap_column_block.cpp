// All statements are read from the catalog before the first one is run, so that each is made from what was there.
#include "planner/model/sql_text.h"
#include "planner/steps/carry_privileges.h"
#include "planner/steps/column_settings.h"
#include "planner/steps/recipes.h"
#include "planner/steps/recipes_swap_column.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithColumnLists = 150000;

// In the order in which they run: nothing is dropped that something else still needs, and no name is given twice.
enum Place {
  kPublicationsOff = 10,
  kStatisticsOff = 20,
  kConstraintsOff = 30,
  kConstraintsOn = 31,
  kReplicaIdentity = 40,
  kIndexesOff = 50,
  kIndexesOn = 51,
  kIndexesAside = 52,
  kIndexSettings = 60,
  kDefault = 70,
  kSequences = 75,
  kSettings = 80,
  kNotNull = 90,
  kNames = 95,
  kStatisticsOn = 100,
  kPublicationsOn = 105
};

// The variables of the block.
ColumnSwap const kVariables{"t_oid", "o_num", "n_num", "old_name", "new_name"};

std::string statement(Place place, int nth, std::string const& text, std::string const& from) {
  return "SELECT " + std::to_string(place) + ", " + std::to_string(nth) + ", " + text + " FROM " + from;
}

// An identity's sequence keeps its name, its rights and its place. ALTER SEQUENCE keeps others from drawing meanwhile.
// Only the end that it runs towards moves with the type: without MINVALUE one that goes up would begin at 1 again.
constexpr char kMoveIdentity[] = R"sql(
  IF old_att.attidentity <> '' THEN
    seq_name := pg_get_serial_sequence(target, old_name);
    SELECT s.* INTO STRICT seq FROM pg_sequence s WHERE s.seqrelid = seq_name::regclass;
    SELECT c.relpersistence INTO STRICT seq_kept FROM pg_class c WHERE c.oid = seq.seqrelid;
    EXECUTE format('ALTER SEQUENCE %s CACHE %s', seq_name, seq.seqcache);
    EXECUTE format('SELECT last_value, is_called FROM %s', seq_name) INTO STRICT seq_value, seq_called;
    statements := ARRAY(SELECT format('GRANT %s ON SEQUENCE %s TO %s%s', a.privilege_type, seq_name,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
      FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = seq.seqrelid AND a.grantee <> c.relowner)
      || ARRAY(SELECT format('COMMENT ON SEQUENCE %s IS %L', seq_name, obj_description(seq.seqrelid, 'pg_class'))
        WHERE obj_description(seq.seqrelid, 'pg_class') IS NOT NULL);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', target, old_name);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', target, new_name);
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s '
      'INCREMENT BY %s %s %s START WITH %s CACHE %s %s)', target, new_name,
      CASE old_att.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, seq_name, seq.seqincrement,
      CASE WHEN seq.seqincrement > 0 OR seq.seqmin <> CASE seq.seqtypid WHEN 21 THEN -32768 WHEN 23 THEN -2147483648
        ELSE -9223372036854775808 END THEN format('MINVALUE %s', greatest(seq.seqmin, CASE new_base WHEN 21 THEN -32768
        WHEN 23 THEN -2147483648 ELSE -9223372036854775808 END)) END,
      CASE WHEN seq.seqincrement < 0 OR seq.seqmax <> CASE seq.seqtypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647
        ELSE 9223372036854775807 END THEN format('MAXVALUE %s', least(seq.seqmax, CASE new_base WHEN 21 THEN 32767
        WHEN 23 THEN 2147483647 ELSE 9223372036854775807 END)) END,
      seq.seqstart, seq.seqcache, CASE WHEN seq.seqcycle THEN 'CYCLE' END);
    PERFORM setval(seq_name::regclass, seq_value, seq_called);
    FOR item IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
      WHERE c.oid = seq_name::regclass AND a.grantee <> c.relowner
    LOOP
      EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %s', seq_name,
        CASE item.grantee WHEN 0 THEN 'PUBLIC' ELSE item.grantee::regrole::text END);
    END LOOP;
    IF seq_kept <> (SELECT c.relpersistence FROM pg_class c WHERE c.oid = seq_name::regclass) THEN
      EXECUTE format('ALTER SEQUENCE %s SET %s', seq_name, CASE seq_kept WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END);
    END IF;
    FOREACH one IN ARRAY statements LOOP EXECUTE one; END LOOP;
  END IF;)sql";

// A value that is written out is written without its type, which may be another one now.
std::string of_default() {
  std::string const was = default_to_carry("t_oid", "o_num", "n_num");
  std::string const has = default_of_column("t_oid", "n_num");
  std::string const from = "(SELECT " + was + " AS was, " + has +
                           " AS has) d, pg_attribute o, pg_attribute n WHERE o.attrelid = t_oid AND o.attnum = o_num "
                           "AND n.attrelid = t_oid AND n.attnum = n_num AND o.attidentity = '' AND n.attidentity = ''";
  std::string const drop = "format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', target, ";
  return statement(kDefault, 1, drop + "old_name)", from + " AND d.was IS NOT NULL") + " UNION ALL " +
         statement(kDefault, 2, drop + "new_name)", from + " AND d.was IS NULL AND d.has IS NOT NULL") + " UNION ALL " +
         statement(kDefault, 3,
                   "format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', target, new_name, CASE WHEN " +
                       is_constant("d.was") + " AND o.atttypid <> n.atttypid THEN " + as_written("d.was") +
                       " ELSE d.was END)",
                   from + " AND d.was IS NOT NULL AND " + without_casts("d.was") + " IS DISTINCT FROM " +
                       without_casts("d.has") + " AND (d.has IS NULL OR " + is_carried_default("d.was") + ")");
}

// Those that the column owns, and those that its default draws from.
constexpr char kSequenceStatements[] = R"sql(
  SELECT 75, 1, format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, target, new_name)
    FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid WHERE d.classid = 'pg_class'::regclass
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t_oid AND d.refobjsubid = o_num AND d.deptype = 'a'
  UNION ALL SELECT 75, 2, format('ALTER SEQUENCE %s AS %s', s.seqrelid::regclass, w.typ::regtype)
    FROM pg_sequence s CROSS JOIN LATERAL (SELECT CASE new_base WHEN 21 THEN 21 WHEN 23 THEN 23 ELSE 20 END::oid)
      w (typ)
    WHERE (s.seqtypid = 21 AND w.typ <> 21 OR s.seqtypid = 23 AND w.typ = 20) AND (EXISTS (SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = t_oid AND d.refobjsubid = o_num AND d.deptype = 'a')
    OR EXISTS (SELECT FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid WHERE d.classid = 'pg_attrdef'::regclass
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.seqrelid AND f.adrelid = t_oid
      AND f.adnum = o_num)))sql";

std::string of_constraints() {
  std::string const pairs = "constraint_pairs p";
  std::string const said = "obj_description(p.old_constraint, 'pg_constraint')";
  return statement(kConstraintsOff, 1, "format('ALTER TABLE %s DROP CONSTRAINT %I', target, p.old_title)", pairs) +
         " UNION ALL " +
         statement(kConstraintsOn, 1,
                   "format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', target, p.new_title, p.old_title)",
                   pairs + " WHERE p.new_title <> p.old_title") +
         " UNION ALL " +
         statement(kConstraintsOn, 2,
                   "format('COMMENT ON CONSTRAINT %I ON %s IS %L', p.old_title, target, "
                   "" + said +
                       ")",
                   pairs + " WHERE " + said + " IS NOT NULL");
}

// What was over the old column is dropped where it could refuse rows, of which that one is NULL from now on; an index
// that refuses none gets the other one's name in exchange. Those of keys become theirs.
std::string of_indexes() {
  std::string const pairs = "index_pairs p";
  std::string const aside = "'~swap ' || md5(p.old_title)";
  std::string const index = "format('ALTER INDEX %s.%I RENAME TO %I', home, ";
  std::string const said = "obj_description(p.old_index, 'pg_class')";
  std::string const of_key =
      "SELECT k.conname, obj_description(k.oid, 'pg_constraint') AS said FROM pg_constraint k WHERE k.conindid = "
      "p.old_index AND k.conrelid = t_oid AND k.contype IN ('p', 'u', 'x')";
  return statement(kReplicaIdentity, 1, "format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', target, p.new_title)",
                   pairs + " WHERE p.is_identity") +
         " UNION ALL " +
         statement(kIndexesOff, 1,
                   "CASE WHEN p.kind IN ('p', 'u', 'x') THEN format('ALTER TABLE %s DROP CONSTRAINT %I', target, "
                   "p.old_title) WHEN p.kind = 'i' THEN format('DROP INDEX %s.%I', home, p.old_title) ELSE " +
                       index + "p.old_title, " + aside + ") END",
                   pairs) +
         " UNION ALL " +
         statement(kIndexesOn, 1,
                   "CASE WHEN p.new_kind = 'i' AND p.kind IN ('p', 'u') THEN format('ALTER TABLE %s ADD CONSTRAINT %I "
                   "%s USING INDEX %I%s%s', target, p.old_title, CASE p.kind WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' "
                   "END, p.new_title, CASE WHEN p.is_deferrable THEN ' DEFERRABLE' END, CASE WHEN p.is_deferred THEN ' "
                   "INITIALLY DEFERRED' END) ELSE " +
                       index + "p.new_title, p.old_title) END",
                   pairs) +
         " UNION ALL " + statement(kIndexesAside, 1, index + aside + ", p.new_title)", pairs + " WHERE p.kind = 'n'") +
         " UNION ALL " +
         statement(kIndexSettings, 1, "format('ALTER TABLE %s CLUSTER ON %I', target, p.old_title)",
                   pairs + " WHERE p.is_clustered") +
         " UNION ALL " +
         statement(kIndexSettings, 2, "format('COMMENT ON INDEX %s.%I IS %L', home, p.old_title, " + said + ")",
                   pairs + " WHERE " + said + " IS NOT NULL") +
         " UNION ALL " +
         statement(kIndexSettings, 3, "format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, target, k.said)",
                   pairs + ", LATERAL (" + of_key + ") k WHERE k.said IS NOT NULL") +
         " UNION ALL " +
         statement(kIndexSettings, 4,
                   "format('ALTER INDEX %s.%I SET (%s)', home, p.old_title, array_to_string(o.reloptions, ', '))",
                   pairs +
                       " JOIN pg_class o ON o.oid = p.old_index JOIN pg_class n ON n.oid = p.new_index WHERE "
                       "o.reloptions IS NOT NULL AND n.reloptions IS NULL") +
         " UNION ALL " +
         statement(kIndexSettings, 5,
                   "format('ALTER INDEX %s.%I ALTER COLUMN %s SET STATISTICS %s', home, p.old_title, a.attnum, "
                   "a.attstattarget)",
                   pairs + " JOIN pg_attribute a ON a.attrelid = p.old_index WHERE a.attstattarget >= 0") +
         " UNION ALL " +
         statement(
             kIndexSettings, 6, "format('ALTER INDEX %s.%I DEPENDS ON EXTENSION %I', home, p.old_title, e.extname)",
             pairs +
                 " JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = p.old_index AND d.refclassid "
                 "= 'pg_extension'::regclass AND d.deptype = 'x' JOIN pg_extension e ON e.oid = d.refobjid WHERE "
                 "NOT EXISTS (SELECT FROM pg_depend n WHERE n.classid = d.classid AND n.objid = p.new_index AND "
                 "n.refclassid = d.refclassid AND n.refobjid = d.refobjid)");
}

std::string of_settings(int server_version) {
  std::vector<std::string> parts;
  for (auto const& setting : column_settings(server_version)) {
    std::string const value(setting.value);
    auto const of = [&](std::string const& number) {
      return "(SELECT " + value +
             " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = t_oid AND a.attnum = " +
             number + ")";
    };
    parts.push_back(statement(
        kSettings, 1, "format(" + quote_literal(setting.change) + ", target, new_name, s.said)",
        "(SELECT " + of("o_num") + ") s (said) WHERE s.said IS NOT NULL AND " + of("n_num") + " IS NULL" +
            (setting.needs_toast ? " AND EXISTS (SELECT FROM pg_type t WHERE t.oid = new_att.atttypid AND t.typstorage "
                                   "<> 'p')"
                                 : "")));
  }
  parts.push_back(statement(kSettings, 2,
                            "format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS %L', l.provider, target, new_name, "
                            "l.label)",
                            "pg_seclabel l WHERE l.classoid = 'pg_class'::regclass AND l.objoid = t_oid AND l.objsubid "
                            "= o_num"));
  return join(parts, " UNION ALL ");
}

// Exactly those of the old column: more that the new one has is revoked. Names are those of after.
std::string privileges_block() {
  auto const of_new = privileges_of_column("t_oid", "n_num", "n_num");
  Privileges const privileges{privileges_of_column("t_oid", "o_num", "n_num"), of_new,
                              of_new + " UNION ALL " + privileges_of("r", "t_oid")};
  return carry_privileges(privileges, "TABLE", "t_oid");
}

// From 18 on NOT NULL is a constraint with a name, and perhaps a comment.
std::string of_names() {
  std::string const both =
      "pg_constraint o, pg_constraint n WHERE o.contype = 'n' AND n.contype = 'n' AND o.conrelid = t_oid AND "
      "n.conrelid "
      "= t_oid AND o.conkey = ARRAY[o_num] AND n.conkey = ARRAY[n_num]";
  std::string const said = "obj_description(o.oid, 'pg_constraint')";
  return statement(kNotNull, 1, "format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', target, old_name)",
                   "(SELECT 1) s WHERE old_att.attnotnull") +
         " UNION ALL " +
         statement(kNotNull, 2, "format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', target, n.conname, o.conname)",
                   both) +
         " UNION ALL " +
         statement(kNotNull, 3, "format('COMMENT ON CONSTRAINT %I ON %s IS %L', o.conname, target, " + said + ")",
                   both + " AND " + said + " IS NOT NULL") +
         " UNION ALL " +
         statement(
             kNotNull, 4,
             "format('ALTER TABLE %s ALTER CONSTRAINT %I %s', target, o.conname, CASE WHEN o.connoinherit THEN 'NO "
             "INHERIT' ELSE 'INHERIT' END)",
             both + " AND o.connoinherit <> n.connoinherit") +
         " UNION ALL " +
         statement(kNames, 1, "format('ALTER TABLE %s RENAME COLUMN %I TO %I', target, old_name, kept_name)",
                   "(SELECT 1) s") +
         " UNION ALL " +
         statement(kNames, 2, "format('ALTER TABLE %s RENAME COLUMN %I TO %I', target, new_name, old_name)",
                   "(SELECT 1) s");
}

// Under the old column's name their definitions mean the new one.
constexpr char kStatistics[] = R"sql(
  SELECT s.place, s.nth, s.sql FROM pg_statistic_ext e JOIN pg_namespace h ON h.oid = e.stxnamespace
    CROSS JOIN LATERAL (SELECT format('%I.%I', h.nspname, e.stxname), obj_description(e.oid, 'pg_statistic_ext')) q
      (title, said)
    CROSS JOIN LATERAL (VALUES (20, 1, format('DROP STATISTICS %s', q.title)),
      (100, 1, pg_get_statisticsobjdef(e.oid)),
      (100, 2, CASE WHEN e.stxstattarget >= 0 THEN format('ALTER STATISTICS %s SET STATISTICS %s', q.title,
        e.stxstattarget) END),
      (100, 3, CASE WHEN q.said IS NOT NULL THEN format('COMMENT ON STATISTICS %s IS %L', q.title, q.said) END),
      (100, 4, CASE WHEN e.stxowner <> current_user::regrole THEN format('ALTER STATISTICS %s OWNER TO %s', q.title,
        e.stxowner::regrole) END)) s (place, nth, sql)
    WHERE EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_statistic_ext'::regclass AND d.objid = e.oid
      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t_oid AND d.refobjsubid = o_num))sql";

// The list of columns and the filter of a publication, in one transaction with the names.
constexpr char kPublications[] = R"sql(
  SELECT s.place, 1, s.sql FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    CROSS JOIN LATERAL (VALUES (10, format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, target)),
      (105, format('ALTER PUBLICATION %I ADD TABLE %s%s%s', p.pubname, target,
        (SELECT ' (' || string_agg(quote_ident(CASE a.attname WHEN new_name THEN kept_name ELSE a.attname END), ', '
          ORDER BY x.place) || ')' FROM unnest(r.prattrs::int2[]) WITH ORDINALITY x (number, place)
          JOIN pg_attribute a ON a.attrelid = t_oid AND a.attnum = x.number),
        ' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')'))) s (place, sql)
    WHERE r.prrelid = t_oid AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_publication_rel'::regclass
      AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t_oid AND d.refobjsubid =
      o_num))sql";

// From here on the old column is nobody's. No lock on the table is needed for it, and none is free to be had later.
std::string end_of_sync(std::string const& migration) {
  std::string const function = quote_qualified("pgbackfill", sync_function_name(migration));
  return "\n  IF to_regprocedure(" + quote_literal(function + "()") + ") IS NOT NULL THEN\n    EXECUTE " +
         quote_literal("CREATE OR REPLACE FUNCTION " + function + "() RETURNS trigger LANGUAGE plpgsql AS " +
                       quote_literal(sync_body_off())) +
         ";\n  END IF;";
}

std::string declarations(SwapColumn const& step, TableName const& table) {
  auto const text = [](std::string const& name, std::string const& value) {
    return "  " + name + " constant text := " + quote_literal(value) + ";\n";
  };
  return "\nDECLARE\n" + text("target", quoted(table)) + text("home", quote_identifier(table.schema)) +
         text("old_name", step.column) + text("new_name", step.with) + text("kept_name", step.keep_as) +
         "  t_oid constant oid := " + oid_of(table) +
         ";\n  o_num int2;\n  n_num int2;\n  new_base oid;\n  old_att pg_attribute;\n  new_att pg_attribute;\n  "
         "seq_name text;\n  seq pg_sequence;\n  seq_value bigint;\n  seq_called boolean;\n  seq_kept \"char\";\n  item "
         "record;\n  statements text[];\n  one text;\nBEGIN";
}

}  // namespace

std::string swap_column_block(SwapColumn const& step, StepFacts const& facts) {
  auto const attribute = [](std::string const& into, std::string const& name) {
    return "\n  SELECT a.* INTO STRICT " + into +
           " FROM pg_attribute a WHERE a.attrelid = t_oid AND a.attname = " + name + " AND NOT a.attisdropped;";
  };
  std::vector<std::string> parts = {
      of_default(), kSequenceStatements, of_constraints(), of_indexes(), of_settings(facts.server_version),
      of_names(),   kStatistics};
  if (facts.server_version >= kVersionWithColumnLists) parts.emplace_back(kPublications);
  std::string body = declarations(step, facts.table) + attribute("old_att", "old_name") +
                     attribute("new_att", "new_name") +
                     "\n  o_num := old_att.attnum;\n  n_num := new_att.attnum;\n  SELECT CASE t.typtype WHEN 'd' THEN "
                     "t.typbasetype ELSE t.oid END INTO STRICT new_base FROM pg_type t WHERE t.oid = new_att.atttypid;";
  body += kMoveIdentity;
  body += "\n  statements := ARRAY(WITH index_pairs AS MATERIALIZED (" + index_pairs(kVariables) +
          "), constraint_pairs AS MATERIALIZED (" + constraint_pairs(kVariables) + ") SELECT q.sql FROM (" +
          join(parts, " UNION ALL ") +
          ") q (place, nth, sql) WHERE q.sql IS NOT NULL ORDER BY q.place, q.nth, q.sql);\n  FOREACH one IN ARRAY "
          "statements LOOP EXECUTE one; END LOOP;" +
          privileges_block();
  if (!step.sync_of.empty()) body += end_of_sync(step.sync_of);
  return body + "\nEND";
}

}  // namespace pgbackfill::planner::recipes
