// The SQL of made-up rows, as text: what a server makes of it is in rehearse_pgtest.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "planner/fill/fill_plan.h"
#include "planner/fill/table_profile.h"
#include "planner/fill/value_limits.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ColumnProfile column(std::string name, std::string plain, std::string type = "") {
  ColumnProfile column;
  column.name = std::move(name);
  column.type = type.empty() ? plain : type;
  column.plain = std::move(plain);
  column.is_analyzed = true;
  column.distinct = -1;
  return column;
}

TableProfile table(std::string name, std::int64_t rows) {
  TableProfile table;
  table.table = {"public", std::move(name)};
  table.kind = "r";
  table.rows = rows;
  return table;
}

TEST(FillPlan, ScalesTheRowsOfEveryTable) {
  auto users = table("users", 1'000);
  users.columns = {column("id", "int8")};
  auto teams = table("teams", 3);
  teams.columns = {column("id", "int8")};
  FillTerms terms;
  terms.scale = 0.1;
  auto const plan = plan_fill({users, teams}, terms);
  ASSERT_EQ(plan.tables.size(), 2U);
  EXPECT_EQ(plan.tables[0].rows, 100);
  EXPECT_EQ(plan.tables[1].rows, 1);
}

TEST(FillPlan, NamesWhatItCannotMakeUpBeforeAnythingIsBuilt) {
  auto shapes = table("shapes", 10);
  shapes.columns = {column("id", "int8"), column("area", "polygon")};
  shapes.columns[1].is_not_null = true;
  auto const plan = plan_fill({shapes}, {});
  EXPECT_THAT(plan.refused, ElementsAre(HasSubstr("public.shapes.area: values of type polygon cannot be made up")));
}

TEST(FillPlan, TakesTheSqlThatTheFileGives) {
  auto shapes = table("shapes", 10);
  shapes.columns = {column("area", "polygon")};
  shapes.columns[0].is_not_null = true;
  FillTerms terms;
  terms.given["public.shapes.area"] = "polygon(box '0,0,1,1')";
  auto const plan = plan_fill({shapes}, terms);
  EXPECT_THAT(plan.refused, IsEmpty());
  EXPECT_THAT(plan.tables.at(0).values, HasSubstr("(polygon(box '0,0,1,1')\n)"));
}

TEST(FillPlan, RefusesAKeyThatHasNoRoomForTheRows) {
  auto flags = table("flags", 10);
  flags.columns = {column("flag", "bool")};
  flags.unique_keys = {{"flag"}};
  EXPECT_THAT(plan_fill({flags}, {}).refused, ElementsAre(HasSubstr("public.flags.flag belongs to a unique key")));
}

TEST(FillPlan, MakesNoTwoAlikeWhereProductionHasNoTwoAlike) {
  auto users = table("users", 1'000);
  users.columns = {column("mail", "text"), column("nick", "text")};
  users.columns[0].correlation = 1;
  users.columns[1].distinct = 40;
  auto const plan = plan_fill({users}, {});
  auto const& values = plan.tables.at(0).values;
  auto const comma = values.find("::text, ");
  EXPECT_THAT(values.substr(0, comma), Not(HasSubstr("floor(")));
  EXPECT_THAT(values.substr(comma), HasSubstr("floor("));
}

TEST(FillPlan, LeavesGeneratedColumnsToTheServer) {
  auto users = table("users", 10);
  users.columns = {column("id", "int8"), column("twice", "int8")};
  users.columns[1].is_generated = true;
  auto const plan = plan_fill({users}, {});
  EXPECT_EQ(plan.tables.at(0).columns, "\"id\"");
}

TEST(FillPlan, FillsPartitionsByTheirBoundsAndHashPartitionsThroughTheirParent) {
  auto by_day = table("by_day", 100);
  by_day.kind = "p";
  by_day.partition_key = "RANGE (at)";
  auto leaf = table("by_day_1", 100);
  leaf.parent = by_day.table;
  leaf.partition_bound = "FOR VALUES FROM ('2024-01-01') TO ('2024-01-02')";
  leaf.columns = {column("at", "timestamptz", "timestamp with time zone")};
  auto by_hash = table("by_hash", 50);
  by_hash.kind = "p";
  by_hash.partition_key = "HASH (id)";
  by_hash.columns = {column("id", "int8")};
  auto part = table("by_hash_0", 50);
  part.parent = by_hash.table;
  part.partition_bound = "FOR VALUES WITH (modulus 1, remainder 0)";
  part.columns = {column("id", "int8")};
  auto const plan = plan_fill({by_day, leaf, by_hash, part}, {});
  ASSERT_EQ(plan.tables.size(), 2U);
  EXPECT_EQ(plan.tables[0].table.name, "by_day_1");
  EXPECT_THAT(plan.tables[0].values, HasSubstr("'1704067200'"));
  EXPECT_EQ(plan.tables[1].table.name, "by_hash");
}

TEST(TableProfile, KeepsNoValueOfARowWhereNoneIsAskedFor) {
  auto users = table("users", 10);
  users.columns = {column("name", "text"), column("ok", "bool"), column("n", "int4")};
  users.columns[0].common_values = {"secret"};
  users.columns[0].bounds = {"secret", "secreu"};
  users.columns[1].common_values = {"t", "f"};
  users.columns[2].bounds = {"17", "4711"};
  measure_values(users.columns[2], 0);
  auto const kept = without_values(users);
  EXPECT_THAT(kept.columns[0].common_values, IsEmpty());
  EXPECT_THAT(kept.columns[0].bounds, IsEmpty());
  EXPECT_THAT(kept.columns[1].common_values, ElementsAre("t", "f"));
  EXPECT_THAT(kept.columns[2].bounds, IsEmpty());
  EXPECT_EQ(kept.columns[2].digits, 4);
}

TEST(TableProfile, KnowsHowLongMomentsReachWithoutKeepingThem) {
  auto at = column("at", "timestamptz");
  at.bounds = {"2024-01-01 00:00:00+00", "2024-01-11 00:00:00+00"};
  double now = 0;
  ASSERT_TRUE(seconds_of("2024-01-12 00:00:00", now));
  measure_values(at, now);
  EXPECT_EQ(at.span_days, 16);
  EXPECT_EQ(at.age_days, 0.5);
}

TEST(TableProfile, ReadsMomentsAsSeconds) {
  double seconds = 0;
  ASSERT_TRUE(seconds_of("1970-01-02 00:00:01.5+00", seconds));
  EXPECT_EQ(seconds, 86'401.5);
  ASSERT_TRUE(seconds_of("2024-02-29", seconds));
  EXPECT_EQ(seconds, 1'709'164'800);
  EXPECT_FALSE(seconds_of("infinity", seconds));
  EXPECT_FALSE(seconds_of("0044-03-15 BC", seconds));
}

TEST(ValueLimits, ReadsListsAndComparisonsOfChecks) {
  auto const state =
      limits_of_check("CHECK ((state = ANY (ARRAY['new'::text, 'it''s'::text])))", column("state", "text"));
  EXPECT_THAT(state.allowed, ElementsAre("new", "it's"));
  auto const age = limits_of_check("CHECK (((age >= 0) AND (age < 150)))", column("age", "int2"));
  EXPECT_EQ(age.lowest, 0);
  EXPECT_EQ(age.beyond, 150);
  auto price = column("price", "numeric");
  price.decimals = 2;
  auto const dear = limits_of_check("CHECK ((price > (0)::numeric))", price);
  EXPECT_EQ(dear.lowest, 0.01);
  EXPECT_FALSE(dear.beyond);
}

TEST(ValueLimits, SaysNothingOfWhatItCannotRead) {
  auto const either = limits_of_check("CHECK (((n < 3) OR (n > 5)))", column("n", "int4"));
  EXPECT_FALSE(either.lowest);
  EXPECT_FALSE(either.beyond);
  EXPECT_THAT(either.allowed, IsEmpty());
  auto const other = limits_of_check("CHECK ((length(name) > 3))", column("name", "text"));
  EXPECT_FALSE(other.lowest);
}

TEST(ValueLimits, KnowsTheColumnOfASimplePartitionKey) {
  EXPECT_EQ(column_of_key("RANGE (created_at)"), "created_at");
  EXPECT_EQ(column_of_key("LIST (\"Region\")"), "Region");
  EXPECT_EQ(column_of_key("RANGE (a, b)"), "");
  EXPECT_EQ(column_of_key("HASH (id)"), "");
  EXPECT_EQ(column_of_key("RANGE (lower(name))"), "");
}

}  // namespace
}  // namespace pgbackfill::planner
