#include "planner/recipes.h"
#include "planner/sql_text.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithPartitionedNotValid = 180000;

// A constraint's definition by the server; whether it is validated is asked apart.
constexpr char kDefinition[] = "regexp_replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID$', '')";

std::string name_list(std::vector<std::string> const& names) {
  return text_array(names);
}

// The names of the columns of a key (conkey or confkey) in its order, as text[].
std::string key_columns(std::string const& relation, std::string const& key) {
  return "ARRAY(SELECT a.attname::text FROM unnest(k." + key +
         ") WITH ORDINALITY x(number, place) JOIN pg_catalog.pg_attribute a ON a.attrelid = k." + relation +
         " AND a.attnum = x.number ORDER BY x.place)";
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
  bool const was_there = facts.is_claimed && !facts.before.empty();
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

bool was_nullable_is_known(StepFacts const& facts) {
  return facts.is_claimed && !facts.before.empty();
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

std::string facts_sql(AddForeignKey const& step) {
  // The table that it will refer to, quoted, where the role may lock it.
  std::string const parent =
      "SELECT array_agg(pg_catalog.format('\"%s\".\"%s\"', replace(pn.nspname, '\"', '\"\"'), replace(p.relname, '\"', "
      "'\"\"'))) FROM pg_catalog.pg_class p JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = " +
      oid_of(step.references) + " AND pg_catalog.has_table_privilege(p.oid, 'UPDATE, DELETE, TRUNCATE')";
  return facts_of_table(step.table, parent, "");
}

std::vector<std::string> spelling(AddForeignKey const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(AddForeignKey const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "add_foreign_key " + step.name + " from " + shown(table) + " to " + shown(step.references);
  recipe.reason = "writers without a matching row fail from the first statement on";
  std::string definition = "FOREIGN KEY (" + column_list(step.columns) + ") REFERENCES " + quoted(step.references);
  if (!step.to.empty()) definition += " (" + column_list(step.to) + ")";
  if (!step.on_delete.empty()) definition += " ON DELETE " + step.on_delete;
  if (!step.on_update.empty()) definition += " ON UPDATE " + step.on_update;
  std::string is_same = "k.contype = 'f' AND k.confrelid = " + oid_of(step.references) + " AND " +
                        key_columns("conrelid", "conkey") + " = " + name_list(step.columns) +
                        " AND k.confdeltype = " + quote_literal(letter_of(step.on_delete)) +
                        " AND k.confupdtype = " + quote_literal(letter_of(step.on_update));
  if (!step.to.empty()) is_same += " AND " + key_columns("confrelid", "confkey") + " = " + name_list(step.to);
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
  if (facts.kind == 'p' && facts.server_version < kVersionWithPartitionedNotValid) {
    refusals.emplace_back(
        "true", quote_literal(shown(table) + " is partitioned, and before PostgreSQL 18 a foreign key of such a "
                                             "table cannot be added NOT VALID; add it to each partition first"));
  }
  refusals.emplace_back(oid_of(step.references) + " IS NULL",
                        quote_literal("there is no table " + shown(step.references) + " to refer to"));
  refusals.emplace_back(constraint_is(table, step.name, "NOT (" + is_same + ")"),
                        quote_literal("a constraint " + step.name + " is there already, with another definition"));
  recipe.refusal = first_of(refusals);
  return recipe;
}

// --- add_unique and add_primary_key ---------------------------------------------------------------------------------

std::string facts_sql(AddKey const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(AddKey const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

namespace {

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

void make_nullable_again(AddKey const& step, StepFacts const& facts, std::vector<Action>& undo) {
  if (!was_nullable_is_known(facts)) return;
  auto const& table = facts.table;
  for (auto const& column : step.columns) {
    std::string const was_nullable = quote_literal(column) + " = ANY (" + quote_literal(facts.before) + "::text[])";
    undo.push_back(brief(table, "ALTER COLUMN " + quote_identifier(column) + " DROP NOT NULL",
                         column_is(table, column, "a.attnotnull") + " AND " + was_nullable));
    std::string const check = object_name(table.name, column, "not_null");
    undo.push_back(brief(table, "DROP CONSTRAINT " + quote_identifier(check),
                         constraint_is(table, check, "k.contype = 'c'") + " AND " + was_nullable));
  }
}

std::string key_refusal(AddKey const& step, StepFacts const& facts, std::string const& has_index) {
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
  if (step.is_primary) {
    refusals.emplace_back(
        "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'p' AND k.conrelid = " + oid_of(table) + ")",
        quote_literal(shown(table) + " has another primary key already"));
  }
  refusals.emplace_back(constraint_is(table, step.name, "true"),
                        quote_literal("a constraint " + step.name + " is there already, with another definition"));
  refusals.emplace_back(has_relation(table, step.name) + (facts.is_claimed ? " AND NOT " + has_index : ""),
                        quote_literal("the name " + step.name + " is taken by something that is not from this step"));
  return first_of(refusals);
}

}  // namespace

Recipe recipe(AddKey const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  std::string const word = step.is_primary ? "PRIMARY KEY" : "UNIQUE";
  Recipe recipe;
  recipe.title = std::string(step.is_primary ? "add_primary_key " : "add_unique ") + step.name + " on " + shown(table);
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "writers that repeat a value fail from the end of the build on";
  std::string const is_key = std::string{"k.contype = '"} + (step.is_primary ? "p" : "u") + "' AND " +
                             key_columns("conrelid", "conkey") + " = " + name_list(step.columns);
  std::string const has_constraint = constraint_is(table, step.name, is_key);
  std::string const has_index = index_is(table, step.name, "true");
  recipe.done = has_constraint;
  if (step.is_primary) {
    recipe.before =
        "SELECT array_agg(a.attname::text)::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
        " AND NOT a.attnotnull AND a.attname::text = ANY (" + name_list(step.columns) + ")";
    recipe.actions = not_null_actions(step, facts, has_constraint);
  }
  recipe.actions.push_back(
      drop_index(table, step.name, facts.is_claimed ? index_is(table, step.name, "NOT i.indisvalid") : "false"));
  auto build = recipe.actions.back();
  build.sql = "CREATE UNIQUE INDEX CONCURRENTLY " + quote_identifier(step.name) + " ON " + quoted(table) + " (" +
              column_list(step.columns) + ")";
  build.effort = Effort::kBuild;
  build.needed = "NOT " + has_index;
  recipe.actions.push_back(std::move(build));
  // The index has the constraint's name from the start: ADD CONSTRAINT would rename it otherwise.
  recipe.actions.push_back(brief(
      table,
      "ADD CONSTRAINT " + quote_identifier(step.name) + " " + word + " USING INDEX " + quote_identifier(step.name),
      index_is(table, step.name, "i.indisvalid") + " AND NOT " + has_constraint));
  recipe.undo = {brief(table, "DROP CONSTRAINT " + quote_identifier(step.name), has_constraint),
                 drop_index(table, step.name, has_index + " AND NOT " + has_constraint)};
  if (step.is_primary) make_nullable_again(step, facts, recipe.undo);
  recipe.refusal = key_refusal(step, facts, has_index);
  return recipe;
}

// --- drop_constraint ------------------------------------------------------------------------------------------------

std::string facts_sql(DropConstraint const& step) {
  return facts_of_table(step.table, parents_of(step.table, "k.conname = " + quote_literal(step.name)), "");
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
  recipe.done = oid_of(table) + " IS NOT NULL AND NOT " + is_there;
  recipe.before =
      "SELECT k.contype::text || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k "
      "WHERE k.conrelid = " +
      oid_of(table) + " AND k.conname = " + quote_literal(step.name);
  recipe.refusal = first_of(table_refusals(table));
  recipe.actions = {brief(table, "DROP CONSTRAINT " + quote_identifier(step.name), is_there)};
  recipe.actions[0].locks = with_parents(facts.parents, LockMode::kAccessExclusive, exclusive(table));
  recipe.way_back = "a check or foreign key is added again as it was; keys and others are not";
  if (!facts.is_claimed) return recipe;
  bool const is_known = facts.before.starts_with("c ") || facts.before.starts_with("f ");
  if (!is_known) {
    recipe.no_way_back = "only checks and foreign keys are added again; this was: " + facts.before;
    return recipe;
  }
  bool const was_valid = !facts.before.ends_with(" NOT VALID");
  recipe.undo = {brief(
      table,
      "ADD CONSTRAINT " + quote_identifier(step.name) + " " + facts.before.substr(2) + (was_valid ? " NOT VALID" : ""),
      "NOT " + is_there)};
  if (was_valid) {
    recipe.undo.push_back(validate(table, step.name, constraint_is(table, step.name, "NOT k.convalidated")));
  }
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
