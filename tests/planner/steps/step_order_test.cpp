#include "planner/steps/step_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/model/step_detail.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ParsedMigration parsed(std::string const& contract) {
  return parse_migration("name: x\ntable: t\nsync:\n  set: {b: a}\ncontract:\n" + contract, "m.yaml");
}

// Phase and number of each step: "contract 1".
std::vector<std::string> order_of(std::string const& contract) {
  std::vector<std::string> order;
  for (auto const& step : contract_steps(*parsed(contract).migration)) {
    order.push_back(step.phase + " " + std::to_string(step.position));
  }
  return order;
}

std::string problems_of(std::string const& contract) {
  return to_lines(parsed(contract).problems);
}

TEST(StepOrder, SyncEndsBeforeWhatMayBreakItAndAfterWhatOnlyTightens) {
  EXPECT_THAT(order_of("  - set_not_null: b\n  - drop_column: a\n  - sql: x\n"),
              ElementsAre("contract 0", "sync 1", "contract 1", "contract 2"));
  EXPECT_THAT(order_of("  - set_not_null: b\n"), ElementsAre("contract 0", "sync 1"));
}

TEST(StepOrder, ASwapOfItsTableEndsSyncInItsOwnTransaction) {
  std::string const contract = "  - sql: x\n  - swap_column: {column: a, with: b}\n  - drop_column: a_old\n";
  EXPECT_THAT(order_of(contract), ElementsAre("contract 0", "contract 1", "sync 1", "contract 2"));
  auto const steps = contract_steps(*parsed(contract).migration);
  auto const swap = std::get<SwapColumn>(steps[1].step.detail->kind);
  EXPECT_EQ(swap.sync_of, "x");
  EXPECT_EQ(swap.keep_as, "a_old");
}

TEST(StepOrder, ASwapOfAnotherTableLeavesSyncToItself) {
  auto const steps =
      contract_steps(*parsed("  - swap_column: {table: other, column: a, with: b, keep_as: c}\n").migration);
  EXPECT_EQ(std::get<SwapColumn>(steps[0].step.detail->kind).sync_of, "");
  EXPECT_EQ(std::get<SwapColumn>(steps[0].step.detail->kind).keep_as, "c");
}

TEST(StepOrder, RefusesASwapWhoseColumnNobodyWouldFill) {
  EXPECT_THAT(problems_of("  - drop_column: z\n  - swap_column: {column: a, with: b}\n"),
              HasSubstr("m.yaml:7:5: 'sync' ends before the step above it"));
  EXPECT_THAT(problems_of("  - swap_column: {column: a, with: b}\n  - swap_column: {column: c, with: d}\n"),
              HasSubstr("m.yaml:7:5: 'sync' ends with the first 'swap_column'"));
  EXPECT_THAT(problems_of("  - sql: x\n  - swap_column: {column: a, with: b}\n"), IsEmpty());
}

TEST(StepOrder, KnowsWhatTheExpandStepsCanMake) {
  auto const expanding = [](std::string const& expand) {
    auto const file = parse_migration("name: x\ntable: t\nexpand:\n" + expand, "m.yaml");
    EXPECT_THAT(file.problems, IsEmpty());
    return *file.migration;
  };
  auto const adds = expanding("  - add_column: {name: b, type: int}\n  - rename_column: {name: c, to: d}\n");
  TableName const table{"public", "t"};
  EXPECT_FALSE(may_make_table(adds, table));
  EXPECT_TRUE(may_make_column(adds, table, "b"));
  EXPECT_TRUE(may_make_column(adds, table, "d"));
  EXPECT_FALSE(may_make_column(adds, table, "bb"));
  EXPECT_FALSE(may_make_column(adds, {"public", "other"}, "b"));
  auto const creates = expanding("  - create_table: {table: copy, like: t}\n  - rename_table: {table: old, to: u}\n");
  EXPECT_TRUE(may_make_table(creates, {"public", "copy"}));
  EXPECT_TRUE(may_make_table(creates, {"public", "u"}));
  EXPECT_FALSE(may_make_table(creates, table));
  auto const sql = expanding("  - sql: SELECT 1\n");
  EXPECT_TRUE(may_make_table(sql, table));
  EXPECT_TRUE(may_make_column(sql, table, "b"));
}

}  // namespace
}  // namespace pgbackfill::planner
