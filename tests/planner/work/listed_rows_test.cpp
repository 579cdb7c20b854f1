// Rows and keys that a file lists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "planner/model/params.h"
#include "planner/work/listed_rows.h"

namespace pgbackfill::planner {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

ListedTerms const kTerms{"f.csv", {{"id", ParamType::kBigint}, {"note", ParamType::kText}}, true, {"id"}, true};
ListedTerms const kKeys{"f.csv", {{"id", ParamType::kBigint}}, false, {"id"}, false};

std::string json_of(std::string const& text, ListedTerms const& terms = kTerms) {
  auto const read = read_listed_rows(parse_csv(text, "f.csv"), terms);
  auto const* rows = std::get_if<ListedRows>(&read);
  return rows == nullptr ? "refused" : rows->json;
}

std::vector<std::string> problems_of(std::string const& text, ListedTerms const& terms = kTerms) {
  std::vector<std::string> texts;
  auto const read = read_listed_rows(parse_csv(text, "f.csv"), terms);
  if (auto const* problems = std::get_if<std::vector<Problem>>(&read)) {
    for (auto const& problem : *problems) texts.push_back(to_string(problem));
  }
  return texts;
}

TEST(ListedRows, FindsColumnsByTheirNames) {
  EXPECT_EQ(json_of("note,other,id\nx,1,07\n,2,+8\n\"\",3,9\n"),
            R"([{"id":"7","note":"x"},{"id":"8","note":null},{"id":"9","note":""}])");
  EXPECT_EQ(json_of("id,note\n1,\"a \"\"b\"\" \\ \n\"\n"), R"([{"id":"1","note":"a \"b\" \\ \u000a"}])");
}

TEST(ListedRows, SaysWhereAValueIsWrong) {
  EXPECT_THAT(problems_of("id,note\n1,x\nabc,y\n"),
              ElementsAre(HasSubstr("f.csv:3:1: the value 'abc' of column 'id' is no whole number")));
  EXPECT_THAT(problems_of("id,nota\n1,x\n"),
              ElementsAre(HasSubstr("f.csv:1:1: the first line names no column 'note' (did you mean 'nota'?)")));
  EXPECT_THAT(problems_of("id,note\n1\n2,b,c\n"),
              ElementsAre(HasSubstr("f.csv:2:1: this line has 1 value, and the first line has 2"),
                          HasSubstr("f.csv:3:1: this line has 3 values")));
  EXPECT_THAT(problems_of("id,note\n,x\n"), ElementsAre(HasSubstr("f.csv:2:1: there is no value for column 'id'")));
  EXPECT_THAT(problems_of("id,note\n1,x\n01,y\n"), ElementsAre(HasSubstr("f.csv:3:1: the key (id) of this row is")));
  EXPECT_THAT(problems_of("id,note\n1,\xFF\n"), ElementsAre(HasSubstr("f.csv:2:3: ")));
  EXPECT_THAT(problems_of(""), ElementsAre(HasSubstr("f.csv:1:1: the file is empty")));
}

TEST(ListedRows, ShowsSomeProblemsAndNotAll) {
  std::string text = "id,note\n";
  for (int row = 0; row < 100; ++row) text += "x,y\n";
  EXPECT_EQ(problems_of(text).size(), kMostCsvProblems);
}

TEST(ListedRows, AreReadFromASettingThatIsNamedByThem) {
  auto const read = [](std::string const& text) {
    return std::get<ListedRows>(read_listed_rows(parse_csv(text, "f.csv"), kTerms)).variable;
  };
  EXPECT_EQ(read("id,note\n1,x\n"), read("note,id\nx,01\n"));
  EXPECT_NE(read("id,note\n1,x\n"), read("id,note\n1,y\n"));
  auto const sql = listed_rows_sql(kTerms.columns, read("id,note\n1,x\n"), false);
  EXPECT_EQ(variables_in_sql(sql), std::vector<std::string>{read("id,note\n1,x\n")});
  EXPECT_THAT(sql, AllOf(HasSubstr("(\"id\" pg_catalog.int8, \"note\" pg_catalog.text)"), Not(HasSubstr("'x'"))));
}

TEST(OnlyKeys, AreTheSameJobInAnyOrder) {
  auto const identity = [](std::string const& text) { return only_keys_of(parse_csv(text, "k"), "k").identity; };
  EXPECT_EQ(identity("1\n2\n3\n"), identity("3\r\n1\n2\n2"));
  EXPECT_NE(identity("1\n2\n"), identity("1\n3\n"));
  EXPECT_NE(identity("1,23\n"), identity("12,3\n"));
  EXPECT_THAT(identity("1\n2\n3\n"), testing::StartsWith("3:"));
  EXPECT_EQ(json_of("1\n002\n", kKeys), R"([{"id":"1"},{"id":"2"}])");
  EXPECT_THAT(problems_of("1\n2,3\n", kKeys),
              ElementsAre(HasSubstr("f.csv:2:1: this line has 2 values, and the key has 1 (id)")));
}

TEST(OnlyKeys, AreInTheNameOfTheJob) {
  auto const name = name_with("m", {{"tenant", "7"}}, "3:abc");
  EXPECT_EQ(name, "m[tenant=7,only-keys=3:abc]");
  auto const parts = parts_of_name(name);
  EXPECT_EQ(parts.only_keys, "3:abc");
  EXPECT_THAT(parts.values, ElementsAre(ParamText{"tenant", "7"}));
  EXPECT_EQ(given_of_name(name).only_keys, "3:abc");
  EXPECT_EQ(arguments_of("m.yaml", name), "m.yaml --only-keys FILE --param tenant=7");
}

TEST(OnlyKeys, AreOfTypesWhoseValuesAreReadAsTheServerReadsThem) {
  Key key;
  key.columns = {{"id", "bigint", "", ""}, {"at", "timestamp with time zone", "", ""}};
  EXPECT_EQ(std::get<0>(columns_of_key(key)).size(), 2U);
  key.columns.push_back({"mood", "public.mood", "", ""});
  EXPECT_THAT(std::get<1>(columns_of_key(key)), HasSubstr("\"mood\" of the key is of type public.mood"));
  EXPECT_THAT(std::get<1>(columns_of_key(Key())), HasSubstr("it has no key"));
}

}  // namespace
}  // namespace pgbackfill::planner
