#include "planner/steps/safe_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "planner/file/migration_file.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::planner {
namespace {

using testing::HasSubstr;

std::string form_of(std::string const& step, int version = 150000) {
  auto const parsed = parse_migration("name: x\ntable: public.t\ncontract:\n  - " + step + "\n", "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  StepFacts facts;
  facts.server_version = version;
  return parsed.migration ? safe_form(contract_steps(*parsed.migration).at(0).step, facts) : "";
}

TEST(SafeForm, SaysWhatThePlainStatementWouldHaveStopped) {
  EXPECT_THAT(form_of("set_not_null: a"), HasSubstr("a CHECK NOT VALID"));
  EXPECT_THAT(form_of("set_not_null: a", 180000), HasSubstr("a NOT NULL constraint NOT VALID"));
  EXPECT_THAT(form_of("create_index: {name: i, columns: [a]}"), HasSubstr("CONCURRENTLY: writes go on"));
  EXPECT_THAT(form_of("add_foreign_key: {name: f, columns: [a], references: o}"), HasSubstr("both tables"));
  EXPECT_THAT(form_of("add_primary_key: {name: k, columns: [a]}"), HasSubstr("NOT NULL beforehand"));
  EXPECT_THAT(form_of("add_column: {name: a, type: int, default: 1}"), HasSubstr("kept in the catalog"));
}

TEST(SafeForm, SaysNothingWhereThereIsNoOtherWay) {
  for (char const* step : {"drop_column: a", "drop_table: old", "sql: SELECT 1", "rename_table: {to: b}",
                           "add_column: {name: a, type: int}", "drop_not_null: a"}) {
    EXPECT_EQ(form_of(step), "") << step;
  }
  EXPECT_EQ(form_of("detach_partition: {partition: p}", 130000), "");
}

}  // namespace
}  // namespace pgbackfill::planner
