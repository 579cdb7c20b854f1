// A copy takes the place of its table, with what hangs on the table, in one short transaction.
//
// What is carried over is read from the catalog inside of that transaction, under its locks, by a DO block: nobody can
// grant or add something in between. What cannot be carried is looked for before, and refused by name.
#include "planner/mirror_sql.h"
#include "planner/recipes.h"
#include "planner/recipes_sync.h"
#include "planner/sql_text.h"
#include "planner/sync_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithPartitionedNotValid = 180000;

TableName in_schema(TableName const& table, std::string const& name) {
  return {table.schema, name};
}

std::string literal_of(TableName const& table) {
  return quote_literal(quoted(table)) + "::pg_catalog.regclass";
}

// Foreign keys k that refer to a table, without those of partitions, which go with their parents', and its own.
std::string referring(std::string const& oid) {
  return "pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = " + oid +
         " AND k.conrelid <> k.confrelid AND k.conparentid = 0";
}

std::string names(std::string const& what, std::string const& from) {
  return "(SELECT string_agg(DISTINCT " + what + ", ', ') FROM " + from + ")";
}

// Names of the columns of a key (conkey or confkey), in its order, as text[].
std::string columns_of_key(std::string const& relation, std::string const& key) {
  return "ARRAY(SELECT a.attname::text FROM unnest(k." + key +
         ") WITH ORDINALITY x(number, place) JOIN pg_catalog.pg_attribute a ON a.attrelid = k." + relation +
         " AND a.attnum = x.number ORDER BY x.place)";
}

using Refusals = std::vector<std::pair<std::string, std::string>>;

// `list` is an SQL text, NULL where there is nothing to refuse.
void refuse_list(Refusals& refusals, std::string const& list, std::string const& text) {
  refusals.emplace_back(list + " IS NOT NULL", quote_literal(text) + " || " + list);
}

// What goes by the table's number instead of its name would go on with the old table.
void refuse_dependents(Refusals& refusals, std::string const& old_oid) {
  refuse_list(refusals,
              names("r.ev_class::pg_catalog.regclass::text",
                    "pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.classid = "
                    "'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = "
                    "'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = " +
                        old_oid + " AND r.ev_class <> " + old_oid),
              "these views would go on reading the old table; drop them before, and create them again after: ");
  refuse_list(
      refusals,
      names("pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)",
            "pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_policy p ON d.classid = "
            "'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid WHERE (d.refclassid = "
            "'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = " +
                old_oid + " AND (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass OR p.polrelid <> " + old_oid +
                ") OR d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype = 'n' AND d.refobjid IN "
                "(SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.oid = " +
                old_oid + " AND c.reltype IN (t.oid, t.typelem)))"),
      "these know the table or its row type by number, and would go on with the old one; drop them before, and create "
      "them again after: ");
  refuse_list(refusals,
              names("pg_catalog.quote_ident(r.rulename)", "pg_catalog.pg_rewrite r WHERE r.ev_class = " + old_oid),
              "rules are not carried over; drop them, or make triggers of them: ");
}

void refuse_keys(Refusals& refusals, StepFacts const& facts, std::string const& old_oid, std::string const& new_oid) {
  std::string const shown_key = "pg_catalog.quote_ident(k.conname) || ' of ' || k.conrelid::pg_catalog.regclass::text";
  refuse_list(refusals, names(shown_key, referring(old_oid) + " AND NOT k.convalidated"),
              "these foreign keys refer to the table and are NOT VALID; validate or drop them first: ");
  refuse_list(
      refusals,
      names(
          shown_key,
          referring(old_oid) + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = " + new_oid +
              " AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND "
              "ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY x(number, place) JOIN "
              "pg_catalog.pg_attribute a ON a.attrelid = " +
              new_oid +
              " AND a.attnum = x.number WHERE x.place <= i.indnkeyatts ORDER BY 1) = (SELECT array_agg(n ORDER BY n) "
              "FROM unnest(" +
              columns_of_key("confrelid", "confkey") + ") n))"),
      "the copy has no unique index over the columns that these foreign keys refer to; build it, or drop them: ");
  refuse_list(refusals,
              names("pg_catalog.quote_ident(k.conname)",
                    "pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = " + new_oid +
                        " AND k.confrelid = " + old_oid),
              "these foreign keys of the copy refer to the table that it replaces; let them refer to the copy: ");
  if (facts.server_version < kVersionWithPartitionedNotValid) {
    refuse_list(
        refusals,
        names(shown_key,
              referring(old_oid) + " AND (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = k.conrelid) = 'p'"),
        "before PostgreSQL 18 a foreign key of a partitioned table cannot be added without a scan under a lock; "
        "drop these first: ");
  }
  refuse_list(
      refusals,
      names("pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid)",
            "pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = " + old_oid +
                " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint l WHERE l.contype = 'f' AND l.conrelid = " +
                new_oid + " AND l.confrelid IN (k.confrelid, CASE WHEN k.confrelid = k.conrelid THEN " + new_oid +
                "::pg_catalog.oid END) AND (SELECT " + columns_of_key("conrelid", "conkey") +
                " FROM (SELECT l.conkey, l.conrelid) k) = " + columns_of_key("conrelid", "conkey") + ")"),
      "the copy lacks foreign keys like these of the table; add them before, with add_foreign_key, or drop these: ");
}

