// add_unique, add_primary_key and swap_primary_key: a unique index that is built CONCURRENTLY, or is there, and then
// becomes the index of a constraint.
#include <algorithm>
#include <array>

#include "planner/model/sql_text.h"
#include "planner/steps/heirs.h"
#include "planner/steps/index_parts.h"
#include "planner/steps/recipes.h"
#include "planner/steps/row_questions.h"

namespace pgbackfill::planner::recipes {
namespace {

// Their index may not be NULLS NOT DISTINCT.
constexpr int kVersionWithStrictPrimaryKeys = 160000;

// Method, operator classes, COLLATEs and order of index i.
std::string sorting_of_index() {
  return "(SELECT x.relam::text || ' ' || i.indclass::text || ' ' || i.indcollation::text || ' ' || i.indoption::text "
         "FROM pg_catalog.pg_class x WHERE x.oid = i.indexrelid)";
}

// Of constraint k.
std::string words_of_key() {
  return "CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN k.condeferred THEN ' INITIALLY "
         "DEFERRED' ELSE '' END";
}

// What undoing has to know, as Recipe::before asks for it.
struct KeyBefore {
  std::string index;      // what stood behind the table's name in the index that was taken over; empty: none
  std::string nullables;  // text[] of columns that could be NULL
  std::string marks;      // statements that give the taken index back what it had
  std::string old_index;  // the same of the primary key that was replaced, and the words behind its constraint
  std::string old_name;
  std::string old_words;
  std::string old_marks;
  std::string heirs;  // a list of heirs.h: columns of tables below that were NOT NULL
};

constexpr int kPartsOfOldKey = 4;

KeyBefore read_before(StepFacts const& facts) {
  KeyBefore before;
  if (!facts.is_claimed) return before;
  std::array<std::string*, 8> const parts{&before.index,    &before.nullables, &before.marks,     &before.old_index,
                                          &before.old_name, &before.old_words, &before.old_marks, &before.heirs};
  auto const texts = counted_texts(facts.before);
  for (std::size_t part = 0; part < std::min(parts.size(), texts.size()); ++part) *parts[part] = texts[part];
  return before;
}

std::string before_sql(AddKey const& step, TableName const& table, std::string const& index) {
  std::string const taken = index_named(table, index) + " AND NOT i.indisprimary";
  std::string const nullables =
      "(SELECT array_agg(a.attname::text)::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
      " AND NOT a.attnotnull AND a.attname::text = ANY (" + text_array(step.columns) + "))";
  std::string sql = "SELECT " + counted("(SELECT " + index_tail() + taken + ")") + " || " +
                    counted(step.is_primary ? nullables : "NULL::text") + " || " + counted(index_marks_text(taken));
  std::string const heirs =
      counted(step.is_primary ? heirs_with(table, step.columns, "a.attnotnull") : std::string("NULL::text"));
  if (!step.is_replacing) {
    for (int part = 0; part < kPartsOfOldKey; ++part) sql += " || " + counted("NULL::text");
    return sql + " || " + heirs;
  }
  std::string const key = " FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(table);
  std::string const old = index_of_primary_key(table);
  std::string const said = "(SELECT 'COMMENT ON CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ON ' || " +
                           quote_literal(quoted(table)) +
                           " || ' IS ' || pg_catalog.quote_literal(pg_catalog.obj_description(k.oid, "
                           "'pg_constraint'))" +
                           key + ")";
  return sql + " || " + counted("(SELECT " + index_tail() + old + ")") + " || " +
         counted("(SELECT k.conname::text" + key + ")") + " || " + counted("(SELECT " + words_of_key() + key + ")") +
         " || " + counted("nullif(pg_catalog.concat_ws('; ', " + index_marks_text(old) + ", " + said + "), '')") +
         " || " + heirs;
}

// What the server takes for a constraint's index: each column with the operators, COLLATE and order that an index has
// by itself. As long as nobody could build one, none that was named.
std::string has_plain_columns(std::string const& spelling) {
  if (!spelling.empty()) return sorting_of_index() + " = " + quote_literal(spelling);
  return "NOT EXISTS (SELECT FROM unnest(i.indoption::int2[]) o WHERE o <> 0) AND NOT EXISTS (SELECT FROM "
         "pg_catalog.pg_opclass p WHERE p.oid = ANY (i.indclass::pg_catalog.oid[]) AND NOT p.opcdefault) AND NOT "
         "EXISTS "
         "(SELECT FROM unnest(i.indkey::pg_catalog.int2[], i.indcollation::pg_catalog.oid[]) x (number, sorting) "
         "JOIN "
         "pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = x.number WHERE x.sorting <> "
         "a.attcollation)";
}

// Whether an index is one that ADD CONSTRAINT ... USING INDEX takes for these columns, and belongs to nothing yet.
std::string is_usable(AddKey const& step, StepFacts const& facts, std::string const& name) {
  bool const is_strict = step.is_primary && facts.server_version >= kVersionWithStrictPrimaryKeys;
  std::string const takes_null = "AND coalesce(pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'false' ";
  return index_is(
      facts.table, name,
      "i.indisvalid AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND " +
          has_plain_columns(facts.spelling) +
          " AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute o WHERE o.attrelid = i.indexrelid AND o.attoptions IS "
          "NOT "
          "NULL) " +
          (is_strict ? takes_null : "") +
          "AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint u WHERE u.conindid = i.indexrelid AND u.contype IN "
          "('p', 'u', "
          "'x')) AND ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY x(number, place) JOIN "
          "pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = x.number WHERE x.place <= i.indnkeyatts "
          "ORDER BY x.place) = " +
          text_array(step.columns));
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

void make_nullable_again(AddKey const& step, StepFacts const& facts, KeyBefore const& before, Recipe& recipe) {
  auto const& nullables = before.nullables;
  if (nullables.empty()) return;
  // Until then NOT NULL goes from the tables below whatever they had.
  bool const goes_down = facts.server_version < kVersionWithNotNullConstraints;
  auto const& table = facts.table;
  auto& undo = recipe.undo;
  std::vector<std::pair<std::string, std::string>> refusals;
  for (auto const& column : step.columns) {
    std::string const was_nullable = quote_literal(column) + " = ANY (" + quote_literal(nullables) + "::text[])";
    auto drop = brief(table, "ALTER COLUMN " + quote_identifier(column) + " DROP NOT NULL",
                      column_is(table, column, "a.attnotnull"));
    if (goes_down && !before.heirs.empty()) drop = drop_not_null_but(table, column, before.heirs);
    drop.needed += " AND " + was_nullable;
    undo.push_back(std::move(drop));
    std::string const keepers = goes_down ? keepers_of_not_null(facts, column, before.heirs) : "NULL::text";
    refusals.emplace_back(was_nullable + " AND " + keepers + " IS NOT NULL", keepers);
    refusals.emplace_back(was_nullable + " AND " + column_is(table, column, "a.attidentity <> ''"),
                          quote_literal("column " + column + " of " + shown(table) + " is an identity column now"));
    std::string const check = object_name(table.name, column, "not_null");
    undo.push_back(brief(table, "DROP CONSTRAINT " + quote_identifier(check),
                         constraint_is(table, check, "k.contype = 'c'") + " AND " + was_nullable));
  }
  recipe.undo_refusal = first_of(refusals);
}

Action build(TableName const& table, std::string const& name, std::string const& tail, std::string needed) {
  auto action = drop_index(table, name, std::move(needed));
  action.sql = "CREATE UNIQUE INDEX CONCURRENTLY " + quote_identifier(name) + " ON " + quoted(table) + tail;
  action.effort = Effort::kBuild;
  return action;
}

std::string rename_index(TableName const& table, std::string const& from, std::string const& to) {
  return "ALTER INDEX " + quote_qualified(table.schema, from) + " RENAME TO " + quote_identifier(to);
}

std::string followed_by(std::string const& marks) {
  return marks.empty() ? "" : "; " + marks;
}

// An index of another name, built again for the moment in which the constraint goes.
std::string build_back(TableName const& table, std::string const& name, std::string const& tail,
                       std::string const& has_constraint, std::vector<Action>& undo) {
  std::string const back = object_name(name, "", "back");
  undo.push_back(drop_index(table, back, index_is(table, back, "NOT i.indisvalid")));
  undo.push_back(build(table, back, tail, has_constraint + " AND NOT " + index_is(table, back, "true")));
  return back;
}

// The constraint goes, and the index that it was made of is there again under its name, without a moment between.
void undo_of_taken_index(TableName const& table, std::string const& name, KeyBefore const& before,
                         std::string const& has_constraint, std::vector<Action>& undo) {
  auto const back = build_back(table, name, before.index, has_constraint, undo);
  undo.push_back(brief(
      table,
      "DROP CONSTRAINT " + quote_identifier(name) + "; " + rename_index(table, back, name) + followed_by(before.marks),
      has_constraint + " AND " + index_is(table, back, "i.indisvalid")));
}

// What the old key cannot give up, or the new one would not have.
void refuse_of_old_key(TableName const& table, std::string const& key,
                       std::vector<std::pair<std::string, std::string>>& refusals) {
  auto const refuse_list = [&](std::string const& before, std::string const& list, std::string const& after) {
    refusals.emplace_back(list + " IS NOT NULL", quote_literal(before) + " || " + list + " || " + quote_literal(after));
  };
  refusals.emplace_back("NOT EXISTS (SELECT FROM " + key + ")",
                        quote_literal(shown(table) + " has no primary key; use add_primary_key"));
  refusals.emplace_back("EXISTS (SELECT FROM " + key + " AND k.coninhcount > 0)",
                        quote_literal("the primary key of " + shown(table) +
                                      " is that of the table which it is a partition of; change it there"));
  refusals.emplace_back("EXISTS (SELECT FROM " + key +
                            " AND EXISTS (SELECT FROM pg_catalog.pg_class x JOIN pg_catalog.pg_am m ON m.oid = x.relam "
                            "WHERE x.oid = k.conindid AND m.amname <> 'btree'))",
                        quote_literal("the primary key of " + shown(table) +
                                      " is WITHOUT OVERLAPS, and its index could not be built again CONCURRENTLY; "
                                      "write the statements as sql:"));
  refuse_list("these foreign keys refer to the primary key, and need its index: ",
              "(SELECT string_agg(pg_catalog.quote_ident(f.conname) || ' of ' || "
              "f.conrelid::pg_catalog.regclass::text, ', ') FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND "
              "f.conparentid = 0 AND f.conindid IN (SELECT k.conindid FROM " +
                  key + "))",
              "; let them refer to another unique index first, or drop them");
  refuse_list("these depend on the primary key, which the server does not drop then: ",
              "(SELECT string_agg(DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM "
              "pg_catalog.pg_depend d WHERE d.deptype = 'n' AND d.refclassid = "
              "'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.refobjid IN (SELECT k.oid FROM " +
                  key + "))",
              "; drop them first, and make them again afterwards");
  refuse_list("the trigger of the deferrable primary key is disabled, or enabled otherwise than by itself: ",
              "(SELECT string_agg(pg_catalog.quote_ident(g.tgname), ', ') FROM pg_catalog.pg_trigger g WHERE "
              "g.tgenabled <> 'O' AND g.tgconstraint IN (SELECT k.oid FROM " +
                  key + "))",
              "; ALTER TABLE ... ENABLE TRIGGER it first");
}

std::string key_refusal(AddKey const& step, StepFacts const& facts, std::string const& index, bool is_own_name) {
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
    refuse_of_old_key(table, key, refusals);
  } else if (step.is_primary) {
    refusals.emplace_back(
        "EXISTS (SELECT FROM " + key + ")",
        quote_literal(shown(table) + " has another primary key already; swap_primary_key puts this one in its "
                                     "place"));
  }
  if (!is_own_name) {
    refusals.emplace_back(constraint_is(table, step.name, "true"),
                          quote_literal("a constraint " + step.name + " is there already, with another definition"));
  }
  std::string const is_other = has_relation(table, index) + " AND NOT " +
                               (facts.is_claimed ? index_is(table, index, "true") : is_usable(step, facts, index));
  refusals.emplace_back(
      is_other, quote_literal("the name " + index +
                              " is taken by something that is not from this step, and is no valid unique index over "
                              "just these columns that a constraint could be made of"));
  return first_of(refusals);
}

// In one statement, so that the table is never without a key: with it goes what a publication knows its rows by. What
// was said of the old key's index is said of the new one, unless that has its own, and it is deferrable if that was.
std::string replacement(TableName const& table, std::string const& old_name, std::string const& name,
                        std::string const& index) {
  std::string const new_index = quote_literal(quote_qualified(table.schema, name));
  std::string const body =
      "DECLARE was pg_catalog.pg_index; old pg_catalog.pg_constraint; words text; said text; said_of_index text; "
      "extensions text[]; extension text; BEGIN SELECT k.* INTO STRICT old FROM pg_catalog.pg_constraint k WHERE "
      "k.contype = 'p' AND k.conrelid = " +
      oid_of(table) + " AND k.conname = " + quote_literal(old_name) +
      "; SELECT i.* INTO STRICT was FROM pg_catalog.pg_index i WHERE i.indexrelid = old.conindid; SELECT " +
      words_of_key() +
      " INTO STRICT words FROM pg_catalog.pg_constraint k WHERE k.oid = old.oid; said := "
      "pg_catalog.obj_description(old.oid, 'pg_constraint'); said_of_index := "
      "pg_catalog.obj_description(old.conindid, 'pg_class'); extensions := ARRAY(SELECT e.extname::text FROM "
      "pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.classid = "
      "'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = old.conindid AND d.refclassid = "
      "'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'x'); EXECUTE " +
      quote_literal("ALTER TABLE " + quoted(table) + " DROP CONSTRAINT " + quote_identifier(old_name) +
                    ", ADD CONSTRAINT " + quote_identifier(name) + " PRIMARY KEY USING INDEX " +
                    quote_identifier(index)) +
      " || words; IF was.indisreplident THEN ALTER TABLE " + quoted(table) + " REPLICA IDENTITY USING INDEX " +
      quote_identifier(name) + "; END IF; IF was.indisclustered THEN ALTER TABLE " + quoted(table) + " CLUSTER ON " +
      quote_identifier(name) +
      "; END IF; IF said IS NOT NULL THEN EXECUTE pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', " +
      quote_literal(name) + ", " + quote_literal(quoted(table)) +
      ", said); END IF; IF said_of_index IS NOT NULL AND pg_catalog.obj_description(" + new_index +
      "::pg_catalog.regclass, 'pg_class') IS NULL THEN EXECUTE pg_catalog.format('COMMENT ON INDEX %s IS %L', " +
      new_index +
      ", said_of_index); END IF; FOREACH extension IN ARRAY extensions LOOP EXECUTE pg_catalog.format('ALTER INDEX %s "
      "DEPENDS ON EXTENSION %I', " +
      new_index + ", extension); END LOOP; END";
  return "DO " + dollar_quoted(body);
}

void undo_of_replacement(AddKey const& step, StepFacts const& facts, std::string const& index, KeyBefore const& before,
                         std::string const& has_constraint, Recipe& recipe) {
  auto const& table = facts.table;
  auto const back = build_back(table, before.old_name, before.old_index, has_constraint, recipe.undo);
  auto duplicates = duplicates_in(table, before.old_name, before.old_index);
  if (duplicates) recipe.undo_questions.push_back(std::move(*duplicates));
  std::string change = "DROP CONSTRAINT " + quote_identifier(step.name) + ", ADD CONSTRAINT " +
                       quote_identifier(before.old_name) + " PRIMARY KEY USING INDEX " + quote_identifier(back) +
                       before.old_words + followed_by(before.old_marks);
  std::string needed = has_constraint + " AND " + index_is(table, back, "i.indisvalid");
  if (!before.index.empty()) {
    auto const taken_back = build_back(table, index, before.index, has_constraint, recipe.undo);
    change += "; " + rename_index(table, taken_back, index) + followed_by(before.marks);
    needed += " AND " + index_is(table, taken_back, "i.indisvalid");
  }
  recipe.undo.push_back(brief(table, change, std::move(needed)));
  if (before.index.empty()) {
    recipe.undo.push_back(
        drop_index(table, index, index_is(table, index, "NOT i.indisprimary") + " AND NOT " + has_constraint));
  }
  make_nullable_again(step, facts, before, recipe);
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
  recipe.way_back = "the old key's index is built again, CONCURRENTLY, and takes its place back";
  auto const before = read_before(facts);
  if (!before.old_index.empty()) undo_of_replacement(step, facts, index, before, has_constraint, recipe);
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
    undo_of_taken_index(table, step.name, before, has_constraint, recipe.undo);
  }
  make_nullable_again(step, facts, before, recipe);
}

}  // namespace

