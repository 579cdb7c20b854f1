// add_unique, add_primary_key and swap_primary_key: a unique index that is built CONCURRENTLY, or is there, and then
// becomes the index of a constraint.
#include <array>

#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {
namespace {

// What undoing has to know, as Recipe::before asks for it: a line each.
struct KeyBefore {
  std::string index;      // what stood behind the table's name in the index that was taken over; empty: none
  std::string nullables;  // text[] of columns that could be NULL
  std::string old_index;  // the same of the primary key that was replaced
  std::string old_name;   // of its constraint
};

KeyBefore read_before(StepFacts const& facts) {
  KeyBefore before;
  if (!facts.is_claimed) return before;
  std::array<std::string*, 4> const parts{&before.index, &before.nullables, &before.old_index, &before.old_name};
  std::string text = facts.before;
  // Claims of versions that knew of nullable columns only.
  if (text.find('\n') == std::string::npos) text = "\n" + text;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    auto const end = part + 1 == parts.size() ? std::string::npos : text.find('\n');
    *parts[part] = text.substr(0, end);
    if (end == std::string::npos) break;
    text.erase(0, end + 1);
  }
  return before;
}

// Of index i of relation c: all behind the name of the table.
std::string index_tail(TableName const& table) {
  return "substr(pg_catalog.pg_get_indexdef(i.indexrelid), length(pg_catalog.format('CREATE UNIQUE INDEX %I ON %I.%I', "
         "c.relname, " +
         quote_literal(table.schema) + ", " + quote_literal(table.name) + ")) + 1)";
}

std::string before_sql(AddKey const& step, TableName const& table) {
  std::string const of_index = "SELECT " + index_tail(table) +
                               " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE "
                               "i.indrelid = " +
                               oid_of(table);
  std::string const nullables =
      "SELECT array_agg(a.attname::text)::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
      " AND NOT a.attnotnull AND a.attname::text = ANY (" + text_array(step.columns) + ")";
  std::string const old_name =
      "SELECT k.conname::text FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(table);
  std::string sql = "SELECT coalesce((" + of_index + " AND c.relname = " + quote_literal(step.name) +
                    " AND NOT i.indisprimary), '') || chr(10) || coalesce((" +
                    (step.is_primary ? nullables : "NULL::text") + "), '')";
  if (step.is_replacing) {
    sql += " || chr(10) || coalesce((" + of_index + " AND i.indisprimary), '') || chr(10) || coalesce((" + old_name +
           "), '')";
  }
  return sql;
}

// Whether an index is one that ADD CONSTRAINT ... USING INDEX takes for these columns, and belongs to nothing yet.
std::string is_usable(TableName const& table, std::string const& name, std::vector<std::string> const& columns) {
  return index_is(
      table, name,
      "i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS "
      "(SELECT FROM unnest(i.indoption::int2[]) o WHERE o <> 0) AND NOT EXISTS (SELECT FROM pg_catalog.pg_opclass p "
      "WHERE p.oid = ANY (i.indclass::pg_catalog.oid[]) AND NOT p.opcdefault) AND NOT EXISTS (SELECT FROM "
      "pg_catalog.pg_constraint u WHERE u.conindid = i.indexrelid AND u.contype IN ('p', 'u', 'x')) AND "
      "ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY x(number, place) JOIN "
      "pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = x.number WHERE x.place <= i.indnkeyatts "
      "ORDER BY x.place) = " +
          text_array(columns));
}

// The columns of a primary key, without the lock that the server would hold while it looks for NULLs.
std::vector<Action> not_null_actions(AddKey const& step, StepFacts const& facts, std::string const& has_constraint) {
  std::vector<Action> actions;
  StepFacts of_column = facts;
  of_column.is_claimed = true;
  of_column.before.clear();
  of_column.named.clear();
  for (auto const& column : step.columns) {
    auto not_null = recipes::recipe(SetNotNull{facts.table, column}, of_column);
    for (auto& action : not_null.actions) {
      action.needed = "NOT " + has_constraint + " AND " + action.needed;
      actions.push_back(std::move(action));
    }
  }
  return actions;
}

void make_nullable_again(AddKey const& step, StepFacts const& facts, std::string const& nullables,
                         std::vector<Action>& undo) {
  if (nullables.empty()) return;
  auto const& table = facts.table;
  for (auto const& column : step.columns) {
    std::string const was_nullable = quote_literal(column) + " = ANY (" + quote_literal(nullables) + "::text[])";
    undo.push_back(brief(table, "ALTER COLUMN " + quote_identifier(column) + " DROP NOT NULL",
                         column_is(table, column, "a.attnotnull") + " AND " + was_nullable));
    std::string const check = object_name(table.name, column, "not_null");
    undo.push_back(brief(table, "DROP CONSTRAINT " + quote_identifier(check),
                         constraint_is(table, check, "k.contype = 'c'") + " AND " + was_nullable));
  }
}

