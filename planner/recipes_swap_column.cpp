// swap_column: a column gets the place of another one, with its name, default, sequence and primary key, in one short
// transaction. What the new column lacks is refused beforehand rather than built under the lock.
#include "planner/recipes.h"
#include "planner/sql_text.h"
#include "planner/sync_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

// The attribute's number, as an SQL expression; NULL without the column.
std::string number_of(TableName const& table, std::string const& column) {
  return "(SELECT a.attnum FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
         " AND a.attname = " + quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped)";
}

// Of index i: the same columns and options, with the one in the place of the other, and nothing but columns.
std::string is_counterpart(std::string const& of, SwapColumn const& step, TableName const& table) {
  return "o.indrelid = " + of + ".indrelid AND o.indisvalid AND o.indisready AND o.indisunique >= " + of +
         ".indisunique AND o.indimmediate AND o.indexprs IS NULL AND o.indpred IS NULL AND " + of +
         ".indexprs IS NULL AND " + of + ".indpred IS NULL AND o.indnkeyatts = " + of +
         ".indnkeyatts AND o.indoption::text = " + of + ".indoption::text AND o.indkey::int2[] = array_replace(" + of +
         ".indkey::int2[], " + number_of(table, step.column) + ", " + number_of(table, step.with) + ")";
}

// Of an index that a primary key can be made of.
std::string index_for_key(SwapColumn const& step, TableName const& table) {
  return "(SELECT c.relname FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid "
         "JOIN "
         "pg_catalog.pg_index o ON " +
         is_counterpart("i", step, table) +
         " JOIN pg_catalog.pg_class c ON c.oid = o.indexrelid WHERE k.contype = 'p' AND k.conrelid = " + oid_of(table) +
         " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint u WHERE u.conindid = o.indexrelid AND u.contype IN "
         "('p', "
         "'u', 'x')) ORDER BY c.relname LIMIT 1)";
}

std::string in_primary_key(SwapColumn const& step, TableName const& table) {
  return "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(table) +
         " AND " + number_of(table, step.column) + " = ANY (k.conkey))";
}

// Names of what hangs on the old column and would stay with it; NULL: nothing.
std::string left_behind(SwapColumn const& step, TableName const& table) {
  return "(SELECT string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM "
         "pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = " +
         oid_of(table) + " AND d.refobjsubid = " + number_of(table, step.column) +
         // Its own default moves along.
         " AND NOT (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND EXISTS (SELECT FROM "
         "pg_catalog.pg_attrdef f WHERE f.oid = d.objid AND f.adrelid = d.refobjid AND f.adnum = d.refobjsubid))"
         // So do its sequences; indexes are asked for by themselves.
         " AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND EXISTS (SELECT FROM pg_catalog.pg_class "
         "c "
         "WHERE c.oid = d.objid AND c.relkind IN ('S', 'i')))"
         // A key is its index. A foreign key that is there for the new column as well may stay with the old one.
         " AND NOT (d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND EXISTS (SELECT FROM "
         "pg_catalog.pg_constraint k WHERE k.oid = d.objid AND (k.contype IN ('p', 'u', 'n') OR (k.contype = 'f' AND "
         "k.conrelid = d.refobjid AND EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.contype = 'f' AND "
         "o.convalidated AND o.conrelid = k.conrelid AND o.confrelid = k.confrelid AND o.confkey = k.confkey AND "
         "o.confdeltype = k.confdeltype AND o.confupdtype = k.confupdtype AND o.conkey = array_replace(k.conkey, " +
         number_of(table, step.column) + ", " + number_of(table, step.with) + "))))))" + ")";
}

std::string indexes_without_counterpart(SwapColumn const& step, TableName const& table) {
  return "(SELECT string_agg(pg_catalog.pg_get_indexdef(i.indexrelid), '; ') FROM pg_catalog.pg_index i WHERE "
         "i.indrelid = " +
         oid_of(table) +
         " AND i.indisvalid AND NOT i.indisprimary AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE "
         "d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid AND d.refobjid = "
         "i.indrelid "
         "AND d.refobjsubid = " +
         number_of(table, step.column) +
         " UNION ALL SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = "
         "i.indexrelid AND k.contype IN ('u', 'x') AND " +
         number_of(table, step.column) + " = ANY (k.conkey)) AND NOT EXISTS (SELECT FROM pg_catalog.pg_index o WHERE " +
         is_counterpart("i", step, table) + "))";
}

