#include "planner/keys/batch_place.h"

#include <gtest/gtest.h>

#include <string>

namespace pgbackfill::planner {
namespace {

bool stands_right(std::string const& where) {
  return !misplaced_batch("UPDATE t AS x SET a = b FROM u WHERE " + where);
}

TEST(BatchPlace, IsRightWhereAllElseIsJoinedByAnd) {
  for (char const* where :
       {"{batch}", "{batch:x}", "u.id = x.id AND {batch:x}", "{batch} AND (a OR b)",
        "(a OR NOT b) AND c AND ({batch:x})", "((u.id = x.id AND ({batch})))", "NOT a AND {batch}",
        "x.id IN (SELECT id FROM t WHERE a = 1 AND {batch:t} ORDER BY id LIMIT 5)",
        "EXISTS (SELECT 1 FROM t WHERE {batch})", "a BETWEEN 1 AND 2 AND {batch}",
        "CASE WHEN a OR b THEN c END = 1 AND {batch}", "{batch} AND CASE WHEN a OR b THEN c ELSE d END"}) {
    EXPECT_TRUE(stands_right(where)) << where;
  }
}

TEST(BatchPlace, IsWrongUnderOr) {
  for (char const* where : {"{batch} OR a", "a OR {batch:x}", "a AND b OR c AND {batch}", "a AND ({batch}) or b",
                            "(a OR ({batch} AND b))", "a OR x.id IN (SELECT id FROM t WHERE {batch:t})",
                            "x.id IN (SELECT id FROM t JOIN v ON t.a = v.a WHERE {batch:t} GROUP BY id) OR b",
                            "a OR/* not a string's */(b AND {batch})", "a = 'it''s' OR {batch}"}) {
    EXPECT_FALSE(stands_right(where)) << where;
  }
}

TEST(BatchPlace, IsWrongUnderNot) {
  for (char const* where :
       {"NOT {batch}", "not ({batch:x})", "a AND NOT (b AND {batch})", "NOT EXISTS (SELECT 1 FROM t WHERE {batch})",
        "x.id NOT IN (SELECT id FROM t WHERE a AND {batch:t} ORDER BY 1)"}) {
    EXPECT_FALSE(stands_right(where)) << where;
  }
}

TEST(BatchPlace, TakesNoKeywordFromStringsNamesAndComments) {
  for (char const* where :
       {"a = ' or ' AND {batch}", "\"or\" AND {batch}", "$$ or $$ = a AND {batch}", "$q$ ' or $q$ = a AND {batch}",
        "E'\\' or ' = a AND {batch}", "{batch} -- or", "{batch} /* or /* not */ or */", "a = $1 AND {batch}",
        "ordinal AND {batch}", "{batch} AND nor"}) {
    EXPECT_TRUE(stands_right(where)) << where;
  }
}

TEST(BatchPlace, IsWrongWhereItIsNoCondition) {
  for (char const* where : {"a = '{batch}'", "true -- {batch}", "/* {batch} */ true", "\"{batch}\"",
                            "$$ {batch} $$ = a", "a = E'\\'{batch}'"}) {
    EXPECT_FALSE(stands_right(where)) << where;
  }
}

TEST(BatchPlace, SaysWhatToWriteInstead) {
  EXPECT_NE(misplaced_batch("DELETE FROM t WHERE a OR {batch}")->find("(a OR b) AND {batch}"), std::string::npos);
}

// Whatever the text: it ends, and does not look beyond the text.
TEST(BatchPlace, EndsForAnyText) {
  for (char const* sql : {"",
                          "(",
                          ")",
                          "{batch",
                          "{batch}",
                          "{batch})",
                          "(((({batch}",
                          "'",
                          "$$",
                          "$a",
                          "E'\\",
                          "/*",
                          "case {batch}",
                          "{batch} end",
                          "not",
                          "in {batch}",
                          "exists({batch})",
                          ") or {batch} (",
                          "select {batch} from",
                          "{batch} union select (",
                          "\xff{batch}"}) {
    misplaced_batch(sql);
  }
}

}  // namespace
}  // namespace pgbackfill::planner
