// ^C while a command waits for the server: it ends within a second, resumable, and leaves nothing running there.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Twice the second that is promised: these machines are busy.
constexpr auto kSoon = 2s;

class InterruptTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
        "generate_series(1, 100) g; CREATE FUNCTION slow() RETURNS int LANGUAGE sql AS 'SELECT 0 FROM pg_sleep(60)'");
    write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n" + std::string(kRest));
  }

  static constexpr char kRest[] = "verify:\n  - zero: SELECT slow()\ncontract:\n  - set_not_null: n\n";

  std::unique_ptr<Program> start(std::vector<std::string> words, std::string const& dsn) const {
    words.insert(words.begin(), PGBACKFILL_PROGRAM);
    words.insert(words.end(), {"--dsn", dsn});
    ProgramOptions options;
    options.working_dir = dir();
    return std::make_unique<Program>(words, options);
  }
  std::string sessions() {
    return client_->value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgbackfill%' AND datname = "
        "current_database() AND state = 'active'");
  }
  void expect_heard(Program& program, std::string const& what) {
    auto const began = std::chrono::steady_clock::now();
    program.signal(SIGINT);
    auto const result = program.wait(60s);
    EXPECT_EQ(result.exit_code, kResumable) << what << '\n' << result.err;
    EXPECT_THAT(result.err, HasSubstr("interrupted")) << what;
    EXPECT_LT(std::chrono::steady_clock::now() - began, kSoon) << what;
  }
};

TEST_F(InterruptTest, EndsWhatWaitsForACheckAndCancelsItOnTheServer) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  for (std::vector<std::string> const& words :
       {std::vector<std::string>{"verify", "m"}, {"gate", "m"}, {"complete", "m", "--yes"}}) {
    auto const program = start(words, dsn());
    ASSERT_TRUE(poll_until([&] {
      return client_->value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
    })) << words.front()
        << program->err();
    expect_heard(*program, words.front());
    EXPECT_TRUE(poll_until([&] { return sessions() == "0"; })) << words.front();
  }
}

TEST_F(InterruptTest, EndsARunThatPlans) {
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  PgClient holder(dsn());
  holder.exec("BEGIN; LOCK TABLE t");
  auto const program = start({"run", "m.yaml"}, dsn());
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0"; }));
  expect_heard(*program, "run");
  EXPECT_EQ(sessions(), "0");
}

TEST_F(InterruptTest, EndsARunAtAStepAndTheNextOneGoesOn) {
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - sql: SELECT pg_sleep(60)\n    down: SELECT 1\n");
  auto const program = start({"run", "m.yaml"}, dsn());
  ASSERT_TRUE(poll_until(
      [&] { return client_->value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"; }));
  expect_heard(*program, "run");
  EXPECT_TRUE(poll_until([&] { return sessions() == "0"; }));
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - sql: SELECT pg_sleep(0)\n    down: SELECT 1\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

// The server's processes are stopped: nobody answers, not even to a cancel.
TEST_F(InterruptTest, EndsWhateverWaitsForAFrozenServer) {
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const pid = std::stoi(client_->value("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"));
  kill(pid, SIGSTOP);
  for (std::vector<std::string> const& words : {std::vector<std::string>{"init"},
                                                {"status"},
                                                {"doctor"},
                                                {"run", "m.yaml"},
                                                {"gate", "m"},
                                                {"pause", "m"},
                                                {"log", "m"},
                                                {"history"},
                                                {"plan", "m.yaml"},
                                                {"locks"},
                                                {"exporter", "--listen", "0"},
                                                {"approve", "m"},
                                                {"stamp", "m.yaml", "--phase", "complete"}}) {
    auto const program = start(words, dsn());
    std::this_thread::sleep_for(500ms);
    EXPECT_TRUE(program->is_running()) << words.front();
    expect_heard(*program, words.front());
  }
  kill(pid, SIGCONT);
}

}  // namespace
}  // namespace pgbackfill::tests
