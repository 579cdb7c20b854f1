#include "planner/model/writers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/file/migration_file.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

std::vector<std::string> problems_of(std::string const& list) {
  std::vector<std::string> texts;
  for (auto const& problem : parse_migration("name: x\nwriters_gone: " + list + "\n", "m.yaml").problems) {
    texts.push_back(to_string(problem));
  }
  return texts;
}

TEST(Writers, AreReadFromTheFile) {
  auto const parsed = parse_migration("name: x\nwriters_gone:\n  - billing api\n  - \"web-1.*\"\n", "m.yaml");
  ASSERT_TRUE(parsed.migration) << to_lines(parsed.problems);
  auto const& names = parsed.migration->writers_gone;
  ASSERT_THAT(names, SizeIs(2));
  EXPECT_EQ(names[0].name, "billing api");
  EXPECT_FALSE(names[0].is_prefix);
  EXPECT_EQ(names[0].position.line, 3);
  EXPECT_EQ(names[1].name, "web-1.");
  EXPECT_TRUE(names[1].is_prefix);
}

TEST(Writers, NamesThatCannotBeMeantAreRefusedWithTheirPlaces) {
  EXPECT_THAT(problems_of("web"), ElementsAre(HasSubstr("m.yaml:2:15: 'writers_gone' must be a list of texts")));
  EXPECT_THAT(problems_of("[]"), ElementsAre(HasSubstr("m.yaml:2:15: 'writers_gone' is empty")));
  EXPECT_THAT(problems_of("['*']"), ElementsAre(HasSubstr("m.yaml:2:16: '*' would be every session")));
  EXPECT_THAT(problems_of("['a*b']"), ElementsAre(HasSubstr("'a*b' has a * before its end")));
  EXPECT_THAT(problems_of("['*b']"), ElementsAre(HasSubstr("'*b' has a * before its end")));
  EXPECT_THAT(problems_of("['\xc3\xa4']"), ElementsAre(HasSubstr("has a character that PostgreSQL replaces")));
  EXPECT_THAT(problems_of("[" + std::string(64, 'a') + "]"), ElementsAre(HasSubstr("is too long")));
  EXPECT_THAT(problems_of("[" + std::string(63, 'a') + "*]"), SizeIs(0));
  EXPECT_THAT(problems_of("[{a: b}]"), ElementsAre(HasSubstr("an application must be a name")));
}

TEST(Writers, NamesAreData) {
  auto const sql = writers_sql({make_writer({}, "o'hara_%*"), make_writer({}, "b\\c")});
  EXPECT_THAT(sql, HasSubstr("(a.application_name IS NULL OR pg_catalog.starts_with(a.application_name, 'o''hara_%') "
                             "OR a.application_name = E'b\\\\c')"));
}

TEST(Writers, AreToldWithAllThatCanBeSeen) {
  EXPECT_EQ(writer_text({"12", "web", "app", "10.0.0.7", "idle", "2026-01-02 03:04:05 UTC"}),
            "pid 12 (application 'web', user app, from 10.0.0.7, idle, connected since 2026-01-02 03:04:05 UTC)");
  EXPECT_THAT(writer_text({"12", "web", "app", std::nullopt, std::nullopt, std::nullopt}),
              HasSubstr("pid 12 (application 'web', user app; from where, its state and since when are not for this "
                        "role to see: GRANT pg_read_all_stats)"));
  EXPECT_THAT(writer_text({"12", std::nullopt, std::nullopt, std::nullopt, std::nullopt, std::nullopt}),
              HasSubstr("pid 12: which application it belongs to cannot be seen"));
}

}  // namespace
}  // namespace pgbackfill::planner
