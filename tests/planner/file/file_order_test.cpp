#include "planner/file/file_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace pgbackfill::planner {
namespace {

TEST(FileOrder, TakesNumbersForNumbers) {
  std::vector<std::string> files = {"d/10_c.yaml", "d/9_b.yaml", "d/010_d.yaml", "d/a.yaml", "d/002_a.yaml"};
  std::sort(files.begin(), files.end(), is_earlier_file);
  EXPECT_EQ(files[0], "d/002_a.yaml");
  EXPECT_EQ(files[1], "d/9_b.yaml");
  EXPECT_THAT((std::vector<std::string>{files[2], files[3]}),
              testing::UnorderedElementsAre("d/10_c.yaml", "d/010_d.yaml"));
  EXPECT_EQ(files[4], "d/a.yaml");
}

TEST(FileOrder, TakesAVersionBeforeItsParts) {
  std::vector<std::string> files = {"V2.1__c.sql",   "V10__f.sql", "V2__b.sql",
                                    "V2.1.1__d.sql", "V1__a.sql",  "V2.10__e.sql"};
  std::sort(files.begin(), files.end(), is_earlier_file);
  EXPECT_THAT(files, testing::ElementsAre("V1__a.sql", "V2__b.sql", "V2.1__c.sql", "V2.1.1__d.sql", "V2.10__e.sql",
                                          "V10__f.sql"));
  EXPECT_TRUE(is_earlier_file("V2__a.sql", "V2_1__a.sql"));
  EXPECT_TRUE(is_earlier_file("2_users.sql", "3.sql"));
}

TEST(FileOrder, NothingIsEarlierThanItself) {
  for (char const* file : {"", "a", "1", "01_a.yaml"}) EXPECT_FALSE(is_earlier_file(file, file)) << file;
  EXPECT_TRUE(is_earlier_file("a", "ab"));
  EXPECT_FALSE(is_earlier_file("ab", "a"));
}

}  // namespace
}  // namespace pgbackfill::planner
