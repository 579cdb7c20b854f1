#include "planner/model/short_line.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

TEST(ShortLine, LeavesAShortLineAsItIs) {
  EXPECT_EQ(short_line("", 4), "");
  EXPECT_EQ(short_line("abcd", 4), "abcd");
}

TEST(ShortLine, CutsALongOneAndSaysSo) {
  EXPECT_EQ(short_line("abcde", 4), "abcd...");
}

TEST(ShortLine, CutsNoWordInTwoUnlessItIsAllThereIs) {
  EXPECT_EQ(short_line("UPDATE users SET name = 'x'", 15), "UPDATE users ...");
  EXPECT_EQ(short_line("UPDATE users SET name = 'x'", 12), "UPDATE users ...");
  EXPECT_EQ(short_line("a bcdefghijklmnop", 10), "a bcdefghi...");
}

TEST(ShortLine, IsOneLine) {
  EXPECT_EQ(short_line("a\n\tb\r", 9), "a  b ");
}

TEST(ShortLine, CutsNoCharacterInTwo) {
  EXPECT_EQ(short_line("abä", 3), "abä");
  EXPECT_EQ(short_line("abäc", 3), "abä...");
}

}  // namespace
}  // namespace pgbackfill::planner
