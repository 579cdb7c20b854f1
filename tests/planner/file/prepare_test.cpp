// prepare: in a file, and the SQL that becomes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/work/prepared.h"

namespace pgbackfill::planner {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::string file_with(std::string const& prepare, std::string const& work) {
  return "name: m\ntable: t\nbackfill:\n  prepare: " + prepare + "\n  " + work + "\n";
}

std::vector<std::string> problems_of(std::string const& text) {
  std::vector<std::string> texts;
  for (auto const& problem : parse_migration(text, "m.yaml").problems) texts.push_back(to_string(problem));
  return texts;
}

constexpr char kLast[] = "{last: {as: SELECT a FROM e -- all, key: [a]}}";

TEST(Prepare, StandsAsItsQueryUntilThereIsATable) {
  auto const parsed = parse_migration(file_with(kLast, "set: {v: \"(SELECT l.a FROM {prepare:last} l)\"}"), "m.yaml");
  ASSERT_TRUE(parsed.migration) << to_lines(parsed.problems);
  auto const& backfill = *parsed.migration->backfill;
  EXPECT_EQ(backfill.assignments.at(0).expression,
            "(SELECT l.a FROM (/* prepare: last */ SELECT a FROM e -- all\n) l)");
  ASSERT_EQ(parsed.prepared.size(), 1U);
  auto const table = table_of(parsed.prepared.at(0), "m");
  EXPECT_THAT(table, AllOf(StartsWith("\"pgbackfill\".\"prepared_"), HasSubstr("_last\"")));
  EXPECT_EQ(with_tables(backfill, parsed.prepared, "m").assignments.at(0).expression,
            "(SELECT l.a FROM " + table + " l)");
  EXPECT_NE(table_of(parsed.prepared.at(0), "n"), table) << "each migration has its own";
}

TEST(Prepare, HasATableWhoseNameFits) {
  Prepared prepared;
  prepared.name = std::string(kMaxPreparedName, 'x');
  EXPECT_LE(table_of(prepared, std::string(200, 'm')).size() + std::string("_new").size(),
            std::string("\"pgbackfill\".\"\"").size() + 63);
}

TEST(Prepare, IsRefusedWhereNobodyComputesIt) {
  EXPECT_THAT(problems_of(file_with(kLast, "set: {v: \"{prepare:lest}\"}")),
              ElementsAre("m.yaml:5:12: there is no 'lest' in 'prepare' (did you mean 'last'?)"));
  EXPECT_THAT(problems_of("name: m\ntable: t\nverify: [{zero: \"SELECT count(*) FROM {prepare:last} l\"}]\n"),
              ElementsAre(HasSubstr("{prepare:last} stands in the SQL of the backfill alone")));
  EXPECT_THAT(problems_of("name: m\ntable: t\nsync: {mirror: [id]}\nbackfill: {prepare: {a: {as: SELECT 1 AS x, key: "
                          "[x]}}, copy_to: u, columns: {id: id}}\n"),
              ElementsAre(HasSubstr("'mirror' and 'prepare' exclude each other")));
}

TEST(Prepare, IsDeclaredByAQueryAndItsKey) {
  auto const declared = [](std::string const& prepare) { return problems_of(file_with(prepare, "set: {v: 1}")); };
  EXPECT_THAT(declared("{last: {as: SELECT 1}}"), ElementsAre(HasSubstr("'key' is missing in 'prepare'")));
  EXPECT_THAT(declared("{last: {key: [a]}}"),
              ElementsAre(HasSubstr("exactly one of 'as', 'from' must be in 'prepare'")));
  EXPECT_THAT(declared("{last: {as: 'SELECT 1;', key: [a]}}"), ElementsAre(HasSubstr("semicolon")));
  EXPECT_THAT(declared("{Last: {as: SELECT 1, key: [a]}}"), ElementsAre(HasSubstr("lower-case letters")));
  EXPECT_THAT(declared("{last: SELECT 1}"), ElementsAre(HasSubstr("must be a map of 'as' or 'from', and 'key'")));
  EXPECT_THAT(declared("{}"), ElementsAre(HasSubstr("'prepare' must be a map")));
  EXPECT_THAT(declared(kLast), IsEmpty());
}

TEST(Prepare, MayHaveTheRowsOfAFile) {
  auto const declared = [](std::string const& from) {
    return problems_of(file_with("{ids: {from: " + from + ", key: [id]}}", "set: {v: 1}"));
  };
  EXPECT_THAT(declared("{csv: ids.csv, columns: {id: bigint, note: text}}"), IsEmpty());
  EXPECT_THAT(declared("{csv: ids.csv}"), ElementsAre(HasSubstr("'columns' is missing in 'from'")));
  EXPECT_THAT(declared("{csv: ids.csv, columns: {id: int8}}"),
              ElementsAre(HasSubstr("the type of a column is one of 'smallint'")));
  EXPECT_THAT(declared("{csv: ids.csv, columns: [id]}"), ElementsAre(HasSubstr("'columns' must be a map")));
  EXPECT_THAT(declared("{csv: ids.csv, columns: {ids: bigint}}"),
              ElementsAre(HasSubstr("'id' is not one of 'columns' (did you mean 'ids'?)")));
  EXPECT_THAT(problems_of(file_with("{ids: {as: SELECT 1 AS id, from: {csv: f, columns: {id: bigint}}, key: [id]}}",
                                    "set: {v: 1}")),
              ElementsAre(HasSubstr("'from' cannot stand beside 'as'")));
}

TEST(Prepare, LooksInABatchOnlyForTablesThatHadRows) {
  EXPECT_EQ(prepared_guard_sql({}), "");
  EXPECT_THAT(
      prepared_guard_sql({"a", "b"}),
      AllOf(HasSubstr("NOT EXISTS (SELECT FROM a) OR NOT EXISTS (SELECT FROM b)"), HasSubstr(kPreparedLostState)));
}

}  // namespace
}  // namespace pgbackfill::planner