// --- names of what corresponds
// -------------------------------------------------------------------------------------------------

// Indexes of a table with those that constraints have: title, definition without names and types of the columns, so
// that a key over a wider integer is the same key.
std::string titled_indexes(std::string const& oid) {
  return "SELECT x.relname AS title, CASE WHEN k.oid IS NULL THEN CASE WHEN i.indisunique THEN 'unique ' ELSE '' END "
         "|| "
         "pg_catalog.substr(pg_catalog.pg_get_indexdef(i.indexrelid), 1 + "
         "pg_catalog.length(pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I USING ', CASE WHEN i.indisunique THEN "
         "'UNIQUE ' ELSE '' END, x.relname, CASE WHEN x.relkind = 'I' THEN 'ONLY ' ELSE '' END, n.nspname, "
         "c.relname))) "
         "ELSE k.contype::text || ' ' || pg_catalog.pg_get_constraintdef(k.oid) END AS definition FROM "
         "pg_catalog.pg_index i "
         "JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN "
         "pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = "
         "i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x') WHERE i.indisvalid AND i.indrelid "
         "= " +
         oid;
}

// Checks and foreign keys. A reference to either of the two tables is one to itself, in the end.
std::string titled_constraints(std::string const& oid, std::string const& old_oid, std::string const& new_oid) {
  return "SELECT k.conname AS title, k.contype::text || ' ' || pg_catalog.regexp_replace(CASE WHEN k.confrelid IN (" +
         old_oid + ", " + new_oid +
         ") THEN pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid), ' REFERENCES ' || "
         "k.confrelid::pg_catalog.regclass::text || '(', ' REFERENCES (') ELSE pg_catalog.pg_get_constraintdef(k.oid) "
         "END, ' NOT VALID$', '') AS definition FROM pg_catalog.pg_constraint k WHERE k.contype IN ('c', 'f') AND "
         "k.conparentid = 0 AND k.conrelid = " +
         oid;
}

// old_title, new_title: what of the copy is like what of the table, and has another name. Of several alike the first
// corresponds to the first.
std::string pairs(std::string const& of_old, std::string const& of_new) {
  return "WITH sides AS (SELECT true AS is_old, q.* FROM (" + of_old + ") q UNION ALL SELECT false, q.* FROM (" +
         of_new +
         ") q), unlike AS (SELECT s.*, row_number() OVER (PARTITION BY s.is_old, s.definition ORDER BY s.title) AS "
         "place "
         "FROM sides s WHERE NOT EXISTS (SELECT FROM sides t WHERE t.is_old <> s.is_old AND t.title = s.title AND "
         "t.definition = s.definition)) SELECT o.title AS old_title, n.title AS new_title FROM unlike o JOIN unlike n "
         "ON "
         "n.definition = o.definition AND n.place = o.place WHERE o.is_old AND NOT n.is_old";
}

std::string pairs_of_indexes(std::string const& old_oid, std::string const& new_oid) {
  return pairs(titled_indexes(old_oid), titled_indexes(new_oid));
}

std::string pairs_of_constraints(std::string const& old_oid, std::string const& new_oid) {
  return pairs(titled_constraints(old_oid, old_oid, new_oid), titled_constraints(new_oid, old_oid, new_oid));
}

