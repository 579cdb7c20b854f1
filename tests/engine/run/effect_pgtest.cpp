// What the server itself says of the user's own SQL steps, before anything is touched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/fault_proxy.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

class EffectTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int, name text); INSERT INTO t SELECT g, g, 'x' FROM "
        "generate_series(1, 100) g");
  }
};

TEST_F(EffectTest, SqlThatTheServerCannotReadIsRefusedBeforeAnythingIsTouched) {
  for (std::string const broken :
       {"expand:\n  - add_column: {name: a, type: int}\n  - sql: ALTER TABLE t ADD COLUMN b in t\n",
        "expand:\n  - add_column: {name: a, type: int}\n  - sql: SELECT 1\n    down: DROP TABEL t\n",
        "expand:\n  - add_column: {name: a, type: int}\ncontract:\n  - sql: SELECT 1; ALTR TABLE t\n"}) {
    write("m.yaml", "name: m\ntable: t\n" + broken);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << broken << result.err;
    EXPECT_THAT(result.err,
                AllOf(HasSubstr("m.yaml:"), HasSubstr("the server cannot read this SQL: syntax error at or near"),
                      HasSubstr("42601")));
    EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill')"), "NULL");
    EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'a'"),
              "0");
  }
}

// `steps` steps that do nothing, in both phases, and what a run of it says through the proxy.
class EffectTripsTest : public EffectTest {
 protected:
  static std::string file(int steps, std::string const& last) {
    std::string text = "name: m" + std::to_string(steps) + "\ntable: t\nexpand:\n";
    for (int step = 0; step < steps; ++step) text += "  - {sql: SELECT " + std::to_string(step) + ", down: SELECT 0}\n";
    text += "contract:\n";
    for (int step = 0; step < steps; ++step) text += "  - sql: SELECT " + std::to_string(step) + "\n";
    return text + last;
  }
  // Round trips of `run`.
  int trips(int steps, std::string const& last, int exit_code) const {
    FaultProxy proxy(cluster_->port());
    proxy.set_delay(20ms);
    write("m.yaml", file(steps, last));
    ProgramOptions options;
    options.working_dir = dir();
    auto const result =
        run_program({PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", proxy.dsn() + " dbname=" + database_},
                    std::chrono::seconds(60), options);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    return proxy.round_trips();
  }
};

TEST_F(EffectTripsTest, TheServerReadsAllStatementsInOneRoundTrip) {
  std::string const broken = "  - sql: ALTR TABLE t\n  - sql: DROP TABEL t\n";
  int const of_few = trips(1, broken, kUsage);
  int const of_many = trips(40, broken, kUsage);
  EXPECT_LT(of_many, of_few + 10) << of_few;
  write("m.yaml", file(40, broken));
  auto const refused = run({"run", "m.yaml"});
  EXPECT_THAT(refused.err, AllOf(HasSubstr("m.yaml:85:10: the server cannot read this SQL: syntax error at or near "
                                           "\"ALTR\""),
                                 HasSubstr("m.yaml:86:10: the server cannot read this SQL: syntax error at or near "
                                           "\"TABEL\"")));
}

TEST_F(EffectTripsTest, WhatIsDoneIsNeitherReadNorAskedAboutAgain) {
  for (int const steps : {1, 40}) {
    write("m.yaml", file(steps, ""));
    auto const done = run({"run", "m.yaml"});
    ASSERT_EQ(done.exit_code, kDone) << done.err;
    auto const completed = run({"complete", "m.yaml", "--yes"});
    ASSERT_EQ(completed.exit_code, kDone) << completed.err;
  }
  int const of_few = trips(1, "", kDone);
  int const of_many = trips(40, "", kDone);
  EXPECT_LT(of_many, of_few + 10) << of_few;
  client_->exec("ALTER DATABASE " + database_ + " SET log_min_duration_statement = 0");
  trips(40, "", kDone);
  client_->exec("ALTER DATABASE " + database_ + " RESET log_min_duration_statement");
  EXPECT_THAT(cluster_->log_text(1 << 20), testing::Not(testing::ContainsRegex("parse [^ ]*: SELECT 39\n")));
}

TEST_F(EffectTest, SqlOverWhatEarlierStepsMakeIsNoMistake) {
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - create_table: {table: made, columns: id int}\n  - sql: |\n      INSERT INTO "
        "made SELECT id FROM t; -- a comment\n      DO $$ BEGIN PERFORM 1; END $$\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM made"), "100");
}

TEST_F(EffectTest, PlanTriesSqlOnAnEmptyCopyInsteadOfGuessing) {
  client_->exec("CREATE DOMAIN checked AS int CHECK (value > 0); CREATE DOMAIN plain AS text");
  struct Case {
    std::string sql;
    std::string effort;
  };
  // What no rule that knows the text alone can tell.
  Case const cases[] = {{"ALTER TABLE t ALTER COLUMN n TYPE checked", "rewrite"},
                        {"ALTER TABLE t ALTER COLUMN name TYPE plain", "catalog"},
                        {"ALTER TABLE t ADD COLUMN at timestamptz DEFAULT now()", "catalog"},
                        {"ALTER TABLE t ADD COLUMN at timestamptz DEFAULT clock_timestamp()", "rewrite"},
                        {"ALTER TABLE t ADD CHECK (n > 0)", "scan"},
                        {"ALTER TABLE t ALTER COLUMN n SET NOT NULL", "scan"},
                        {"CREATE INDEX ON t (n)", "index build"}};
  auto const files = [&] {
    return client_->value("SELECT pg_relation_filenode('t') || '/' || (SELECT count(*) FROM pg_class)");
  };
  auto const before = files();
  for (auto const& each : cases) {
    write("m.yaml", "name: m\ntable: t\nexpand:\n  - sql: \"" + each.sql + "\"\n");
    auto const result = run({"plan", "m.yaml", "--format", "json"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
    auto const document = boost::json::parse(result.out);
    auto const& statement = document.at("expand").at(0).at("statements").at(0).as_object();
    EXPECT_TRUE(statement.at("measured").as_bool()) << each.sql;
    EXPECT_EQ(std::string(statement.at("effort").as_string()), each.effort) << each.sql;
    EXPECT_THAT(run({"plan", "m.yaml"}).out, HasSubstr("tried on an empty copy"));
  }
  EXPECT_EQ(files(), before);
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - sql: ALTER TABLE nothing ADD COLUMN a int\n");
  auto const unknown = run({"plan", "m.yaml", "--format", "json"});
  EXPECT_THAT(unknown.out, HasSubstr(R"("measured":false)"));
}

TEST_F(EffectTest, PlanRefusesWhatTheServerCannotReadAndNamesHooks) {
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - sql: ALTR TABLE t\n");
  auto const refused = run({"plan", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("m.yaml:4:10: the server cannot read this SQL"));
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - sql: SELECT 1\nbefore:\n  expand: [{command: ./notify, timeout: 5s}]\n");
  for (std::string const format : {"text", "json", "markdown"}) {
    EXPECT_THAT(run({"plan", "m.yaml", "--format", format}).out,
                HasSubstr("before expand: command: ./notify (timeout 5s)"));
  }
}

}  // namespace
}  // namespace pgbackfill::tests
