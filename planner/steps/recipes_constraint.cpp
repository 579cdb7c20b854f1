#include <algorithm>
#include <charconv>

#include "planner/model/sql_text.h"
#include "planner/steps/index_parts.h"
#include "planner/steps/publications.h"
#include "planner/steps/recipes.h"
#include "planner/steps/row_questions.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithPartitionedNotValid = 180000;
// The empty copy of the table that a foreign key refers to.
constexpr char kProbeOfOther[] = "pgbackfill_probe_part";

// A constraint's definition by the server; whether it is validated is asked apart.
constexpr char kDefinition[] = "regexp_replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID$', '')";

std::string truth(bool value) {
  return value ? "true" : "false";
}

std::string letter_of(std::string const& word) {
  if (word == "restrict") return "r";
  if (word == "cascade") return "c";
  if (word == "set null") return "n";
  if (word == "set default") return "d";
  return "a";
}

// What the ADD ... NOT VALID and VALIDATE of checks and foreign keys have in common. `is_same` is a condition over k.
Recipe added_not_valid(StepFacts const& facts, std::string const& name, std::string const& definition,
                       std::string const& is_same, Recipe recipe) {
  auto const& table = facts.table;
  recipe.relation = quoted(table);
  recipe.done = constraint_is(table, name, "k.convalidated AND " + is_same);
  recipe.before = "SELECT 'there' WHERE " + constraint_is(table, name, "true");
  recipe.actions = {brief(table, "ADD CONSTRAINT " + quote_identifier(name) + " " + definition + " NOT VALID",
                          "NOT " + constraint_is(table, name, "true")),
                    validate(table, name, constraint_is(table, name, "NOT k.convalidated"))};
  bool const was_there = facts.is_claimed && facts.before == "there";
  if (was_there) {
    recipe.no_way_back = "the constraint was there before, NOT VALID; it stays validated";
  } else {
    recipe.undo = {brief(table, "DROP CONSTRAINT " + quote_identifier(name), constraint_is(table, name, "true"))};
  }
  auto refusals = table_refusals(table);
  refusals.emplace_back(constraint_is(table, name, "NOT (" + is_same + ")"),
                        quote_literal("a constraint " + name + " is there already, with another definition"));
  recipe.refusal = first_of(refusals);
  recipe.risk = Risk::kMedium;
  return recipe;
}

// Before PostgreSQL 18 a partitioned table takes no foreign key NOT VALID. Each partition gets it first; that of the
// table then takes them over, and reads nothing.
bool goes_by_partitions(StepFacts const& facts) {
  return facts.kind == 'p' && facts.server_version < kVersionWithPartitionedNotValid;
}

// `parent` is the condition that the table itself has it.
std::vector<Action> foreign_key_by_partitions(StepFacts const& facts, std::string const& name,
                                              std::string const& definition, std::string const& parent) {
  std::vector<Action> actions;
  std::string const add = "ADD CONSTRAINT " + quote_identifier(name) + " " + definition;
  for (auto const& leaf : facts.leaves) {
    auto adding = brief(leaf, add + " NOT VALID", "NOT " + parent + " AND NOT " + constraint_is(leaf, name, "true"));
    adding.locks =
        with_parents(facts.parents, LockMode::kShareRowExclusive, {quoted(leaf), LockMode::kShareRowExclusive});
    auto validating = validate(leaf, name, "NOT " + parent + " AND " + constraint_is(leaf, name, "NOT k.convalidated"));
    validating.locks =
        with_parents(facts.parents, LockMode::kRowShare, {quoted(leaf), LockMode::kShareUpdateExclusive});
    actions.push_back(std::move(adding));
    actions.push_back(std::move(validating));
  }
  auto whole = brief(facts.table, add, "NOT " + parent);
  whole.locks =
      with_parents(facts.parents, LockMode::kShareRowExclusive, {quoted(facts.table), LockMode::kShareRowExclusive});
  actions.push_back(std::move(whole));
  return actions;
}