// Whose name is to be given to another constraint of the copy.
void refuse_taken_names(Refusals& refusals, std::string const& old_oid, std::string const& new_oid) {
  refuse_list(
      refusals,
      names("pg_catalog.quote_ident(k.conname)",
            "((" + pairs_of_indexes(old_oid, new_oid) + ") UNION ALL (" + pairs_of_constraints(old_oid, new_oid) +
                ")) p JOIN pg_catalog.pg_constraint k ON k.conname = p.old_title AND k.conrelid = " + new_oid),
      "these constraints of the copy have the names of others of the table, which go over to what corresponds to "
      "them; rename these first: ");
}

void refuse_replication(Refusals& refusals, std::string const& old_oid, std::string const& new_oid) {
  refuse_list(refusals,
              names("pg_catalog.quote_ident(p.pubname)",
                    "pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE "
                    "r.prrelid = " +
                        old_oid +
                        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel o WHERE o.prpubid = r.prpubid AND "
                        "o.prrelid = " +
                        new_oid + ")"),
              "the table is in publications that the copy is not in; ALTER PUBLICATION ... ADD TABLE it first, and let "
              "subscribers REFRESH PUBLICATION afterwards: ");
  refusals.emplace_back("EXISTS (SELECT FROM pg_catalog.pg_class o, pg_catalog.pg_class n WHERE o.oid = " + old_oid +
                            " AND n.oid = " + new_oid + " AND o.relreplident = 'i' AND n.relreplident <> 'i')",
                        quote_literal("the table has an index as its REPLICA IDENTITY; choose one of the copy first, "
                                      "with ALTER TABLE ... REPLICA IDENTITY USING INDEX"));
}

void refuse_policies(Refusals& refusals, std::string const& old_oid, std::string const& new_oid) {
  auto const policies = [](std::string const& oid) {
    return "(SELECT coalesce(string_agg(ROW(p.polname, p.polcmd, p.polpermissive, p.polroles, "
           "pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))::text, "
           "'' "
           "ORDER BY p.polname), '') || c.relrowsecurity || c.relforcerowsecurity FROM pg_catalog.pg_class c LEFT JOIN "
           "pg_catalog.pg_policy p ON p.polrelid = c.oid WHERE c.oid = " +
           oid + " GROUP BY c.relrowsecurity, c.relforcerowsecurity)";
  };
  refusals.emplace_back(policies(old_oid) + " <> " + policies(new_oid),
                        quote_literal("row level security of the copy is not that of the table; give the copy the same "
                                      "policies and switches first"));
}

std::string refusal_of(Swap const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const with = in_schema(table, step.with.name);
  std::string const old_oid = oid_of(table);
  std::string const new_oid = oid_of(with);
  Refusals refusals;
  // Done, but for what comes after it.
  if (facts.is_claimed) refusals.emplace_back(new_oid + " IS NULL", "NULL");
  for (auto const* one : {&table, &with}) {
    for (auto& refusal : table_refusals(*one)) refusals.push_back(std::move(refusal));
  }
  refusals.emplace_back(oid_of(step.with) + " <> " + new_oid,
                        quote_literal(shown(step.with) + " is in another schema than " + shown(table)));
  refusals.emplace_back(has_relation(table, step.keep_as),
                        quote_literal("the name " + step.keep_as + " is taken already"));
  refusals.emplace_back("EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid IN (" + old_oid + ", " +
                            new_oid + ") OR h.inhparent = " + old_oid +
                            " AND (SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = " + old_oid + ") = 'r')",
                        quote_literal("a table that is a partition, or inherits, cannot be swapped"));
  refusals.emplace_back("NOT " + sync::trigger_is(table, sync_trigger_name(step.migration),
                                                  "g.tgenabled = 'A' AND " + sync::is_ours(step.migration)),
                        quote_literal("the mirror's trigger is not on " + shown(table)));
  refuse_dependents(refusals, old_oid);
  refuse_keys(refusals, facts, old_oid, new_oid);
  refuse_taken_names(refusals, old_oid, new_oid);
  refuse_replication(refusals, old_oid, new_oid);
  refuse_policies(refusals, old_oid, new_oid);
  return first_of(refusals);
}

// --- the transaction ------------------------------------------------------------------------------------------------

// Privileges of a table and its columns, as rows (col, grantee, privilege, grantable), after the owner is the same.
std::string privileges(std::string const& oid) {
  return "SELECT NULL::text AS col, a.grantee, a.privilege_type, a.is_grantable FROM pg_class c, "
         "aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE c.oid = " +
         oid +
         " UNION ALL SELECT t.attname, a.grantee, a.privilege_type, a.is_grantable FROM pg_attribute t, "
         "aclexplode(t.attacl) a WHERE t.attnum > 0 AND NOT t.attisdropped AND t.attrelid = " +
         oid;
}