std::vector<std::pair<std::string, std::string>> refusals_of(SwapColumn const& step, TableName const& table) {
  auto refusals = table_refusals(table);
  auto const refuse = [&](std::string condition, std::string text) {
    refusals.emplace_back(std::move(condition), std::move(text));
  };
  auto const is = [&](std::string const& column, std::string const& condition) {
    return column_is(table, column, condition);
  };
  std::string const& old_column = step.column;
  refuse(
      "(SELECT c.relkind = 'p' OR c.relispartition OR EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN "
      "(h.inhparent, h.inhrelid)) FROM pg_catalog.pg_class c WHERE c.oid = " +
          oid_of(table) + ")",
      quote_literal(shown(table) + " has partitions, is one, or inherits: keys and columns of several tables cannot be "
                                   "swapped by this step"));
  for (auto const* column : {&step.column, &step.with}) {
    refuse("NOT " + has_column(table, *column), quote_literal("there is no column " + *column + " in " + shown(table)));
  }
  refuse(has_column(table, step.keep_as), quote_literal("column " + step.keep_as +
                                                        " is there already; name another one "
                                                        "in keep_as, or drop it first"));
  refuse(
      is(old_column, "a.attgenerated <> ''") + " OR " + is(step.with, "(a.attgenerated <> '' OR a.attidentity <> '')"),
      quote_literal("a generated column cannot be swapped"));
  refuse(is(old_column, "a.attnotnull") + " AND " + is(step.with, "NOT a.attnotnull"),
         quote_literal("column " + old_column + " is NOT NULL and " + step.with +
                       " is not; set_not_null: " + step.with + " first"));
  refuse(in_primary_key(step, table) + " AND " + index_for_key(step, table) + " IS NULL",
         quote_literal("column " + old_column + " is in the primary key, and there is no index that a key with " +
                       step.with + " in its place could be made of; create_index with unique: true first"));
  refuse("(SELECT a.attacl::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
             " AND a.attnum = " + number_of(table, old_column) +
             ") IS DISTINCT FROM (SELECT a.attacl::text FROM pg_catalog.pg_attribute a "
             "WHERE a.attrelid = " +
             oid_of(table) + " AND a.attnum = " + number_of(table, step.with) + ")",
         quote_literal("the columns have not the same privileges; GRANT on " + step.with + " what " + old_column +
                       " has"));
  refuse(left_behind(step, table) + " IS NOT NULL",
         left_behind(step, table) + " || " +
             quote_literal(" would stay with the old column; make it anew over " + step.with +
                           " (add_foreign_key, add_check, ...) and drop this one first"));
  refuse(indexes_without_counterpart(step, table) + " IS NOT NULL",
         quote_literal("this index would stay with the old column: ") + " || " +
             indexes_without_counterpart(step, table) + " || " +
             quote_literal("; create_index the same over " + step.with + " first, or drop_index it"));
  return refusals;
}

// An identity's sequence keeps its name and goes on where it was. ALTER SEQUENCE keeps others from drawing meanwhile.
constexpr char kMoveIdentity[] = R"sql(
  IF old_att.attidentity <> '' THEN
    sequence := pg_catalog.pg_get_serial_sequence(target, old_name)::pg_catalog.regclass;
    SELECT s.* INTO STRICT options FROM pg_catalog.pg_sequence s WHERE s.seqrelid = sequence;
    sequence_name := pg_catalog.pg_get_serial_sequence(target, old_name);
    EXECUTE pg_catalog.format('ALTER SEQUENCE %s CACHE %s', sequence_name, options.seqcache);
    EXECUTE pg_catalog.format('SELECT last_value, is_called FROM %s', sequence_name)
      INTO STRICT position, is_called;
    EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', target, old_name);
    EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', target, new_name);
    EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s '
      'INCREMENT BY %s START WITH %s CACHE %s %s)', target, new_name,
      CASE old_att.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, sequence_name,
      options.seqincrement, options.seqstart, options.seqcache,
      CASE WHEN options.seqcycle THEN 'CYCLE' ELSE '' END);
    PERFORM pg_catalog.setval(sequence_name::pg_catalog.regclass, position, is_called);
  END IF;)sql";

