// A copy takes the place of its table, with what hangs on the table, in one short transaction.
//
// What is carried over is read from the catalog inside of that transaction, under its locks, by a DO block: nobody can
// grant or add something in between. What cannot be carried is looked for before, and refused by name; what was changed
// since, is seen under the locks. planner/steps/swap_sql.h has the list of what belongs to a table.
#include "planner/model/sql_text.h"
#include "planner/steps/mirror_sql.h"
#include "planner/steps/recipes.h"
#include "planner/steps/recipes_sync.h"
#include "planner/steps/swap_sql.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

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

// --- before: statistics
// -----------------------------------------------------------------------------------------------

// Part of the rows that may have changed since the copy was analyzed, as autovacuum has it by default.
constexpr char kChangedSinceAnalyze[] = "1000 + 0.1 * ";

// What ANALYZE goes by, as the table has it.
constexpr char kStatisticsSettings[] =
    R"sql(SELECT n.attname, CASE WHEN coalesce((to_jsonb(n) ->> 'attstattarget')::int, -1)
  < 0 AND coalesce((to_jsonb(o) ->> 'attstattarget')::int, -1) >= 0 THEN to_jsonb(o) ->> 'attstattarget' END AS target,
  CASE WHEN n.attoptions IS NULL THEN pg_catalog.array_to_string(o.attoptions, ', ') END AS options FROM
  pg_catalog.pg_attribute o JOIN pg_catalog.pg_attribute n ON n.attrelid = @new@ AND n.attname = o.attname AND n.attnum
  > 0
  WHERE o.attrelid = @old@ AND o.attnum > 0 AND NOT o.attisdropped)sql";

// The planner has to know the new table before anybody asks for it: a swap without statistics would make bad plans
// until autovacuum comes by. They are made before the swap, while only the mirror uses the copy.
Action analyze_action(Swap const& step, StepFacts const& facts) {
  auto const with = in_schema(facts.table, step.with.name);
  auto const sides = sides_by_name(step, facts.table);
  std::string const settings = with_sides(kStatisticsSettings, sides);
  std::string const name = quote_literal(quoted(with));
  Action action;
  action.sql =
      "SET LOCAL search_path = pg_catalog, pg_temp; DO " +
      dollar_quoted("\nDECLARE\n  r record;\nBEGIN\n  FOR r IN " + settings +
                    " LOOP\n    IF r.target IS NOT NULL THEN\n      EXECUTE format('ALTER TABLE %s ALTER COLUMN %I "
                    "SET STATISTICS %s', " +
                    name +
                    ", r.attname, r.target);\n    END IF;\n    IF r.options IS NOT NULL THEN\n      EXECUTE "
                    "format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', " +
                    name + ", r.attname, r.options);\n    END IF;\n  END LOOP;\nEND") +
      "; ANALYZE " + quoted(with);
  action.way = Way::kPatient;
  action.effort = Effort::kScan;
  action.locks = {{quoted(with), LockMode::kShareUpdateExclusive}};
  std::string const leaves = "pg_catalog.pg_class t WHERE (t.oid = " + sides.new_oid +
                             " OR t.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree((" + sides.new_oid +
                             ")::pg_catalog.regclass))) AND t.relkind = 'r'";
  // Without rows there is nothing to know, and ANALYZE leaves nothing behind.
  action.needed =
      sides.new_oid + " IS NOT NULL AND (EXISTS (SELECT FROM (" + settings +
      ") s WHERE s.target IS NOT NULL OR s.options IS NOT NULL) OR EXISTS (SELECT FROM " + leaves +
      " AND pg_catalog.pg_relation_size(t.oid) > 0 AND NOT (t.relpages > 0 AND t.reltuples = 0)) AND NOT EXISTS "
      "(SELECT FROM pg_catalog.pg_stats s WHERE s.schemaname = " +
      quote_literal(with.schema) + " AND s.tablename = " + quote_literal(with.name) +
      ") OR (SELECT sum(pg_catalog.pg_stat_get_mod_since_analyze(t.oid)) > " + kChangedSinceAnalyze +
      "sum(greatest(t.reltuples, 0)) FROM " + leaves + "))";
  return action;
}

// --- the transaction
// --------------------------------------------------------------------------------------------------

