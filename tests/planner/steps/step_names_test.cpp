#include "planner/steps/step_names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/file/migration_file.h"

namespace pgbackfill::planner {
namespace {

SchemaStep step_of(std::string const& text) {
  auto const parsed = parse_migration("name: x\ntable: public.t\nexpand:\n  - " + text + "\n", "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration ? parsed.migration->expand.at(0) : SchemaStep{};
}

bool matters(std::string const& earlier, std::string const& later) {
  return may_matter(step_of(earlier), step_of(later));
}

TEST(StepNames, WhatAnEarlierStepMakesIsLeftToTheStepsOwnTurn) {
  EXPECT_TRUE(matters("add_column: {name: a, type: int}", "drop_column: a"));
  EXPECT_TRUE(matters("add_column: {name: a, type: int}", "add_check: {name: c, check: a > 0}"));
  EXPECT_TRUE(matters("rename_column: {name: b, to: a}", "set_not_null: a"));
  EXPECT_TRUE(matters("create_table: {table: public.n, like: t}", "set_not_null: {table: public.n, column: a}"));
  EXPECT_TRUE(matters("create_index: {name: i, columns: [a]}", "drop_index: i"));
  EXPECT_TRUE(matters("add_enum_value: {type: mood, value: new}", "set_default: {column: m, value: \"'new'\"}"));
  EXPECT_TRUE(matters("swap_column: {column: a, with: b, keep_as: old}", "drop_column: old"));
}

TEST(StepNames, WhatItLeavesAloneIsAskedAbout) {
  EXPECT_FALSE(matters("add_column: {name: a, type: int}", "drop_column: b"));
  EXPECT_FALSE(matters("drop_column: {table: public.other, name: a}", "drop_column: a"));
  EXPECT_FALSE(matters("add_enum_value: {type: mood, value: new}", "drop_column: b"));
}

TEST(StepNames, AWayBackGivesNamesBackToTheStepsBeforeIt) {
  auto const renames = [](std::string const& later, std::string const& earlier) {
    return may_rename_on_its_way_back(step_of(later), step_of(earlier));
  };
  EXPECT_TRUE(renames("rename_column: {name: a, to: b}", "add_column: {name: a, type: int}"));
  EXPECT_TRUE(renames("rename_table: {to: u}", "add_column: {name: a, type: int}"));
  EXPECT_TRUE(renames("create_index: {name: i, columns: [b]}", "drop_index: i"));
  EXPECT_TRUE(renames("set_default: {column: a, value: \"1\"}", "set_default: {column: a, value: \"2\"}"));
  EXPECT_FALSE(renames("set_default: {column: a, value: \"1\"}", "add_column: {name: a, type: int}"));
  EXPECT_FALSE(renames("create_index: {name: i, columns: [a]}", "add_column: {name: a, type: int}"));
  EXPECT_FALSE(renames("create_table: {table: public.n, like: public.t}", "add_column: {name: a, type: int}"));
  EXPECT_TRUE(may_matter_on_its_way_back(step_of("create_index: {name: i, columns: [a]}"),
                                         step_of("add_column: {name: a, type: int}")));
  EXPECT_FALSE(may_matter_on_its_way_back(step_of("create_index: {name: i, columns: [a]}"),
                                          step_of("add_column: {name: b, type: int}")));
}

TEST(StepNames, SqlCountsIfItMentionsTheNameOrCannotBeSeenThrough) {
  EXPECT_TRUE(matters("sql: ALTER TABLE t ADD Legacy int", "drop_column: legacy"));
  EXPECT_FALSE(matters("sql: ALTER TABLE t ADD other int", "drop_column: legacy"));
  EXPECT_TRUE(matters("sql: SELECT make_columns()", "drop_column: legacy"));
  EXPECT_TRUE(matters("sql: \"DO $$ BEGIN END $$\"", "drop_column: legacy"));
  EXPECT_TRUE(may_take_away(step_of("sql: DROP VIEW report"), "report"));
  EXPECT_FALSE(may_take_away(step_of("sql: DROP VIEW report"), "other"));
  EXPECT_TRUE(may_take_away(step_of("drop_index: i"), "i"));
}

}  // namespace
}  // namespace pgbackfill::planner
