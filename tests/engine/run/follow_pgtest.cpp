// `follow: until complete` on a real server: rows that old versions of the application still write are done, until
// somebody ends that.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kProgram[] = R"py(import sys
sys.path.insert(0, ")py" PGBACKFILL_SOURCE_DIR R"py(/examples/compute")
import hashlib
from pgbackfill_compute import SKIP, answer_requests

def row(read):
    if read["email"] == "skip": return SKIP
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py";

constexpr char kComputed[] = R"yaml(name: m
table: users
backfill:
  where: "h IS NULL"
  compute: {read: {email: email}, write: [h], command: [python3, program.py]}
  follow: {every: 200ms}
contract:
  - set_not_null: h
throttle: {mode: off}
)yaml";

// Each row that is done a second time tells of it.
constexpr char kCounted[] = R"yaml(name: m
table: users
backfill:
  where: "todo"
  set: {n: "n + 1", todo: "false"}
  follow: {every: 200ms}
throttle: {mode: off}
)yaml";

class FollowTest : public DatabaseTest {
 protected:
  void make_users(int rows) {
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, email text, h text, n int NOT NULL DEFAULT 0, todo bool NOT NULL "
        "DEFAULT true); INSERT INTO users SELECT g, 'u' || g FROM generate_series(1, " +
        std::to_string(rows) + ") g; ANALYZE users");
    write("program.py", kProgram);
  }
  std::string value(std::string const& sql) { return client_->value(sql); }
  bool becomes(std::string const& sql, std::string const& wanted) {
    return poll_until([&] { return value(sql) == wanted; });
  }
  std::unique_ptr<Program> start() const {
    ProgramOptions options;
    options.working_dir = dir();
    return std::make_unique<Program>(
        std::vector<std::string>{PGBACKFILL_PROGRAM, "--dsn", dsn(), "--log-level", "debug", "run", "m.yaml"}, options);
  }
  std::unique_ptr<Program> start_following(char const* file) const {
    write("m.yaml", file);
    auto program = start();
    EXPECT_TRUE(program->wait_for_output("following m: rows that `where` picks")) << program->err();
    return program;
  }
};

constexpr char kUndone[] = "SELECT count(*) FROM users WHERE h IS DISTINCT FROM md5(email)";

TEST_F(FollowTest, RowsThatComeAfterTheLastPassAreDoneUntilComplete) {
  make_users(500);
  auto const program = start_following(kComputed);
  EXPECT_EQ(value(kUndone), "0") << "it is followed once all is done";
  // As an old version of the application writes: beyond the last key, before the first, and a row that was done.
  client_->exec("INSERT INTO users VALUES (1000, 'new'), (-5, 'old'); UPDATE users SET h = NULL WHERE id = 7");
  EXPECT_TRUE(becomes(kUndone, "0")) << program->err();
  EXPECT_TRUE(program->is_running());
  client_->exec("INSERT INTO users VALUES (1001, 'newer')");
  EXPECT_TRUE(becomes(kUndone, "0")) << program->err();
  EXPECT_TRUE(poll_until([&] { return run({"gate", "m.yaml"}).exit_code == kDone; })) << run({"gate", "m.yaml"}).out;
  auto const status = run({"status", "m"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("m  following"), HasSubstr("rows that come are done while it is followed")));
  EXPECT_THAT(run({"status", "m", "--format", "json"}).out,
              AllOf(HasSubstr(R"("state":"following")"), HasSubstr(R"("followers":1)")));
  auto const completed = run({"complete", "m.yaml"});
  ASSERT_EQ(completed.exit_code, kDone) << completed.err;
  auto const ended = program->wait();
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_THAT(ended.err, AllOf(HasSubstr("m is complete: 500 rows changed"), HasSubstr("following it ends"),
                               HasSubstr("4 row(s) that came meanwhile were changed")));
  // Whichever it meets first.
  EXPECT_THAT(ended.err, testing::AnyOf(HasSubstr("`complete` by"), HasSubstr("its contract has begun")));
  EXPECT_EQ(value("SELECT rows_changed_on_visits FROM pgbackfill.jobs"), "4");
  // There is nothing to follow any more.
  auto const again = run({"run", "m.yaml"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("following m")));
}

