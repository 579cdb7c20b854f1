// Hooks and backups on a real server: what runs when, how often, and what stops it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "engine/pg/local_process.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/http_server.h"
#include "tests/support/pg_dump.h"
#include "tests/support/poll_until.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kWork[] = R"yaml(name: m
table: users
expand:
  - add_column: {name: display, type: text}
backfill:
  set: {display: "upper(name)"}
  where: display IS NULL
contract:
  - set_not_null: display
)yaml";

class HooksTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, 'name ' || g FROM "
        "generate_series(1, 50) g; CREATE TABLE other (id int)");
  }
  void write_with(std::string const& hooks) const { write("m.yaml", kWork + hooks); }
  std::string file(std::string const& name) const {
    std::ifstream stream(dir() / name);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  std::string logged(std::string const& kind) const {
    return client_->value(
        "SELECT coalesce(string_agg(detail, '|' ORDER BY id), '') FROM pgbackfill.events WHERE kind = '" + kind + "'");
  }
};

TEST_F(HooksTest, RunOnceEachAtTheirBoundaries) {
  write_with(R"yaml(before:
  backup: {command: "echo making it; echo snap-17"}
  expand: [{command: "echo 1 $PGBACKFILL_BOUNDARY >> said"}]
  backfill: [{command: "echo 3 $PGBACKFILL_MIGRATION $PGBACKFILL_BACKUP >> said"}]
  contract: [{command: "echo 5 >> said"}]
  rollback: [{command: "echo no >> said"}]
after:
  expand: [{command: "echo 2 $PGBACKFILL_FILE >> said"}]
  backfill: [{command: "echo 4 >> said"}]
  contract: [{command: "echo 6 >> said"}]
)yaml");
  for (int time = 0; time < 2; ++time) {
    auto const result = run({"run", "m.yaml"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
  }
  for (int time = 0; time < 2; ++time) {
    auto const result = run({"complete", "m.yaml"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
  }
  EXPECT_THAT(run({"history"}).out, HasSubstr("backup before m: snap-17"));
  EXPECT_THAT(run({"history", "--format", "json"}).out, HasSubstr(R"("backup":"snap-17")"));
  EXPECT_EQ(file("said"), "1 before expand\n2 m.yaml\n3 m snap-17\n4\n5\n6\n");
  EXPECT_THAT(logged("hook"), AllOf(HasSubstr("id snap-17"), HasSubstr("making it")));
}

TEST_F(HooksTest, OneThatFailsStopsBeforeAnythingIsTouchedAndIsRunAgain) {
  write_with("before:\n  expand: [{command: \"echo why not; test -e ready\"}]\n");
  auto const stopped = run({"run", "m.yaml"});
  EXPECT_EQ(stopped.exit_code, kResumable);
  EXPECT_THAT(stopped.err, AllOf(HasSubstr("m.yaml:11:12: before expand"), HasSubstr("it exited with 1"),
                                 HasSubstr("it said: why not"), HasSubstr("run the same command to go on")));
  EXPECT_EQ(
      client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'display'"),
      "0");
  EXPECT_THAT(logged("hook failed"), HasSubstr("it exited with 1"));
  write("ready", "");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(HooksTest, OneThatFailsAfterTheBackfillIsRunAgainWithoutTheWork) {
  write_with("after:\n  backfill: [{command: \"test -e ready\"}]\n");
  auto const stopped = run({"run", "m.yaml"});
  EXPECT_EQ(stopped.exit_code, kResumable);
  EXPECT_THAT(stopped.err, HasSubstr("all rows are done"));
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kResumable);
  write("ready", "");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
}

TEST_F(HooksTest, OneOfTheContractThatFailsLeavesTheContractUndone) {
  write_with("before:\n  contract: [{command: \"exit 1\"}]\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"complete", "m.yaml"}).exit_code, kResumable);
  EXPECT_EQ(
      client_->value("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'display'"),
      "f");
  EXPECT_EQ(run({"complete", "m.yaml", "--skip-hooks"}).exit_code, kDone);
}

TEST_F(HooksTest, ATimeoutEndsTheCommand) {
  write_with("before:\n  expand: [{command: \"sleep 1000\", timeout: 200ms}]\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kResumable);
  EXPECT_THAT(result.err, HasSubstr("it took longer than 200ms and was ended"));
}

TEST_F(HooksTest, AnInterruptEndsTheCommandAndIsResumable) {
  write_with("before:\n  expand: [{command: \"echo $$ > pid; sleep 1000\"}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return file("pid").ends_with('\n'); }));
  program.signal(SIGINT);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_THAT(result.err, HasSubstr("it was interrupted"));
  pid_t const child = std::stoi(file("pid"));
  EXPECT_TRUE(poll_until([&] { return kill(child, 0) != 0; }));
}

TEST_F(HooksTest, AKilledRunTakesItsHookAlongAndRunsItAgain) {
  write_with("before:\n  expand: [{command: \"echo $$ >> pids; test -e ready || sleep 1000\"}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  {
    Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
    ASSERT_TRUE(poll_until([&] { return file("pids").ends_with('\n'); }));
    program.signal(SIGKILL);
    program.wait();
  }
  pid_t const child = std::stoi(file("pids"));
  EXPECT_TRUE(poll_until([&] { return kill(child, 0) != 0; }));
  write("ready", "");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const pids = file("pids");
  EXPECT_EQ(std::count(pids.begin(), pids.end(), '\n'), 2);
}

TEST_F(HooksTest, TwoProcessesRunItOnce) {
  write_with("before:\n  expand: [{command: \"echo x >> said; sleep 1\"}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  std::vector<std::string> const arguments = {PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"};
  Program one(arguments, options);
  Program other(arguments, options);
  EXPECT_EQ(one.wait().exit_code, kDone);
  auto const result = other.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(file("said"), "x\n");
}

TEST_F(HooksTest, WhatItPrintsNeverMakesItRunAgain) {
  write_with("before:\n  expand: [{command: \"echo x >> said; printf 'a\\\\000b\\\\377\\\\033[31m'\"}]\n");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(file("said"), "x\n");
  EXPECT_THAT(logged("hook"), HasSubstr("a\\x00b\xef\xbf\xbd"));
  EXPECT_THAT(result.err, Not(HasSubstr("\x1b")));
}

TEST_F(HooksTest, WhatTheEncodingCannotHoldIsKeptInAscii) {
  client_->exec("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
  {
    PgClient latin(cluster_->dsn() + " dbname=latin");
    latin.exec("CREATE TABLE users (id int PRIMARY KEY, name text)");
    write_with("before:\n  expand: [{command: \"echo x >> said; printf '\\\\342\\\\202\\\\254 5'\"}]\n");
    ProgramOptions options;
    options.working_dir = dir();
    auto const result =
        run_program({PGBACKFILL_PROGRAM, "--dsn", cluster_->dsn() + " dbname=latin", "run", "m.yaml"}, 60s, options);
    ASSERT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(file("said"), "x\n");
    EXPECT_THAT(latin.value("SELECT detail FROM pgbackfill.events WHERE kind = 'hook'"), HasSubstr("? 5"));
  }
  client_->exec("DROP DATABASE latin WITH (FORCE)");
}

TEST_F(HooksTest, OneThatWasContentIsNotRunAgainWhenItsSessionsEndOrTheServerStarts) {
  write_with(
      "before:\n  expand: [{command: \"echo x >> said; touch began; while ! test -e go; do sleep 0.1; done\"}]\n");
  for (bool const is_restart : {false, true}) {
    for (auto const* name : {"said", "began", "go"}) std::filesystem::remove(dir() / name);
    ProgramOptions options;
    options.working_dir = dir();
    Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
    ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "began"); }));
    if (is_restart) {
      client_.reset();
      cluster_->stop_primary(engine::StopMode::kImmediate);
      write("go", "");
      std::this_thread::sleep_for(2s);
      cluster_->start_primary();
      client_ = std::make_unique<PgClient>(dsn());
    } else {
      client_->exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill'");
      write("go", "");
    }
    auto const result = program.wait();
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(file("said"), "x\n");
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.hook_turns"), "0");
    ASSERT_EQ(run({"rollback", "m.yaml", "--yes"}).exit_code, kDone);
  }
}

TEST_F(HooksTest, AnotherProcessDoesNotBeginItWhenTheSessionsOfTheFirstEnd) {
  write_with(
      "before:\n  expand: [{command: \"echo x >> said; touch began; while ! test -e go; do sleep 0.1; done\"}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  std::vector<std::string> const arguments = {PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"};
  Program one(arguments, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "began"); }));
  Program other(arguments, options);
  ASSERT_TRUE(other.wait_for_output("runs the hooks of before expand; waiting for it"));
  client_->exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill'");
  std::this_thread::sleep_for(3s);
  write("go", "");
  for (auto* program : {&one, &other}) {
    auto const result = program->wait();
    EXPECT_EQ(result.exit_code, kDone) << result.err;
  }
  EXPECT_EQ(file("said"), "x\n");
}

TEST_F(HooksTest, TheTurnOfAProcessOfAnotherHostIsTakenOverWhenItIsSilent) {
  write_with("before:\n  expand: [{command: \"echo x >> said\"}]\n");
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  client_->exec(
      "INSERT INTO pgbackfill.hook_turns VALUES ('m', 'before expand', 'gone', 'elsewhere', 'no machine', 1)");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(program.wait_for_output("process 1 on elsewhere runs the hooks of before expand"));
  for (int beat = 0; beat < 3; ++beat) {
    std::this_thread::sleep_for(2s);
    client_->exec("UPDATE pgbackfill.hook_turns SET beat = beat + 1 WHERE owner = 'gone'");
  }
  EXPECT_EQ(file("said"), "");
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(file("said"), "x\n");
}

TEST_F(HooksTest, AKilledRunTakesAllThatItsHookHasStartedAlong) {
  write_with(
      "before:\n  expand: [{command: \"sleep 1000 & echo $! >> pids; setsid sleep 1000 & echo $! >> pids; (trap '' "
      "TERM; echo $$ >> pids; sleep 1000)\"}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  {
    Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
    ASSERT_TRUE(poll_until([&] {
      auto const pids = file("pids");
      return std::count(pids.begin(), pids.end(), '\n') == 3;
    }));
    program.signal(SIGKILL);
    program.wait();
  }
  std::istringstream pids(file("pids"));
  for (pid_t pid = 0; pids >> pid;) {
    EXPECT_TRUE(poll_until([&] { return !engine::has_process(pid); })) << pid;
  }
}

TEST_F(HooksTest, OneThatRepeatsRunsEachTimeAndAChangedOneAgain) {
  write_with("before:\n  backfill: [{command: \"echo x >> said; test $(wc -l < said) -gt 2\", repeat: true}]\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kResumable);
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kResumable);
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(file("said"), "x\nx\nx\n");
}

TEST_F(HooksTest, TheAnswerHasToBeTheExpectedOne) {
  HttpServer server;
  server.answer(503, "starting");
  std::string const hook = "{http: '" + server.url("/healthz") + "', expect: ok, timeout: 2s}";
  write_with("before:\n  backfill: [" + hook + "]\n");
  EXPECT_THAT(run({"run", "m.yaml"}).err, HasSubstr("it answered 503, not 200; it said: starting"));
  server.answer(200, "degraded");
  EXPECT_THAT(run({"run", "m.yaml"}).err, HasSubstr("its answer does not contain 'ok'; it said: degraded"));
  server.answer(200, "all ok");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(server.request(), "GET /healthz HTTP/1.1");
}

TEST_F(HooksTest, AnAnswerOverTlsCountsWhenItsCertificateIsTrusted) {
  auto const certificate = make_certificate(dir());
  Receiver server("302>/there,200", &certificate);
  write_with("before:\n  backfill: [{http: '" + server.url("/healthz") + "', expect: it is}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  std::vector<std::string> const arguments = {PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"};
  auto const refused = run_program(arguments, 60s, options);
  EXPECT_EQ(refused.exit_code, kResumable);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("m.yaml:11:14: before backfill"), HasSubstr("is not trusted"),
                                 HasSubstr("SSL_CERT_FILE")));
  EXPECT_TRUE(server.requests().empty());
  options.environment = {{"SSL_CERT_FILE", certificate.file}};
  auto const result = run_program(arguments, 60s, options);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(server.requests().size(), 2U) << "it is followed to its own host";
}

