#include <algorithm>
#include <regex>
#include <set>

#include "planner/model/sql_text.h"
#include "planner/sql/sql_syntax.h"
#include "planner/steps/heirs.h"
#include "planner/steps/index_parts.h"
#include "planner/steps/publications.h"
#include "planner/steps/recipes.h"
#include "planner/steps/row_questions.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionThatAnalyzesHeirs = 180000;
// chr(31)
constexpr char kNotNullMark = '\x1f';
// Between the default of a table and those of the tables below. chr(31)
constexpr char kHeirsMark = '\x1f';

std::string column_missing(TableName const& table, std::string const& column) {
  return quote_literal("there is no column " + column + " in " + shown(table));
}

// What the server changes for no column of a kind, under whatever step: conditions over pg_attribute a.
constexpr char kIsInherited[] = "a.attinhcount > 0";

std::pair<std::string, std::string> column_refusal(TableName const& table, std::string const& column,
                                                   std::string_view condition, std::string const& why) {
  return {column_is(table, column, condition), quote_literal("column " + column + " of " + shown(table) + " " + why)};
}

// From 18 on a NOT NULL is a constraint, which can be added first and validated later.
Recipe not_null_by_constraint(SetNotNull const& step, StepFacts const& facts, Recipe recipe) {
  auto const& table = facts.table;
  std::string const on_column =
      "k.contype = 'n' AND k.conkey = ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a WHERE a.attrelid = "
      "k.conrelid AND a.attname = " +
      quote_literal(step.column) + ")";
  auto const any = [&](std::string const& condition) {
    return "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = " + oid_of(table) + " AND " + on_column +
           condition + ")";
  };
  std::string const name = facts.named.empty() ? object_name(table.name, step.column, "not_null") : facts.named;
  recipe.done = any(" AND k.convalidated");
  recipe.before =
      "SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conrelid = " + oid_of(table) + " AND " + on_column;
  recipe.actions = {
      brief(table,
            "ADD CONSTRAINT " + quote_identifier(name) + " NOT NULL " + quote_identifier(step.column) + " NOT VALID",
            "NOT " + any("")),
      validate(table, name, any(" AND NOT k.convalidated"))};
  bool const was_there = facts.is_claimed && !facts.before.empty();
  if (was_there) {
    recipe.no_way_back = "the constraint was there before, NOT VALID; it stays validated";
  } else {
    recipe.undo = {brief(table, "DROP CONSTRAINT " + quote_identifier(name), any(""))};
  }
  return recipe;
}

// What below the table was NOT NULL before stays so; facts.before lists it.
std::vector<Action> nullable_again(SetNotNull const& step, StepFacts const& facts, std::string const& is_set) {
  bool const has_keepers = facts.is_claimed && !facts.before.empty();
  if (!has_keepers) {
    return {brief(facts.table, "ALTER COLUMN " + quote_identifier(step.column) + " DROP NOT NULL", is_set)};
  }
  if (facts.kind == 'p') return drop_not_null_of_partitions_but(facts, step.column, facts.before);
  return {drop_not_null_but(facts.table, step.column, facts.before)};
}