Action build(TableName const& table, std::string const& name, std::string const& tail, std::string needed) {
  auto action = drop_index(table, name, std::move(needed));
  action.sql = "CREATE UNIQUE INDEX CONCURRENTLY " + quote_identifier(name) + " ON " + quoted(table) + tail;
  action.effort = Effort::kBuild;
  return action;
}

// The constraint goes, and the index that it was made of is there again under its name, without a moment between.
void undo_of_taken_index(TableName const& table, std::string const& name, std::string const& tail,
                         std::string const& has_constraint, std::vector<Action>& undo) {
  std::string const back = object_name(name, "", "back");
  undo.push_back(drop_index(table, back, index_is(table, back, "NOT i.indisvalid")));
  undo.push_back(build(table, back, tail, has_constraint + " AND NOT " + index_is(table, back, "true")));
  undo.push_back(brief(table,
                       "DROP CONSTRAINT " + quote_identifier(name) + "; ALTER INDEX " +
                           quote_qualified(table.schema, back) + " RENAME TO " + quote_identifier(name),
                       has_constraint + " AND " + index_is(table, back, "i.indisvalid")));
}

std::string key_refusal(AddKey const& step, StepFacts const& facts, std::string const& index) {
  auto const& table = facts.table;
  auto refusals = table_refusals(table);
  for (auto const& column : step.columns) {
    refusals.emplace_back("NOT " + has_column(table, column),
                          quote_literal("there is no column " + column + " in " + shown(table)));
  }
  if (facts.kind == 'p') {
    refusals.emplace_back("true", quote_literal(shown(table) + " is partitioned: a unique index cannot be built on it "
                                                               "CONCURRENTLY; write the statements as sql:"));
  }
  std::string const key = "pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(table);
  if (step.is_replacing) {
    refusals.emplace_back("NOT EXISTS (SELECT FROM " + key + ")",
                          quote_literal(shown(table) + " has no primary key; use add_primary_key"));
    std::string const referring =
        "(SELECT string_agg(pg_catalog.quote_ident(f.conname) || ' of ' || f.conrelid::pg_catalog.regclass::text, ', "
        "') FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND f.conparentid = 0 AND f.conindid IN (SELECT "
        "k.conindid FROM " +
        key + "))";
    refusals.emplace_back(referring + " IS NOT NULL",
                          quote_literal("these foreign keys refer to the primary key, and need its index: ") + " || " +
                              referring + " || " +
                              quote_literal("; let them refer to another unique index first, or drop them"));
  } else if (step.is_primary) {
    refusals.emplace_back(
        "EXISTS (SELECT FROM " + key + ")",
        quote_literal(shown(table) + " has another primary key already; swap_primary_key puts this one in its "
                                     "place"));
  }
  bool const is_own_name = step.is_replacing && facts.named == step.name;
  if (!is_own_name) {
    refusals.emplace_back(constraint_is(table, step.name, "true"),
                          quote_literal("a constraint " + step.name + " is there already, with another definition"));
  }
  std::string const is_other =
      has_relation(table, index) + " AND NOT " +
      (facts.is_claimed ? index_is(table, index, "true") : is_usable(table, index, step.columns));
  refusals.emplace_back(
      is_other, quote_literal("the name " + index +
                              " is taken by something that is not from this step, and is no valid unique index over "
                              "just these columns that a constraint could be made of"));
  return first_of(refusals);
}

// In one statement, so that the table is never without a key: with it goes what a publication knows its rows by. What
// was said of the old key's index is said of the new one, and it is deferrable if that was.
std::string replacement(TableName const& table, std::string const& old_name, std::string const& name,
                        std::string const& index) {
  std::string const body =
      "DECLARE was pg_catalog.pg_index; old pg_catalog.pg_constraint; said text; said_of_index text; BEGIN SELECT k.* "
      "INTO STRICT old FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " +
      oid_of(table) + " AND k.conname = " + quote_literal(old_name) +
      "; SELECT i.* INTO STRICT was FROM pg_catalog.pg_index i WHERE i.indexrelid = old.conindid; said := "
      "pg_catalog.obj_description(old.oid, 'pg_constraint'); said_of_index := "
      "pg_catalog.obj_description(old.conindid, 'pg_class'); EXECUTE " +
      quote_literal("ALTER TABLE " + quoted(table) + " DROP CONSTRAINT " + quote_identifier(old_name) +
                    ", ADD CONSTRAINT " + quote_identifier(name) + " PRIMARY KEY USING INDEX " +
                    quote_identifier(index)) +
      " || CASE WHEN old.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN old.condeferred THEN ' INITIALLY "
      "DEFERRED' ELSE '' END; IF was.indisreplident THEN ALTER TABLE " +
      quoted(table) + " REPLICA IDENTITY USING INDEX " + quote_identifier(name) +
      "; END IF; IF was.indisclustered THEN ALTER TABLE " + quoted(table) + " CLUSTER ON " + quote_identifier(name) +
      "; END IF; IF said IS NOT NULL THEN EXECUTE pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', " +
      quote_literal(name) + ", " + quote_literal(quoted(table)) +
      ", said); END IF; IF said_of_index IS NOT NULL THEN EXECUTE pg_catalog.format('COMMENT ON INDEX %s IS %L', " +
      quote_literal(quote_qualified(table.schema, name)) + ", said_of_index); END IF; END";
  return "DO " + dollar_quoted(body);
}

