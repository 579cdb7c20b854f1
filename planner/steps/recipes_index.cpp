#include "planner/model/sql_text.h"
#include "planner/steps/index_parts.h"
#include "planner/steps/publications.h"
#include "planner/steps/recipes.h"
#include "planner/steps/row_questions.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithNullsNotDistinct = 150000;

// What follows the name of the table.
std::string definition_of(CreateIndex const& step) {
  std::string sql = " USING " + (step.method.empty() ? std::string{"btree"} : step.method) + " (" +
                    (step.keys.empty() ? column_list(step.columns) : step.keys + "\n") + ")";
  if (!step.include.empty()) sql += " INCLUDE (" + column_list(step.include) + ")";
  if (step.is_nulls_not_distinct) sql += " NULLS NOT DISTINCT";
  if (!step.where.empty()) sql += " WHERE " + parenthesised(step.where);
  return sql;
}

// The server's own words for index i (class c), from USING on. Names before that are cut off by their length.
std::string index_spelling() {
  return "substr(pg_catalog.pg_get_indexdef(i.indexrelid), length(pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I', "
         "CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname, CASE WHEN c.relkind = 'I' THEN 'ONLY ' ELSE "
         "'' END, (SELECT n.nspname FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = "
         "r.relnamespace WHERE r.oid = i.indrelid), (SELECT r.relname FROM pg_catalog.pg_class r WHERE r.oid = "
         "i.indrelid))) + 1)";
}

std::string unique_word(CreateIndex const& step) {
  return step.is_unique ? "UNIQUE " : "";
}

std::string same_definition(CreateIndex const& step, StepFacts const& facts) {
  return index_spelling() + " = " + quote_literal(facts.spelling) +
         " AND i.indisunique = " + (step.is_unique ? "true" : "false");
}

// LOCK TABLE takes no materialized view: what is done to one waits for its own lock.
void lock_nothing_of_a_view(StepFacts const& facts, Recipe& recipe) {
  if (facts.kind != 'm') return;
  for (auto* list : {&recipe.actions, &recipe.finish, &recipe.undo, &recipe.undo_finish}) {
    for (auto& action : *list) {
      if (action.way != Way::kConcurrent) action.locks.clear();
    }
  }
}

// Materialized views have indexes too.
std::vector<std::pair<std::string, std::string>> indexed_table_refusals(TableName const& table) {
  return {{oid_of(table) + " IS NULL", quote_literal("there is no table " + shown(table))},
          {"(SELECT relkind FROM pg_catalog.pg_class WHERE oid = " + oid_of(table) + ") NOT IN ('r', 'p', 'm')",
           quote_literal(shown(table) + " is neither a table nor a materialized view")}};
}

std::string index_missing(TableName const& table, std::string const& name) {
  return quote_literal("there is no index " + name + " of " + shown(table));
}

// What a dropped index had, as statements that give it back.
std::string index_as_it_was(TableName const& table, std::string const& name) {
  std::string const from = index_named(table, name);
  return "SELECT string_agg(" + counted("s.sql") + ", '' ORDER BY s.place) FROM (SELECT 1, " + index_definition() +
         from + " UNION ALL " + index_marks(from) + ") AS s (place, sql)";
}

// Gives back what belongs to a built index.
Action give_back(TableName const& table, std::string const& name, std::string const& sql) {
  std::string lacks = "pg_catalog.obj_description(i.indexrelid, 'pg_class') IS NULL";
  LockMode mode = LockMode::kShareUpdateExclusive;
  if (sql.starts_with("ALTER INDEX") && sql.find(" DEPENDS ON EXTENSION ") != std::string::npos) {
    lacks =
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass "
        "AND d.objid = i.indexrelid AND d.deptype = 'x')";
  } else if (sql.starts_with("ALTER INDEX")) {
    lacks =
        "NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0)";
  } else if (sql.starts_with("ALTER TABLE") && sql.find(" CLUSTER ON ") != std::string::npos) {
    lacks = "NOT i.indisclustered";
  } else if (sql.starts_with("ALTER TABLE")) {
    lacks = "NOT i.indisreplident";
    mode = LockMode::kAccessExclusive;
  }
  Action action;
  action.sql = sql;
  action.locks = {{quoted(table), mode}};
  action.needed = index_is(table, name, "i.indisvalid AND " + lacks);
  return action;
}

}  // namespace

std::string create_index_sql(CreateIndex const& step, std::string const& how, std::string const& table) {
  return "CREATE " + unique_word(step) + "INDEX " + how + quote_identifier(step.name) + " ON " + table +
         definition_of(step);
}

