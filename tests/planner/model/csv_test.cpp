// CSV files as spreadsheets and psql write them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/model/csv.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::vector<std::string>> texts_of(std::string const& text) {
  std::vector<std::vector<std::string>> rows;
  for (auto const& row : parse_csv(text, "f.csv").rows) {
    auto& texts = rows.emplace_back();
    for (auto const& field : row) texts.push_back(field.text);
  }
  return rows;
}

std::vector<std::string> problems_of(std::string const& text) {
  std::vector<std::string> texts;
  for (auto const& problem : parse_csv(text, "f.csv").problems) texts.push_back(to_string(problem));
  return texts;
}

TEST(Csv, ReadsLinesAndQuotes) {
  EXPECT_THAT(texts_of("a,b\nc,\"d,\"\"e\"\"\"\r\n\n\"two\nlines\",f"),
              ElementsAre(ElementsAre("a", "b"), ElementsAre("c", "d,\"e\""), ElementsAre("two\nlines", "f")));
  EXPECT_THAT(texts_of("\xEF\xBB\xBF"
                       "1\n2\n"),
              ElementsAre(ElementsAre("1"), ElementsAre("2")));
  EXPECT_THAT(texts_of("\n\n"), IsEmpty());
  EXPECT_THAT(texts_of("a,,\n"), ElementsAre(ElementsAre("a", "", "")));
}

TEST(Csv, TellsAnEmptyTextFromNone) {
  auto const row = parse_csv("\"\",", "f.csv").rows.at(0);
  EXPECT_TRUE(row.at(0).is_quoted);
  EXPECT_FALSE(row.at(1).is_quoted);
}

TEST(Csv, KnowsWhereAValueStands) {
  auto const rows = parse_csv("a,b\n\"x\ny\",long,z\n", "f.csv").rows;
  EXPECT_EQ(rows.at(0).at(1).column, 3);
  EXPECT_EQ(rows.at(1).at(0).line, 2);
  EXPECT_EQ(rows.at(1).at(1).line, 3);
  EXPECT_EQ(rows.at(1).at(1).column, 4);
  EXPECT_EQ(rows.at(1).at(2).column, 9);
}

TEST(Csv, RefusesWhatCannotBeMeant) {
  EXPECT_THAT(problems_of("a\nb\"c,d\n"), ElementsAre(HasSubstr("f.csv:2:2: a quote in the middle of a value")));
  EXPECT_THAT(problems_of("\"a\"b,c\n1\n"), ElementsAre(HasSubstr("f.csv:1:4: behind the closing quote")));
  EXPECT_THAT(problems_of("1\n2,\"three\n4"), ElementsAre(HasSubstr("f.csv:2:3: the quote that begins this value")));
  EXPECT_THAT(problems_of("1\n2\n"), IsEmpty());
}

TEST(Csv, HasABound) {
  std::string text;
  for (std::size_t row = 0; row <= kMostCsvRows; ++row) text += "1\n";
  EXPECT_THAT(problems_of(text), ElementsAre(HasSubstr("f.csv:1000001:1: the file has more than 1000000 rows")));
}

}  // namespace
}  // namespace pgbackfill::planner
