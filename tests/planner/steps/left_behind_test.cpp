// What is left of a contract step after those behind it.
#include "planner/steps/left_behind.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {
namespace {

TableName const kTable{"public", "orders"};
TableName const kCopy{"public", "orders_new"};

template <class Detail>
PlacedStep placed(Detail detail) {
  PlacedStep step;
  step.step.detail = std::make_shared<StepDetail>(StepDetail{std::move(detail)});
  return step;
}

template <class Detail>
Detail const* as(std::optional<PlacedStep> const& step) {
  return step ? std::get_if<Detail>(&step->step.detail->kind) : nullptr;
}

TEST(LeftBehind, NothingChangesWithoutLaterSteps) {
  auto const left = left_behind(placed(SetNotNull{kTable, "id"}), {});
  ASSERT_NE(as<SetNotNull>(left), nullptr);
  EXPECT_EQ(as<SetNotNull>(left)->column, "id");
}

TEST(LeftBehind, ColumnsHaveTheNamesThatLaterStepsGave) {
  auto const swapped =
      left_behind(placed(SetNotNull{kTable, "id_big"}),
                  {placed(SwapColumn{kTable, "id", "id_big", "id_old", ""}), placed(DropColumn{kTable, "id_old"})});
  ASSERT_NE(as<SetNotNull>(swapped), nullptr);
  EXPECT_EQ(as<SetNotNull>(swapped)->column, "id");
  auto const key =
      left_behind(placed(AddForeignKey{{"public", "items"}, "fk", {"order_id"}, kTable, {"id_big"}, "", ""}),
                  {placed(SwapColumn{kTable, "id", "id_big", "id_old", ""}), placed(RenameTable{kTable, "old"})});
  ASSERT_NE(as<AddForeignKey>(key), nullptr);
  EXPECT_EQ(as<AddForeignKey>(key)->to, std::vector<std::string>{"id"});
  EXPECT_EQ(as<AddForeignKey>(key)->references.name, "old");
  EXPECT_EQ(as<AddForeignKey>(key)->table.name, "items");
}

TEST(LeftBehind, WhatALaterStepTookAwayIsGone) {
  PlacedStep const drop = placed(DropColumn{kTable, "name"});
  EXPECT_FALSE(left_behind(placed(DropNotNull{kTable, "name"}), {drop}));
  EXPECT_TRUE(left_behind(placed(DropNotNull{kTable, "title"}), {drop}));
  EXPECT_TRUE(left_behind(placed(DropNotNull{kCopy, "name"}), {drop}));
  EXPECT_FALSE(left_behind(placed(AddCheck{kTable, "few", "name <> ''"}), {drop}));
  EXPECT_FALSE(left_behind(placed(AddCheck{kTable, "few", "true"}), {placed(DropConstraint{kTable, "few"})}));
  EXPECT_FALSE(
      left_behind(placed(SwapColumn{kTable, "id", "id_big", "id_old", ""}), {placed(DropColumn{kTable, "id_old"})}));
  EXPECT_FALSE(left_behind(placed(SetNotNull{kTable, "id"}), {placed(DropTable{kTable})}));
  EXPECT_FALSE(
      left_behind(placed(Swap{kTable, kCopy, "orders_old", "m"}), {placed(DropTable{{"public", "orders_old"}})}));
}

TEST(LeftBehind, TheCopyHasTheNameOfItsTable) {
  PlacedStep const swap = placed(Swap{kTable, kCopy, "orders_old", "m"});
  auto const of_copy = left_behind(placed(SetNotNull{kCopy, "id"}), {swap});
  ASSERT_NE(as<SetNotNull>(of_copy), nullptr);
  EXPECT_EQ(as<SetNotNull>(of_copy)->table, kTable);
  auto const of_table = left_behind(placed(SetNotNull{kTable, "id"}), {swap});
  ASSERT_NE(as<SetNotNull>(of_table), nullptr);
  EXPECT_EQ(as<SetNotNull>(of_table)->table.name, "orders_old");
  // Its index has the name of what it corresponds to.
  CreateIndex index;
  index.table = kCopy;
  index.name = "by_note";
  index.columns = {"note"};
  EXPECT_FALSE(left_behind(placed(index), {swap}));
}

}  // namespace
}  // namespace pgbackfill::planner
