#include "throttle/table_fill.h"

#include <gtest/gtest.h>

namespace pgbackfill::throttle {
namespace {

constexpr std::uint64_t kPages = 14'118;

// id bigint, pad text of 192, n int: 34 rows a page when it is packed, as it was measured.
TableFill users(double rows_per_page) {
  TableFill table;
  table.bytes = kPages * 8'192;
  table.rows = 400'000;
  table.rows_per_page = rows_per_page;
  table.columns = {{8, 'd', 8, 0}, {-1, 'i', 196, 0}, {4, 'i', 4, 0}};
  return table;
}

double share(TableFill const& table) {
  return static_cast<double>(bytes_needed(table)) / static_cast<double>(table.bytes);
}

TEST(TableFill, APackedTableNeedsAllOfItsFile) {
  EXPECT_EQ(share(users(34)), 1);
}

TEST(TableFill, RoomOfOldRowsIsNotNeeded) {
  EXPECT_NEAR(share(users(34 / 1.2)), 1 / 1.2, 0.001);
  EXPECT_NEAR(share(users(17)), 0.5, 0.001);
}

TEST(TableFill, ATableThatIsNearlyFullIsTakenForFull) {
  EXPECT_EQ(share(users(32)), 1);
}

TEST(TableFill, TheRoomThatFillfactorLeavesIsNeeded) {
  auto table = users(24);
  table.fillfactor = 72;
  EXPECT_EQ(share(table), 1);
  table.rows_per_page = 12;
  EXPECT_NEAR(share(table), 0.5, 0.001);
}

TEST(TableFill, NullsTakeNoRoomButABit) {
  auto table = users(34);
  table.columns[1] = {-1, 'i', std::nullopt, 1};
  // 40 bytes a row, 185 a page.
  table.rows_per_page = 92;
  EXPECT_NEAR(share(table), 0.5, 0.01);
}

TEST(TableFill, ShortTextsAreNotAligned) {
  auto table = users(0);
  table.columns = {{4, 'i', 4, 0}, {-1, 'i', 10, 0}, {-1, 'i', 2, 0}};
  // 24 + 16 and a pointer: 185 a page.
  table.rows_per_page = 92.5;
  EXPECT_NEAR(share(table), 0.5, 0.001);
}

TEST(TableFill, WhatIsNotKnownIsNeeded) {
  auto table = users(17);
  table.rows_per_page.reset();
  EXPECT_EQ(share(table), 1);
  table = users(17);
  table.columns[1].width.reset();
  EXPECT_EQ(share(table), 1);
  table = users(17);
  table.columns.clear();
  EXPECT_EQ(share(table), 1);
}

TEST(TableFill, WithoutWidthsTheDensityOfEarlierJobsTells) {
  auto table = users(17);
  table.columns[1].width.reset();
  table.bytes_per_row_before = 0.6 * static_cast<double>(table.bytes) / 400'000;
  EXPECT_NEAR(share(table), 0.6, 0.001);
}

TEST(TableFill, WhereWidthsAreUnderratedTheDensityOfEarlierJobsTells) {
  auto table = users(17);
  table.bytes_per_row_before = 0.7 * static_cast<double>(table.bytes) / 400'000;
  EXPECT_NEAR(share(table), 0.7, 0.001);
}

TEST(TableFill, RowsThatCameInSinceNeedTheirRoom) {
  auto table = users(34);
  table.bytes_per_row_before = 289;
  table.rows = 800'000;
  table.bytes *= 2;
  EXPECT_EQ(share(table), 1);
}

TEST(TableFill, RowsThatGotWiderNeedTheirRoom) {
  auto table = users(20);
  table.columns[1].width = 360;
  table.bytes_per_row_before = 150;
  EXPECT_EQ(share(table), 1);
}

TEST(TableFill, AnEmptyTableNeedsNothing) {
  EXPECT_EQ(bytes_needed({}), 0U);
}

}  // namespace
}  // namespace pgbackfill::throttle