// Statements that are made before the names change, when the definitions still say the old name, and run afterwards.
std::string collecting(Swap const& step) {
  return "  FOR r IN SELECT * FROM " + referring("old_oid") +
         " LOOP\n"
         "    after := after || format('ALTER TABLE %s DROP CONSTRAINT %I', r.conrelid::regclass, r.conname)\n"
         "      || format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', r.conrelid::regclass, r.conname, "
         "pg_get_constraintdef(r.oid));\n  END LOOP;\n"
         "  FOR r IN SELECT g.* FROM pg_trigger g WHERE g.tgrelid = old_oid AND NOT g.tgisinternal AND g.tgfoid <> "
         "mirror AND NOT EXISTS (SELECT FROM pg_trigger o WHERE o.tgrelid = new_oid AND o.tgname = g.tgname) LOOP\n"
         "    after := after || pg_get_triggerdef(r.oid);\n"
         "    IF r.tgenabled <> 'O' THEN\n"
         "      after := after || format('ALTER TABLE %s %s TRIGGER %I', old_oid::regclass, CASE r.tgenabled WHEN 'D' "
         "THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, r.tgname);\n    END IF;\n  END "
         "LOOP;\n"
         "  FOR r IN SELECT g.tgname FROM pg_trigger g WHERE g.tgrelid = old_oid AND g.tgfoid = mirror LOOP\n"
         "    EXECUTE format('DROP TRIGGER %I ON %s', r.tgname, old_oid::regclass);\n  END LOOP;\n" +
         "  EXECUTE format('ALTER TABLE %s RENAME TO %I', old_oid::regclass, " + quote_literal(step.keep_as) + ");\n";
}

std::string carrying_rights() {
  return "  IF (SELECT o.relowner <> n.relowner FROM pg_class o, pg_class n WHERE o.oid = old_oid AND n.oid = new_oid) "
         "THEN\n    EXECUTE format('ALTER TABLE %s OWNER TO %s', new_oid::regclass, (SELECT relowner::regrole FROM "
         "pg_class WHERE oid = old_oid));\n  END IF;\n"
         "  FOR r IN (" +
         privileges("new_oid") + ") EXCEPT (" + privileges("old_oid") +
         ") LOOP\n    EXECUTE format('REVOKE %s%s ON TABLE %s FROM %s', r.privilege_type, '(' || quote_ident(r.col) || "
         "')', new_oid::regclass, CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE r.grantee::regrole::text END);\n  END "
         "LOOP;\n"
         "  FOR r IN (" +
         privileges("old_oid") + ") EXCEPT (" + privileges("new_oid") +
         ") LOOP\n    CONTINUE WHEN r.col IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = "
         "new_oid "
         "AND attname = r.col AND NOT attisdropped);\n    EXECUTE format('GRANT %s%s ON TABLE %s TO %s%s', "
         "r.privilege_type, '(' || quote_ident(r.col) || ')', new_oid::regclass, CASE r.grantee WHEN 0 THEN 'PUBLIC' "
         "ELSE r.grantee::regrole::text END, CASE WHEN r.is_grantable THEN ' WITH GRANT OPTION' END);\n  END LOOP;\n";
}

