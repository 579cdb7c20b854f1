// A run that begins while the server is away, goes away or loses its answers: it waits, and makes nothing twice.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::StopMode;
using testing::HasSubstr;
using testing::Not;

constexpr char kAll[] = "1: 5000";

class StartTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    make_table();
    write("t.yaml",
          "name: count_up\ntable: t\nexpand:\n  - sql: ALTER TABLE t ADD extra int\n    down: ALTER TABLE t DROP "
          "extra\nbackfill:\n  set: {n: \"n + 1\"}\n");
  }
  void TearDown() override {
    cluster_->start();
    DatabaseTest::TearDown();
  }

  // As before the first run.
  void make_table() {
    client_->exec(
        "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, n int "
        "NOT NULL DEFAULT 0); INSERT INTO t SELECT i, 0 FROM generate_series(1, 5000) AS i; ANALYZE t");
  }
  std::unique_ptr<Program> start(std::vector<std::string> const& options = {}, std::string dsn = "") const {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn"};
    words.push_back(dsn.empty() ? this->dsn() : dsn);
    words.insert(words.end(), options.begin(), options.end());
    return std::make_unique<Program>(words);
  }
  std::string through(FaultProxy const& proxy) const { return proxy.dsn() + " dbname=" + database_; }
  void expect_done(Program& program, std::string const& what) const {
    auto const result = program.wait(60s);
    EXPECT_EQ(result.exit_code, kDone) << what << '\n' << result.err;
    EXPECT_EQ(counts(dsn(), "t"), kAll) << what;
    PgClient client(dsn());
    EXPECT_EQ(client.value("SELECT count(*) FROM pgbackfill.jobs"), "1") << what;
    EXPECT_EQ(client.value("SELECT count(*) FROM pgbackfill.steps"), "1") << what;
  }
};

TEST_F(StartTest, WaitsForAServerThatIsDown) {
  client_.reset();
  cluster_->stop_primary();
  auto const program = start();
  ASSERT_TRUE(program->wait_for_output("trying again")) << program->err();
  cluster_->start_primary();
  expect_done(*program, "after the start");
}

TEST_F(StartTest, WaitsNoLongerThanItIsTold) {
  client_.reset();
  cluster_->stop_primary();
  auto const result = start({"--wait-for-server", "300ms"})->wait(30s);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("cannot connect to host="));
}

TEST_F(StartTest, EndsResumableWhenItIsInterruptedBeforeItBegan) {
  client_.reset();
  cluster_->stop_primary();
  auto const program = start();
  ASSERT_TRUE(program->wait_for_output("trying again")) << program->err();
  program->signal(SIGINT);
  auto const result = program->wait(20s);
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_THAT(result.err, HasSubstr("interrupted before it began"));
}

TEST_F(StartTest, DoesNotWaitForWhatTheServerRefuses) {
  for (std::string const wrong : {"dbname=nowhere", "user=nobody_of_that_name", "host=no-such-host.invalid"}) {
    auto const result = start({}, cluster_->dsn() + " " + wrong)->wait(60s);
    EXPECT_EQ(result.exit_code, kFailed) << wrong;
    EXPECT_THAT(result.err, HasSubstr("cannot connect to")) << wrong;
    EXPECT_THAT(result.err, Not(HasSubstr("trying again"))) << wrong;
  }
  write("t.yaml", "name: count_up\ntable: t\nbackfill:\n  set: {m: \"n + 1\"}\n");
  auto const result = start()->wait(60s);
  EXPECT_EQ(result.exit_code, kUsage) << result.err;
}

TEST_F(StartTest, SurvivesARestartInTheMiddle) {
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  // Nobody can record a migration, until the server and this lock go down together.
  PgClient holder(dsn());
  holder.exec("BEGIN; LOCK TABLE pgbackfill.migrations");
  auto const program = start();
  ASSERT_TRUE(poll_until([&] {
    return client_->value(
               "SELECT count(*) FROM pg_locks WHERE relation = 'pgbackfill.migrations'::regclass AND NOT "
               "granted") != "0";
  })) << program->err();
  cluster_->restart_primary(StopMode::kImmediate);
  EXPECT_TRUE(program->wait_for_output("trying again")) << program->err();
  expect_done(*program, "after the restart");
}

// Each of them is an answer that the run needs before its workers begin: a reading, the state schema, the step, the
// migration's record.
TEST_F(StartTest, RepeatsWhatItGotNoAnswerTo) {
  for (std::string const tag : {"SELECT", "COMMIT", "ALTER TABLE", "INSERT"}) {
    make_table();
    FaultProxy proxy(cluster_->port());
    proxy.drop_next_answer(tag);
    auto const program = start({}, through(proxy));
    expect_done(*program, tag);
    EXPECT_EQ(proxy.dropped_answers(), 1) << tag;
    EXPECT_THAT(program->err(), HasSubstr("trying again")) << tag;
  }
}

TEST_F(StartTest, ComesToItsEndThroughALinkThatBreaksAllTheTime) {
  auto random = random_of_test();
  for (int round = 0; round < 3; ++round) {
    make_table();
    FaultProxy proxy(cluster_->port());
    // Of about sixty answers before the first batch all have to come in one attempt: about one in three succeeds.
    proxy.drop_answers_with_probability(0.02, random());
    auto const program = start({}, through(proxy));
    expect_done(*program, "round " + std::to_string(round));
  }
}

}  // namespace
}  // namespace pgbackfill::tests