TEST_F(FollowTest, CancelEndsItAndTheJobStaysComplete) {
  make_users(10);
  auto const program = start_following(kCounted);
  auto const cancelled = run({"cancel", "m"});
  EXPECT_EQ(cancelled.exit_code, kDone) << cancelled.err;
  EXPECT_THAT(cancelled.out, HasSubstr("m is complete; the processes that follow it end"));
  auto const ended = program->wait();
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("`cancel` by"));
  EXPECT_EQ(value("SELECT status FROM pgbackfill.jobs"), "complete");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kDone);
  // Whoever runs it again wants it followed again.
  client_->exec("INSERT INTO users VALUES (11, 'new')");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kGateClosed);
  auto const again = start_following(kCounted);
  EXPECT_TRUE(becomes("SELECT count(*) FROM users WHERE n = 1 AND NOT todo", "11")) << again->err();
}

TEST_F(FollowTest, ASignalEndsItResumable) {
  make_users(10);
  for (int const number : {SIGINT, SIGTERM}) {
    auto const program = start_following(kCounted);
    program->signal(number);
    auto const ended = program->wait();
    EXPECT_EQ(ended.exit_code, kResumable) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("to go on: `pgbackfill run m.yaml`"));
  }
}

TEST_F(FollowTest, TwoProcessesDoEachRowOnce) {
  make_users(100);
  auto const first = start_following(kCounted);
  auto const second = start_following(kCounted);
  for (int round = 0; round < 20; ++round) {
    client_->exec(
        "INSERT INTO users SELECT coalesce(max(id), 0) + g, 'new' FROM users, generate_series(1, 50) g GROUP "
        "BY g");
  }
  EXPECT_TRUE(becomes("SELECT count(*) FROM users WHERE todo", "0")) << first->err() << second->err();
  EXPECT_EQ(value("SELECT min(n) || ' ' || max(n) || ' ' || count(*) FROM users"), "1 1 1100");
  EXPECT_TRUE(becomes("SELECT count(*) FROM pgbackfill.deferred", "0"));
  EXPECT_EQ(run({"cancel", "m"}).exit_code, kDone);
  EXPECT_EQ(first->wait().exit_code, kDone) << first->err();
  EXPECT_EQ(second->wait().exit_code, kDone) << second->err();
}

TEST_F(FollowTest, ARowThatSomebodyHoldsWaitsAndTheGateIsClosedMeanwhile) {
  make_users(10);
  auto const program = start_following(kCounted);
  PgClient other(dsn());
  client_->exec("INSERT INTO users VALUES (11, 'held'), (12, 'free')");
  // It may be done by now: then it comes once more.
  other.exec("BEGIN; UPDATE users SET n = 0, todo = true WHERE id = 11");
  client_->exec("UPDATE users SET n = 0, todo = true WHERE id = 12");
  EXPECT_TRUE(becomes("SELECT n || ' ' || todo FROM users WHERE id = 12", "1 false")) << program->err();
  other.exec("COMMIT");
  EXPECT_TRUE(becomes("SELECT n || ' ' || todo FROM users WHERE id = 11", "1 false")) << program->err();
  EXPECT_TRUE(becomes("SELECT count(*) FROM pgbackfill.deferred", "0"));
}

TEST_F(FollowTest, WhatWasFoundBeforeAKillIsDoneByTheNextRunEvenIfThatDoesNotFollow) {
  make_users(10);
  auto const program = start_following(kCounted);
  program->signal(SIGKILL);
  program->wait();
  client_->exec(
      "INSERT INTO users VALUES (11, 'new'); INSERT INTO pgbackfill.deferred (job_id, leaf, key) SELECT id, 0, '{11}' "
      "FROM pgbackfill.jobs");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kGateClosed);
  std::string file = kCounted;
  file.erase(file.find("  follow"), std::string("  follow: {every: 200ms}\n").size());
  write("m.yaml", file);
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT n FROM users WHERE id = 11"), "1");
  EXPECT_EQ(value("SELECT count(*) FROM pgbackfill.deferred"), "0");
}