// A sequence of the old table that the copy uses becomes the copy's; one of the copy goes on behind the old one's.
std::string carrying_sequences() {
  return "  FOR r IN SELECT DISTINCT s.objid::regclass AS sequence, a.attname FROM pg_depend s JOIN pg_class q ON "
         "q.oid = "
         "s.objid AND q.relkind = 'S' JOIN pg_depend u ON u.classid = 'pg_attrdef'::regclass AND u.refobjid = s.objid "
         "JOIN pg_attrdef d ON d.oid = u.objid AND d.adrelid = new_oid JOIN pg_attribute a ON a.attrelid = d.adrelid "
         "AND "
         "a.attnum = d.adnum WHERE s.classid = 'pg_class'::regclass AND s.refobjid = old_oid AND s.deptype = 'a' LOOP\n"
         "    EXECUTE format('ALTER SEQUENCE %s OWNED BY %s.%I', r.sequence, new_oid::regclass, r.attname);\n  END "
         "LOOP;\n"
         "  FOR r IN SELECT s.objid::regclass AS sequence, a.attname, q.seqincrement > 0 AS is_rising, (SELECT "
         "o.objid::regclass FROM pg_depend o JOIN pg_attribute b ON b.attrelid = o.refobjid AND b.attnum = "
         "o.refobjsubid "
         "AND b.attname = a.attname WHERE o.classid = 'pg_class'::regclass AND o.refobjid = old_oid AND o.deptype IN "
         "('a', 'i') AND o.objid IN (SELECT seqrelid FROM pg_sequence) LIMIT 1) AS old_sequence FROM pg_depend s JOIN "
         "pg_sequence q ON q.seqrelid = s.objid JOIN pg_attribute a ON a.attrelid = s.refobjid AND a.attnum = "
         "s.refobjsubid WHERE s.classid = 'pg_class'::regclass AND s.refobjid = new_oid AND s.deptype IN ('a', 'i') "
         "LOOP\n"
         "    IF r.old_sequence IS NOT NULL THEN\n"
         "      EXECUTE format('SELECT last_value FROM %s WHERE is_called', r.old_sequence) INTO used;\n    ELSE\n"
         "      EXECUTE format('SELECT %s(%I) FROM %s', CASE WHEN r.is_rising THEN 'max' ELSE 'min' END, r.attname, "
         "new_oid::regclass) INTO used;\n    END IF;\n"
         "    EXECUTE format('SELECT last_value FROM %s WHERE is_called', r.sequence) INTO own;\n"
         "    IF used IS NOT NULL AND (own IS NULL OR r.is_rising AND used > own OR NOT r.is_rising AND used < own) "
         "THEN\n"
         "      PERFORM setval(r.sequence, used);\n    END IF;\n  END LOOP;\n";
}

std::string carrying_the_rest() {
  return "  IF (SELECT o.relreplident IN ('f', 'n') AND o.relreplident <> n.relreplident FROM pg_class o, pg_class n "
         "WHERE "
         "o.oid = old_oid AND n.oid = new_oid) THEN\n    EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', "
         "new_oid::regclass, (SELECT CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END FROM pg_class WHERE oid "
         "= "
         "old_oid));\n  END IF;\n"
         "  IF obj_description(old_oid, 'pg_class') IS NOT NULL AND obj_description(new_oid, 'pg_class') IS NULL THEN\n"
         "    EXECUTE format('COMMENT ON TABLE %s IS %L', new_oid::regclass, obj_description(old_oid, 'pg_class'));\n"
         "  END IF;\n"
         "  FOR r IN SELECT n.attname, col_description(old_oid, o.attnum) AS said FROM pg_attribute o JOIN "
         "pg_attribute n "
         "ON n.attrelid = new_oid AND n.attname = o.attname AND n.attnum > 0 WHERE o.attrelid = old_oid AND "
         "col_description(old_oid, o.attnum) IS NOT NULL AND col_description(new_oid, n.attnum) IS NULL LOOP\n"
         "    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', new_oid::regclass, r.attname, r.said);\n  END LOOP;\n";
}

// Statements and monitoring know indexes and constraints by name, and ON CONFLICT ON CONSTRAINT has no other way. Names
// of indexes are those of the schema: the old table's get the copy's in exchange.
std::string carrying_names() {
  return "  SELECT format('%I', n.nspname) INTO home FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
         "WHERE "
         "c.oid = new_oid;\n"
         "  after := ARRAY(SELECT s.text FROM (" +
         pairs_of_indexes("old_oid", "new_oid") +
         ") p CROSS JOIN LATERAL (VALUES (1, format('ALTER INDEX %s.%I RENAME TO %I', home, p.old_title, '~swap ' || "
         "md5(p.old_title::text))), (2, format('ALTER INDEX %s.%I RENAME TO %I', home, p.new_title, p.old_title)), (3, "
         "format('ALTER INDEX %s.%I RENAME TO %I', home, '~swap ' || md5(p.old_title::text), p.new_title))) s (place, "
         "text) ORDER BY p.old_title, s.place)\n"
         "    || ARRAY(SELECT format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', new_oid::regclass, p.new_title, "
         "p.old_title) FROM (" +
         pairs_of_constraints("old_oid", "new_oid") +
         ") p ORDER BY p.old_title);\n"
         "  FOREACH statement IN ARRAY after LOOP\n    EXECUTE statement;\n  END LOOP;\n";
}

