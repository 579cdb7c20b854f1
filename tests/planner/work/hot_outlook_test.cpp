#include "planner/work/hot_outlook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Backfill sets(std::string const& column) {
  Backfill backfill;
  backfill.assignments.push_back({{}, column, "1"});
  return backfill;
}

LeafFacts users(int fillfactor) {
  LeafFacts leaf;
  leaf.schema = "public";
  leaf.name = "users";
  leaf.fillfactor = fillfactor;
  IndexFacts index;
  index.name = "users_lower_idx";
  index.depends_on = {"name", "tenant"};
  leaf.indexes.push_back(index);
  return leaf;
}

TEST(HotOutlook, AnIndexOnAChangedColumnPreventsIt) {
  auto const outlook = hot_outlook(sets("tenant"), users(50));
  EXPECT_EQ(outlook.share, 0);
  EXPECT_THAT(outlook.advice, ElementsAre(HasSubstr("index \"users_lower_idx\" depends on column \"tenant\"")));
}

TEST(HotOutlook, FullPagesPreventItAndTheAdviceDoesNotPromiseTooMuch) {
  auto const outlook = hot_outlook(sets("bio"), users(100));
  EXPECT_EQ(outlook.share, 0);
  EXPECT_THAT(outlook.advice, ElementsAre(HasSubstr("those that are full now stay so until the table is rewritten")));
}

TEST(HotOutlook, RoomOnThePagesAllowsIt) {
  EXPECT_EQ(hot_outlook(sets("bio"), users(50)).share, 1);
  EXPECT_EQ(hot_outlook(sets("bio"), users(10)).share, 1);
  EXPECT_NEAR(hot_outlook(sets("bio"), users(80)).share, 0.25, 1e-9);
  EXPECT_THAT(hot_outlook(sets("bio"), users(80)).advice, IsEmpty());
}

TEST(HotOutlook, OfDeletesAndOtherKindsItSaysNothing) {
  auto backfill = sets("tenant");
  for (auto const kind : {WorkKind::kDelete, WorkKind::kCopy, WorkKind::kSql}) {
    backfill.kind = kind;
    EXPECT_THAT(hot_outlook(backfill, users(100)).advice, IsEmpty());
  }
}

}  // namespace
}  // namespace pgbackfill::planner
