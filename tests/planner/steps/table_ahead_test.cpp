#include "planner/steps/table_ahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "planner/file/migration_file.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<PlacedStep> steps_of(std::vector<std::string> const& texts) {
  std::string file = "name: x\ntable: public.t\nexpand:\n";
  for (auto const& text : texts) file += "  - " + text + "\n";
  auto const parsed = parse_migration(file, "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration ? expand_steps(*parsed.migration) : std::vector<PlacedStep>{};
}

// What the last step finds.
TableAhead ahead_of_last(std::vector<std::string> const& texts, TableName const& table = {"public", "t"}) {
  auto steps = steps_of(texts);
  auto const last = steps.back().step;
  steps.pop_back();
  return table_ahead(steps, last, table, kCopyAhead);
}

TEST(TableAhead, StepsBeforeArePlayedInTheirOrder) {
  auto const found =
      ahead_of_last({"add_column: {name: a, type: int, default: \"1\"}", "rename_column: {name: a, to: b}",
                     "drop_column: {table: public.u, name: b}", "set_not_null: b"});
  EXPECT_TRUE(found.is_known);
  EXPECT_THAT(found.changes,
              ElementsAre(HasSubstr("pg_temp.\"pgbackfill_ahead\" ADD COLUMN IF NOT EXISTS \"a\" int\n DEFAULT (1"),
                          HasSubstr("RENAME COLUMN \"a\" TO \"b\"")));
  EXPECT_EQ(found.origin, (TableName{"public", "t"}));
  EXPECT_EQ(found.fates.at("a"), "expand step 2 renames it to b");
  EXPECT_EQ(found.fates.count("b"), 0U);
}

TEST(TableAhead, ATableIsFollowedBackToTheOneOfToday) {
  TableName const now = {"public", "u"};
  auto const renamed =
      ahead_of_last({"drop_column: b", "rename_table: {to: u}", "set_not_null: {table: public.u, column: a}"}, now);
  EXPECT_TRUE(renamed.is_known);
  EXPECT_EQ(renamed.origin, (TableName{"public", "t"}));
  EXPECT_EQ(renamed.fates.at("b"), "expand step 1 drops it");
  EXPECT_THAT(renamed.changes, SizeIs(1));
  auto const created =
      ahead_of_last({"drop_table: {table: public.u}", "create_table: {table: public.u, columns: a int}",
                     "set_not_null: {table: public.u, column: a}"},
                    now);
  EXPECT_TRUE(created.is_known);
  EXPECT_THAT(created.gone, IsEmpty());
  EXPECT_EQ(created.create, "CREATE TABLE \"public\".\"u\" (a int\n)");
}

TEST(TableAhead, ATableMayBeGone) {
  EXPECT_EQ(ahead_of_last({"rename_table: {to: u}", "set_not_null: a"}).gone, "expand step 1 renames it to u");
  EXPECT_EQ(ahead_of_last({"drop_table: {table: public.t}", "set_not_null: a"}).gone, "expand step 1 drops it");
  EXPECT_EQ(ahead_of_last({"rename_table: {to: u}", "rename_table: {table: public.u, to: t}", "set_not_null: a"}).gone,
            "");
}

TEST(TableAhead, WhatIsNotKnownIsNotGuessed) {
  for (auto const* step :
       {"sql: ALTER TABLE t ADD x int", "sql: SELECT f()", "detach_partition: {partition: public.p}",
        "swap_primary_key: {name: k, columns: [a]}", "attach_partition: {partition: public.p, for_values: DEFAULT}",
        "drop_column: {table: t, name: b}"}) {
    EXPECT_FALSE(ahead_of_last({step, "set_not_null: a"}).is_known) << step;
  }
  auto const beside =
      ahead_of_last({"sql: CREATE VIEW v AS TABLE pg_am", "set_not_null: {table: public.orders, column: total}"},
                    {"public", "orders"});
  EXPECT_TRUE(beside.is_known);
  auto const swapped = ahead_of_last({"swap_column: {column: a, with: b}", "set_not_null: a"});
  EXPECT_TRUE(swapped.is_known);
  EXPECT_FALSE(swapped.is_alike);
  EXPECT_EQ(swapped.fates.at("b"), "expand step 1 renames it to a");
}

TEST(TableAhead, AStepChangesWhatItIsAboutAlone) {
  auto const changes = [](std::string const& earlier, std::string const& later) {
    auto const steps = steps_of({earlier, later});
    return may_change_refusal(steps.at(0).step, steps.at(1).step);
  };
  EXPECT_FALSE(changes("set_default: {column: a, value: \"1\"}", "drop_not_null: a"));
  EXPECT_FALSE(changes("set_not_null: a", "drop_not_null: a"));
  EXPECT_FALSE(changes("set_not_null: a", "drop_column: a"));
  EXPECT_TRUE(changes("drop_index: a", "drop_column: a"));
  EXPECT_TRUE(changes("add_column: {name: a, type: int}", "set_default: {column: a, value: \"1\"}"));
  EXPECT_TRUE(changes("add_enum_value: {type: mood, value: new}", "set_default: {column: a, value: \"'new'\"}"));
  EXPECT_TRUE(changes("sql: ALTER TABLE t DROP a", "drop_not_null: a"));
  EXPECT_FALSE(changes("drop_constraint: k", "drop_not_null: a"));
  auto const lifting = steps_of({"drop_constraint: k", "drop_not_null: a", "rename_column: {name: a, to: b}"});
  EXPECT_TRUE(may_lift_refusal(lifting.at(0).step, lifting.at(1).step));
  EXPECT_FALSE(may_lift_refusal(lifting.at(0).step, lifting.at(2).step));
  EXPECT_FALSE(may_lift_refusal(lifting.at(1).step, lifting.at(2).step));
  auto const steps = steps_of({"set_not_null: a", "drop_not_null: a"});
  EXPECT_TRUE(may_change_done(steps.at(0).step, steps.at(1).step));
}

}  // namespace
}  // namespace pgbackfill::planner