// Partitions that have a constraint of the name by themselves, as an array of oids.
std::string partitions_with(StepFacts const& facts, std::string const& name) {
  return "(SELECT array_agg(k.conrelid) FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_partition_tree(" +
         oid_of(facts.table) +
         ") p ON p.relid = k.conrelid WHERE p.isleaf AND k.conparentid = 0 AND k.conname = " + quote_literal(name) +
         ")";
}

constexpr char kPartitionsHad[] = "partitions ";

// Takes the key of the table away, which takes those of its partitions along, and what a step that was cut short has
// left on partitions.
std::vector<Action> drop_by_partitions(StepFacts const& facts, std::string const& name) {
  std::string const drop = "DROP CONSTRAINT " + quote_identifier(name);
  std::vector<Action> actions = {brief(facts.table, drop, constraint_is(facts.table, name, "true"))};
  std::string const had =
      facts.before.starts_with(kPartitionsHad) ? facts.before.substr(sizeof kPartitionsHad - 1) : "{}";
  for (auto const& leaf : facts.leaves) {
    actions.push_back(
        brief(leaf, drop,
              constraint_is(leaf, name,
                            "k.conparentid = 0 AND k.conrelid <> ALL (" + quote_literal(had) + "::pg_catalog.oid[])")));
  }
  for (auto& action : actions) {
    action.locks = with_parents(facts.parents, LockMode::kAccessExclusive, action.locks.back());
  }
  return actions;
}

}  // namespace

// --- add_check ------------------------------------------------------------------------------------------------------

std::string facts_sql(AddCheck const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(AddCheck const& step, StepFacts const& facts) {
  if (facts.kind == ' ') return {};
  auto statements = probe_begin(facts);
  std::string const probe = kProbe;
  std::string const name = quote_identifier(step.name);
  statements.push_back("ALTER TABLE " + probe + " ADD CONSTRAINT " + name + " CHECK " + parenthesised(step.condition));
  statements.push_back(std::string{"SELECT "} + kDefinition +
                       ", NULL FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.conrelid = " +
                       quote_literal(probe) + "::pg_catalog.regclass AND k.conname = " + quote_literal(step.name));
  return statements;
}

Recipe recipe(AddCheck const& step, StepFacts const& facts) {
  Recipe recipe;
  recipe.title = "add_check " + step.name + " on " + shown(facts.table);
  recipe.reason = "writers that break the condition fail from the first statement on";
  std::string const is_same = std::string{"k.contype = 'c' AND "} + kDefinition + " = " + quote_literal(facts.spelling);
  return added_not_valid(facts, step.name, "CHECK " + parenthesised(step.condition), is_same, std::move(recipe));
}

// --- add_foreign_key ------------------------------------------------------------------------------------------------

namespace {

std::string definition_of(AddForeignKey const& step, std::string const& references) {
  std::string definition = "FOREIGN KEY (" + column_list(step.columns) + ") REFERENCES " + references;
  if (!step.to.empty()) definition += " (" + column_list(step.to) + ")";
  if (!step.on_delete.empty()) definition += " ON DELETE " + step.on_delete;
  if (!step.on_update.empty()) definition += " ON UPDATE " + step.on_update;
  if (step.is_deferrable) definition += " DEFERRABLE";
  if (step.is_initially_deferred) definition += " INITIALLY DEFERRED";
  return definition;
}

}  // namespace

std::string facts_sql(AddForeignKey const& step) {
  // The table that it will refer to, quoted, where the role may lock it.
  std::string const parent =
      "SELECT array_agg(pg_catalog.format('\"%s\".\"%s\"', replace(pn.nspname, '\"', '\"\"'), replace(p.relname, '\"', "
      "'\"\"'))) FROM pg_catalog.pg_class p JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = " +
      oid_of(step.references) + " AND pg_catalog.has_table_privilege(p.oid, 'UPDATE, DELETE, TRUNCATE')";
  return facts_of_table(step.table, parent, "", leaves_of(step.table));
}

// Between empty copies of both tables: a temporary one may refer to temporary ones alone.
std::vector<std::string> spelling(AddForeignKey const& step, StepFacts const& facts) {
  if (facts.kind == ' ') return {};
  std::string const key = definition_of(step, "pg_temp." + std::string(kProbeOfOther));
  std::string const body =
      "BEGIN IF pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP') AND "
      "pg_catalog.has_table_privilege(" +
      oid_of(facts.table) + "::pg_catalog.oid, 'SELECT') AND pg_catalog.has_table_privilege(" +
      oid_of(step.references) + "::pg_catalog.oid, 'SELECT') THEN EXECUTE " +
      quote_literal("CREATE TEMP TABLE pgbackfill_probe (LIKE " + quoted(facts.table) + ")") + "; EXECUTE " +
      quote_literal("CREATE TEMP TABLE " + std::string(kProbeOfOther) + " (LIKE ") +
      " || (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN "
      "pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.oid "
      "OPERATOR(pg_catalog.=) " +
      oid_of(step.references) + ") || ' INCLUDING INDEXES)'; EXECUTE " +
      quote_literal(std::string("ALTER TABLE ") + kProbe + " ADD " + key) + "; END IF; END";
  return {
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true)",
      "DO " + quote_literal(body), "SELECT '', NULL::text"};
}