void replace_key(AddKey const& step, StepFacts const& facts, std::string const& index,
                 std::string const& has_constraint, Recipe& recipe) {
  auto const& table = facts.table;
  recipe.title = "swap_primary_key " + step.name + " on " + shown(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "the columns of the old key alone may repeat from then on";
  auto swap = brief(table, "", index_is(table, index, "i.indisvalid") + " AND NOT " + has_constraint);
  swap.sql = replacement(table, facts.named, step.name, index);
  recipe.actions.push_back(std::move(swap));
  auto const before = read_before(facts);
  recipe.way_back = "the old key's index is built again, CONCURRENTLY, and takes its place back";
  if (before.old_index.empty()) return;
  std::string const back = object_name(before.old_name, "", "back");
  recipe.undo = {drop_index(table, back, index_is(table, back, "NOT i.indisvalid")),
                 build(table, back, before.old_index, has_constraint + " AND NOT " + index_is(table, back, "true"))};
  auto swap_back = brief(table, "", has_constraint + " AND " + index_is(table, back, "i.indisvalid"));
  swap_back.sql = replacement(table, step.name, before.old_name, back);
  recipe.undo.push_back(std::move(swap_back));
  std::string const has_index = index_is(table, index, "NOT i.indisprimary");
  if (before.index.empty()) {
    recipe.undo.push_back(drop_index(table, index, has_index + " AND NOT " + has_constraint));
  } else {
    recipe.undo.push_back(
        build(table, index, before.index, "NOT " + has_constraint + " AND NOT " + index_is(table, index, "true")));
  }
  make_nullable_again(step, facts, before.nullables, recipe.undo);
}

void add_key(AddKey const& step, StepFacts const& facts, std::string const& has_constraint, Recipe& recipe) {
  auto const& table = facts.table;
  std::string const word = step.is_primary ? "PRIMARY KEY" : "UNIQUE";
  recipe.title = std::string(step.is_primary ? "add_primary_key " : "add_unique ") + step.name + " on " + shown(table);
  recipe.reason = "writers that repeat a value fail from the end of the build on";
  std::string const name = quote_identifier(step.name);
  // The index has the constraint's name from the start: ADD CONSTRAINT would rename it otherwise.
  recipe.actions.push_back(brief(table, "ADD CONSTRAINT " + name + " " + word + " USING INDEX " + name,
                                 index_is(table, step.name, "i.indisvalid") + " AND NOT " + has_constraint));
  auto const before = read_before(facts);
  if (before.index.empty()) {
    recipe.undo = {brief(table, "DROP CONSTRAINT " + name, has_constraint),
                   drop_index(table, step.name, index_is(table, step.name, "true") + " AND NOT " + has_constraint)};
  } else {
    undo_of_taken_index(table, step.name, before.index, has_constraint, recipe.undo);
  }
  make_nullable_again(step, facts, before.nullables, recipe.undo);
}

}  // namespace

std::string facts_sql(AddKey const& step) {
  return facts_of_table(
      step.table, "",
      "SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(step.table));
}

std::vector<std::string> spelling(AddKey const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(AddKey const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  std::string const is_key = std::string{"k.contype = '"} + (step.is_primary ? "p" : "u") + "' AND " +
                             columns_of_key("conrelid", "conkey") + " = " + text_array(step.columns);
  std::string const has_constraint = constraint_is(table, step.name, is_key);
  // The new key may get the old one's name, and its index only with it.
  bool const is_own_name = step.is_replacing && facts.named == step.name;
  std::string const index = is_own_name ? object_name(step.name, "", "new") : step.name;
  recipe.done = has_constraint;
  recipe.before = before_sql(step, table);
  if (step.is_primary) recipe.actions = not_null_actions(step, facts, has_constraint);
  recipe.actions.push_back(
      drop_index(table, index, facts.is_claimed ? index_is(table, index, "NOT i.indisvalid") : "false"));
  recipe.actions.push_back(build(table, index, " (" + column_list(step.columns) + ")",
                                 "NOT " + has_constraint + " AND NOT " + index_is(table, index, "true")));
  if (step.is_replacing) {
    replace_key(step, facts, index, has_constraint, recipe);
  } else {
    add_key(step, facts, has_constraint, recipe);
  }
  recipe.refusal = key_refusal(step, facts, index);
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
