#include "planner/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/migration_file.h"

namespace pgbackfill::planner {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kAt[] = "2026-11-21 14:03";

RecordedFact recorded(std::string kind, std::string name, std::string definition, bool is_own = false) {
  return {{"\"s\".\"t\"", std::move(kind), std::move(name), std::move(definition)}, is_own, kAt};
}
SchemaFact fact(std::string kind, std::string name, std::string definition) {
  return recorded(std::move(kind), std::move(name), std::move(definition)).fact;
}

Migration migration_of(std::string const& sections) {
  auto const parsed = parse_migration("name: x\ntable: s.t\n" + sections, "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration.value_or(Migration());
}

std::string reason_of(Difference const& difference, std::string const& sections) {
  Key key;
  key.index = "t_pkey";
  key.columns.emplace_back();
  key.columns.back().name = "id";
  return drift_reason(difference, migration_of(sections), {key});
}

Difference changed(std::string const& column) {
  return {"\"s\".\"t\"", "column", column, "text", "integer", kAt, false};
}

TEST(Drift, IsWhatChangedCameAndWent) {
  auto const found = differences(
      {recorded("column", "a", "text"), recorded("index", "i", "CREATE INDEX i"), recorded("owner", "", "me")},
      {fact("column", "a", "character varying(80)"), fact("trigger", "g", "CREATE TRIGGER g"),
       fact("owner", "", "you")});
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(difference_text(found[0]),
            "since 2026-11-21 14:03 UTC: column \"a\" of \"s\".\"t\" is character varying(80) where it was text");
  EXPECT_EQ(difference_text(found[1]),
            "since 2026-11-21 14:03 UTC: trigger \"g\" of \"s\".\"t\" is new: CREATE TRIGGER g");
  EXPECT_EQ(difference_text(found[2]), "since 2026-11-21 14:03 UTC: the owner of \"s\".\"t\" is you where it was me");
  EXPECT_EQ(difference_text(found[3]),
            "since 2026-11-21 14:03 UTC: index \"i\" of \"s\".\"t\" is gone; it was CREATE INDEX i");
}

TEST(Drift, IsNoneWithoutARecordOrWithoutTheTable) {
  EXPECT_THAT(differences({}, {fact("column", "a", "text")}), IsEmpty());
  EXPECT_THAT(differences({recorded("column", "a", "text")}, {}), IsEmpty());
  EXPECT_THAT(differences({recorded("column", "a", "text")}, {fact("column", "a", "text")}), IsEmpty());
}

TEST(Drift, MattersWhereTheWorkReliesOnIt) {
  std::string const work = "backfill:\n  set: {b: \"upper(Name) || \\\"Odd\\\"\"}\n  where: c IS NULL\n";
  for (char const* column : {"b", "name", "Odd", "c"}) {
    EXPECT_THAT(reason_of(changed(column), work), HasSubstr("the work reads or writes it")) << column;
  }
  EXPECT_THAT(reason_of(changed("id"), work), HasSubstr("part of the key"));
  for (char const* column : {"nam", "upper_", "other"}) EXPECT_EQ(reason_of(changed(column), work), "") << column;
  Difference const index{"\"s\".\"t\"", "index", "t_pkey", "x", std::nullopt, kAt, false};
  EXPECT_THAT(reason_of(index, work), HasSubstr("paged by it"));
  Difference own{"\"s\".\"t\"", "index", "other", "x", std::nullopt, kAt, true};
  EXPECT_THAT(reason_of(own, work), HasSubstr("a step of the migration had made it"));
  own.was_own = false;
  EXPECT_EQ(reason_of(own, work), "");
}

TEST(Drift, MattersForColumnsOfSync) {
  std::string const sync = "sync: {set: {b: lower(a)}}\n";
  EXPECT_THAT(reason_of(changed("a"), sync), HasSubstr("the work"));
  EXPECT_THAT(reason_of(changed("b"), sync), HasSubstr("the work"));
  EXPECT_EQ(reason_of(changed("c"), sync), "");
}

// The trigger of a copy is another kind of sync.
TEST(Drift, MattersForColumnsOfACopyThatIsKeptInStep) {
  std::string const copy = "sync: {mirror: [id]}\nbackfill: {copy_to: s.n, columns: {id: id, a: lower(b)}}\n";
  EXPECT_THAT(reason_of(changed("b"), copy), HasSubstr("the work"));
  EXPECT_EQ(reason_of(changed("c"), copy), "");
}

TEST(Drift, ConcernsTheTablesOfTheFileOnceEach) {
  auto const tables = tables_of(migration_of("backfill: {copy_to: s.n, columns: {a: a}}\n"));
  ASSERT_EQ(tables.size(), 2U);
  EXPECT_EQ(tables[0].name, "t");
  EXPECT_EQ(tables[1].name, "n");
}

}  // namespace
}  // namespace pgbackfill::planner
