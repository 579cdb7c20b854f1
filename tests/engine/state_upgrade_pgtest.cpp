// The state schema when it is not as this program left it: newer, made twice at once, broken by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class StateUpgradeTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
        "generate_series(1, 100) g");
    run_ = std::make_unique<MigrationRun>("count_up", dsn(), "table: t\nbackfill:\n  set: {n: \"n + 1\"}\n");
  }

  ProgramResult init() const { return run_program({PGBACKFILL_PROGRAM, "init", "--dsn", dsn()}); }
  ProgramResult run() { return run_->start().wait(60s); }

  std::unique_ptr<MigrationRun> run_;
};

TEST_F(StateUpgradeTest, ANewerVersionIsLeftAlone) {
  ASSERT_EQ(init().exit_code, kDone);
  client_->exec("INSERT INTO pgbackfill.meta (version) VALUES (1000)");
  for (auto const& result : {init(), run(), run_->command("gate"), run_->command("pause"), run_->command("status")}) {
    EXPECT_EQ(result.exit_code, kFailed) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr("schema pgbackfill has version 1000, this program knows"));
    EXPECT_THAT(result.err, HasSubstr("a newer pgbackfill was here"));
  }
  EXPECT_EQ(counts(dsn(), "t"), "0: 100");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.migrations"), "0");
}

TEST_F(StateUpgradeTest, ManyMayInitAtOnce) {
  std::vector<std::unique_ptr<Program>> programs;
  for (int number = 0; number < 6; ++number) {
    programs.push_back(std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "init", "--dsn", dsn()}));
  }
  int made = 0;
  for (auto const& program : programs) {
    auto const result = program->wait(30s);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    made += result.out == "schema pgbackfill is ready\n" ? 1 : 0;
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.meta"), "1");
  EXPECT_EQ(run().exit_code, kDone);
  EXPECT_EQ(counts(dsn(), "t"), "1: 100");
}

TEST_F(StateUpgradeTest, ManyMayBeginTheSameJobAtOnce) {
  std::vector<Program*> programs;
  for (int number = 0; number < 4; ++number) programs.push_back(&run_->start());
  for (auto* program : programs) EXPECT_TRUE(run_->ends(*program, kDone));
  EXPECT_EQ(counts(dsn(), "t"), "1: 100");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs"), "1");
}

TEST_F(StateUpgradeTest, AnEmptySchemaOfThatNameIsTakenOver) {
  client_->exec("CREATE SCHEMA pgbackfill");
  auto const result = init();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(run().exit_code, kDone);
}

TEST_F(StateUpgradeTest, SomebodyElsesTablesAreNotTouched) {
  client_->exec(
      "CREATE SCHEMA pgbackfill; CREATE TABLE pgbackfill.jobs (mine text); INSERT INTO pgbackfill.jobs "
      "VALUES ('precious')");
  auto const result = init();
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("making schema pgbackfill: relation \"jobs\" already exists"));
  EXPECT_EQ(client_->value("SELECT mine FROM pgbackfill.jobs"), "precious");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_class WHERE relnamespace = 'pgbackfill'::regnamespace AND relkind "
                           "= 'r'"),
            "1");
}

// Each break by hand has to be told, not to crash, and never to count rows twice.
TEST_F(StateUpgradeTest, BrokenStateIsTold) {
  ASSERT_EQ(init().exit_code, kDone);
  ASSERT_EQ(run().exit_code, kDone);
  std::pair<char const*, char const*> const breaks[] = {
      {"DELETE FROM pgbackfill.meta", "pgbackfill.meta has no version"},
      {"ALTER TABLE pgbackfill.jobs RENAME TO jobs_x", "relation \"pgbackfill.jobs\" does not exist"},
      {"ALTER TABLE pgbackfill.jobs DROP CONSTRAINT jobs_status_check; UPDATE pgbackfill.jobs SET status = 'odd'",
       "pgbackfill.jobs has a status that this version does not know: odd"},
      {"ALTER TABLE pgbackfill.jobs DROP COLUMN sweeps", "sweeps"},
  };
  for (auto const& [statement, message] : breaks) {
    std::string const database = client_->value("SELECT current_database()");
    PgClient admin(cluster_->dsn());
    client_.reset();
    admin.exec("DROP DATABASE IF EXISTS broken");
    admin.exec("CREATE DATABASE broken TEMPLATE " + database);
    client_ = std::make_unique<PgClient>(dsn());
    std::string const broken = cluster_->dsn() + " dbname=broken";
    PgClient(broken).exec(statement);
    run_->set_dsn(broken);
    auto const result = run();
    EXPECT_EQ(result.exit_code, kFailed) << statement << "\n" << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << statement;
    EXPECT_THAT(result.err, Not(AnyOf(HasSubstr("bad optional"), HasSubstr("stoi"), HasSubstr("terminate"))));
    EXPECT_EQ(counts(broken, "t"), "1: 100");
  }
}

TEST_F(StateUpgradeTest, AJobWhoseTableIsGoneOrMadeAnewIsTold) {
  run_ = std::make_unique<MigrationRun>(
      "count_up", dsn(), "table: t\nbackfill:\n  set: {n: \"n + 1\"}\nthrottle: {max_rows_per_second: 1}\n");
  auto& process = run_->start();
  ASSERT_TRUE(run_->waits_for_rows(1));
  run_->command("cancel");
  process.wait(20s);
  run_->command("resume");
  client_->exec("DROP TABLE t");
  auto const gone = run();
  EXPECT_EQ(gone.exit_code, 2);
  EXPECT_THAT(gone.err, HasSubstr("table \"t\" does not exist"));
  client_->exec("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t VALUES (1)");
  auto const anew = run();
  EXPECT_NE(anew.exit_code, kDone) << "the ranges are of another table:\n" << anew.err;
}

}  // namespace
}  // namespace pgbackfill::tests
