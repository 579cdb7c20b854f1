#include "planner/keys/key_choice.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace pgbackfill::planner {
namespace {

KeyColumn key_column(std::string const& name) {
  return {name, "bigint", "", "", false, false};
}

IndexFacts unique_index(std::string const& name, std::vector<std::string> const& columns) {
  IndexFacts index;
  index.name = name;
  index.unique = index.valid = index.ordered = index.default_opclasses = true;
  for (auto const& column : columns) index.columns.push_back(key_column(column));
  return index;
}

LeafFacts leaf_with(std::vector<IndexFacts> indexes) {
  LeafFacts leaf;
  leaf.schema = "s";
  leaf.name = "t";
  for (char const* name : {"id", "a", "b"}) leaf.columns.push_back({name, "bigint", true, false, false});
  leaf.columns.push_back({"maybe", "bigint", false, false, false});
  leaf.columns.push_back({"made", "bigint", false, true, false});
  leaf.columns.push_back({"always", "bigint", true, false, true});
  leaf.indexes = std::move(indexes);
  return leaf;
}

Backfill update_of(std::string const& column, std::string const& where = "") {
  Backfill backfill;
  backfill.assignments = {{{"f.yaml", 7, 3}, column, "1"}};
  backfill.where = where;
  return backfill;
}

std::string index_of(LeafFacts const& leaf) {
  auto const choice = choose_key(leaf, update_of("b"));
  return std::holds_alternative<Key>(choice) ? std::get<Key>(choice).index : "refused";
}

std::string refusal(LeafFacts const& leaf, Backfill const& backfill) {
  auto const choice = choose_key(leaf, backfill);
  return std::holds_alternative<Refusal>(choice) ? std::get<Refusal>(choice).text : "";
}

TEST(KeyChoice, ThePrimaryKeyComesFirst) {
  auto primary = unique_index("wide", {"id", "a", "b"});
  primary.primary = true;
  EXPECT_EQ(index_of(leaf_with({unique_index("narrow", {"id"}), primary})), "wide");
  EXPECT_EQ(index_of(leaf_with({primary, unique_index("narrow", {"id"})})), "wide");
}

TEST(KeyChoice, ElseTheUniqueIndexWithTheFewestColumns) {
  EXPECT_EQ(index_of(leaf_with({unique_index("two", {"a", "b"}), unique_index("one", {"id"})})), "one");
}

TEST(KeyChoice, AnIndexThatDoesNotHoldEveryRowOnceIsNoKey) {
  std::vector<std::function<void(IndexFacts&)>> const flaws = {
      [](IndexFacts& index) { index.unique = false; },
      [](IndexFacts& index) { index.valid = false; },
      [](IndexFacts& index) { index.partial = true; },
      [](IndexFacts& index) { index.has_expressions = true; },
      [](IndexFacts& index) { index.immediate = false; },
      [](IndexFacts& index) { index.ordered = false; },
      [](IndexFacts& index) { index.default_opclasses = false; },
      [](IndexFacts& index) { index.columns.clear(); },
      [](IndexFacts& index) { index.columns.push_back(key_column("maybe")); },
      [](IndexFacts& index) { index.columns.push_back(key_column("gone")); },
  };
  for (auto const& add_flaw : flaws) {
    auto index = unique_index("flawed", {"id"});
    EXPECT_EQ(index_of(leaf_with({index})), "flawed");
    add_flaw(index);
    EXPECT_EQ(index_of(leaf_with({index})), "refused");
  }
}

TEST(KeyChoice, BlocksAreForWorkThatTellsDoneFromUndone) {
  auto const choice = choose_key(leaf_with({}), update_of("b", "b IS NULL"));
  ASSERT_TRUE(std::holds_alternative<Key>(choice));
  EXPECT_TRUE(std::get<Key>(choice).is_by_block());
}

TEST(KeyChoice, ARefusalSaysWhatToAdd) {
  EXPECT_NE(refusal(leaf_with({}), update_of("b")).find("`where:`"), std::string::npos);
  Backfill backfill = update_of("b", "b IS NULL");
  backfill.kind = WorkKind::kCopy;
  EXPECT_NE(refusal(leaf_with({}), backfill).find("CREATE UNIQUE INDEX CONCURRENTLY ON \"s\".\"t\""),
            std::string::npos);
  backfill.kind = WorkKind::kSql;
  EXPECT_NE(refusal(leaf_with({}), backfill), "");
  auto foreign = leaf_with({});
  foreign.kind = 'f';
  EXPECT_NE(refusal(foreign, update_of("b", "b IS NULL")).find("not a plain table"), std::string::npos);
}

std::string problem_with(std::string const& column, std::vector<std::string> const& partition_columns = {}) {
  TableFacts table;
  table.leaves = {leaf_with({})};
  table.partition_columns = partition_columns;
  auto const problems = check_against_table(update_of(column), table, {Key{"pkey", {key_column("id")}}});
  return problems.empty() ? "" : to_string(problems.front());
}

TEST(KeyChoice, ColumnsThatCannotBeAssignedAreNamedWithTheirPlace) {
  EXPECT_EQ(problem_with("b"), "");
  EXPECT_EQ(problem_with("allways"), "f.yaml:7:3: table \"s\".\"t\" has no column 'allways' (did you mean 'always'?)");
  EXPECT_NE(problem_with("made").find("generated"), std::string::npos);
  EXPECT_NE(problem_with("always").find("GENERATED ALWAYS AS IDENTITY"), std::string::npos);
  EXPECT_NE(problem_with("id").find("part of the key"), std::string::npos);
  EXPECT_NE(problem_with("b", {"a", "b"}).find("decides the partition"), std::string::npos);
}

TEST(KeyChoice, WhatIsGeneratedFromAColumnChangesWithIt) {
  TableFacts table;
  table.leaves = {leaf_with({})};
  table.leaves.front().columns.push_back({"twice", "integer", true, true, false, "integer", {"b"}});
  std::vector<Key> const keys = {Key{"pkey", {key_column("twice")}}};
  auto const problems = check_against_table(update_of("b"), table, keys);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_NE(problems.front().text.find("'twice', which is generated from 'b', is part of the key"), std::string::npos);
  Backfill sql;
  sql.kind = WorkKind::kSql;
  EXPECT_EQ(check_assigned(sql, table, keys, {"a", "b"}).size(), 1U);
  EXPECT_TRUE(reads_what_it_assigns(update_of("b"), table.leaves.front(), {"a", "twice"}));
  EXPECT_FALSE(reads_what_it_assigns(update_of("b"), table.leaves.front(), {"a"}));
}

TEST(KeyChoice, TheTargetOfACopyIsCheckedToo) {
  Backfill backfill = update_of("made");
  backfill.assignments.push_back({{}, "nowhere", "1"});
  backfill.assignments.push_back({{}, "always", "1"});
  auto const problems = check_copy_target(backfill, leaf_with({}));
  ASSERT_EQ(problems.size(), 2U);
  EXPECT_NE(problems[0].text.find("generated"), std::string::npos);
  EXPECT_NE(problems[1].text.find("no column 'nowhere'"), std::string::npos);
}

// --- a job that is gone on with --------------------------------------------------------------------------------------

Key stored_key(std::string const& type, std::string const& collation_version = "") {
  auto column = key_column("id");
  column.type = type;
  column.collation_version = collation_version;
  return {"by_id", {column}};
}

LeafFacts leaf_now_with(std::string const& type, std::string const& library = "", std::string const& index = "") {
  auto by_id = unique_index("by_id", {"id"});
  by_id.columns.front().type = type;
  by_id.columns.front().collation_version = library;
  by_id.columns.front().index_version = index;
  return leaf_with({by_id});
}

std::string type_now(std::string const& before, std::string const& now) {
  auto const key = key_now(stored_key(before), leaf_now_with(now));
  return std::holds_alternative<Key>(key) ? std::get<Key>(key).columns.front().type : "refused";
}

std::string refusal_now(Key const& stored, LeafFacts const& leaf) {
  auto const key = key_now(stored, leaf);
  return std::holds_alternative<Refusal>(key) ? std::get<Refusal>(key).text : "";
}

TEST(KeyNow, TakesATypeThatSortsAlike) {
  EXPECT_EQ(type_now("integer", "integer"), "integer");
  EXPECT_EQ(type_now("integer", "bigint"), "bigint");
  EXPECT_EQ(type_now("smallint", "numeric"), "numeric");
  EXPECT_EQ(type_now("character varying", "text"), "text");
  EXPECT_EQ(type_now("date", "timestamp without time zone"), "timestamp without time zone");
}

TEST(KeyNow, RefusesATypeThatDoesNot) {
  for (auto const& [before, now] : std::vector<std::pair<std::string, std::string>>{{"integer", "text"},
                                                                                    {"text", "uuid"},
                                                                                    {"character", "text"},
                                                                                    {"real", "double precision"},
                                                                                    {"bigint", "integer"}}) {
    EXPECT_EQ(type_now(before, now), "refused") << before << " to " << now;
  }
  EXPECT_NE(refusal_now(stored_key("integer"), leaf_now_with("text")).find("is text where it was integer"),
            std::string::npos);
}

TEST(KeyNow, RefusesATableWhoseIndexIsGone) {
  auto const refusal = refusal_now(stored_key("bigint"), leaf_with({unique_index("other", {"a"})}));
  EXPECT_NE(refusal.find("no unique index over (\"id\") any more"), std::string::npos) << refusal;
  EXPECT_EQ(refusal_now(stored_key("bigint"), leaf_with({unique_index("another_name", {"id"})})), "");
}

TEST(KeyNow, RefusesAnotherVersionOfTheCollation) {
  EXPECT_EQ(refusal_now(stored_key("bigint", "2.36"), leaf_now_with("bigint", "2.36", "2.36")), "");
  EXPECT_EQ(refusal_now(stored_key("bigint", ""), leaf_now_with("bigint", "2.36", "2.36")), "");
  auto const refusal = refusal_now(stored_key("bigint", "2.31"), leaf_now_with("bigint", "2.36", "2.36"));
  EXPECT_NE(refusal.find("version 2.36"), std::string::npos) << refusal;
}

TEST(KeyChoice, AnIndexThatMayBeOutOfOrderIsNotPagedBy) {
  auto doubtful = unique_index("by_name", {"a"});
  doubtful.primary = true;
  doubtful.columns.front().collation_version = "2.36";
  doubtful.columns.front().index_version = "2.31";
  EXPECT_EQ(index_of(leaf_with({doubtful, unique_index("by_id", {"id"})})), "by_id");
  auto const text = refusal(leaf_with({doubtful}), update_of("b", "b IS NULL"));
  EXPECT_NE(text.find("built with version 2.31"), std::string::npos) << text;
  EXPECT_NE(text.find("REINDEX"), std::string::npos) << text;
}

}  // namespace
}  // namespace pgbackfill::planner
