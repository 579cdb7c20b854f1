#include "planner/model/work_kind.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

constexpr WorkKind kAll[] = {WorkKind::kUpdate, WorkKind::kSql, WorkKind::kCopy, WorkKind::kDelete, WorkKind::kAsk};

TEST(WorkKind, EachKindSaysWhatItNeedsDoesAndLeaves) {
  for (auto const kind : kAll) {
    auto const& traits = traits_of(kind);
    for (auto const text : {traits.privilege, traits.row_lock, traits.done, traits.stays, traits.growth}) {
      EXPECT_FALSE(text.empty());
    }
    EXPECT_LE(traits.writes_table, traits.may_update || traits.may_delete) << "its own statement changes rows";
    EXPECT_LE(traits.replaces_rows, traits.may_update) << "only an update leaves old versions behind";
  }
}

TEST(WorkKind, ATriggerFiresWhereTheWorkMayDoWhatItWaitsFor) {
  TriggerFacts on_update;
  on_update.on_update = true;
  TriggerFacts on_delete;
  on_delete.on_delete = true;
  TriggerFacts on_insert;
  on_insert.on_insert = true;
  EXPECT_TRUE(may_fire(WorkKind::kUpdate, on_update));
  EXPECT_FALSE(may_fire(WorkKind::kUpdate, on_delete));
  EXPECT_TRUE(may_fire(WorkKind::kDelete, on_delete));
  EXPECT_FALSE(may_fire(WorkKind::kDelete, on_update));
  for (auto const& trigger : {on_update, on_delete, on_insert}) {
    EXPECT_TRUE(may_fire(WorkKind::kSql, trigger));
    EXPECT_FALSE(may_fire(WorkKind::kCopy, trigger));
    EXPECT_FALSE(may_fire(WorkKind::kAsk, trigger));
  }
}

TEST(WorkKind, RowsThatGoElsewhereAreMovedAndNotDeleted) {
  Backfill backfill;
  backfill.kind = WorkKind::kDelete;
  EXPECT_EQ(done_word(backfill), "deleted");
  backfill.move_to = TableName{"public", "archive"};
  EXPECT_EQ(done_word(backfill), "moved");
  EXPECT_NE(what_stays(backfill), traits_of(WorkKind::kDelete).stays);
}

}  // namespace
}  // namespace pgbackfill::planner
