#include "planner/step_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "planner/migration_file.h"
#include "planner/step_detail.h"

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

}  // namespace
}  // namespace pgbackfill::planner
