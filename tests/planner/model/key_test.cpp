#include "planner/model/key.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/plain_sql.h"

// Whether the conditions mean what they should is asked of a real server: see key_pgtest.cpp.
namespace pgbackfill::planner {
namespace {

using tests::plain;

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
  EXPECT_EQ(plain(interval_condition(kPair, {}, "t")), "true");
  EXPECT_EQ(interval_scans(kMixed, {}, "t"), std::vector<std::string>{"true"});
}

TEST(Key, OneColumnIsAPlainRange) {
  EXPECT_EQ(plain(interval_condition(kSingle, {KeyValue{"1"}, KeyValue{"9"}}, "t")),
            "t.\"id\" > '1'::bigint AND t.\"id\" <= '9'::bigint");
}

TEST(Key, DescendingColumnsRunTheOtherWay) {
  EXPECT_EQ(plain(interval_condition(key_of({column("id", true)}), {KeyValue{"9"}, KeyValue{"1"}}, "t")),
            "t.\"id\" < '9'::bigint AND t.\"id\" >= '1'::bigint");
}

TEST(Key, ARowComparisonComesWithTheRangeOfItsFirstColumn) {
  EXPECT_EQ(plain(interval_condition(kPair, {KeyValue{"1", "2"}, KeyValue{"3", "4"}}, "t")),
            "t.\"a\" >= '1'::bigint AND t.\"a\" <= '3'::bigint AND (t.\"a\", t.\"b\") > ('1'::bigint, '2'::bigint) AND "
            "(t.\"a\", t.\"b\") <= ('3'::bigint, '4'::bigint)");
}

TEST(Key, WhatBothEndsShareIsAnEquality) {
  EXPECT_EQ(plain(interval_condition(kPair, {KeyValue{"1", "2"}, KeyValue{"1", "4"}}, "t")),
            "t.\"a\" = '1'::bigint AND t.\"b\" > '2'::bigint AND t.\"b\" <= '4'::bigint");
  EXPECT_EQ(plain(interval_condition(kMixed, {KeyValue{"1", "4"}, KeyValue{"1", "2"}}, "t")),
            "t.\"a\" = '1'::bigint AND t.\"b\" < '4'::bigint AND t.\"b\" >= '2'::bigint");
}

TEST(Key, APrefixIsTheLastPositionThatStartsWithIt) {
  EXPECT_EQ(plain(interval_condition(kPair, {KeyValue{"1"}, KeyValue{"3"}}, "t")),
            "t.\"a\" > '1'::bigint AND t.\"a\" <= '3'::bigint");
  EXPECT_EQ(plain(interval_condition(kMixed, {KeyValue{"1", "5"}, KeyValue{"1"}}, "t")),
            "t.\"a\" = '1'::bigint AND t.\"b\" < '5'::bigint");
  EXPECT_EQ(plain(interval_condition(kPair, {KeyValue{"1"}, KeyValue{"1", "5"}}, "t")), "false");
  EXPECT_EQ(plain(interval_condition(kPair, {KeyValue{"1", "5"}, KeyValue{"1", "5"}}, "t")), "false");
}

TEST(Key, MixedDirectionsAreOneScanForEachStretchOfTheIndex) {
  auto const scans = plain(interval_scans(kMixed, {KeyValue{"1", "2"}, std::nullopt}, "t"));
  EXPECT_EQ(scans,
            (std::vector<std::string>{"t.\"a\" = '1'::bigint AND t.\"b\" < '2'::bigint", "t.\"a\" > '1'::bigint"}));
  EXPECT_EQ(interval_scans(kMixed, {KeyValue{"1", "2"}, KeyValue{"3", "4"}}, "t").size(), 3U);
}

TEST(Key, ValuesAndNamesAreData) {
  Key key = key_of({column("a\"b")});
  key.columns.front().type = "\"app\".\"mood\"";
  key.columns.front().collation = "\"C\"";
  EXPECT_EQ(plain(interval_condition(key, {std::nullopt, KeyValue{"it's"}}, "\"t\"")),
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
  EXPECT_EQ(plain(same_key(key, "t", "k")), "t.\"a\" COLLATE \"C\" = k.\"a\" AND t.\"b\" = k.\"b\"");
  EXPECT_EQ(plain(key_is(kPair, {"1"}, "t")), "t.\"a\" = '1'::bigint");
  EXPECT_EQ(key_list(key, "t"), "t.\"a\", t.\"b\"");
  EXPECT_EQ(key_texts(key, "t"), "t.\"a\"::pg_catalog.text, t.\"b\"::pg_catalog.text");
}

// The operators of an extension may be in a schema that search_path does not have, and then `<` would be that of text.
TEST(Key, ValuesAreComparedByTheOperatorsOfTheIndex) {
  Key key = key_of({column("a")});
  key.columns.front().type = "ext.citext";
  key.columns.front().operators = {"ext.<", "ext.<=", "ext.=", "ext.>=", "ext.>"};
  EXPECT_EQ(interval_condition(key, {KeyValue{"x"}, KeyValue{"y"}}, "t"),
            "t.\"a\" OPERATOR(ext.>) 'x'::ext.citext AND t.\"a\" OPERATOR(ext.<=) 'y'::ext.citext");
  EXPECT_EQ(interval_condition(kSingle, {std::nullopt, KeyValue{"9"}}, "t"),
            "t.\"id\" OPERATOR(pg_catalog.<=) '9'::bigint");
}

TEST(Key, ColumnsWithOperatorsOfTheirOwnAreNotComparedAsOneRow) {
  Key key = kPair;
  key.columns.back().operators = {"ext.<", "ext.<=", "ext.=", "ext.>=", "ext.>"};
  EXPECT_TRUE(key.is_mixed());
  EXPECT_EQ(plain(interval_scans(key, {KeyValue{"1", "2"}, std::nullopt}, "t")),
            (std::vector<std::string>{"t.\"a\" = '1'::bigint AND t.\"b\" OPERATOR(ext.>) '2'::bigint",
                                      "t.\"a\" > '1'::bigint"}));
}

TEST(Key, OneOfManyIsFoundInAHashTable) {
  EXPECT_EQ(plain(key_is_among(kSingle, "t", {"k.x"}, "k")), "(t.\"id\" = ANY (SELECT k.x FROM k)) IS TRUE");
  EXPECT_EQ(plain(key_is_among(kPair, "t", {"k.x", "k.y"}, "k")),
            "(ROW(t.\"a\", t.\"b\") = ANY (SELECT k.x, k.y FROM k)) IS TRUE");
  Key odd = kPair;
  odd.columns[1].operators = {"ext.<", "ext.<=", "ext.=", "ext.>=", "ext.>"};
  EXPECT_EQ(plain(key_is_among(odd, "t", {"k.x", "k.y"}, "k")),
            "EXISTS (SELECT FROM k WHERE t.\"a\" = k.x AND t.\"b\" OPERATOR(ext.=) k.y)")
      << "one operator stands for all of a row";
}

TEST(Key, BlocksAreCountedFromTheFirstToTheLast) {
  EXPECT_EQ(plain(block_condition({std::nullopt, KeyValue{"9"}}, "t", 14)),
            "t.ctid >= '(0,0)'::pg_catalog.tid AND t.ctid < '(10,0)'::pg_catalog.tid");
  EXPECT_EQ(plain(block_condition({KeyValue{"9"}, KeyValue{"19"}}, "t", 17)),
            "t.ctid >= '(10,0)'::pg_catalog.tid AND t.ctid < '(20,0)'::pg_catalog.tid");
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
