#include "planner/model/table_name.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

TEST(TableName, IsShownToPeopleWithoutQuotes) {
  EXPECT_EQ(shown({"My.Schema", "odd name"}), "My.Schema.odd name");
  EXPECT_EQ(shown({"", "users"}), "users");
}

TEST(TableName, IsAnotherOneInAnotherSchema) {
  EXPECT_EQ((TableName{"public", "users"}), (TableName{"public", "users"}));
  EXPECT_NE((TableName{"public", "users"}), (TableName{"", "users"}));
}

}  // namespace
}  // namespace pgbackfill::planner