TEST_F(HooksTest, AnAnswerOverTlsCountsWhenItsFileSaysWhomToTrust) {
  auto const certificate = make_certificate(dir());
  Receiver server("200", &certificate);
  write_with("before:\n  backfill: [{http: '" + server.url() + "', ca_file: certificate.pem}]\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(server.requests().size(), 1U);
  // Whoever names whom to trust trusts nobody else.
  write("nobody.pem", "");
  write_with("before:\n  backfill: [{http: '" + server.url("/again") + "', ca_file: nobody.pem, repeat: true}]\n");
  client_->exec("UPDATE pgbackfill.jobs SET status = 'running'");
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kResumable);
  EXPECT_THAT(refused.err, HasSubstr("nobody.pem holds no certificates that can be read"));
}

TEST_F(HooksTest, AnInterruptDoesNotWaitForAnAnswer) {
  Receiver server("hang");
  write_with("before:\n  backfill: [{http: '" + server.url() + "', timeout: 1h}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(server.waits_for(1));
  auto const began = std::chrono::steady_clock::now();
  program.signal(SIGINT);
  auto const result = program.wait();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 3s);
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_THAT(result.err, HasSubstr("it was interrupted"));
}

TEST_F(HooksTest, WhatItPrintsOfVariablesOfReceiversIsMasked) {
  write_with("before:\n  expand: [{command: 'echo $CHANNEL'}]\non:\n  failure: [{slack: {url: '${CHANNEL}'}}]\n");
  ProgramOptions options;
  options.working_dir = dir();
  options.environment = {{"CHANNEL", "https://hooks.example/hunter22"}};
  auto const result = run_program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, 60s, options);
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(logged("hook") + result.err, AllOf(HasSubstr("***"), Not(HasSubstr("hunter22"))));
}

