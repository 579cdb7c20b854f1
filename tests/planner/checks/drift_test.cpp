#include "planner/checks/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/file/migration_file.h"

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
  return {"\"s\".\"t\"", "column", column, "text", "integer", kAt, false, false};
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

constexpr char kPart[] = "\"s\".\"t_1\"";

// A table with partitions t_1, whose column b is its own, and what else a test adds.
std::vector<RecordedFact> recorded_parts(std::vector<RecordedFact> more = {}) {
  std::vector<RecordedFact> facts = {recorded("partition key", "", "LIST (a)"), recorded("column", "a", "text"),
                                     recorded("column", "b", "text"), recorded("owner", "", "me"),
                                     recorded("partition", kPart, "FOR VALUES IN ('x')")};
  facts.insert(facts.end(), more.begin(), more.end());
  return facts;
}
std::vector<SchemaFact> parts_now(std::vector<SchemaFact> const& more = {}) {
  std::vector<SchemaFact> facts;
  for (auto const& one : recorded_parts()) facts.push_back(one.fact);
  facts.insert(facts.end(), more.begin(), more.end());
  return facts;
}
std::vector<std::string> texts_of(std::vector<Difference> const& differences) {
  std::vector<std::string> texts;
  for (auto const& one : differences) {
    if (!one.is_implied)
      texts.push_back(difference_text(one).substr(std::string("since  UTC: ").size() + sizeof kAt - 1));
  }
  return texts;
}

TEST(Drift, NamesPartitionsThatCameAndWent) {
  SchemaFact const other = fact("partition", "\"s\".\"t_2\"", "FOR VALUES IN ('y')");
  // With what they have of their own, which is not told.
  SchemaFact const index_of_other = {other.name, "index", "i", "CREATE INDEX i"};
  EXPECT_THAT(texts_of(differences(recorded_parts(), parts_now({other, index_of_other}))),
              testing::ElementsAre("partition \"s\".\"t_2\" of \"s\".\"t\" is new: FOR VALUES IN ('y')"));
  EXPECT_THAT(texts_of(differences(recorded_parts({{other, false, kAt}, {index_of_other, false, kAt}}), parts_now())),
              testing::ElementsAre("partition \"s\".\"t_2\" of \"s\".\"t\" is gone; it was FOR VALUES IN ('y')"));
}

TEST(Drift, NamesWhatAPartitionHasOfItsOwn) {
  EXPECT_THAT(differences(recorded_parts(), parts_now()), IsEmpty());
  auto const found = differences(recorded_parts(), parts_now({{kPart, "index", "i", "CREATE INDEX i"},
                                                              {kPart, "column", "b", "text NOT NULL"},
                                                              {kPart, "owner", "", "you"}}));
  EXPECT_THAT(texts_of(found), testing::ElementsAre("index \"i\" of \"s\".\"t_1\" is new: CREATE INDEX i",
                                                    "column \"b\" of \"s\".\"t_1\" is text NOT NULL where it was text",
                                                    "the owner of \"s\".\"t_1\" is you where it was me"));
  auto const back = differences(recorded_parts({{{kPart, "column", "b", "text NOT NULL"}, false, kAt}}), parts_now());
  EXPECT_THAT(texts_of(back), testing::ElementsAre("column \"b\" of \"s\".\"t_1\" is text where it was text NOT NULL"));
}

// The table's own change is told once, not of each partition.
TEST(Drift, OfATableIsNotToldOfEachPartition) {
  auto now = parts_now();
  now[2].definition = "text NOT NULL";
  EXPECT_EQ(differences(recorded_parts({{{kPart, "column", "b", "text NOT NULL"}, false, kAt}}), now).size(), 1U);
  now.push_back({kPart, "column", "b", "text"});
  EXPECT_EQ(differences(recorded_parts(), now).size(), 1U);
}

TEST(Drift, OfPartitionsIsUnknownWhereNoneWereRecorded) {
  EXPECT_THAT(
      differences({recorded("column", "a", "text"), recorded("column", "b", "text"), recorded("owner", "", "me")},
                  parts_now({{kPart, "index", "i", "CREATE INDEX i"}})),
      IsEmpty());
}

TEST(Drift, MattersWhereTheWorkReliesOnIt) {
  std::string const work = "backfill:\n  set: {b: \"upper(Name) || \\\"Odd\\\"\"}\n  where: c IS NULL\n";
  for (char const* column : {"b", "name", "Odd", "c"}) {
    EXPECT_THAT(reason_of(changed(column), work), HasSubstr("the work reads or writes it")) << column;
  }
  EXPECT_THAT(reason_of(changed("id"), work), HasSubstr("part of the key"));
  for (char const* column : {"nam", "upper_", "other"}) EXPECT_EQ(reason_of(changed(column), work), "") << column;
  Difference const index{"\"s\".\"t\"", "index", "t_pkey", "x", std::nullopt, kAt, false, false};
  EXPECT_THAT(reason_of(index, work), HasSubstr("paged by it"));
  Difference own{"\"s\".\"t\"", "index", "other", "x", std::nullopt, kAt, true, false};
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
