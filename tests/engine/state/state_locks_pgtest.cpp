// Locks that others have on the state, or on the table when a run begins: nobody waits for long without a word.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr auto kWait = 8s;

class StateLocksTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
        "generate_series(1, 2000) g");
    write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  }

  std::unique_ptr<Program> start(std::vector<std::string> const& options = {}) const {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn()};
    words.insert(words.end(), options.begin(), options.end());
    ProgramOptions in_folder;
    in_folder.working_dir = dir();
    return std::make_unique<Program>(words, in_folder);
  }
  void expect_named(std::vector<std::string> const& words, std::string const& holder) const {
    auto const began = std::chrono::steady_clock::now();
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kResumable) << words.front() << '\n' << result.out << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("in the way: "), HasSubstr(holder))) << words.front();
    EXPECT_LT(std::chrono::steady_clock::now() - began, kWait) << words.front();
  }
};

TEST_F(StateLocksTest, EachCommandNamesWhoHasATableOfTheStateLocked) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  PgClient holder(dsn() + " application_name=vacuum_full");
  holder.exec("BEGIN; LOCK TABLE pgbackfill.jobs");
  std::string const named = fmt::format("pid {} (vacuum_full, role postgres, idle in transaction", holder.pid());
  for (std::vector<std::string> const& words : {std::vector<std::string>{"status"},
                                                {"status", "m"},
                                                {"history"},
                                                {"pause", "m"},
                                                {"gate", "m"},
                                                {"set", "m", "workers=1"}}) {
    expect_named(words, named);
  }
}

TEST_F(StateLocksTest, WhoHoldsARowOfTheStateIsNamed) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("UPDATE pgbackfill.jobs SET status = 'running'");
  PgClient holder(dsn());
  holder.exec("BEGIN; SELECT * FROM pgbackfill.jobs FOR UPDATE");
  expect_named({"pause", "m"}, fmt::format("pid {}", holder.pid()));
}

TEST_F(StateLocksTest, ARunWithinTheTransactionOfItsCallerIsToldToCommitFirst) {
  PgClient caller(dsn() + " application_name=alembic");
  caller.exec("BEGIN; ALTER TABLE t ADD COLUMN extra int");
  auto const result = run({"run", "m.yaml", "--lock-patience", "1s"});
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  std::string const named = fmt::format("in the way: pid {} (alembic, role postgres, idle in tran", caller.pid());
  EXPECT_THAT(result.err, AllOf(HasSubstr(named), HasSubstr("public.t locked"), HasSubstr("(commit first: ")));
  caller.exec("COMMIT");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(StateLocksTest, InitNamesWhoHasTheLockOfTheLayout) {
  client_->exec("CREATE ROLE low LOGIN");
  PgClient holder(dsn("low"));
  holder.exec("BEGIN; SELECT pg_advisory_lock(5571360147221349)");
  expect_named({"init"}, fmt::format("pid {}", holder.pid()));
  EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
}

TEST_F(StateLocksTest, ARunWaitsForTheLayoutAndSaysForWhom) {
  PgClient holder(dsn());
  holder.exec("BEGIN; SELECT pg_advisory_xact_lock(5571360147221349)");
  auto const program = start();
  EXPECT_TRUE(program->wait_for_output(fmt::format("in the way: pid {}", holder.pid()))) << program->err();
  holder.exec("COMMIT");
  EXPECT_EQ(program->wait(60s).exit_code, kDone);
  EXPECT_EQ(counts(dsn(), "t"), "1: 2000");
}

TEST_F(StateLocksTest, ARunWaitsForItsTableAtTheStartAndGoesOn) {
  PgClient holder(dsn() + " application_name=vacuum_full");
  holder.exec("BEGIN; LOCK TABLE t");
  auto const program = start();
  EXPECT_TRUE(program->wait_for_output(fmt::format("pid {} (vacuum_full", holder.pid()))) << program->err();
  EXPECT_THAT(program->err(), HasSubstr("has public.t locked (AccessExclusiveLock)"));
  holder.exec("COMMIT");
  EXPECT_EQ(program->wait(60s).exit_code, kDone);
  EXPECT_EQ(counts(dsn(), "t"), "1: 2000");
}

TEST_F(StateLocksTest, ARunWhosePatienceEndsIsResumable) {
  PgClient holder(dsn());
  holder.exec("BEGIN; LOCK TABLE t");
  auto const result = start({"--lock-patience", "1s"})->wait(60s);
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("gave up waiting"), HasSubstr(fmt::format("pid {}", holder.pid()))));
  holder.exec("COMMIT");
  EXPECT_EQ(start()->wait(60s).exit_code, kDone);
}

}  // namespace
}  // namespace pgbackfill::tests