Recipe not_null_by_check(SetNotNull const& step, StepFacts const& facts, Recipe recipe) {
  auto const& table = facts.table;
  std::string const name = object_name(table.name, step.column, "not_null");
  std::string const column = quote_identifier(step.column);
  std::string const is_set = column_is(table, step.column, "a.attnotnull");
  std::string const is_open = column_is(table, step.column, "NOT a.attnotnull");
  auto const check = [&](std::string const& condition) {
    return constraint_is(table, name, "k.contype = 'c' AND " + condition);
  };
  recipe.done = is_set + " AND NOT " + check("true");
  if (!facts.is_claimed) {
    // Somebody's own constraint of that name is none of ours to drop.
    recipe.done = is_set;
  }
  std::string const drop = "DROP CONSTRAINT " + quote_identifier(name);
  // SET NOT NULL and DROP CONSTRAINT in one statement would drop first, and then read the whole table.
  recipe.actions = {
      brief(table, "ADD CONSTRAINT " + quote_identifier(name) + " CHECK (" + column + " IS NOT NULL) NOT VALID",
            is_open + " AND NOT " + check("true")),
      validate(table, name, is_open + " AND " + check("NOT k.convalidated")),
      brief(table, "ALTER COLUMN " + column + " SET NOT NULL", is_open + " AND " + check("k.convalidated")),
      brief(table, drop, is_set + " AND " + check("true"))};
  recipe.undo = nullable_again(step, facts, is_set);
  recipe.undo.push_back(brief(table, drop, check("true")));
  recipe.before = "SELECT " + heirs_with(table, {step.column}, "a.attnotnull");
  recipe.undo_refusal = keepers_of_not_null(facts, step.column, facts.is_claimed ? facts.before : "");
  return recipe;
}

}  // namespace

// --- add_column -----------------------------------------------------------------------------------------------------

std::string column_definition(AddColumn const& step) {
  // The line breaks keep a comment at the end of the user's text from hiding what follows.
  std::string sql = quote_identifier(step.column) + " " + step.type + "\n";
  if (!step.default_value.empty()) sql += " DEFAULT " + parenthesised(step.default_value);
  if (step.is_not_null) sql += " NOT NULL";
  return sql;
}

std::string facts_sql(AddColumn const& step) {
  return facts_of_table(step.table, "", "");
}

namespace {

// Why the empty copy, which is a temporary table, is not the place to try it.
std::string refused_untried(AddColumn const& step) {
  static std::regex const refers(R"(\bREFERENCES\b)", std::regex::icase);
  static std::set<std::string> const of_system = {"tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"};
  if (of_system.count(step.column) != 0) return step.column + " is the name of a system column; choose another";
  if (!std::regex_search(step.type, refers)) return {};
  return "the type brings a foreign key along, which would be checked under a lock that stops writes of both tables; "
         "add "
         "it in a step of its own, with add_foreign_key";
}

}  // namespace

std::vector<std::string> spelling(AddColumn const& step, StepFacts const& facts) {
  auto statements = probe_begin(facts);
  auto const refusal = refused_untried(step);
  if (!refusal.empty()) return {statements.front(), "SELECT '', " + quote_literal(refusal)};
  std::string const probe = kProbe;
  std::string const oid = quote_literal(probe) + "::pg_catalog.regclass";
  std::string const file = "pg_catalog.pg_relation_filenode(" + oid + ")::pg_catalog.text";
  statements.push_back("ALTER TABLE " + probe + " DROP COLUMN IF EXISTS " + quote_identifier(step.column));
  statements.push_back("SELECT pg_catalog.set_config('pgbackfill.probe', " + file + ", true)");
  statements.push_back("ALTER TABLE " + probe + " ADD COLUMN " + column_definition(step));
  std::string const rewrites =
      "this would write every row anew under a lock that stops reads and writes, because the value differs from row to "
      "row (or the type is a domain with a constraint); add the column without it, give new rows theirs by a default "
      "or a trigger, and let the backfill do the rest";
  // Rows that are there have what the server keeps beside the column, and no rows were written.
  std::string const has_no_value = "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid +
                                   " AND a.attname = " + quote_literal(step.column) +
                                   " AND NOT a.atthasmissing AND a.attgenerated = '')";
  statements.push_back(
      "SELECT " + column_spelling(oid, step.column, step.is_not_null) + ", " +
      first_of({{"pg_catalog.current_setting('pgbackfill.probe') <> " + file, quote_literal(rewrites)},
                {step.is_not_null && !step.default_value.empty() ? has_no_value : "false",
                 quote_literal("its default is NULL, which NOT NULL forbids; give it a value")},
                {"EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype <> 'n' AND k.conrelid = " + oid + ")",
                 quote_literal("the type brings a constraint along, which would read the whole table under a lock that "
                               "stops reads and writes; add it in a step of its own")}}));
  return statements;
}