std::string facts_sql(CreateIndex const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(CreateIndex const& step, StepFacts const& facts) {
  if (facts.kind == ' ') return {};
  auto statements = probe_begin(facts, " INCLUDING GENERATED");
  std::string const probe = kProbe;
  statements.push_back(create_index_sql(step, "", probe));
  // On an empty table nothing is called.
  std::string const forbidden =
      "(SELECT min(d.refobjid::pg_catalog.regprocedure::text) FROM pg_catalog.pg_depend d WHERE d.classid = "
      "'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid AND d.refclassid = "
      "'pg_catalog.pg_proc'::pg_catalog.regclass AND NOT pg_catalog.has_function_privilege(d.refobjid, 'EXECUTE'))";
  // Which name the server gives the schema of temporary tables differs by version.
  statements.push_back(
      "SELECT ' ' || substring(pg_catalog.pg_get_indexdef(i.indexrelid) FROM '[.]pgbackfill_probe (USING .*)$'), " +
      first_of(
          {{forbidden + " IS NOT NULL", quote_literal("permission denied for function ") + " || " + forbidden + " || " +
                                            quote_literal(", which the build calls for each row; GRANT "
                                                          "EXECUTE ON FUNCTION on it")}}) +
      " FROM pg_catalog.pg_index i WHERE i.indrelid = " + quote_literal(probe) + "::pg_catalog.regclass");
  return statements;
}

Recipe recipe(CreateIndex const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "create_index " + step.name + " on " + shown(table);
  recipe.relation = quoted(table);
  recipe.done = index_is(table, step.name, "i.indisvalid AND " + same_definition(step, facts));
  auto refusals = indexed_table_refusals(table);
  if (step.is_nulls_not_distinct && facts.server_version < kVersionWithNullsNotDistinct) {
    refusals.emplace_back("true", quote_literal("nulls_not_distinct needs PostgreSQL 15"));
  }
  if (facts.kind == 'p') {
    refusals.emplace_back(
        "true",
        quote_literal(shown(table) + " is partitioned, and CONCURRENTLY works on its partitions only; give each "
                                     "partition a create_index step, then create the index on the parent by sql:"));
  }
  refusals.emplace_back(
      has_relation(table, step.name) + " AND NOT " + index_is(table, step.name, "true"),
      quote_literal("the name " + step.name + " is taken by something that is not an index of " + shown(table)));
  refusals.emplace_back(index_is(table, step.name, "i.indisvalid AND NOT (" + same_definition(step, facts) + ")"),
                        quote_literal("an index " + step.name +
                                      " with another definition is there already; drop it, or choose another "
                                      "name"));
  if (!facts.is_claimed) {
    refusals.emplace_back(index_is(table, step.name, "NOT i.indisvalid"),
                          quote_literal("an index " + step.name +
                                        " is there already, INVALID, and not from this step: somebody builds it, or "
                                        "did not get to the end; drop it first"));
  }
  recipe.refusal = first_of(refusals);
  auto clear =
      drop_index(table, step.name, facts.is_claimed ? index_is(table, step.name, "NOT i.indisvalid") : "false");
  Action build = clear;
  build.sql = create_index_sql(step, "CONCURRENTLY ", quoted(table));
  build.effort = Effort::kBuild;
  build.needed = "NOT " + index_is(table, step.name, "true");
  auto drop = drop_index(table, step.name, index_is(table, step.name, "true"));
  recipe.actions = {std::move(clear), std::move(build)};
  // Of an expression the planner knows nothing until then; of columns it knows already.
  if (step.columns.empty()) recipe.finish = {analyze(table, index_is(table, step.name, "i.indexprs IS NOT NULL"))};
  recipe.undo = {std::move(drop)};
  lock_nothing_of_a_view(facts, recipe);
  recipe.reason = step.is_unique ? "writes that repeat a value fail from the end of the build on"
                                 : "the table is read twice; writes go on";
  if (step.is_unique) recipe.risk = Risk::kMedium;
  return recipe;
}

// --- drop_index -----------------------------------------------------------------------------------------------------

std::string facts_sql(DropIndex const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(DropIndex const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(DropIndex const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "drop_index " + step.name + " of " + shown(table);
  recipe.relation = quoted(table);
  recipe.risk = Risk::kMedium;
  recipe.reason = "queries that need the index become slow";
  std::string const is_there = index_is(table, step.name, "true");
  // What this step has not dropped may be misspelt.
  recipe.done = facts.is_claimed ? oid_of(table) + " IS NOT NULL AND NOT " + is_there : "false";
  recipe.before = index_as_it_was(table, step.name);
  auto refusals = indexed_table_refusals(table);
  refusals.emplace_back("NOT " + is_there, index_missing(table, step.name));
  refusals.emplace_back(
      index_is(table, step.name,
               "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = "
               "i.indrelid)"),
      quote_literal("index " + step.name + " belongs to a constraint; use drop_constraint"));
  refusals.emplace_back(
      index_is(table, step.name, "c.relkind = 'I'"),
      quote_literal("index " + step.name +
                    " is of a partitioned table and cannot be dropped CONCURRENTLY; write it as sql:"));
  refusals.emplace_back(index_is(table, step.name, "i.indisreplident"),
                        quote_literal("index " + step.name + " " + kIdentityAdvice));
  refusals.emplace_back(
      index_is(table, step.name, "c.relispartition"),
      quote_literal("index " + step.name + " is part of an index of the partitioned table, and goes with that alone"));
  recipe.refusal = first_of(refusals);
  recipe.actions = {drop_index(table, step.name, is_there)};
  recipe.way_back = "it is built again as it was, CONCURRENTLY";
  if (!facts.is_claimed || facts.before.empty()) return recipe;
  auto clear = drop_index(table, step.name, index_is(table, step.name, "NOT i.indisvalid"));
  Action build = clear;
  auto const statements = counted_texts(facts.before);
  build.sql = statements.front();
  std::string const word = " INDEX ";
  build.sql.replace(build.sql.find(word), word.size(), " INDEX CONCURRENTLY ");
  build.effort = Effort::kBuild;
  build.needed = "NOT " + is_there;
  recipe.undo = {std::move(clear), std::move(build)};
  recipe.undo_finish = {analyze(table, index_is(table, step.name, "i.indexprs IS NOT NULL"))};
  bool const is_unique = statements.front().starts_with("CREATE UNIQUE ");
  auto duplicates = is_unique ? duplicates_in(table, step.name, statements.front()) : std::nullopt;
  if (duplicates) recipe.undo_questions.push_back(std::move(*duplicates));
  // An earlier rollback that was cut short may have built it.
  std::string const is_as_before = index_definition() + " = " + quote_literal(statements.front());
  recipe.undo_refusal = first_of(
      {{has_relation(table, step.name) + " AND NOT " + index_is(table, step.name, is_as_before),
        quote_literal("the name " + step.name + " is taken by something else than the index that was dropped")}});
  for (std::size_t part = 1; part < statements.size(); ++part) {
    recipe.undo.push_back(give_back(table, step.name, statements[part]));
  }
  lock_nothing_of_a_view(facts, recipe);
  return recipe;
}

// --- reindex --------------------------------------------------------------------------------------------------------

std::string facts_sql(Reindex const& step) {
  return facts_of_table(step.table, "", "");
}

std::vector<std::string> spelling(Reindex const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(Reindex const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "reindex " + step.name + " of " + shown(table);
  recipe.relation = quoted(table);
  recipe.reason = "the table is read twice; writes go on";
  // A build that was cut short leaves its half under such a name: before the swap the new one, after it the old one.
  std::string const built = object_name(step.name, "", "ccnew");
  std::string const old = object_name(step.name, "", "ccold");
  auto const leftover = [&](std::string const& name) { return index_is(table, name, "NOT i.indisvalid"); };
  // A build makes another index and swaps the names, so that the oid tells whether there was one.
  recipe.done = facts.is_claimed ? index_is(table, step.name,
                                            "i.indisvalid AND i.indexrelid::text <> " + quote_literal(facts.before)) +
                                       " AND NOT " + leftover(built) + " AND NOT " + leftover(old)
                                 : "false";
  recipe.before =
      "SELECT i.indexrelid::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = "
      "i.indexrelid WHERE i.indrelid = " +
      oid_of(table) + " AND c.relname = " + quote_literal(step.name);
  auto refusals = indexed_table_refusals(table);
  refusals.emplace_back("NOT " + index_is(table, step.name, "true"), index_missing(table, step.name));
  refusals.emplace_back(
      index_is(table, step.name, "i.indisexclusion"),
      quote_literal("index " + step.name +
                    " belongs to an exclusion constraint, which PostgreSQL does not rebuild CONCURRENTLY; REINDEX "
                    "INDEX "
                    "as sql: rebuilds it under a lock that stops writes"));
  refusals.emplace_back(
      index_is(table, step.name, "c.relkind = 'I'"),
      quote_literal("index " + step.name + " is of a partitioned table; name those of its partitions"));
  if (!facts.is_claimed) {
    refusals.emplace_back(leftover(built) + " OR " + leftover(old),
                          quote_literal("a rebuild of " + step.name +
                                        " that is not from this step is under way or was cut short; drop its invalid "
                                        "index (_ccnew or _ccold) first"));
  }
  recipe.refusal = first_of(refusals);
  std::string const is_ours = facts.is_claimed ? " AND true" : " AND false";
  recipe.actions = {drop_index(table, built, leftover(built) + is_ours),
                    drop_index(table, old, leftover(old) + is_ours)};
  recipe.undo = recipe.actions;
  Action build;
  build.sql = "REINDEX INDEX CONCURRENTLY " + quote_qualified(table.schema, step.name);
  build.way = Way::kConcurrent;
  build.busy = other_builder(table);
  build.effort = Effort::kBuild;
  build.locks = {{quoted(table), LockMode::kShareUpdateExclusive}};
  build.needed =
      facts.is_claimed
          ? index_is(table, step.name, "(NOT i.indisvalid OR i.indexrelid::text = " + quote_literal(facts.before) + ")")
          : "true";
  recipe.actions.push_back(std::move(build));
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
