#include "planner/model/replace_all.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  replace_all(text, what, by);
  return text;
}

TEST(ReplaceAll, ReplacesEachOnceAndNotWhatItBroughtAlong) {
  EXPECT_EQ(replaced("@a@ and @a@", "@a@", "b"), "b and b");
  EXPECT_EQ(replaced("aa", "a", "aa"), "aaaa");
  EXPECT_EQ(replaced("abab", "ab", ""), "");
  EXPECT_EQ(replaced("none", "x", "y"), "none");
}

}  // namespace
}  // namespace pgbackfill::planner
