#include "planner/steps/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/work/lock_watch.h"

namespace pgbackfill::planner {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

SchemaStep step_of(std::string const& text) {
  auto const parsed = parse_migration("name: x\ntable: public.t\nexpand:\n  - " + text + "\n", "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration ? parsed.migration->expand.at(0) : SchemaStep{};
}

StepFacts facts_for(int major, bool is_claimed = false) {
  StepFacts facts;
  facts.server_version = major * 10000;
  facts.table = {"public", "t"};
  facts.kind = 'r';
  facts.spelling = "spelled";
  facts.is_claimed = is_claimed;
  return facts;
}

Recipe recipe_of(std::string const& step, int major, bool is_claimed = false) {
  return recipe_for(step_of(step), facts_for(major, is_claimed));
}

std::vector<std::string> sql_of(std::vector<Action> const& actions) {
  std::vector<std::string> texts;
  for (auto const& action : actions) texts.push_back(action.sql);
  return texts;
}

std::vector<LockMode> last_locks(std::vector<Action> const& actions) {
  std::vector<LockMode> modes;
  for (auto const& action : actions) modes.push_back(action.locks.back().mode);
  return modes;
}

TEST(Recipe, SetNotNullProvesByACheckBeforeItTakesTheLockUpTo17) {
  for (int const major : {13, 14, 15, 16, 17}) {
    auto const recipe = recipe_of("set_not_null: c", major);
    EXPECT_THAT(
        sql_of(recipe.actions),
        ElementsAre(R"(ALTER TABLE "public"."t" ADD CONSTRAINT "t_c_not_null" CHECK ("c" IS NOT NULL) NOT VALID)",
                    R"(ALTER TABLE "public"."t" VALIDATE CONSTRAINT "t_c_not_null")",
                    R"(ALTER TABLE "public"."t" ALTER COLUMN "c" SET NOT NULL)",
                    R"(ALTER TABLE "public"."t" DROP CONSTRAINT "t_c_not_null")"));
    EXPECT_THAT(last_locks(recipe.actions), ElementsAre(LockMode::kAccessExclusive, LockMode::kShareUpdateExclusive,
                                                        LockMode::kAccessExclusive, LockMode::kAccessExclusive));
    EXPECT_THAT(sql_of(recipe.undo), ElementsAre(HasSubstr("DROP NOT NULL"), HasSubstr("DROP CONSTRAINT")));
  }
}

TEST(Recipe, SetNotNullIsAConstraintThatIsValidatedFrom18On) {
  auto const recipe = recipe_of("set_not_null: c", 18);
  EXPECT_THAT(sql_of(recipe.actions),
              ElementsAre(R"(ALTER TABLE "public"."t" ADD CONSTRAINT "t_c_not_null" NOT NULL "c" NOT VALID)",
                          R"(ALTER TABLE "public"."t" VALIDATE CONSTRAINT "t_c_not_null")"));
  EXPECT_EQ(recipe.actions[1].way, Way::kPatient);
  EXPECT_EQ(recipe.actions[1].effort, Effort::kScan);
}

TEST(Recipe, SetNotNullValidatesTheConstraintThatIsThereUnderItsOwnName) {
  auto facts = facts_for(18);
  facts.named = "odd";
  auto const fresh = recipe_for(step_of("set_not_null: c"), facts);
  EXPECT_THAT(fresh.actions[1].sql, HasSubstr("VALIDATE CONSTRAINT \"odd\""));
  facts.is_claimed = true;
  facts.before = "odd";
  EXPECT_THAT(recipe_for(step_of("set_not_null: c"), facts).undo, IsEmpty()) << "it is not from the step";
}

TEST(Recipe, DropsAnInvalidIndexOnlyWhereItIsItsOwn) {
  auto const foreign = recipe_of("create_index: {name: i, columns: [c]}", 15);
  EXPECT_EQ(foreign.actions[0].needed, "false");
  EXPECT_THAT(foreign.refusal, HasSubstr("INVALID, and not from this step"));
  auto const own = recipe_of("create_index: {name: i, columns: [c]}", 15, true);
  EXPECT_EQ(own.actions[0].sql, R"(DROP INDEX CONCURRENTLY "public"."i")");
  EXPECT_THAT(own.actions[0].needed, HasSubstr("NOT i.indisvalid"));
  EXPECT_FALSE(own.actions[0].busy.empty()) << "perhaps it is still being built";
  EXPECT_FALSE(own.actions[1].busy.empty()) << "of two builds at once, each waits for the other one";
  EXPECT_THAT(own.refusal, Not(HasSubstr("INVALID")));
}

TEST(Recipe, BuildsIndexesConcurrentlyAndNeverIfNotExists) {
  for (char const* step : {"create_index: {name: i, columns: [c]}", "add_unique: {name: i, columns: [c]}",
                           "add_primary_key: {name: i, "
                           "columns: [c]}",
                           "reindex: i", "drop_index: i"}) {
    for (auto const& action : recipe_of(step, 15, true).actions) {
      EXPECT_THAT(action.sql, Not(HasSubstr("IF NOT EXISTS"))) << step;
      if (action.sql.find("INDEX ") == 0 || action.effort == Effort::kBuild) {
        EXPECT_EQ(action.way, Way::kConcurrent) << action.sql;
        EXPECT_THAT(action.sql, HasSubstr("CONCURRENTLY")) << step;
      }
    }
  }
  EXPECT_THAT(
      recipe_of("create_index: {name: i, keys: 'lower(c) DESC', method: gin, include: [d], where: c > 1, unique: "
                "true, nulls_not_distinct: true}",
                15)
          .actions[1]
          .sql,
      "CREATE UNIQUE INDEX CONCURRENTLY \"i\" ON \"public\".\"t\" USING gin (lower(c) DESC\n) INCLUDE (\"d\") "
      "NULLS NOT DISTINCT WHERE (c > 1\n)");
}

TEST(Recipe, RefusesNullsNotDistinctBefore15) {
  std::string const step = "create_index: {name: i, columns: [c], unique: true, nulls_not_distinct: true}";
  EXPECT_THAT(recipe_of(step, 14).refusal, HasSubstr("needs PostgreSQL 15"));
  EXPECT_THAT(recipe_of(step, 15).refusal, Not(HasSubstr("needs PostgreSQL 15")));
}

TEST(Recipe, LocksTheParentOfAForeignKeyFirst) {
  auto facts = facts_for(15);
  facts.parents = {R"("public"."other")"};
  auto const recipe = recipe_for(step_of("add_foreign_key: {name: f, columns: [c], references: public.other}"), facts);
  ASSERT_THAT(recipe.actions, SizeIs(2));
  ASSERT_THAT(recipe.actions[0].locks, SizeIs(2));
  EXPECT_EQ(recipe.actions[0].locks[0].relation, R"("public"."other")");
  EXPECT_EQ(recipe.actions[0].locks[0].mode, LockMode::kShareRowExclusive);
  EXPECT_EQ(recipe.actions[0].locks[1].relation, R"("public"."t")");
  EXPECT_EQ(recipe.actions[1].locks[0].mode, LockMode::kRowShare);
  EXPECT_EQ(recipe.actions[1].locks[1].mode, LockMode::kShareUpdateExclusive);
  EXPECT_EQ(recipe.undo[0].locks[0].mode, LockMode::kAccessExclusive);
  auto const drop = recipe_for(step_of("drop_column: c"), facts);
  EXPECT_EQ(drop.actions[0].locks[0].relation, R"("public"."other")");
  EXPECT_EQ(drop.actions[0].locks[0].mode, LockMode::kAccessExclusive);
}

TEST(Recipe, GoesThroughThePartitionsForAForeignKeyBefore18) {
  auto facts = facts_for(17);
  facts.kind = 'p';
  facts.leaves = {{"public", "p1"}};
  auto const step = step_of("add_foreign_key: {name: f, columns: [c], references: public.other}");
  std::string const add = R"(ADD CONSTRAINT "f" FOREIGN KEY ("c") REFERENCES "public"."other")";
  EXPECT_THAT(
      sql_of(recipe_for(step, facts).actions),
      ElementsAre(R"(ALTER TABLE "public"."p1" )" + add + " NOT VALID",
                  R"(ALTER TABLE "public"."p1" VALIDATE CONSTRAINT "f")", R"(ALTER TABLE "public"."t" )" + add));
  facts.server_version = 180000;
  EXPECT_EQ(recipe_for(step, facts).actions.at(0).sql, R"(ALTER TABLE "public"."t" )" + add + " NOT VALID");
}

TEST(Recipe, TakesADropOrARenameForDoneOnlyIfTheStepItselfDidIt) {
  for (char const* step : {"drop_column: c", "drop_constraint: k", "drop_index: i", "drop_table: t",
                           "rename_column: {name: c, to: d}", "detach_partition: {partition: p}"}) {
    EXPECT_EQ(recipe_of(step, 15).done, "false") << step;
    EXPECT_NE(recipe_of(step, 15, true).done, "false") << step;
    EXPECT_TRUE(believes_claims_alone(step_of(step))) << step;
  }
}

TEST(Recipe, BuildsADroppedIndexWithAllThatItHad) {
  auto facts = facts_for(15, true);
  std::string const definition = "CREATE INDEX i ON public.t (c)";
  std::string const comment = "COMMENT ON INDEX public.i IS '\xE2\x98\x83 9'";
  std::string const mark = "ALTER TABLE public.t CLUSTER ON i";
  for (auto const& sql : {definition, comment, mark}) facts.before += std::to_string(sql.size()) + " " + sql;
  auto const undo = recipe_for(step_of("drop_index: i"), facts).undo;
  ASSERT_THAT(undo, SizeIs(4));
  EXPECT_EQ(undo[1].sql, "CREATE INDEX CONCURRENTLY i ON public.t (c)");
  EXPECT_EQ(undo[2].sql, comment);
  EXPECT_EQ(undo[3].sql, mark);
  // As it was recorded before.
  facts.before = definition;
  EXPECT_THAT(recipe_for(step_of("drop_index: i"), facts).undo, SizeIs(2));
}

TEST(Recipe, ValidatesApartFromAdding) {
  for (char const* step : {"add_check: {name: k, check: c > 1}",
                           "add_foreign_key: {name: k, columns: [c], references: o}", "set_not_null: c"}) {
    for (auto const& action : recipe_of(step, 15).actions) {
      bool const adds = action.sql.find(" ADD CONSTRAINT") != std::string::npos;
      EXPECT_TRUE(!adds || action.sql.find("NOT VALID") != std::string::npos) << step;
      if (action.effort == Effort::kScan) {
        EXPECT_EQ(action.way, Way::kPatient);
        EXPECT_EQ(action.locks.back().mode, LockMode::kShareUpdateExclusive);
      }
    }
  }
}

TEST(Recipe, DetachesConcurrentlyFrom14On) {
  std::string const step = "detach_partition: {table: t, partition: p}";
  EXPECT_THAT(sql_of(recipe_of(step, 13).actions), ElementsAre(R"(ALTER TABLE "public"."t" DETACH PARTITION "p")"));
  EXPECT_THAT(sql_of(recipe_of(step, 14).actions),
              ElementsAre(R"(ALTER TABLE "public"."t" DETACH PARTITION "p" FINALIZE)",
                          R"(ALTER TABLE "public"."t" DETACH PARTITION "p" CONCURRENTLY)"));
  auto facts = facts_for(15);
  facts.named = "default";
  EXPECT_THAT(recipe_for(step_of(step), facts).actions.back().sql, Not(HasSubstr("CONCURRENTLY")));
}

TEST(Recipe, ShortensNamesAsTheServerDoes) {
  auto facts = facts_for(15);
  facts.table.name = std::string(63, 't');
  auto const recipe = recipe_for(step_of("set_not_null: " + std::string(30, 'c')), facts);
  std::string const name = std::string(26, 't') + "_" + std::string(27, 'c') + "_not_null";
  EXPECT_EQ(name.size(), 63U);
  EXPECT_THAT(recipe.actions[1].sql,
              testing::AnyOf(HasSubstr("\"" + name + "\""),
                             HasSubstr("\"" + std::string(27, 't') + "_" + std::string(26, 'c') + "_not_null\"")));
}

TEST(Recipe, AsksOneQuestionPerStatement) {
  auto const recipe = recipe_of("set_not_null: c", 15);
  auto const sql = inspection_sql(recipe);
  std::size_t questions = 0;
  for (auto at = sql.find(", false)"); at != std::string::npos; at = sql.find(", false)", at + 1)) ++questions;
  EXPECT_EQ(questions, 1 + recipe.actions.size());
  EXPECT_THAT(needs_sql(recipe.undo), StartsWith("SELECT coalesce(("));
}

TEST(Recipe, EveryTypedStepSaysRiskAndWhatGoesBack) {
  for (char const* step : {"add_column: {name: c, type: int}",
                           "drop_column: c",
                           "rename_column: {name: c, to: d}",
                           "swap_column: {column: c, with: d}",
                           "change_type: {column: c, type: text}",
                           "set_not_null: c",
                           "drop_not_null: c",
                           "set_default: {column: c, value: 1}",
                           "drop_default: c",
                           "add_check: {name: k, check: c > 1}",
                           "add_foreign_key: {name: k, columns: [c], references: o}",
                           "add_unique: {name: k, columns: [c]}",
                           "add_primary_key: {name: k, columns: [c]}",
                           "swap_primary_key: {name: k, columns: [c]}",
                           "drop_constraint: k",
                           "create_index: {name: i, columns: [c]}",
                           "drop_index: i",
                           "reindex: i",
                           "create_table: {table: n, columns: id int}",
                           "drop_table: t",
                           "rename_table: {to: n}",
                           "add_enum_value: {type: e, value: v}",
                           "detach_partition: {partition: p}",
                           "attach_partition: {partition: p, for_values: IN (1)}"}) {
    for (int const major : {13, 14, 15, 16, 17, 18}) {
      auto const recipe = recipe_of(step, major);
      EXPECT_FALSE(recipe.title.empty()) << step;
      EXPECT_FALSE(recipe.reason.empty()) << step;
      EXPECT_FALSE(recipe.done.empty()) << step;
      EXPECT_FALSE(recipe.refusal.empty()) << step;
      EXPECT_THAT(recipe.actions, Not(IsEmpty())) << step;
      EXPECT_TRUE(!recipe.undo.empty() || !recipe.way_back.empty() || !recipe.no_way_back.empty()) << step;
      for (auto const& action : recipe.actions) EXPECT_FALSE(action.needed.empty()) << step << action.sql;
    }
  }
}

TEST(LockWatch, KnowsWhichLocksStandInTheWay) {
  EXPECT_THAT(conflicting_modes(LockMode::kAccessShare), ElementsAre("AccessExclusiveLock"));
  EXPECT_THAT(conflicting_modes(LockMode::kAccessExclusive), SizeIs(8));
  EXPECT_THAT(conflicting_modes(LockMode::kShareUpdateExclusive),
              ElementsAre("ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock",
                          "AccessExclusiveLock"));
  EXPECT_THAT(conflicting_modes(LockMode::kShare), Not(testing::Contains("ShareLock")));
  EXPECT_THAT(conflicting_modes(LockMode::kNone), IsEmpty());
  auto const sql = holders_sql({{R"("public"."it's")", LockMode::kAccessShare}}, {7, 8});
  EXPECT_THAT(sql, AllOf(HasSubstr(R"('"public"."it''s"')"), HasSubstr("NOT IN (7, 8)")));
  EXPECT_THAT(terminate_sql(7), HasSubstr("backend_type = 'client backend'"));
}

}  // namespace
}  // namespace pgbackfill::planner