TEST_F(FollowTest, APartitionThatComesIsTakenIn) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, todo bool NOT NULL DEFAULT true) PARTITION BY "
      "RANGE (id); CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (0) TO (100); INSERT INTO users SELECT g "
      "FROM generate_series(1, 50) g; ANALYZE users");
  auto const program = start_following(kCounted);
  client_->exec(
      "CREATE TABLE users_2 PARTITION OF users FOR VALUES FROM (100) TO (200); INSERT INTO users VALUES (150)");
  EXPECT_TRUE(becomes("SELECT count(*) FROM users WHERE n = 1", "51")) << program->err();
  client_->exec("INSERT INTO users VALUES (60), (160)");
  EXPECT_TRUE(becomes("SELECT count(*) FROM users WHERE n = 1", "53")) << program->err();
  // And one that goes is no trouble.
  client_->exec("DROP TABLE users_1; INSERT INTO users VALUES (170)");
  EXPECT_TRUE(becomes("SELECT count(*) FROM users WHERE n = 1", "3")) << program->err();
  EXPECT_TRUE(program->is_running());
}

TEST_F(FollowTest, ABadRowIsSetAsideOnceOrEndsIt) {
  make_users(10);
  client_->exec("ALTER TABLE users ADD CHECK (email <> 'bad' OR n = 0)");
  std::string const file =
      std::string(kCounted).replace(std::string(kCounted).find("  follow"), 0, "  on_bad_row: {quarantine: 1}\n");
  auto const program = start_following(file.c_str());
  client_->exec("INSERT INTO users VALUES (11, 'bad'), (12, 'good')");
  EXPECT_TRUE(becomes("SELECT count(*) FROM pgbackfill.quarantine", "1")) << program->err();
  client_->exec("INSERT INTO users VALUES (13, 'good')");
  EXPECT_TRUE(becomes("SELECT count(*) FROM users WHERE n = 1", "12")) << program->err();
  EXPECT_TRUE(program->is_running()) << "the row that is set aside is not found again";
  client_->exec("INSERT INTO users VALUES (14, 'bad')");
  auto const ended = program->wait();
  EXPECT_EQ(ended.exit_code, kFailed) << ended.err;
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kGateClosed);
}

TEST_F(FollowTest, IsRefusedWhereTheConditionDoesNotTellWhatCameLater) {
  make_users(10);
  write("m.yaml", "name: m\ntable: users\nbackfill:\n  set: {n: \"1\"}\n  follow: until complete\n");
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("'follow' needs 'where' beside it"));
  write("m.yaml", "name: m\ntable: users\nbackfill:\n  set: {n: \"1\"}\n  where: todo\n  follow: always\n");
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("'until complete'"));
  write("m.yaml",
        "name: m\ntable: users\nbackfill:\n  dedupe: {by: [email], keep: \"ORDER BY id\"}\n  where: todo\n"
        "  follow: until complete\n");
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("'follow' goes with 'set'"));
  // What was changed is picked again: following it would change it for ever.
  write("m.yaml", "name: m\ntable: users\nbackfill:\n  set: {n: \"n + 1\"}\n  where: todo\n  follow: until complete\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("nothing is followed"));
  EXPECT_EQ(value("SELECT max(n) FROM users"), "1");
}

TEST_F(FollowTest, WithJsonOneSummaryIsPrintedAtItsEnd) {
  make_users(10);
  write("m.yaml", kCounted);
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "--format", "json", "run", "m.yaml"}, options);
  ASSERT_TRUE(program.wait_for_output("following m")) << program.err();
  EXPECT_EQ(program.out(), "");
  run({"cancel", "m"});
  auto const ended = program.wait();
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr("following it ends"));
}

}  // namespace
}  // namespace pgbackfill::tests