TEST_F(HooksTest, SecretsAreNeitherShownNorKept) {
  client_->exec("CREATE ROLE hook_user LOGIN SUPERUSER PASSWORD 'open-sesame'");
  write_with(
      "before:\n  expand: [{command: \"echo pw $PGPASSWORD; echo postgresql://a:b1c2@h/d; psql -XAtc 'SELECT "
      "current_user'\"}]\n");
  auto const result = run_program(
      {PGBACKFILL_PROGRAM, "--dsn", dsn("hook_user") + " password=open-sesame", "run", (dir() / "m.yaml").string()});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(logged("hook"), AllOf(HasSubstr("pw ***"), HasSubstr("postgresql://a:***@h/d"), HasSubstr("hook_user"),
                                    Not(HasSubstr("sesame")), Not(HasSubstr("b1c2"))));
  EXPECT_THAT(result.err, AllOf(Not(HasSubstr("sesame")), Not(HasSubstr("b1c2"))));
  client_->exec("REASSIGN OWNED BY hook_user TO postgres; DROP OWNED BY hook_user; DROP ROLE hook_user");
}

TEST_F(HooksTest, PasswordsInItsTextAreNeitherShownNorKept) {
  write_with(
      "before:\n  expand:\n    - command: \"echo postgresql://u:hunter22@h/db; PGPASSWORD=hunter33 true; true "
      "'host=h password=hunter44' 'postgresql://h/d?%70assword=hunter55'\"\n");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_THAT(plan.out, AllOf(HasSubstr("postgresql://u:***@h/db; PGPASSWORD=*** true"), Not(HasSubstr("hunter"))));
  for (auto const* format : {"json", "markdown"}) {
    EXPECT_THAT(run({"plan", "m.yaml", "--format", format}).out, Not(HasSubstr("hunter")));
  }
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err + result.out, Not(HasSubstr("hunter")));
  for (auto const* kept :
       {"hook FROM pgbackfill.hooks", "detail FROM pgbackfill.events", "source FROM pgbackfill.migrations"}) {
    EXPECT_THAT(client_->value("SELECT string_agg(t::text, ' ') FROM (SELECT " + std::string(kept) + ") t"),
                Not(HasSubstr("hunter")))
        << kept;
  }
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone);
}