Recipe recipe(AddForeignKey const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "add_foreign_key " + step.name + " from " + shown(table) + " to " + shown(step.references);
  recipe.reason = "writers without a matching row fail from the first statement on";
  std::string const definition = definition_of(step, quoted(step.references));
  std::string is_same = "k.contype = 'f' AND k.confrelid = " + oid_of(step.references) + " AND " +
                        columns_of_key("conrelid", "conkey") + " = " + text_array(step.columns) +
                        " AND k.confdeltype = " + quote_literal(letter_of(step.on_delete)) +
                        " AND k.confupdtype = " + quote_literal(letter_of(step.on_update)) +
                        " AND k.confmatchtype = 's' AND coalesce(pg_catalog.to_jsonb(k) ->> 'conenforced', 'true') = "
                        "'true' AND pg_catalog.to_jsonb(k) ->> 'confdelsetcols' IS NULL AND k.condeferrable = " +
                        truth(step.is_deferrable) + " AND k.condeferred = " + truth(step.is_initially_deferred);
  if (!step.to.empty()) is_same += " AND " + columns_of_key("confrelid", "confkey") + " = " + text_array(step.to);
  recipe = added_not_valid(facts, step.name, definition, is_same, std::move(recipe));
  // The server would lock the child first and then wait for the parent, holding up the child's writers.
  recipe.actions[0].locks =
      with_parents(facts.parents, LockMode::kShareRowExclusive, {quoted(table), LockMode::kShareRowExclusive});
  recipe.actions[1].locks =
      with_parents(facts.parents, LockMode::kRowShare, {quoted(table), LockMode::kShareUpdateExclusive});
  if (!recipe.undo.empty()) {
    recipe.undo[0].locks = with_parents(facts.parents, LockMode::kAccessExclusive, exclusive(table));
  }
  auto refusals = table_refusals(table);
  if (goes_by_partitions(facts)) {
    std::string const has_it = constraint_is(table, step.name, "true");
    recipe.actions = foreign_key_by_partitions(facts, step.name, definition, has_it);
    recipe.before = "SELECT coalesce((SELECT 'there' WHERE " + has_it + "), " + quote_literal(kPartitionsHad) + " || " +
                    partitions_with(facts, step.name) + "::text)";
    recipe.undo = drop_by_partitions(facts, step.name);
    recipe.no_way_back.clear();
    for (auto const& leaf : facts.leaves) {
      refusals.emplace_back(constraint_is(leaf, step.name, "NOT (" + is_same + ")"),
                            quote_literal("a constraint " + step.name + " of " + shown(leaf) +
                                          " is there already, with another "
                                          "definition"));
    }
  }
  refusals.emplace_back(oid_of(step.references) + " IS NULL",
                        quote_literal("there is no table " + shown(step.references) + " to refer to"));
  refusals.emplace_back(constraint_is(table, step.name, "NOT (" + is_same + ")"),
                        quote_literal("a constraint " + step.name + " is there already, with another definition"));
  recipe.refusal = first_of(refusals);
  return recipe;
}

// --- drop_constraint ------------------------------------------------------------------------------------------------

