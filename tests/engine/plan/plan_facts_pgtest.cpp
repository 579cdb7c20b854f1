// What plan says of a step beside its statements: what else it has to do with, how long it takes, how bad it is; the
// same in all three formats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class PlanFactsTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, email text UNIQUE, boss int REFERENCES users); CREATE "
        "TABLE orders (id int PRIMARY KEY, who text REFERENCES users (email)); CREATE VIEW names AS SELECT name FROM "
        "users; CREATE MATERIALIZED VIEW mails AS SELECT email FROM users; CREATE INDEX by_name ON users "
        "(lower(name)); "
        "INSERT INTO users SELECT g, 'name ' || g FROM generate_series(1, 50) g; ANALYZE users");
  }

  std::string plan(std::string const& steps, std::string const& format = "text", int exit_code = kDone) const {
    write("m.yaml", "name: m\ntable: users\n" + steps);
    auto const result = run({"plan", "m.yaml", "--format", format});
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    return result.out;
  }
  boost::json::object step(std::string const& step, int exit_code = kDone) const {
    return boost::json::parse(plan("contract:\n  - " + step + "\n", "json", exit_code))
        .as_object()
        .at("contract")
        .as_array()
        .at(0)
        .as_object();
  }
  static std::string others_of(boost::json::object const& step) {
    std::string text;
    for (auto const& other : step.at("others").as_array()) {
      text += std::string(other.at("relation").as_string()) + " " + std::string(other.at("words").as_string()) + "\n";
    }
    return text;
  }
};

TEST_F(PlanFactsTest, NamesWhatDependsOnWhatGoesAway) {
  EXPECT_EQ(others_of(step("drop_column: name", kUsage)),
            "\"public\".\"names\" is a view that uses it\n\"public\".\"by_name\" is an index that has it\n");
  EXPECT_EQ(others_of(step("drop_column: email", kUsage)),
            "\"public\".\"orders\" refers to it by foreign key orders_who_fkey\n"
            "\"public\".\"mails\" is a materialized view that uses it\n"
            "\"public\".\"users_email_key\" is an index that has it\n"
            "users_email_key on public.users is a table constraint that goes with it\n");
  EXPECT_EQ(others_of(step("drop_constraint: users_email_key", kUsage)),
            "\"public\".\"orders\" refers to it by foreign key orders_who_fkey\n");
  EXPECT_EQ(others_of(step("drop_table: orders")),
            "\"public\".\"users\" is referred to by foreign key orders_who_fkey\n"
            "orders_pkey on public.orders is a table constraint that goes with it\n");
  EXPECT_EQ(others_of(step("set_not_null: name")), "") << "a tightened column is nobody else's affair";
  client_->exec(
      "CREATE TABLE parts (id int) PARTITION BY HASH (id); CREATE TABLE \"part \"\"1\" PARTITION OF parts FOR "
      "VALUES WITH (MODULUS 1, REMAINDER 0)");
  EXPECT_EQ(others_of(step("add_column: {table: parts, name: n, type: int}")),
            "\"public\".\"part \"\"1\" is a partition of it\n");
}

TEST_F(PlanFactsTest, ReadsTheSqlOfStepsAsLintDoes) {
  auto const heavy = step("sql: CREATE INDEX plain ON users (name)");
  EXPECT_EQ(heavy.at("risk").as_string(), "high");
  auto const& statement = heavy.at("statements").as_array().at(0).as_object();
  EXPECT_EQ(statement.at("effort").as_string(), "index build");
  EXPECT_EQ(statement.at("locks").as_array().at(0).at("mode").as_string(), "SHARE");
  EXPECT_GT(heavy.at("table_bytes").as_int64(), 0);
  EXPECT_THAT(std::string(heavy.at("instead").as_string()), HasSubstr("CONCURRENTLY"));
  EXPECT_EQ(step("{sql: SELECT 1, down: SELECT 2}").at("risk").as_string(), "low");
}

// A rewrite of a small table takes milliseconds; its size, not its kind, decides.
TEST_F(PlanFactsTest, GivesADurationByTheSizeOfTheTable) {
  EXPECT_EQ(step("set_not_null: name").at("duration").as_string(), "milliseconds");
  client_->exec(
      "CREATE TABLE wide (id int PRIMARY KEY, name text); ALTER TABLE wide ALTER name SET STORAGE PLAIN; INSERT INTO "
      "wide SELECT g, repeat('x', 7000) FROM generate_series(1, 16000) g");
  EXPECT_EQ(step("set_not_null: {table: wide, column: name}").at("duration").as_string(), "seconds");
  EXPECT_EQ(step("drop_column: {table: wide, name: name}").at("duration").as_string(), "milliseconds");
  auto const text = plan("contract:\n  - sql: ALTER TABLE wide ADD CHECK (id > 0)\n");
  EXPECT_THAT(text, HasSubstr("stops      contract step 1: ACCESS EXCLUSIVE on wide, which stops reads and writes, for "
                              "seconds"));
}

TEST_F(PlanFactsTest, SaysTheSameInAllFormats) {
  std::string const steps =
      "expand:\n  - add_column: {name: display, type: text}\nbackfill:\n  set: {display: upper(name)}\ncontract:\n  - "
      "set_not_null: display\n  - drop_column: name\n";
  client_->exec("ALTER TABLE users ADD COLUMN display text");
  for (char const* format : {"text", "json", "markdown"}) {
    auto const shown = plan(steps, format, kUsage);
    for (char const* fact :
         {"all values of the column are lost", "the column's values", "is a view that uses it", "milliseconds",
          "beside reads and writes", "goes with the columns", "contract step 2: all values of the column are lost"}) {
      EXPECT_THAT(shown, HasSubstr(fact)) << format;
    }
  }
  EXPECT_THAT(plan(steps, "text", kUsage), HasSubstr("verdict    run: low risk; complete: destructive\n"));
  auto const markdown = plan(steps, "markdown", kUsage);
  EXPECT_THAT(markdown, testing::StartsWith("### pgbackfill plan of m: run: low risk; complete: destructive\n"));
  EXPECT_THAT(markdown, AllOf(HasSubstr("| backfill | set display in `\"public\".\"users\"` |"),
                              HasSubstr("**Estimate**"), HasSubstr("<details><summary>SQL, in order</summary>"),
                              HasSubstr("-- contract step 1: set_not_null display of public.users\n")));
}

// What was changed already is not judged again, and what is shown can be pasted.
TEST_F(PlanFactsTest, TheSqlOfTheCommentIsWhatTheServerTakes) {
  auto const markdown = plan("expand:\n  - add_column: {name: \"od`d|\\\"n\", type: text}\n", "markdown");
  auto const begin = markdown.find("sql\n-- ") + 4;
  client_->exec(markdown.substr(begin, markdown.find("\n```", begin) - begin));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = "
                           "'od`d|\"n'"),
            "1");
  EXPECT_THAT(markdown.substr(0, markdown.find("<details>")), Not(HasSubstr("od`d|")));
}

}  // namespace
}  // namespace pgbackfill::tests