TEST_F(HooksTest, OneThatAnOlderProgramRecordedWithItsPasswordIsNotRunAgain) {
  write_with("before:\n  expand: [{command: \"echo x >> said; true password=hunter22\"}]\n");
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  client_->exec(
      "INSERT INTO pgbackfill.hooks VALUES ('m', 'before expand', 0, 'command: echo x >> said; true password=hunter22 "
      "(timeout 1m)', '')");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(file("said"), "");
}

TEST_F(HooksTest, CommandsComeFromTheFileAndNeverFromTheDatabase) {
  write_with("before:\n  contract: [{command: \"echo x >> said\"}]\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const refused = run({"complete", "m"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("run from its file alone"), HasSubstr("--skip-hooks")));
  EXPECT_EQ(file("said"), "");
  EXPECT_EQ(run({"complete", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(file("said"), "x\n");
}

TEST_F(HooksTest, ADumpIsMadeListedAndRecorded) {
  if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
  write_with("before:\n  backup: {pg_dump: b.dump, tables: [public.users]}\n");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_FALSE(std::filesystem::exists(dir() / "b.dump.partial"));
  auto const listed = run_program({"pg_restore", "--list", (dir() / "b.dump").string()});
  EXPECT_THAT(listed.out, AllOf(HasSubstr("TABLE DATA public users"), Not(HasSubstr("other"))));
  EXPECT_THAT(client_->value("SELECT result FROM pgbackfill.hooks"),
              AllOf(HasSubstr("b.dump ("), HasSubstr(" bytes)")));
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(HooksTest, ADumpWithoutTheRowsIsNoBackup) {
  if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
  client_->exec("CREATE TABLE parted (id int) PARTITION BY RANGE (id)");
  write_with("before:\n  backup: {pg_dump: b.dump, tables: [parted]}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kResumable);
  EXPECT_THAT(result.err, HasSubstr("the dump holds no rows of parted"));
  EXPECT_FALSE(std::filesystem::exists(dir() / "b.dump"));
  EXPECT_FALSE(std::filesystem::exists(dir() / "b.dump.partial"));
}

TEST_F(HooksTest, ADumpNeverWritesOverAFile) {
  write("b.dump", "precious");
  write_with("before:\n  backup: {pg_dump: b.dump}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kResumable);
  EXPECT_THAT(result.err, HasSubstr("b.dump is there already"));
  EXPECT_EQ(file("b.dump"), "precious");
}

TEST_F(HooksTest, ADumpIsForItsOwnerAloneAndFollowsNoLink) {
  if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
  namespace fs = std::filesystem;
  write_with("before:\n  backup: {pg_dump: b.dump, tables: [public.users]}\n");
  for (auto const* link : {"b.dump.partial", "b.dump"}) {
    fs::create_symlink(dir() / "victim", dir() / link);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kResumable);
    EXPECT_THAT(result.err, HasSubstr(std::string(link) + " is there already"));
    EXPECT_FALSE(fs::exists(dir() / "victim"));
    fs::remove(dir() / link);
  }
  // What a run that was killed has left.
  write("b.dump.partial", "half");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(fs::status(dir() / "b.dump").permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(HooksTest, ABackupWithoutAnIdIsNone) {
  write_with("before:\n  backup: {command: \"true\"}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kResumable);
  EXPECT_THAT(result.err, HasSubstr("is to be the id of the backup"));
}

TEST_F(HooksTest, RollbackRunsItsOwnAndForgetsTheRest) {
  write_with(
      "before:\n  expand: [{command: \"echo in >> said\"}]\n  rollback: [{command: \"echo back >> said\"}]\nafter:\n  "
      "rollback: [{command: \"echo gone >> said\"}]\n");
  for (int time = 0; time < 2; ++time) {
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
    auto const result = run({"rollback", "m.yaml", "--yes"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
  }
  EXPECT_EQ(file("said"), "in\nback\ngone\nin\nback\ngone\n");
}

}  // namespace
}  // namespace pgbackfill::tests
