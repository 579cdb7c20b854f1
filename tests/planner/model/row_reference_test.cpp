#include "planner/model/row_reference.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

TEST(RowReference, ATableByItsNameAloneIsItsRow) {
  for (char const* text : {"to_jsonb(t)", "md5(t::text)", "row(t.*)", "f(t) + 1", "CASE WHEN t IS NULL THEN 1 END",
                           "(SELECT count(*) FROM u WHERE u.row = t)"}) {
    EXPECT_TRUE(takes_whole_row(text, "t")) << text;
  }
}

TEST(RowReference, ColumnsAreNot) {
  for (char const* text : {"t.a", "a + b", "'t'", "upper(t.name) -- t", "s.t.a", "u.*", "t(a)", "not sql at all ("}) {
    EXPECT_FALSE(takes_whole_row(text, "t")) << text;
  }
}

}  // namespace
}  // namespace pgbackfill::planner
