// Where statements begin and end, and how deep they may be.
#include "planner/sql/sql_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgbackfill::planner::lint {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> texts(std::string const& sql, std::vector<TextSpan> const& spans) {
  std::vector<std::string> found;
  for (auto const span : spans) found.push_back(sql.substr(span.begin, span.end - span.begin));
  return found;
}

std::vector<std::string> statements(std::string const& sql) {
  std::vector<TextSpan> spans;
  for (auto const& statement : split_script(sql).statements) spans.push_back(statement.span);
  return texts(sql, spans);
}

TEST(SqlScript, EndsStatementsAtSemicolonsThatAreCode) {
  EXPECT_THAT(statements("a; b ;\n c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(statements(" ; ;; "), IsEmpty());
  EXPECT_THAT(statements("a ';' b; c"), ElementsAre("a ';' b", "c"));
  EXPECT_THAT(statements("a 'it''s;' b; c"), ElementsAre("a 'it''s;' b", "c"));
  EXPECT_THAT(statements("a E'\\';' b; c"), ElementsAre("a E'\\';' b", "c"));
  // A backslash is nothing special in an ordinary string.
  EXPECT_THAT(statements("a '\\'; b"), ElementsAre("a '\\'", "b"));
  EXPECT_THAT(statements("a \"x;y\" b; c"), ElementsAre("a \"x;y\" b", "c"));
  EXPECT_THAT(statements("a $$ ; $$ b; c"), ElementsAre("a $$ ; $$ b", "c"));
  EXPECT_THAT(statements("a $x$ ; $$ ; $x$ b; c"), ElementsAre("a $x$ ; $$ ; $x$ b", "c"));
  EXPECT_THAT(statements("a $1; b"), ElementsAre("a $1", "b"));
  EXPECT_THAT(statements("CREATE RULE r AS DO (a; b); c"), ElementsAre("CREATE RULE r AS DO (a; b)", "c"));
}

TEST(SqlScript, KeepsABodyOfBeginAtomicInOnePiece) {
  EXPECT_THAT(statements("CREATE FUNCTION f() BEGIN ATOMIC a; SELECT CASE b WHEN 1 THEN 2 END; END; c"),
              ElementsAre("CREATE FUNCTION f() BEGIN ATOMIC a; SELECT CASE b WHEN 1 THEN 2 END; END", "c"));
  EXPECT_THAT(statements("BEGIN; a; END; b"), ElementsAre("BEGIN", "a", "END", "b"));
}

TEST(SqlScript, FindsComments) {
  std::string const sql = "-- one; two\na /* x /* y */ ; */ b; -- '";
  EXPECT_THAT(texts(sql, split_script(sql).comments), ElementsAre("-- one; two", "/* x /* y */ ; */", "-- '"));
  EXPECT_THAT(statements(sql), ElementsAre("a /* x /* y */ ; */ b"));
}

TEST(SqlScript, KnowsPsql) {
  std::string const sql = "\\set a 'b;\nCOPY t FROM stdin;\n1;\tx\n\\.\nSELECT 1 \\gexec\nSELECT 2";
  EXPECT_THAT(texts(sql, split_script(sql).psql_commands), ElementsAre("\\set a 'b;", "\\gexec"));
  EXPECT_THAT(statements(sql), ElementsAre("COPY t FROM stdin", "SELECT 1", "SELECT 2"));
}

TEST(SqlScript, EndsWithTheTextWhateverIsOpen) {
  for (char const* sql : {"a 'b", "a \"b", "a $$ b", "a /* b", "a (b; c", "a E'\\", "a $x", "\\", "$", "'", "/*"}) {
    EXPECT_LE(split_script(sql).statements.size(), 1U) << sql;
  }
}

std::size_t nesting(std::string const& sql) {
  return split_script(sql).statements.at(0).nesting;
}

TEST(SqlScript, BoundsHowDeepAStatementIs) {
  std::string list;
  std::string sum;
  std::string unions;
  for (int item = 0; item < 1000; ++item) {
    list += "a + b, ";
    sum += "a + ";
    unions += "SELECT 1, 2 UNION ";
  }
  EXPECT_LT(nesting("SELECT " + list + "c"), 20U);
  EXPECT_GT(nesting("SELECT " + sum + "c"), 2000U);
  EXPECT_GE(nesting(unions + "SELECT 1, 2"), 1000U);
  EXPECT_GE(nesting("SELECT " + std::string(1000, '(') + std::string(1000, ')')), 1000U);
}

TEST(LineIndex, CountsFromOne) {
  LineIndex const lines("ab\n\ncd");
  for (auto const& [offset, line, column] : std::vector<std::tuple<std::size_t, int, int>>{
           {0, 1, 1}, {1, 1, 2}, {2, 1, 3}, {3, 2, 1}, {4, 3, 1}, {5, 3, 2}}) {
    EXPECT_EQ(lines.place_of(offset).line, line) << offset;
    EXPECT_EQ(lines.place_of(offset).column, column) << offset;
    EXPECT_EQ(lines.offset_of({line, column}), offset);
  }
}

}  // namespace
}  // namespace pgbackfill::planner::lint
