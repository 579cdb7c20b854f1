#include "planner/steps/heirs.h"

#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {
namespace {

std::string is_below(TableName const& table) {
  return "a.attrelid <> " + oid_of(table) + " AND a.attrelid IN " + tree_of(oid_of(table)) +
         " AND a.attnum > 0 AND NOT a.attisdropped";
}

// For each of the rows, which have the table as rel.
std::string for_each(std::string const& rows, std::string const& statement) {
  return "DO " + quote_literal("DECLARE r record; BEGIN FOR r IN " + rows + " LOOP EXECUTE pg_catalog.format(" +
                               statement + "); END LOOP; END");
}

std::string alter_each(std::string const& rows, std::string const& words, std::string const& column) {
  return for_each(rows, quote_literal("ALTER TABLE " + words) + ", r.rel, " + quote_literal(quote_identifier(column)));
}

Action only(TableName const& table, std::string const& change, std::string needed) {
  auto action = brief(table, change, std::move(needed));
  action.sql = "ALTER TABLE ONLY " + quoted(table) + " " + change;
  return action;
}

// A check as the step would make it, under a name that nobody else gives.
std::string proof_name(TableName const& table, std::string const& column) {
  return object_name(table.name, column, "pgbackfill_not_null");
}

struct Proof {
  std::string add;
  std::string drop;
  std::string name;
};

Proof proof_of(TableName const& table, std::string const& column, std::string const& words) {
  std::string const name = proof_name(table, column);
  return {"ADD CONSTRAINT " + quote_identifier(name) + " CHECK (" + quote_identifier(column) + " IS NOT NULL) " +
              words + "NOT VALID",
          "DROP CONSTRAINT " + quote_identifier(name), name};
}

}  // namespace

std::string is_of_heir(TableName const& table, std::string const& column) {
  return "a.attname = " + quote_literal(column) + " AND " + is_below(table);
}

std::string heirs_with(TableName const& table, std::vector<std::string> const& columns, std::string const& condition) {
  return "(SELECT array_agg(a.attrelid || ' ' || a.attname ORDER BY a.attrelid, a.attname)::text FROM "
         "pg_catalog.pg_attribute a WHERE a.attname = ANY (" +
         text_array(columns) + ") AND " + is_below(table) + " AND " + condition + ")";
}

std::string is_listed(std::string const& list, std::string const& oid, std::string const& column) {
  if (list.empty()) return "false";
  return "((" + oid + ")::pg_catalog.oid::pg_catalog.text OPERATOR(pg_catalog.||) " + quote_literal(" " + column) +
         "::pg_catalog.text) OPERATOR(pg_catalog.=) ANY (" + quote_literal(list) + "::pg_catalog.text[])";
}

Action drop_not_null_but(TableName const& table, std::string const& column, std::string const& list) {
  std::string const rows =
      "pg_catalog.pg_attribute a WHERE a.attnotnull AND NOT a.attisdropped AND a.attname = " + quote_literal(column) +
      " AND a.attrelid IN " + tree_of(oid_of(table)) + " AND NOT " + is_listed(list, "a.attrelid", column);
  auto action = brief(table, "", "EXISTS (SELECT FROM " + rows + ")");
  action.sql = alter_each("SELECT a.attrelid::pg_catalog.regclass AS rel FROM " + rows,
                          "ONLY %s ALTER COLUMN %s DROP NOT NULL", column);
  return action;
}

std::vector<Action> drop_not_null_of_partitions_but(StepFacts const& facts, std::string const& column,
                                                    std::string const& list) {
  auto const& table = facts.table;
  std::string const is_set = column_is(table, column, "a.attnotnull");
  std::vector<Action> actions;
  std::vector<Action> drops;
  for (auto const& heir : facts.leaves) {
    auto const proof = proof_of(heir, column, "");
    std::string const keeps = is_listed(list, oid_of(heir), column);
    actions.push_back(
        brief(heir, proof.add, keeps + " AND " + is_set + " AND NOT " + constraint_is(heir, proof.name, "true")));
    actions.push_back(validate(
        heir, proof.name, keeps + " AND " + is_set + " AND " + constraint_is(heir, proof.name, "NOT k.convalidated")));
    drops.push_back(
        brief(heir, proof.drop,
              keeps + " AND NOT " + is_set + " AND " + constraint_is(heir, proof.name, "k.coninhcount = 0")));
  }
  auto drop = brief(table, "ALTER COLUMN " + quote_identifier(column) + " DROP NOT NULL", is_set);
  drop.sql += "; " + alter_each("SELECT a.attrelid::pg_catalog.regclass AS rel FROM pg_catalog.pg_attribute a WHERE " +
                                    is_of_heir(table, column) + " AND " + is_listed(list, "a.attrelid", column),
                                "%s ALTER COLUMN %s SET NOT NULL", column);
  actions.push_back(std::move(drop));
  actions.insert(actions.end(), drops.begin(), drops.end());
  return actions;
}

