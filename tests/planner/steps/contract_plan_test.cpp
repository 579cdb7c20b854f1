#include "planner/steps/contract_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "planner/file/migration_file.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<PlacedStep> contract_of(std::string const& steps, std::string const& before = "") {
  auto const parsed = parse_migration("name: x\ntable: public.t\n" + before + "contract:\n" + steps, "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration ? contract_steps(*parsed.migration) : std::vector<PlacedStep>{};
}

std::string plan_of(std::string const& steps) {
  return contract_plan(contract_of(steps));
}

std::string reason_of(std::string const& step) {
  return destructive_reason(contract_of("  - " + step + "\n").at(0).step);
}

TEST(ContractPlan, AsksAboutWhatIsLostOrBreaksClients) {
  EXPECT_THAT(reason_of("drop_column: a"), HasSubstr("all values of the column are lost"));
  EXPECT_THAT(reason_of("drop_table: old"), HasSubstr("the table is lost"));
  EXPECT_THAT(reason_of("rename_column: {name: a, to: b}"), HasSubstr("clients that use the old name fail"));
  EXPECT_THAT(reason_of("rename_table: {to: b}"), HasSubstr("clients that use the old name fail"));
  EXPECT_THAT(reason_of("detach_partition: {partition: p}"), HasSubstr("no longer found"));
  EXPECT_THAT(reason_of("sql: UPDATE t SET a = 1"), HasSubstr("no `down:`"));
}

TEST(ContractPlan, AsksNothingAboutWhatOnlyTightens) {
  for (char const* step :
       {"set_not_null: a", "drop_not_null: a", "create_index: {name: i, columns: [a]}", "drop_index: i", "reindex: i",
        "add_unique: {name: u, columns: [a]}", "add_primary_key: {name: k, columns: [a]}", "drop_constraint: c",
        "add_check: {name: c, check: a > 0}", "add_foreign_key: {name: f, columns: [a], references: o}",
        "set_default: {column: a, value: 1}", "drop_default: a", "add_column: {name: a, type: int}",
        "change_type: {column: a, type: text}", "create_table: {table: n, like: t}",
        "add_enum_value: {type: e, value: v}"}) {
    EXPECT_EQ(reason_of(step), "") << step;
  }
  auto const with_sync = contract_of("  - set_not_null: b\n", "sync: {set: {b: upper(a)}}\n");
  ASSERT_EQ(with_sync.size(), 2U);
  EXPECT_EQ(destructive_reason(with_sync[1].step), "");
  EXPECT_EQ(destructive_reason(contract_of("  - sql: SELECT 1\n    down: SELECT 2\n").at(0).step), "");
}

TEST(ContractPlan, IsTheSameForTheSameStepsHoweverTheyAreWritten) {
  EXPECT_EQ(plan_of("  - drop_column: a\n"), plan_of("  - drop_column: {name: a, table: public.t}\n"));
  EXPECT_EQ(plan_of("  - drop_column: a\n  - sql: SELECT 1\n"),
            "contract: drop_column: {name: a, table: public.t}\ncontract: sql: SELECT 1\n");
}

TEST(ContractPlan, IsAnotherForEachChange) {
  std::string const plan = plan_of("  - drop_column: a\n  - sql: SELECT 1\n    down: SELECT 2\n");
  for (char const* other :
       {"  - drop_column: b\n  - sql: SELECT 1\n    down: SELECT 2\n",
        "  - drop_column: {name: a, table: u}\n  - sql: SELECT 1\n    down: SELECT 2\n",
        "  - drop_column: a\n  - sql: SELECT 1\n    down: SELECT 3\n", "  - drop_column: a\n  - sql: SELECT 1\n",
        "  - sql: SELECT 1\n    down: SELECT 2\n  - drop_column: a\n",
        "  - drop_column: a\n  - sql: \"SELECT 1\\tdown: SELECT 2\"\n",
        "  - drop_column: a\n  - sql: \"SELECT\\n1\"\n    down: SELECT 2\n"}) {
    EXPECT_NE(plan_of(other), plan) << other;
  }
}

TEST(ContractPlan, HasOneLineAStep) {
  EXPECT_EQ(plan_of("  - sql: \"SELECT 1\\ncontract: drop_table: x\"\n"),
            "contract: sql: SELECT 1\\ncontract: drop_table: x\n");
  EXPECT_EQ(plan_of("  - sql: 'SELECT 1\\ncontract: drop_table: x'\n"),
            "contract: sql: SELECT 1\\\\ncontract: drop_table: x\n");
}

TEST(ContractPlan, SaysWhatChanged) {
  std::string const before = "contract: a\ncontract: b\ncontract: b\n";
  EXPECT_THAT(plan_changes(before, before), IsEmpty());
  EXPECT_THAT(plan_changes(before, "contract: c\ncontract: b\n"),
              ElementsAre("- contract: a", "- contract: b", "+ contract: c"));
  EXPECT_THAT(plan_changes(before, "contract: b\ncontract: a\ncontract: b\n"),
              ElementsAre("the steps stand in another order"));
  EXPECT_THAT(plan_changes("", "contract: a\n"), ElementsAre("+ contract: a"));
}

TEST(ContractPlan, AnApprovalCoversNoMoreThanItShows) {
  auto const steps = contract_of("  - drop_column: a\n  - drop_column: b\n");
  auto const one = contract_plan(steps, {"contract step 1 drops index public.i along"});
  auto const two = contract_plan(steps, {"contract step 1 drops index public.i along",
                                         "contract step 2 drops index public.j "
                                         "along"});
  EXPECT_TRUE(covers(one, one));
  EXPECT_TRUE(covers(two, one)) << "what has gone meanwhile";
  EXPECT_TRUE(covers(one, contract_plan(steps)));
  EXPECT_FALSE(covers(one, two));
  EXPECT_FALSE(covers(one, contract_plan(contract_of("  - drop_column: a\n"))));
  EXPECT_THAT(plan_changes(one, two), ElementsAre("+ contract step 2 drops index public.j along"));
  EXPECT_THAT(plan_changes(two, one), IsEmpty());
}

TEST(ContractPlan, AnApprovalIsForTheObjectsThatItWasGivenFor) {
  auto const steps = contract_of("  - drop_table: a\n  - drop_table: b\n");
  auto const first = taken_line(steps[0], "table public.a, number 100");
  auto const one = contract_plan(steps, {first, taken_line(steps[1], "table public.b, number 200")});
  auto const other = contract_plan(steps, {first, taken_line(steps[1], "table public.b, number 300")});
  EXPECT_TRUE(covers(one, one));
  EXPECT_FALSE(covers(one, other));
  EXPECT_TRUE(has_same_steps(one, other));
  EXPECT_TRUE(covers(one, contract_plan(steps, {first}))) << "the other one is gone";
  EXPECT_TRUE(covers(contract_plan(steps, {first}), other)) << "it was not there yet";
  EXPECT_THAT(plan_changes(one, other), ElementsAre("- contract step 2 takes table public.b, number 200",
                                                    "+ contract step 2 takes table public.b, number 300"));
  EXPECT_FALSE(covers(one, contract_plan(steps, {"contract step 1 drops view public.x takes y along"})));
}

}  // namespace
}  // namespace pgbackfill::planner
