#include "planner/model/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "planner/file/migration_file.h"

namespace pgbackfill::planner {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

std::vector<Check> checks_of(std::string const& list, std::string const& head = "table: public.t\n") {
  auto const parsed = parse_migration("name: x\n" + head + "verify:\n" + list, "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration ? parsed.migration->verify : std::vector<Check>{};
}

Check check_of(std::string const& text) {
  auto const checks = checks_of("  - " + text + "\n");
  return checks.empty() ? Check{} : checks.front();
}

std::vector<std::string> problems_of(std::string const& list, std::string const& head = "table: t\n") {
  std::vector<std::string> texts;
  for (auto const& problem : parse_migration("name: x\n" + head + "verify:\n" + list, "m.yaml").problems) {
    texts.push_back(to_string(problem));
  }
  return texts;
}

// --- the file -------------------------------------------------------------------------------------------------------

TEST(Checks, AreReadInTheirOrderWithPositions) {
  auto const checks = checks_of(
      "  - zero: SELECT 0\n    timeout: 5m\n  - row_count: v2\n  - no_orphans: {columns: [a], references: s.p, to: "
      "[id]}\n  - no_duplicates: {table: u, columns: [a, b], where: c > 0}\n  - constraints_valid: s.v\n  - agrees: "
      "{set: {b: upper(a)}, where: d}\n");
  ASSERT_THAT(checks, SizeIs(6));
  EXPECT_EQ(check_text(checks[0]), "zero: SELECT 0");
  EXPECT_EQ(checks[0].timeout, 5min);
  EXPECT_EQ(checks[0].position.line, 4);
  EXPECT_EQ(check_text(checks[1]), "row_count: public.t and v2");
  EXPECT_EQ(checks[1].timeout, 1min);
  EXPECT_EQ(check_text(checks[2]), "no_orphans: public.t (a) in s.p (id)");
  EXPECT_EQ(check_text(checks[3]), "no_duplicates: u (a, b)");
  EXPECT_EQ(check_text(checks[4]), "constraints_valid: s.v");
  EXPECT_EQ(check_text(checks[5]), "agrees: public.t (b)");
}

TEST(Checks, MistakesAreToldWithTheirPlaces) {
  EXPECT_THAT(problems_of("  - zreo: SELECT 0\n"),
              ElementsAre("m.yaml:4:5: unknown key 'zreo' (did you mean 'zero'?)"));
  EXPECT_THAT(problems_of("  - zero: SELECT 0;\n"), ElementsAre(HasSubstr("m.yaml:4:11: the query ends with a semi")));
  EXPECT_THAT(problems_of("  - zero: [1]\n"), ElementsAre(HasSubstr("must be SQL text, not a list")));
  EXPECT_THAT(problems_of("  - SELECT 0\n"), ElementsAre(StartsWith("m.yaml:4:5: a check must be a map")));
  EXPECT_THAT(problems_of("  zero: SELECT 0\n"), ElementsAre(HasSubstr("'verify' must be a list of checks")));
  EXPECT_THAT(problems_of("  - {zero: SELECT 0, row_count: u}\n"), ElementsAre(HasSubstr("exactly one of")));
  EXPECT_THAT(problems_of("  - timeout: 5s\n"), ElementsAre(HasSubstr("exactly one of")));
  EXPECT_THAT(problems_of("  - {zero: SELECT 0, timeout: 5}\n"), ElementsAre(HasSubstr("timeout: 5")));
  EXPECT_THAT(problems_of("  - {agrees: {set: {a: b}}, timeout: 5s}\n"),
              ElementsAre(HasSubstr("cannot stand beside 'agrees'")));
  EXPECT_THAT(problems_of("  - no_orphans: {columns: [a, b], references: p, to: [id]}\n"),
              ElementsAre(HasSubstr("'to' has 1 columns and 'columns' 2")));
  EXPECT_THAT(problems_of("  - no_orphans: {columns: [a], references: p}\n"),
              ElementsAre(HasSubstr("'to' is missing")));
  EXPECT_THAT(problems_of("  - no_duplicates: {columns: []}\n"), ElementsAre(HasSubstr("an empty one")));
  EXPECT_THAT(problems_of("  - row_count: u\n", ""), ElementsAre(HasSubstr("'row_count' has no table")));
  EXPECT_THAT(problems_of("  - agrees: {set: {a: b}}\n", ""), ElementsAre(HasSubstr("'agrees' has no table")));
}

// --- the SQL --------------------------------------------------------------------------------------------------------

TEST(Checks, QuoteNamesAndKeepSqlAsItIs) {
  EXPECT_EQ(check_sql(check_of("zero: \"SELECT 0 -- x\"")), "SELECT 0 -- x");
  EXPECT_EQ(check_sql(check_of("row_count: {same_as: \"\\\"A B\\\"\", where: c -- x}")),
            "SELECT (SELECT pg_catalog.count(*) FROM \"public\".\"t\" WHERE (c -- x\n)), (SELECT pg_catalog.count(*) "
            "FROM \"A B\")");
  EXPECT_THAT(check_sql(check_of("no_orphans: {columns: ['a\"b'], references: p, to: [id]}")),
              HasSubstr("FROM \"public\".\"t\" AS child WHERE child.\"a\"\"b\" IS NOT NULL AND NOT EXISTS (SELECT FROM "
                        "\"p\" AS parent WHERE parent.\"id\" OPERATOR(pg_catalog.=) child.\"a\"\"b\")"));
  EXPECT_THAT(check_sql(check_of("no_duplicates: {columns: [a, b], where: c}")),
              HasSubstr("WHERE (c\n) AND \"a\" IS NOT NULL AND \"b\" IS NOT NULL GROUP BY \"a\", \"b\" HAVING"));
  EXPECT_THAT(check_sql(check_of("constraints_valid: \"\\\"o'x\\\"\"")), HasSubstr("'\"o''x\"'::pg_catalog.regclass"));
  auto const agrees = check_of("agrees: {set: {a: upper(b), c: d + 1}, where: e}");
  EXPECT_EQ(check_sql(agrees), "");
}

TEST(Checks, CompareAsTheTypesOfTheColumnsDo) {
  auto orphans = check_of("no_orphans: {columns: [a, b], references: s.p, to: [id, code]}");
  EXPECT_THAT(equalities_sql(orphans), HasSubstr("to_regclass('\"s\".\"p\"')"));
  EXPECT_EQ(equalities_sql(check_of("row_count: u")), "");
  std::get<NoOrphansCheck>(orphans.kind).equalities = {"", "ext.="};
  EXPECT_THAT(check_sql(orphans), HasSubstr("parent.\"id\" OPERATOR(pg_catalog.=) child.\"a\" AND parent.\"code\" "
                                            "OPERATOR(ext.=) child.\"b\""));
}

// --- the answer -----------------------------------------------------------------------------------------------------

TEST(Checks, OnlyZeroIsZero) {
  auto const zero = check_of("zero: SELECT 0");
  for (char const* text : {"0", "0.00", "-0"}) EXPECT_TRUE(judge(zero, {{text}}).holds) << text;
  for (char const* text : {"1", "-1", "0.001", "", " ", "f", "0 rows", "NaN", "1e-400", "Infinity", "x"}) {
    EXPECT_FALSE(judge(zero, {{text}}).holds) << text;
  }
  EXPECT_FALSE(judge(zero, {}).holds) << "no row";
  EXPECT_FALSE(judge(zero, {{"0"}, {"0"}}).holds) << "two rows";
  EXPECT_FALSE(judge(zero, {{"0", "0"}}).holds) << "two columns";
  EXPECT_FALSE(judge(zero, {{std::nullopt}}).holds) << "NULL";
  EXPECT_FALSE(judge(zero, {CheckAnswer::value_type()}).holds) << "no column";
  EXPECT_EQ(judge(zero, {{"7"}}).text, "7 instead of 0");
}

TEST(Checks, SayWhatWasFound) {
  auto const orphans = check_of("no_orphans: {columns: [a], references: p, to: [id]}");
  EXPECT_TRUE(judge(orphans, {{"0", std::nullopt}}).holds);
  EXPECT_EQ(judge(orphans, {{"3", "42"}}).text, "3 row(s) refer to nothing, for example 42");
  auto const count = check_of("row_count: u");
  EXPECT_TRUE(judge(count, {{"5", "5"}}).holds);
  EXPECT_FALSE(judge(count, {{"5", "6"}}).holds);
  EXPECT_FALSE(judge(count, {{"5", std::nullopt}}).holds);
  EXPECT_EQ(judge(count, {{"5", "6"}}).text, "5 row(s) against 6");
}

}  // namespace
}  // namespace pgbackfill::planner