constexpr char kMoveDefault[] = R"sql(
  SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) INTO standard FROM pg_catalog.pg_attrdef d
    WHERE d.adrelid = old_att.attrelid AND d.adnum = old_att.attnum;
  IF standard IS NOT NULL THEN
    IF NOT new_att.atthasdef THEN
      EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', target, new_name, standard);
    END IF;
    EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', target, old_name);
  END IF;
  FOR options IN SELECT s.* FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = old_att.attrelid
    AND d.refobjsubid = old_att.attnum AND d.deptype = 'a'
  LOOP
    sequence := options.seqrelid;
    EXECUTE pg_catalog.format('ALTER SEQUENCE %s OWNED BY %s.%I', sequence, target, new_name);
    IF new_att.atttypid = 20 AND options.seqtypid <> 20 THEN
      EXECUTE pg_catalog.format('ALTER SEQUENCE %s AS bigint', sequence);
    END IF;
  END LOOP;)sql";

constexpr char kMoveKey[] = R"sql(
  SELECT k.conname INTO key_name FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = old_att.attrelid
    AND old_att.attnum = ANY (k.conkey);
  IF key_name IS NOT NULL THEN
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', target, key_name);
    EXECUTE pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY USING INDEX %I', target, key_name,
      key_index);
  END IF;
  IF old_att.attnotnull THEN
    EXECUTE pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', target, old_name);
  END IF;
  EXECUTE pg_catalog.format('ALTER TABLE %s RENAME COLUMN %I TO %I', target, old_name, kept_name);
  EXECUTE pg_catalog.format('ALTER TABLE %s RENAME COLUMN %I TO %I', target, new_name, old_name);)sql";

std::string swap_body(SwapColumn const& step, TableName const& table) {
  auto const attribute = [&](std::string const& into, std::string const& name) {
    return "\n  SELECT a.* INTO STRICT " + into +
           " FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) + " AND a.attname = " + name +
           " AND NOT a.attisdropped;";
  };
  std::string body = "\nDECLARE\n  target constant text := " + quote_literal(quoted(table)) +
                     ";\n  old_name constant text := " + quote_literal(step.column) +
                     ";\n  new_name constant text := " + quote_literal(step.with) +
                     ";\n  kept_name constant text := " + quote_literal(step.keep_as) +
                     ";\n  old_att pg_catalog.pg_attribute;\n  new_att pg_catalog.pg_attribute;\n  sequence "
                     "pg_catalog.regclass;\n  sequence_name text;\n  options pg_catalog.pg_sequence;\n  position "
                     "bigint;\n  is_called boolean;\n  standard text;\n  key_name text;\n  key_index text;\nBEGIN";
  body += attribute("old_att", "old_name") + attribute("new_att", "new_name");
  body += "\n  key_index := " + index_for_key(step, table) + ";";
  body += kMoveIdentity;
  body += kMoveDefault;
  body += kMoveKey;
  if (!step.sync_of.empty()) {
    // From here on the old column is nobody's. No lock on the table is needed for it, and none is free to be had later.
    std::string const function = quote_qualified("pgbackfill", sync_function_name(step.sync_of));
    body += "\n  IF pg_catalog.to_regprocedure(" + quote_literal(function + "()") + ") IS NOT NULL THEN\n    EXECUTE " +
            quote_literal("CREATE OR REPLACE FUNCTION " + function + "() RETURNS trigger LANGUAGE plpgsql AS " +
                          quote_literal(sync_body_off())) +
            ";\n  END IF;";
  }
  return body + "\nEND";
}

}  // namespace

std::string facts_sql(SwapColumn const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(SwapColumn const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(SwapColumn const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "swap_column " + step.column + " of " + shown(table) + " with " + step.with;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kHigh;
  recipe.reason =
      "from this moment on clients read and write the new column under the old name; the old one, kept as " +
      step.keep_as + ", is filled no more";
  recipe.no_way_back = "rows that were written since have no value in the old column";
  recipe.done = has_column(table, step.keep_as) + " AND " + has_column(table, step.column) + " AND NOT " +
                has_column(table, step.with);
  recipe.refusal = first_of(refusals_of(step, table));
  Action action;
  action.sql = "DO " + dollar_quoted(swap_body(step, table));
  action.locks = {exclusive(table)};
  action.needed = has_column(table, step.with) + " AND NOT " + has_column(table, step.keep_as);
  recipe.actions = {std::move(action)};
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
