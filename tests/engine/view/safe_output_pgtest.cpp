// What leaves the program: no password on any way out, and nothing that a terminal would obey, whatever names and
// messages hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string command_line_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class SafeOutput : public DatabaseTest {
 protected:
  ProgramOptions here() const {
    ProgramOptions options;
    options.working_dir = dir();
    return options;
  }
};

TEST_F(SafeOutput, APasswordIsTakenOutOfTheCommandLine) {
  client_->exec("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g FROM generate_series(1, 20000) g");
  write("m.yaml", "name: m\ntable: t\nbackfill: {set: {n: \"1\"}}\nthrottle: {max_rows_per_second: 1000}\n");
  std::string const url = "postgresql://postgres:hunter22@127.0.0.1:" + std::to_string(cluster_->port()) + "/" +
                          database_ + "?application_name=app";
  // Backends outlive their clients by a moment, and the server's own workers come by.
  auto const sessions = [&] {
    return client_->value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "
        "backend_type = 'client backend'");
  };
  for (std::vector<std::string> const& dsn : std::vector<std::vector<std::string>>{
           {"--dsn", dsn() + " password=hunter22"}, {"--dsn=" + url}, {"--dsn", url}}) {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM};
    words.insert(words.end(), dsn.begin(), dsn.end());
    words.insert(words.end(), {"run", "m.yaml", "--no-progress"});
    ASSERT_TRUE(poll_until([&] { return sessions() == "0"; }));
    Program program(words, here());
    ASSERT_TRUE(poll_until([&] { return sessions() != "0"; }));
    EXPECT_THAT(command_line_of(program.pid()), AllOf(HasSubstr("127.0.0.1"), Not(HasSubstr("hunter22"))));
    program.signal(SIGINT);
    EXPECT_THAT(program.wait().err, Not(HasSubstr("hunter22")));
  }
}

TEST_F(SafeOutput, PasswordsInSqlAreNeitherShownNorInTheLog) {
  client_->exec("CREATE TABLE t (id int PRIMARY KEY)");
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - sql: \"DO $$BEGIN PERFORM 'host=h password=hunter22'; END$$\"\n  - sql: "
        "\"CREATE "
        "ROLE safe_output_role PASSWORD 'hunter33'\"\n");
  std::string shown = run({"plan", "m.yaml"}).out + run({"plan", "m.yaml", "--format", "json"}).out;
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  shown += result.err + result.out + run({"log", "m"}).out + run({"status", "m"}).out + run({"history"}).out;
  EXPECT_THAT(shown, AllOf(HasSubstr("password=***"), HasSubstr("PASSWORD ***"), Not(HasSubstr("hunter"))));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.events WHERE detail LIKE '%hunter%'"), "0");
  client_->exec("DROP ROLE safe_output_role");
}

TEST_F(SafeOutput, NothingThatATerminalWouldObeyComesOut) {
  std::string const planted =
      "t\x1b[31m\x07\x1b]0;x\x07\xc2\x9b"
      "2J";
  client_->exec("CREATE TABLE \"" + planted + "\" (id int PRIMARY KEY, n int); INSERT INTO \"" + planted +
                "\" VALUES (1, 0), (2, 0)");
  write("m.yaml", "name: \"m\\e[2J\"\ntable: \"t\\e\"\nbackfill: {set: {n: \"1\"}}\n");
  write("good.yaml",
        "name: good\ntable: \"\\\"t\\e[31m\\a\\e]0;x\\a\\x9b2J\\\"\"\nexpand:\n  - add_column: {name: "
        "\"c\\e[32m\", type: int}\nbackfill: {set: {n: \"n / (id - 1)\"}}\ncontract:\n  - drop_column: "
        "\"c\\e[32m\"\n");
  std::vector<std::vector<std::string>> const commands = {{"plan", "m.yaml"},
                                                          {"plan", "good.yaml"},
                                                          {"plan", "good.yaml", "--format", "markdown"},
                                                          {"lint", "good.yaml"},
                                                          {"run", "good.yaml"},
                                                          {"status"},
                                                          {"status", "good"},
                                                          {"log", "good"},
                                                          {"history"},
                                                          {"locks", "good"},
                                                          {"doctor", "good.yaml"},
                                                          {"gate", "good"},
                                                          {"verify", "good"},
                                                          {"approve", "good", "--reason", "\x1b[31m"},
                                                          {"status", "\x1b[31m"},
                                                          {"pause", "\x1b[31m"},
                                                          {"run", "\x1b[31m.yaml"},
                                                          {"set", "good", "\x1b[31m=1"},
                                                          {"\x1b[31m"},
                                                          {"status", "--format", "\x1b[31m"},
                                                          {"rollback", "good"},
                                                          {"rollback", "good", "--dry-run"},
                                                          {"stamp", "good.yaml", "--phase", "complete"},
                                                          {"rollback", "good", "--yes"}};
  for (auto const& command : commands) {
    auto const result = run(command);
    EXPECT_THAT(result.out + result.err,
                AllOf(Not(HasSubstr("\x1b")), Not(HasSubstr("\x07")), Not(HasSubstr("\xc2\x9b"))))
        << command.front();
  }
}

}  // namespace
}  // namespace pgbackfill::tests