Recipe recipe(AddColumn const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "add_column " + step.column + " to " + shown(table);
  recipe.relation = quoted(table);
  std::string const spelled = column_spelling(oid_of(table), step.column, step.is_not_null);
  recipe.done = spelled + " = " + quote_literal(facts.spelling);
  auto refusals = table_refusals(table);
  refusals.push_back(typed_table_refusal(table));
  refusals.emplace_back(
      "(SELECT c.relispartition FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(table) + ")",
      quote_literal(shown(table) + " is a partition, which has the columns of its table; add it to that one"));
  refusals.emplace_back(has_column(table, step.column),
                        quote_literal("column " + step.column + " is there already, as ") + " || " + spelled + " || " +
                            quote_literal("; the step wants " + facts.spelling));
  recipe.refusal = first_of(refusals);
  recipe.actions = {brief(table, "ADD COLUMN " + column_definition(step), "NOT " + has_column(table, step.column))};
  recipe.undo = {brief(table, "DROP COLUMN " + quote_identifier(step.column), has_column(table, step.column))};
  recipe.reason = "no row is written";
  return recipe;
}

// --- drop_column ----------------------------------------------------------------------------------------------------

std::string facts_sql(DropColumn const& step) {
  return facts_of_table(step.table,
                        parents_of(step.table,
                                   "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = "
                                   "k.conrelid AND a.attnum = ANY (k.conkey) AND a.attname = " +
                                       quote_literal(step.column) + ")"),
                        "");
}