namespace {

// The constraint k and those that others inherit from it.
std::string with_heirs(TableName const& table, std::string const& name) {
  return "pg_catalog.pg_constraint k WHERE k.conname = " + quote_literal(name) + " AND (k.conrelid = " + oid_of(table) +
         " OR k.coninhcount > 0 AND k.conrelid IN " + tree_of(oid_of(table)) + ")";
}

// Its kind and definition ("f FOREIGN KEY ..."); then as JSON, in hexadecimal, what was said of it and of those that
// inherit it, and the server's triggers for them that were not enabled as by themselves.
std::string constraint_as_it_was(TableName const& table, std::string const& name) {
  std::string const heirs = with_heirs(table, name);
  auto const kept = [](std::string const& object, std::string const& from) {
    return counted(
        "(SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(" + object +
        "))::text, 'UTF8'), 'hex') FROM " + from + ")");
  };
  return "SELECT " +
         counted(
             "(SELECT k.contype::text || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM "
             "pg_catalog.pg_constraint k WHERE k.conrelid = " +
             oid_of(table) + " AND k.conname = " + quote_literal(name) + ")") +
         " || " +
         kept("'table', k.conrelid::pg_catalog.int8, 'said', pg_catalog.obj_description(k.oid, 'pg_constraint')",
              heirs + " AND pg_catalog.obj_description(k.oid, 'pg_constraint') IS NOT NULL") +
         " || " +
         kept(
             "'table', q.conrelid::pg_catalog.int8, 'rel', g.tgrelid::pg_catalog.int8, 'function', "
             "g.tgfoid::pg_catalog.int8, 'state', g.tgenabled",
             "(SELECT k.* FROM " + heirs +
                 ") q JOIN pg_catalog.pg_trigger g ON g.tgconstraint = q.oid AND g.tgisinternal AND g.tgenabled <> "
                 "'O'");
}

// Rows w of what was kept, beside the constraint k that is there again.
std::string kept_of(std::string const& kept, std::string const& columns, std::string const& name) {
  return "pg_catalog.jsonb_to_recordset(pg_catalog.convert_from(pg_catalog.decode(" + quote_literal(kept) +
         ", 'hex'), 'UTF8')::pg_catalog.jsonb) AS w (\"table\" pg_catalog.int8" + columns +
         ") JOIN pg_catalog.pg_constraint k ON k.conrelid = w.\"table\"::pg_catalog.oid AND k.conname = " +
         quote_literal(name);
}

// For each of them that is not as it was.
Action again_of(TableName const& table, std::string const& rows, std::string const& values,
                std::string const& statement) {
  auto action = brief(table, "", "EXISTS (SELECT FROM " + rows + ")");
  action.sql = "DO " + quote_literal("DECLARE r record; BEGIN FOR r IN SELECT " + values + " FROM " + rows +
                                     " LOOP EXECUTE pg_catalog.format(" + statement + "); END LOOP; END");
  return action;
}

Action comments_again(TableName const& table, std::string const& name, std::string const& kept) {
  auto action = again_of(table,
                         kept_of(kept, ", said text", name) +
                             " WHERE pg_catalog.obj_description(k.oid, 'pg_constraint') IS DISTINCT FROM w.said",
                         "w.said, k.conname AS name, k.conrelid::pg_catalog.regclass AS rel",
                         quote_literal("COMMENT ON CONSTRAINT %I ON %s IS %L") + ", r.name, r.rel, r.said");
  action.locks = {{quoted(table), LockMode::kShareUpdateExclusive}};
  return action;
}

Action constraint_triggers_again(TableName const& table, std::string const& name, std::string const& kept) {
  return again_of(table,
                  kept_of(kept, ", rel pg_catalog.int8, function pg_catalog.int8, state text", name) +
                      " JOIN pg_catalog.pg_trigger g ON g.tgconstraint = k.oid AND g.tgrelid = "
                      "w.rel::pg_catalog.oid AND g.tgfoid = w.function::pg_catalog.oid WHERE g.tgenabled::text <> "
                      "w.state",
                  "w.state, g.tgname AS name, g.tgrelid::pg_catalog.regclass AS rel",
                  quote_literal("ALTER TABLE ONLY %s %s TRIGGER %I") +
                      ", r.rel, CASE r.state WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE "
                      "REPLICA' END, r.name");
}

}  // namespace