std::vector<Action> set_not_null_but(StepFacts const& facts, std::string const& column, std::string const& list) {
  std::vector<TableName> tables = {facts.table};
  tables.insert(tables.end(), facts.leaves.begin(), facts.leaves.end());
  std::vector<Action> actions;
  for (auto const& table : tables) {
    auto const proof = proof_of(table, column, "NO INHERIT ");
    std::string const was_set = "NOT " + is_listed(list, oid_of(table), column) + " AND ";
    std::string const is_open = was_set + column_is(table, column, "NOT a.attnotnull") + " AND ";
    actions.push_back(only(table, proof.add, is_open + "NOT " + constraint_is(table, proof.name, "true")));
    actions.push_back(validate(table, proof.name, is_open + constraint_is(table, proof.name, "NOT k.convalidated")));
    actions.push_back(only(table, "ALTER COLUMN " + quote_identifier(column) + " SET NOT NULL",
                           is_open + constraint_is(table, proof.name, "k.convalidated")));
    actions.push_back(
        only(table, proof.drop,
             was_set + column_is(table, column, "a.attnotnull") + " AND " + constraint_is(table, proof.name, "true")));
  }
  return actions;
}

std::string keepers_of_not_null(StepFacts const& facts, std::string const& column, std::string const& list) {
  // A partition cannot be left out.
  std::string const is_left_out = facts.kind == 'p' ? "false" : is_listed(list, "a.attrelid", column);
  return "(SELECT min(" + quote_literal("column " + column + " of ") +
         " || a.attrelid::pg_catalog.regclass::text) || " +
         quote_literal(", which inherits from " + shown(facts.table) +
                       ", is in its primary key or an identity column, which takes no NULL; drop that first") +
         " FROM pg_catalog.pg_attribute a WHERE " + is_of_heir(facts.table, column) + " AND a.attnotnull AND " +
         kTakesNoNull + " AND NOT " + is_left_out + ")";
}

std::string default_of(std::string const& oid, std::string const& column) {
  // The aliases are no one else's, who has the number.
  return "coalesce((SELECT pg_catalog.pg_get_expr(own_default.adbin, own_default.adrelid) FROM pg_catalog.pg_attrdef "
         "own_default JOIN pg_catalog.pg_attribute own_column ON own_column.attrelid = own_default.adrelid AND "
         "own_column.attnum = own_default.adnum WHERE own_default.adrelid = " +
         oid + " AND own_column.attname = " + quote_literal(column) + " AND NOT own_column.attisdropped), '')";
}

std::string other_defaults(TableName const& table, std::string const& column) {
  std::string const is_own = default_of("c.oid", column);
  return "coalesce((SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.jsonb_agg("
         "pg_catalog.jsonb_build_object('table', c.oid::pg_catalog.int8, 'value', " +
         is_own + "))::text, 'UTF8'), 'hex') FROM pg_catalog.pg_class c WHERE c.oid IN " + tree_of(oid_of(table)) +
         " AND " + is_own + " <> " + default_of(oid_of(table), column) + "), '')";
}

std::string rows_of_other_defaults(TableName const& table, std::string const& column, std::string const& kept) {
  return "pg_catalog.jsonb_to_recordset(pg_catalog.convert_from(pg_catalog.decode(" + quote_literal(kept) +
         ", 'hex'), 'UTF8')::pg_catalog.jsonb) AS w (\"table\" pg_catalog.int8, value text) JOIN pg_catalog.pg_class c "
         "ON c.oid = w.\"table\"::pg_catalog.oid WHERE c.oid IN " +
         tree_of(oid_of(table)) + " AND " + default_of("c.oid", column) + " <> w.value";
}

std::string set_other_defaults(TableName const& table, std::string const& column, std::string const& kept) {
  // The line break keeps a comment from hiding what follows.
  return for_each(
      "SELECT c.oid::pg_catalog.regclass AS rel, CASE w.value WHEN '' THEN 'DROP DEFAULT' ELSE 'SET "
      "DEFAULT (' || w.value || pg_catalog.chr(10) || ')' END AS change FROM " +
          rows_of_other_defaults(table, column, kept),
      quote_literal("ALTER TABLE ONLY %s ALTER COLUMN %s %s") + ", r.rel, " + quote_literal(quote_identifier(column)) +
          ", r.change");
}

}  // namespace pgbackfill::planner::recipes