std::vector<std::string> spelling(DropColumn const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(DropColumn const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "drop_column " + step.column + " of " + shown(table);
  recipe.relation = quoted(table);
  // What this step has not dropped may be misspelt.
  recipe.done = facts.is_claimed ? oid_of(table) + " IS NOT NULL AND NOT " + has_column(table, step.column) : "false";
  auto refusals = table_refusals(table);
  refusals.push_back(typed_table_refusal(table));
  refusals.emplace_back("NOT " + has_column(table, step.column), column_missing(table, step.column));
  refusals.push_back(column_refusal(table, step.column, kIsInherited, "is inherited; drop it from the parent table"));
  refusals.push_back(column_refusal(table, step.column, kIsPartitionKey, "is in the partition key"));
  std::string const has_it =
      "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY "
      "(i.indkey::int2[]) AND a.attname = " +
      quote_literal(step.column) + ")";
  refusals.emplace_back(has_identity_index(oid_of(table), has_it, facts.server_version),
                        quote_literal("an index over column " + step.column + " " + kIdentityAdvice));
  recipe.refusal = first_of(refusals);
  auto action = brief(table, "DROP COLUMN " + quote_identifier(step.column), has_column(table, step.column));
  action.locks = with_parents(facts.parents, LockMode::kAccessExclusive, exclusive(table));
  recipe.actions = {std::move(action)};
  recipe.no_way_back = "the column's values are gone";
  recipe.risk = Risk::kDestructive;
  recipe.reason = "all values of the column are lost, and its indexes and constraints with them";
  return recipe;
}

// --- set_not_null ---------------------------------------------------------------------------------------------------

std::string facts_sql(SetNotNull const& step) {
  std::string const named =
      "SELECT k.conname FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND "
      "k.conkey = ARRAY[a.attnum] WHERE k.contype = 'n' AND k.conrelid = " +
      oid_of(step.table) + " AND a.attname = " + quote_literal(step.column);
  return facts_of_table(step.table, "", named, heirs_of(step.table));
}

std::vector<std::string> spelling(SetNotNull const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(SetNotNull const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "set_not_null " + step.column + " of " + shown(table);
  recipe.relation = quoted(table);
  recipe.reason = "writers that still leave the column out fail from the first statement on";
  recipe.risk = Risk::kMedium;
  bool const has_constraints = facts.server_version >= kVersionWithNotNullConstraints;
  recipe = has_constraints ? not_null_by_constraint(step, facts, std::move(recipe))
                           : not_null_by_check(step, facts, std::move(recipe));
  auto refusals = table_refusals(table);
  refusals.emplace_back("NOT " + has_column(table, step.column), column_missing(table, step.column));
  if (!facts.is_claimed) {
    std::string const name = object_name(table.name, step.column, "not_null");
    std::string const is_other = has_constraints ? "k.contype <> 'n'" : "true";
    refusals.emplace_back(
        constraint_is(table, name, is_other),
        quote_literal("a constraint " + name + " is there already, and not from this step; drop or rename it first"));
  }
  recipe.refusal = first_of(refusals);
  return recipe;
}

// --- drop_not_null --------------------------------------------------------------------------------------------------

std::string facts_sql(DropNotNull const& step) {
  return facts_sql(SetNotNull{step.table, step.column});
}

std::vector<std::string> spelling(DropNotNull const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

namespace {

// Up to 17 tables below may take NULLs while the table does not: Recipe::before lists them.
Recipe with_way_back_to_not_null(DropNotNull const& step, StepFacts const& facts, Recipe recipe) {
  auto const& table = facts.table;
  recipe.before = "SELECT " + heirs_with(table, {step.column}, "NOT a.attnotnull");
  std::string const list = facts.is_claimed ? facts.before : "";
  recipe.undo_questions.push_back(nulls_in_all_but(table, step.column, list));
  if (!list.empty()) {
    recipe.undo = set_not_null_but(facts, step.column, list);
    return recipe;
  }
  StepFacts back = facts;
  back.is_claimed = true;
  back.before.clear();
  recipe.undo = recipes::recipe(SetNotNull{table, step.column}, back).actions;
  return recipe;
}

}  // namespace

Recipe recipe(DropNotNull const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "drop_not_null " + step.column + " of " + shown(table);
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "rows without a value can come in from then on";
  recipe.done = column_is(table, step.column, "NOT a.attnotnull");
  // The name of the constraint, from 18 on; behind kNotNullMark what it is beside that; and in the next lines its
  // comment, if it has one.
  recipe.before =
      "SELECT k.conname || CASE WHEN k.connoinherit THEN chr(31) || 'NO INHERIT' ELSE '' END || CASE WHEN NOT "
      "k.convalidated THEN chr(31) || 'NOT VALID' ELSE '' END || coalesce(chr(10) || pg_catalog.obj_description(k.oid, "
      "'pg_constraint'), '') FROM "
      "pg_catalog.pg_constraint k JOIN pg_catalog.pg_attribute a ON a.attrelid = "
      "k.conrelid AND k.conkey = ARRAY[a.attnum] WHERE k.contype = 'n' AND k.conrelid = " +
      oid_of(table) + " AND a.attname = " + quote_literal(step.column);
  auto refusals = table_refusals(table);
  refusals.emplace_back("NOT " + has_column(table, step.column), column_missing(table, step.column));
  refusals.push_back(
      column_refusal(table, step.column,
                     "EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND (i.indisprimary OR "
                     "i.indisreplident) AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))",
                     "is in the primary key or the index of the replica identity, which take no NULL"));
  refusals.push_back(column_refusal(table, step.column, "a.attidentity <> ''", "is an identity column"));
  refusals.push_back(column_refusal(
      table, step.column,
      "a.attnotnull AND EXISTS (SELECT FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid "
      "JOIN pg_catalog.pg_attribute o ON o.attrelid = h.inhparent WHERE c.relispartition AND h.inhrelid = a.attrelid "
      "AND o.attname = a.attname AND o.attnotnull)",
      "is NOT NULL in the table that this is a partition of"));
  // From 18 on children keep the constraint of the parent.
  refusals.push_back(column_refusal(table, step.column,
                                    "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'n' AND "
                                    "k.conrelid = a.attrelid AND k.conkey = ARRAY[a.attnum] AND k.coninhcount > 0)",
                                    "is NOT NULL in a table that this inherits from; drop it there"));
  recipe.refusal = first_of(refusals);
  recipe.actions = {brief(table, "ALTER COLUMN " + quote_identifier(step.column) + " DROP NOT NULL",
                          column_is(table, step.column, "a.attnotnull"))};
  if (facts.server_version < kVersionWithNotNullConstraints) return with_way_back_to_not_null(step, facts, recipe);
  StepFacts back = facts;
  back.is_claimed = true;
  auto const end = std::min(facts.before.find('\n'), facts.before.size());
  std::string const constraint = facts.before.substr(0, end);
  std::string const marks = constraint.substr(std::min(constraint.find(kNotNullMark), constraint.size()));
  back.named = constraint.substr(0, constraint.size() - marks.size());
  back.before.clear();
  recipe.undo = recipes::recipe(SetNotNull{table, step.column}, back).actions;
  if (marks.find("NO INHERIT") != std::string::npos) recipe.undo.front().sql += " NO INHERIT";
  // It was not validated before; it is the second statement that does it.
  bool const was_valid = marks.find("NOT VALID") == std::string::npos;
  if (!was_valid) recipe.undo.resize(1);
  if (was_valid) {
    recipe.undo_questions.push_back(nulls_in(table, step.column, marks.find("NO INHERIT") != std::string::npos));
  }
  if (end < facts.before.size()) {
    recipe.undo.push_back(comment_again(table, back.named, facts.before.substr(end + 1)));
  }
  return recipe;
}

// --- set_default and drop_default -----------------------------------------------------------------------------------

namespace {

// The step gave all tables below the same default.
std::string changed_default_below(TableName const& table, std::string const& column) {
  std::string const is_own = default_of("a.attrelid", column);
  return "(SELECT min(" + quote_literal("column " + column + " of ") +
         " || a.attrelid::pg_catalog.regclass::text) || " +
         quote_literal(
             ", which inherits from " + shown(table) +
             ", has got a default of its own since, which would be lost; give it the one of the table first") +
         " FROM pg_catalog.pg_attribute a WHERE " + is_of_heir(table, column) + " AND " + is_own + " <> " +
         default_of(oid_of(table), column) + ")";
}

}  // namespace

std::string facts_sql(SetDefault const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(SetDefault const& step, StepFacts const& facts) {
  if (facts.kind == ' ' || step.value.empty()) return {};
  auto statements = probe_begin(facts);
  std::string const probe = kProbe;
  statements.push_back("ALTER TABLE " + probe + " ALTER COLUMN " + quote_identifier(step.column) + " SET DEFAULT " +
                       parenthesised(step.value));
  statements.push_back("SELECT " + default_of(quote_literal(probe) + "::pg_catalog.regclass", step.column) + ", NULL");
  return statements;
}

Recipe recipe(SetDefault const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  std::string const alter = "ALTER COLUMN " + quote_identifier(step.column);
  std::string const is_now = default_of(oid_of(table), step.column);
  Recipe recipe;
  recipe.title =
      std::string(step.value.empty() ? "drop_default " : "set_default ") + step.column + " of " + shown(table);
  recipe.relation = quoted(table);
  recipe.reason = "concerns rows that come later only";
  // What an identity or generated column has instead is not a default, nor the lack of one.
  recipe.done = column_is(table, step.column, "a.attidentity = '' AND a.attgenerated = ''") + " AND " + is_now + " = " +
                quote_literal(facts.spelling);
  recipe.before = "SELECT " + is_now + " || pg_catalog.chr(31) || " + other_defaults(table, step.column);
  auto refusals = table_refusals(table);
  refusals.emplace_back("NOT " + has_column(table, step.column), column_missing(table, step.column));
  refusals.push_back(
      column_refusal(table, step.column, "a.attidentity <> ''", "is an identity column, which has no other default"));
  refusals.push_back(
      column_refusal(table, step.column, "a.attgenerated <> ''", "is a generated column, which has no other default"));
  recipe.refusal = first_of(refusals);
  std::string const change = step.value.empty() ? " DROP DEFAULT" : " SET DEFAULT " + parenthesised(step.value);
  recipe.actions = {brief(table, alter + change, is_now + " <> " + quote_literal(facts.spelling))};
  recipe.way_back = "the default that was there before is set again";
  if (!facts.is_claimed) return recipe;
  // Claims from before that have no mark.
  auto const mark = std::min(facts.before.rfind(kHeirsMark), facts.before.size());
  std::string const was = facts.before.substr(0, mark);
  std::string const kept = facts.before.substr(std::min(mark + 1, facts.before.size()));
  std::string const back = was.empty() ? " DROP DEFAULT" : " SET DEFAULT " + parenthesised(was);
  std::string const is_open = is_now + " <> " + quote_literal(was);
  recipe.undo = {brief(table, alter + back, is_open)};
  if (!kept.empty()) {
    recipe.undo[0].sql += "; " + set_other_defaults(table, step.column, kept);
    recipe.undo[0].needed += " OR EXISTS (SELECT FROM " + rows_of_other_defaults(table, step.column, kept) + ")";
  }
  recipe.undo_refusal = "CASE WHEN " + is_open + " THEN " + changed_default_below(table, step.column) + " END";
  return recipe;
}

// --- rename_column --------------------------------------------------------------------------------------------------

std::string facts_sql(RenameColumn const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(RenameColumn const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(RenameColumn const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const rename = [&](std::string const& from, std::string const& to) {
    return brief(table, "RENAME COLUMN " + quote_identifier(from) + " TO " + quote_identifier(to),
                 has_column(table, from) + " AND NOT " + has_column(table, to));
  };
  Recipe recipe;
  recipe.title = "rename_column " + step.column + " of " + shown(table) + " to " + step.to;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kHigh;
  recipe.reason =
      "clients that use the old name fail at once; without downtime it takes a new column, a trigger, a "
      "backfill and drop_column";
  // What this step has not renamed may be misspelt.
  recipe.done = facts.is_claimed ? has_column(table, step.to) + " AND NOT " + has_column(table, step.column)
                                 : std::string{"false"};
  auto refusals = table_refusals(table);
  refusals.push_back(typed_table_refusal(table));
  refusals.emplace_back("NOT " + has_column(table, step.column), column_missing(table, step.column));
  refusals.push_back(column_refusal(table, step.column, kIsInherited, "is inherited; rename it in the parent table"));
  refusals.emplace_back(has_column(table, step.to), quote_literal("column " + step.to + " is there already"));
  recipe.refusal = first_of(refusals);
  recipe.actions = {rename(step.column, step.to)};
  recipe.undo = {rename(step.to, step.column)};
  // Where the old name is taken by another column, it is not undone.
  recipe.undo.front().needed = has_column(table, step.to);
  return recipe;
}

// --- change_type ----------------------------------------------------------------------------------------------------

namespace {

// What a change of type takes away, of the table and of those that inherit from it, as one SQL text of statements:
// storage and compression of the column, target and owner of statistics objects, and what is said of an index beside
// its definition. All of it holds the same value afterwards, so that what the server has kept is set once more.
std::string forgotten_of_type(TableName const& table, std::string const& column) {
  std::string const of_column =
      "pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON "
      "n.oid = c.relnamespace";
  std::string const alter =
      "pg_catalog.format('ALTER TABLE ONLY %I.%I ALTER COLUMN %I SET ', n.nspname, c.relname, a.attname)";
  std::string const is_it = "a.attname = " + quote_literal(column) +
                            " AND a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN " + tree_of(oid_of(table));
  std::string const statistics = of_column +
                                 " JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = a.attrelid AND (a.attnum = ANY "
                                 "(s.stxkeys::pg_catalog.int2[]) "
                                 "OR pg_catalog.to_jsonb(s) ->> 'stxexprs' IS NOT NULL) JOIN pg_catalog.pg_namespace "
                                 "sn ON sn.oid = s.stxnamespace "
                                 "WHERE " +
                                 is_it;
  std::string const indexes = indexes_over(table, column);
  return "SELECT string_agg(m.sql, '; ' ORDER BY m.place, m.sql) FROM (SELECT 1, " + alter +
         " || 'STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE "
         "'EXTENDED' END FROM " +
         of_column + " JOIN pg_catalog.pg_type y ON y.oid = a.atttypid WHERE a.attstorage <> y.typstorage AND " +
         is_it + " UNION ALL SELECT 1, " + alter +
         " || 'COMPRESSION ' || CASE pg_catalog.to_jsonb(a) ->> 'attcompression' WHEN 'l' THEN 'lz4' WHEN 'p' THEN "
         "'pglz' END FROM " +
         of_column + " WHERE " + is_it +
         " UNION ALL SELECT 2, pg_catalog.format('ALTER STATISTICS %I.%I SET STATISTICS %s', sn.nspname, s.stxname, "
         "s.stxstattarget) FROM " +
         statistics +
         " AND s.stxstattarget >= 0 UNION ALL SELECT 3, pg_catalog.format('ALTER STATISTICS %I.%I OWNER TO %I', "
         "sn.nspname, s.stxname, pg_catalog.pg_get_userbyid(s.stxowner)) FROM " +
         statistics +
         " AND pg_catalog.pg_get_userbyid(s.stxowner) <> current_user UNION ALL SELECT x.place, x.sql FROM (" +
         index_marks(indexes) + ") x WHERE x.place IN (3, 6)) AS m (place, sql)";
}

// Other than the database's own, which is the one of all types that bring none along.
std::string collation_of(TableName const& table, std::string const& column) {
  return "SELECT pg_catalog.format('%I.%I', n.nspname, l.collname) FROM pg_catalog.pg_attribute a JOIN "
         "pg_catalog.pg_collation l ON l.oid = a.attcollation JOIN pg_catalog.pg_namespace n ON n.oid = "
         "l.collnamespace WHERE l.collprovider <> 'd' AND a.attrelid = " +
         oid_of(table) + " AND a.attname = " + quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped";
}

// What stands behind the type in the file.
struct TypeTail {
  bool has_collation = false;
  bool has_expression = false;  // USING
};

TypeTail tail_of(ChangeType const& step) {
  // The line break keeps a comment in the type from hiding what follows.
  auto const syntax = lint::parse_sql("ALTER TABLE t ALTER COLUMN c TYPE " + step.type + "\n");
  if (syntax.statements.size() != 1) return {};
  auto const changes = syntax.statements.front().list("cmds");
  if (changes.size() != 1) return {};
  auto const column = changes.front().get("def");
  return {static_cast<bool>(column.get("collClause")), static_cast<bool>(column.get("raw_default"))};
}

// The server gives a column the new type's collation, and with it other answers to =, LIKE and ORDER BY.
std::string new_type(ChangeType const& step, StepFacts const& facts) {
  auto const tail = tail_of(step);
  bool const keeps = !facts.collation.empty() && !tail.has_collation && !tail.has_expression;
  return step.type + (keeps ? "\n COLLATE " + facts.collation : "");
}

}  // namespace

// `named` is what gives back what the server forgets.
std::string facts_sql(ChangeType const& step) {
  return facts_of_table(step.table, "", forgotten_of_type(step.table, step.column), heirs_of(step.table),
                        collation_of(step.table, step.column));
}

std::vector<std::string> spelling(ChangeType const& step, StepFacts const& facts) {
  if (facts.kind == ' ') return {};
  std::string const probe = kProbe;
  std::string const oid = quote_literal(probe) + "::pg_catalog.regclass";
  // The files of the table and of its indexes: a change that keeps them all changes the catalog only.
  std::string const files =
      "(SELECT string_agg(f::text, ' ' ORDER BY f) FROM (SELECT pg_catalog.pg_relation_filenode(" + oid +
      ") f UNION ALL SELECT pg_catalog.pg_relation_filenode(i.indexrelid) FROM pg_catalog.pg_index i WHERE i.indrelid "
      "= " +
      oid + ") files)";
  auto statements = probe_begin(facts);
  statements.back() = "CREATE TEMP TABLE pgbackfill_probe (LIKE " + quoted(facts.table) +
                      " INCLUDING DEFAULTS INCLUDING INDEXES INCLUDING GENERATED)";
  statements.push_back("SELECT pg_catalog.set_config('pgbackfill.probe', " + files + ", true)");
  statements.push_back("ALTER TABLE " + probe + " ALTER COLUMN " + quote_identifier(step.column) + " TYPE " +
                       new_type(step, facts));
  std::string const rewrites =
      "this would write every row or index entry anew under a lock that stops reads and writes; add a column of the "
      "new "
      "type instead, keep it right by a trigger, let the backfill fill it, and drop the old column at the end";
  statements.push_back(
      "SELECT " + column_spelling(oid, step.column, false) + ", " +
      first_of({{"pg_catalog.current_setting('pgbackfill.probe') <> " + files, quote_literal(rewrites)}}));
  return statements;
}

Recipe recipe(ChangeType const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "change_type " + step.column + " of " + shown(table) + " to " + step.type;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "done only where it changes the catalog and no row; clients may have to know the new type";
  recipe.no_way_back = "what came in since may not fit the old type";
  std::string const spelled = column_spelling(oid_of(table), step.column, false);
  recipe.done = spelled + " = " + quote_literal(facts.spelling);
  auto refusals = table_refusals(table);
  refusals.push_back(typed_table_refusal(table));
  refusals.emplace_back("NOT " + has_column(table, step.column), column_missing(table, step.column));
  refusals.push_back(
      column_refusal(table, step.column, kIsInherited, "is inherited; change its type in the parent table"));
  refusals.push_back(column_refusal(table, step.column, kIsPartitionKey, "is in the partition key"));
  refusals.emplace_back(
      "EXISTS (SELECT FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_attribute a ON a.attname = " +
          quote_literal(step.column) + " AND a.attrelid IN " + tree_of(oid_of(table)) +
          " WHERE (k.contype IN ('c', 'f') AND k.conrelid = a.attrelid AND a.attnum = ANY "
          "(k.conkey)) OR (k.contype = 'f' AND k.confrelid = a.attrelid AND a.attnum = ANY "
          "(k.confkey)))",
      quote_literal("a check or foreign key has column " + step.column +
                    ", and would be tried on every row under a lock that stops reads and writes; "
                    "drop_constraint first, and add_check or add_foreign_key again afterwards"));
  auto const tail = tail_of(step);
  if (!facts.collation.empty() && tail.has_expression && !tail.has_collation) {
    refusals.emplace_back("true", quote_literal("column " + step.column + " has COLLATE " + facts.collation +
                                                ", which it would lose; write it behind the type, before USING"));
  }
  recipe.refusal = first_of(refusals);
  std::string const again = facts.named.empty() ? "" : "\n; " + facts.named;
  recipe.actions = {brief(table,
                          "ALTER COLUMN " + quote_identifier(step.column) + " TYPE " + new_type(step, facts) + again,
                          has_column(table, step.column) + " AND " + spelled + " <> " + quote_literal(facts.spelling))};
  // The server throws away what it knew of the column's values, and of expressions with it.
  recipe.finish = {analyze(table, "true")};
  // Of an inheritance parent it analyzes the whole, but until 18 none of its children for themselves.
  if (facts.kind != 'p' && facts.server_version < kVersionThatAnalyzesHeirs) {
    for (auto const& heir : facts.leaves) recipe.finish.push_back(analyze(heir, oid_of(heir) + " IS NOT NULL"));
  }
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