std::string swap_block(Swap const& step, TableName const& table) {
  auto const with = in_schema(table, step.with.name);
  return "\nDECLARE\n  old_oid oid := " + literal_of(table) + ";\n  new_oid oid := " + literal_of(with) +
         ";\n  mirror oid := " + sync::function_oid(step.migration) +
         ";\n  after text[] := '{}';\n  home text;\n  r record;\n  used bigint;\n  own bigint;\n  statement "
         "text;\nBEGIN\n" +
         // Under the locks now: whoever took the trigger away meanwhile let rows pass.
         "  IF NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = old_oid AND g.tgfoid = mirror AND g.tgenabled = "
         "'A') THEN\n    RAISE EXCEPTION 'the trigger of the mirror is gone';\n  END IF;\n" +
         collecting(step) + "  EXECUTE format('ALTER TABLE %s RENAME TO %I', new_oid::regclass, " +
         quote_literal(table.name) + ");\n" + carrying_rights() +
         "  FOREACH statement IN ARRAY after LOOP\n    EXECUTE statement;\n  END LOOP;\n" + carrying_sequences() +
         carrying_the_rest() + carrying_names() + "END";
}

Action swap_action(Swap const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const with = in_schema(table, step.with.name);
  Action action;
  // Names are written with their schemas, whatever the search_path of the role is.
  action.sql = "SET LOCAL search_path = pg_catalog; DO " + quote_literal(swap_block(step, table));
  action.locks = {exclusive(table), exclusive(with)};
  for (auto const& child : facts.parents) action.locks.push_back({child, LockMode::kAccessExclusive});
  action.needed = oid_of(with) + " IS NOT NULL";
  return action;
}

Action validate_action(Swap const& step, StepFacts const& facts) {
  std::string const oid = oid_of(facts.table);
  Action action;
  action.sql = "DO " + quote_literal("DECLARE r record; BEGIN FOR r IN SELECT * FROM " + referring(oid) +
                                     " AND NOT k.convalidated LOOP EXECUTE pg_catalog.format('ALTER TABLE %s VALIDATE "
                                     "CONSTRAINT %I', r.conrelid::pg_catalog.regclass, r.conname); END LOOP; END");
  action.way = Way::kPatient;
  action.effort = Effort::kScan;
  for (auto const& child : facts.parents) action.locks.push_back({child, LockMode::kShareUpdateExclusive});
  action.needed = oid_of(in_schema(facts.table, step.with.name)) + " IS NULL AND EXISTS (SELECT FROM " +
                  referring(oid) + " AND NOT k.convalidated)";
  return action;
}

}  // namespace

std::string facts_sql(Swap const& step) {
  // The same before and after it: whoever refers to the one who has the name.
  std::string const children =
      "SELECT array_agg(DISTINCT pg_catalog.format('\"%s\".\"%s\"', replace(n.nspname, '\"', '\"\"'), "
      "replace(c.relname, '\"', '\"\"'))) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
      "c.relnamespace WHERE c.oid IN (SELECT k.conrelid FROM " +
      referring(oid_of(step.table)) + ")";
  return facts_of_table(step.table, children, "");
}

std::vector<std::string> spelling(Swap const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(Swap const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const with = in_schema(table, step.with.name);
  Recipe recipe;
  recipe.title = "swap " + shown(table) + " with " + shown(with) + ", kept as " + step.keep_as;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kHigh;
  recipe.reason =
      "all clients go over to " + shown(with) + " at once, and what they write from then on is not in " + step.keep_as;
  // By their numbers, which the names do not change.
  recipe.before = "SELECT " + oid_of(table) + "::pg_catalog.oid || ' ' || " + oid_of(with) + "::pg_catalog.oid";
  auto const blank = facts.before.find(' ');
  bool const is_begun = facts.is_claimed && blank != std::string::npos;
  auto const has_name = [](std::string const& oid, std::string const& name) {
    return "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = " + quote_literal(oid) +
           "::pg_catalog.oid AND c.relname = " + quote_literal(name) + ")";
  };
  std::string const swapped = is_begun ? has_name(facts.before.substr(0, blank), step.keep_as) + " AND " +
                                             has_name(facts.before.substr(blank + 1), table.name)
                                       : "false";
  recipe.done = swapped + " AND NOT EXISTS (SELECT FROM " + referring(oid_of(table)) + " AND NOT k.convalidated)";
  recipe.refusal = refusal_of(step, facts);
  recipe.actions = {swap_action(step, facts), validate_action(step, facts)};
  recipe.no_way_back = "what was written since is in the new table alone";
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