std::string facts_sql(DropConstraint const& step) {
  return facts_of_table(step.table, parents_of(step.table, "k.conname = " + quote_literal(step.name)), "",
                        leaves_of(step.table));
}

std::vector<std::string> spelling(DropConstraint const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(DropConstraint const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "drop_constraint " + step.name + " of " + shown(table);
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "what the constraint kept out can come in from then on";
  std::string const is_there = constraint_is(table, step.name, "true");
  // What this step has not dropped may be misspelt.
  recipe.done = facts.is_claimed ? oid_of(table) + " IS NOT NULL AND NOT " + is_there : "false";
  recipe.before = constraint_as_it_was(table, step.name);
  auto refusals = table_refusals(table);
  refusals.emplace_back("NOT " + is_there,
                        quote_literal("there is no constraint " + step.name + " of " + shown(table)));
  refusals.emplace_back(constraint_is(table, step.name, "k.coninhcount > 0"),
                        quote_literal("constraint " + step.name + " of " + shown(table) +
                                      " is inherited; drop it from the parent "
                                      "table"));
  std::string const is_its_index =
      "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND "
      "k.conname = " +
      quote_literal(step.name) + ")";
  refusals.emplace_back(has_identity_index(oid_of(table), is_its_index, facts.server_version),
                        quote_literal("the index of constraint " + step.name + " " + kIdentityAdvice));
  recipe.refusal = first_of(refusals);
  recipe.actions = {brief(table, "DROP CONSTRAINT " + quote_identifier(step.name), is_there)};
  recipe.actions[0].locks = with_parents(facts.parents, LockMode::kAccessExclusive, exclusive(table));
  recipe.way_back = "a check or foreign key is added again as it was; keys and others are not";
  if (!facts.is_claimed) return recipe;
  auto texts = counted_texts(facts.before);
  texts.resize(3);
  auto const& definition = texts[0];
  bool const is_known = definition.starts_with("c ") || definition.starts_with("f ");
  if (!is_known) {
    recipe.no_way_back = "only checks and foreign keys are added again; this was: " + definition;
    return recipe;
  }
  // What was not enforced the server checks for nobody.
  bool const was_valid = !definition.ends_with(" NOT VALID") && !definition.ends_with(" NOT ENFORCED");
  bool const is_foreign_key = definition.starts_with("f ");
  auto const locks = is_foreign_key ? with_parents(facts.parents, LockMode::kShareRowExclusive,
                                                   {quoted(table), LockMode::kShareRowExclusive})
                                    : std::vector<TableLock>{exclusive(table)};
  if (is_foreign_key && goes_by_partitions(facts)) {
    recipe.undo = foreign_key_by_partitions(facts, step.name, definition.substr(2), is_there);
  } else {
    recipe.undo = {brief(
        table,
        "ADD CONSTRAINT " + quote_identifier(step.name) + " " + definition.substr(2) + (was_valid ? " NOT VALID" : ""),
        "NOT " + is_there)};
    recipe.undo[0].locks = locks;
    if (was_valid) {
      recipe.undo.push_back(validate(table, step.name, constraint_is(table, step.name, "NOT k.convalidated")));
    }
  }
  if (was_valid) {
    auto question = rows_against(table, step.name, definition.substr(2), facts.kind == 'p');
    if (question) recipe.undo_questions.push_back(std::move(*question));
  }
  std::string const mark = " NOT VALID";
  std::string const bare =
      definition.ends_with(mark) ? definition.substr(0, definition.size() - mark.size()) : definition;
  recipe.undo_refusal =
      first_of({{constraint_is(table, step.name,
                               std::string("k.contype::text || ' ' || ") + kDefinition + " <> " + quote_literal(bare)),
                 quote_literal("the name " + step.name +
                               " is taken by another constraint than the one that was "
                               "dropped")}});
  if (!texts[1].empty()) recipe.undo.push_back(comments_again(table, step.name, texts[1]));
  if (!texts[2].empty()) {
    recipe.undo.push_back(constraint_triggers_again(table, step.name, texts[2]));
    recipe.undo.back().locks = locks;
  }
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