// Nobody writes to the kept table any more, and so nobody deletes its rows before those that they refer to.
constexpr char kOwnForeignKeys[] = R"sql(
  FOR it IN SELECT k.conname FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = old_oid AND k.confrelid <>
      old_oid AND k.conparentid = 0 LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', old_oid::regclass, it.conname);
  END LOOP;
)sql";

std::string swap_block(Swap const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const with = in_schema(table, step.with.name);
  SwapSides const sides{"old_oid", "new_oid"};
  // Under the locks now: whoever took the trigger away meanwhile let rows pass.
  std::string body =
      "\nDECLARE\n  old_oid oid := " + literal_of(table) + ";\n  new_oid oid := " + literal_of(with) +
      ";\n  mirror oid := " + sync::function_oid(step.migration) + ";" + swap_variables() +
      "BEGIN\n  IF NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = old_oid AND g.tgfoid = mirror AND "
      "g.tgenabled = 'A') THEN\n    RAISE EXCEPTION 'the trigger of the mirror is gone';\n  END IF;\n";
  // `plan` has not looked.
  if (!facts.spelling.empty()) {
    std::string const probed = quote_literal(facts.spelling);
    body +=
        "  IF " + swap_seen(sides) + " <> " + probed +
        "::jsonb ->> 'seen' THEN\n    RAISE EXCEPTION 'the table or its "
        "copy was changed since it was looked at; run it again';\n  END IF;\n  SELECT jsonb_agg(p) INTO pairs FROM (" +
        swap_pairs(probed + "::jsonb -> 'parts'", sides) + ") p;\n";
  }
  return body + carry_before_renaming() + "  EXECUTE format('ALTER TABLE %s RENAME TO %I', old_oid::regclass, " +
         quote_literal(step.keep_as) + ");\n  EXECUTE format('ALTER TABLE %s RENAME TO %I', new_oid::regclass, " +
         quote_literal(table.name) + ");\n" + carry_after_renaming() + kOwnForeignKeys + "END";
}

Action swap_action(Swap const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const with = in_schema(table, step.with.name);
  Action action;
  // Names are written with their schemas, whatever the search_path of the role is.
  action.sql = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL standard_conforming_strings = on; DO " +
               dollar_quoted(swap_block(step, facts));
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
  // The same before and after it: whoever refers to the one who has the name. And whom it refers to, since its keys go;
  // without a right to lock those, the change itself waits for its lock.
  std::string const children =
      "SELECT array_agg(DISTINCT pg_catalog.format('\"%s\".\"%s\"', replace(n.nspname, '\"', '\"\"'), "
      "replace(c.relname, '\"', '\"\"'))) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
      "c.relnamespace WHERE c.oid IN (SELECT k.conrelid FROM " +
      referring(oid_of(step.table)) +
      " UNION SELECT k.confrelid FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = " +
      oid_of(step.table) +
      " AND k.confrelid <> k.conrelid AND k.conparentid = 0 AND pg_catalog.has_table_privilege(k.confrelid, 'UPDATE, "
      "DELETE, TRUNCATE'))";
  return facts_of_table(step.table, children, "");
}

std::vector<std::string> spelling(Swap const& step, StepFacts const& facts) {
  return swap_probe(step, facts);
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
  // Without the numbers, as for `stamp`, the names have to do.
  std::string const by_names = has_relation(table, step.keep_as) + " AND " + oid_of(table) + " IS NOT NULL AND " +
                               oid_of(with) + " IS NULL AND " + sync::function_oid(step.migration) + " IS NULL";
  std::string const swapped = is_begun ? has_name(facts.before.substr(0, blank), step.keep_as) + " AND " +
                                             has_name(facts.before.substr(blank + 1), table.name)
                              : facts.is_claimed ? by_names
                                                 : "false";
  recipe.done = swapped + " AND NOT EXISTS (SELECT FROM " + referring(oid_of(table)) + " AND NOT k.convalidated)";
  recipe.refusal = first_of(swap_refusals(step, facts));
  recipe.early_refusal = first_of(early_swap_refusals(step, facts));
  recipe.prepare = {analyze_action(step, facts)};
  recipe.actions = {swap_action(step, facts), validate_action(step, facts)};
  recipe.no_way_back = "what was written since is in the new table alone";
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