// `parents` is what the index of the old key has beside its columns.
std::string facts_sql(AddKey const& step) {
  std::string const storage = "SELECT ARRAY[" + index_storage(step.columns) + "]" + index_of_primary_key(step.table);
  return facts_of_table(
      step.table, step.is_replacing ? storage : "",
      "SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(step.table));
}

// The index that the step would build, on an empty copy, where the role may make one.
std::vector<std::string> spelling(AddKey const& step, StepFacts const& facts) {
  if (facts.kind == ' ' || facts.kind == 'p') return {};
  std::string may_try =
      "pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP') AND "
      "pg_catalog.has_table_privilege(" +
      oid_of(facts.table) + "::pg_catalog.oid, 'SELECT')";
  // What is missing the refusal names.
  for (auto const& column : step.columns) may_try += " AND " + has_column(facts.table, column);
  std::string const body =
      "BEGIN IF pg_catalog.current_setting('pgbackfill.probe') OPERATOR(pg_catalog.=) 'true' THEN EXECUTE " +
      quote_literal("CREATE TEMP TABLE pgbackfill_probe (LIKE " + quoted(facts.table) + " INCLUDING GENERATED)") +
      "; EXECUTE " +
      quote_literal("CREATE UNIQUE INDEX pgbackfill_probe_key ON " + std::string(kProbe) + " (" +
                    column_list(step.columns) + ")") +
      "; END IF; END";
  return {
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true)",
      "SELECT pg_catalog.set_config('pgbackfill.probe', (" + may_try + ")::text, true)", "DO " + quote_literal(body),
      "SELECT coalesce((SELECT " + sorting_of_index() +
          " FROM pg_catalog.pg_index i WHERE i.indexrelid = "
          "pg_catalog.to_regclass('pg_temp.pgbackfill_probe_key')), ''), NULL::text"};
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
  auto const old_name = read_before(facts).old_name;
  bool const is_own_name = step.is_replacing && (old_name.empty() ? facts.named : old_name) == step.name;
  std::string const index = is_own_name ? object_name(step.name, "", "new") : step.name;
  recipe.done = has_constraint;
  recipe.before = before_sql(step, table, index);
  if (step.is_primary) recipe.actions = not_null_actions(step, facts, has_constraint);
  recipe.actions.push_back(
      drop_index(table, index, facts.is_claimed ? index_is(table, index, "NOT i.indisvalid") : "false"));
  recipe.actions.push_back(build(table, index, " (" + column_list(step.columns) + ")" + join(facts.parents, ""),
                                 "NOT " + has_constraint + " AND NOT " + index_is(table, index, "true")));
  if (step.is_replacing) {
    replace_key(step, facts, index, has_constraint, recipe);
  } else {
    add_key(step, facts, has_constraint, recipe);
  }
  recipe.refusal = key_refusal(step, facts, index, is_own_name);
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
