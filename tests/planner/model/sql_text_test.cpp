#include "planner/model/sql_text.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::planner {
namespace {

TEST(SqlText, IdentifiersAreAlwaysQuoted) {
  EXPECT_EQ(quote_identifier("users"), "\"users\"");
  EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(quote_identifier("select * from 🐘; --"), "\"select * from 🐘; --\"");
  EXPECT_EQ(quote_identifier("\\"), "\"\\\"");
}

TEST(SqlText, AMissingSchemaIsLeftOut) {
  EXPECT_EQ(quote_qualified("", "a.b"), "\"a.b\"");
  EXPECT_EQ(quote_qualified("My.Schema", "t"), "\"My.Schema\".\"t\"");
}

TEST(SqlText, LiteralsEscapeOnlyWhereTheyMust) {
  EXPECT_EQ(quote_literal(""), "''");
  EXPECT_EQ(quote_literal("it's"), "'it''s'");
  EXPECT_EQ(quote_literal("a\\'b"), "E'a\\\\''b'");
}

TEST(SqlText, ArraysOfNothingHaveAType) {
  EXPECT_EQ(text_array({}), "ARRAY[]::pg_catalog.text[]");
  EXPECT_EQ(text_array({"a", "b'"}), "ARRAY['a', 'b''']::pg_catalog.text[]");
}

TEST(SqlText, ATrailingCommentDoesNotSwallowTheParenthesis) {
  EXPECT_EQ(parenthesised("a = 1 -- why"), "(a = 1 -- why\n)");
}

TEST(SqlText, PartsAreJoinedByTheirNumberNotTheirText) {
  EXPECT_EQ(join({}, ", "), "");
  EXPECT_EQ(join({"", "", ""}, ", "), ", , ");
}

// As the server's scanner reads a quoted text back; with backslashes for the E'' form.
std::string unquoted(std::string_view text, char quote, bool has_escapes) {
  std::string result;
  for (std::size_t at = 1; at + 1 < text.size(); ++at) {
    RC_ASSERT(text[at] != quote || (text[at + 1] == quote && at + 2 < text.size()));
    if (text[at] == quote || (has_escapes && text[at] == '\\')) ++at;
    result += text[at];
  }
  return result;
}

RC_GTEST_PROP(SqlText, IdentifiersComeBackAsTheyWere, ()) {
  auto const name = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab\"'\\.$ \n")));
  RC_ASSERT(unquoted(quote_identifier(name), '"', false) == name);
}

RC_GTEST_PROP(SqlText, LiteralsComeBackUnderBothSettingsOfConformingStrings, ()) {
  auto const text = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab\"'\\.$ \n")));
  std::string quoted = quote_literal(text);
  bool const has_escapes = quoted.front() == 'E';
  if (has_escapes) quoted.erase(0, 1);
  RC_ASSERT(unquoted(quoted, '\'', has_escapes) == text);
  // Without a backslash both settings read the same.
  RC_ASSERT(has_escapes || quoted.find('\\') == std::string::npos);
}

TEST(SqlText, QuotesCodeByATagThatIsNotInIt) {
  EXPECT_EQ(dollar_quoted("a 'b'"), "$pgbackfill$a 'b'$pgbackfill$");
  EXPECT_EQ(dollar_quoted("x $pgbackfill$ y"), "$pgbackfill_1$x $pgbackfill$ y$pgbackfill_1$");
  EXPECT_EQ(dollar_quoted("x $pgbackfill"), "$pgbackfill_1$x $pgbackfill$pgbackfill_1$");
  EXPECT_EQ(dollar_quoted("a$"), "$pgbackfill$a$$pgbackfill$");
}

}  // namespace
}  // namespace pgbackfill::planner
