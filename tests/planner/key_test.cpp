#include "planner/key.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

// Whether the conditions mean what they should is asked of a real server: see key_pgtest.cpp.
namespace pgbackfill::planner {
namespace {

KeyColumn column(std::string const& name, bool descending = false, bool nulls_first = false) {
  return {name, "bigint", "", "", descending, nulls_first};
}

Key key_of(std::vector<KeyColumn> columns) {
  return {"index", std::move(columns)};
}

Key const kSingle = key_of({column("id")});
Key const kPair = key_of({column("a"), column("b")});
Key const kMixed = key_of({column("a"), column("b", true, true)});

TEST(Key, AnIntervalWithoutEndsHoldsEverything) {
  EXPECT_EQ(interval_condition(kPair, {}, "t"), "true");
  EXPECT_EQ(interval_scans(kMixed, {}, "t"), std::vector<std::string>{"true"});
}

TEST(Key, OneColumnIsAPlainRange) {
  EXPECT_EQ(interval_condition(kSingle, {KeyValue{"1"}, KeyValue{"9"}}, "t"),
            "t.\"id\" > '1'::bigint AND t.\"id\" <= '9'::bigint");
}

TEST(Key, DescendingColumnsRunTheOtherWay) {
  EXPECT_EQ(interval_condition(key_of({column("id", true)}), {KeyValue{"9"}, KeyValue{"1"}}, "t"),
            "t.\"id\" < '9'::bigint AND t.\"id\" >= '1'::bigint");
}

TEST(Key, ARowComparisonComesWithTheRangeOfItsFirstColumn) {
  EXPECT_EQ(interval_condition(kPair, {KeyValue{"1", "2"}, KeyValue{"3", "4"}}, "t"),
            "t.\"a\" >= '1'::bigint AND t.\"a\" <= '3'::bigint AND (t.\"a\", t.\"b\") > ('1'::bigint, '2'::bigint) AND "
            "(t.\"a\", t.\"b\") <= ('3'::bigint, '4'::bigint)");
}

TEST(Key, WhatBothEndsShareIsAnEquality) {
  EXPECT_EQ(interval_condition(kPair, {KeyValue{"1", "2"}, KeyValue{"1", "4"}}, "t"),
            "t.\"a\" = '1'::bigint AND t.\"b\" > '2'::bigint AND t.\"b\" <= '4'::bigint");
  EXPECT_EQ(interval_condition(kMixed, {KeyValue{"1", "4"}, KeyValue{"1", "2"}}, "t"),
            "t.\"a\" = '1'::bigint AND t.\"b\" < '4'::bigint AND t.\"b\" >= '2'::bigint");
}

TEST(Key, APrefixIsTheLastPositionThatStartsWithIt) {
  EXPECT_EQ(interval_condition(kPair, {KeyValue{"1"}, KeyValue{"3"}}, "t"),
            "t.\"a\" > '1'::bigint AND t.\"a\" <= '3'::bigint");
  EXPECT_EQ(interval_condition(kMixed, {KeyValue{"1", "5"}, KeyValue{"1"}}, "t"),
            "t.\"a\" = '1'::bigint AND t.\"b\" < '5'::bigint");
  EXPECT_EQ(interval_condition(kPair, {KeyValue{"1"}, KeyValue{"1", "5"}}, "t"), "false");
  EXPECT_EQ(interval_condition(kPair, {KeyValue{"1", "5"}, KeyValue{"1", "5"}}, "t"), "false");
}

TEST(Key, MixedDirectionsAreOneScanForEachStretchOfTheIndex) {
  auto const scans = interval_scans(kMixed, {KeyValue{"1", "2"}, std::nullopt}, "t");
  EXPECT_EQ(scans,
            (std::vector<std::string>{"t.\"a\" = '1'::bigint AND t.\"b\" < '2'::bigint", "t.\"a\" > '1'::bigint"}));
  EXPECT_EQ(interval_scans(kMixed, {KeyValue{"1", "2"}, KeyValue{"3", "4"}}, "t").size(), 3U);
}

TEST(Key, ValuesAndNamesAreData) {
  Key key = key_of({column("a\"b")});
  key.columns.front().type = "\"app\".\"mood\"";
  key.columns.front().collation = "\"C\"";
  EXPECT_EQ(interval_condition(key, {std::nullopt, KeyValue{"it's"}}, "\"t\""),
            "\"t\".\"a\"\"b\" COLLATE \"C\" <= 'it''s'::\"app\".\"mood\"");
}

TEST(Key, TheOrderIsTheIndexsOwn) {
  Key const key = key_of({column("a"), column("b", true), column("c", false, true), column("d", true, true)});
  EXPECT_EQ(key_order(key, "t"), "t.\"a\", t.\"b\" DESC NULLS LAST, t.\"c\" NULLS FIRST, t.\"d\" DESC");
  EXPECT_EQ(reversed_key_order(key, "t"), "t.\"a\" DESC, t.\"b\" NULLS FIRST, t.\"c\" DESC NULLS LAST, t.\"d\"");
}

TEST(Key, RowsAreComparedByTheIndexsCollation) {
  Key key = kPair;
  key.columns.front().collation = "\"C\"";
  EXPECT_EQ(key_row(key, "t"), "(t.\"a\" COLLATE \"C\", t.\"b\")");
  EXPECT_EQ(key_row(kSingle, "t"), "t.\"id\"");
  EXPECT_EQ(key_list(key, "t"), "t.\"a\", t.\"b\"");
  EXPECT_EQ(key_texts(key, "t"), "t.\"a\"::text, t.\"b\"::text");
}

TEST(Key, BlocksAreCountedFromTheFirstToTheLast) {
  EXPECT_EQ(block_condition({std::nullopt, KeyValue{"9"}}, "t", 14),
            "t.ctid >= '(0,0)'::tid AND t.ctid < '(10,0)'::tid");
  EXPECT_EQ(block_condition({KeyValue{"9"}, KeyValue{"19"}}, "t", 17),
            "t.ctid >= '(10,0)'::tid AND t.ctid < '(20,0)'::tid");
  EXPECT_NE(block_condition({KeyValue{"9"}, KeyValue{"19"}}, "t", 13).find("generate_series(10, 19)"),
            std::string::npos);
}

TEST(Key, PeopleReadValuesWithoutQuotes) {
  EXPECT_EQ(to_string(KeyValue{"42"}), "42");
  EXPECT_EQ(to_string(KeyValue{"42", "abc"}), "(42, abc)");
  EXPECT_EQ(to_string(Bound(), "the end"), "the end");
}

}  // namespace
}  // namespace pgbackfill::planner
