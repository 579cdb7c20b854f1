// The commands as a user or a script meets them: exit codes, what they print, what they refuse, what they leave alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

class CommandTest : public DatabaseTest {
 protected:
  bool has_state() const { return client_->value("SELECT to_regnamespace('pgbackfill') IS NOT NULL") == "t"; }

  // A table t of so many rows, and the file t.yaml that counts them up.
  void make_table(int rows, std::string const& more = "", std::string const& throttling = "") const {
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
        "generate_series(1, " +
        std::to_string(rows) + ") g");
    write("t.yaml",
          "name: count_up\ntable: t\nbackfill:\n  set: {n: \"n + 1\"}\n  batch: {max_rows: 100}\n" + more + throttling);
  }
  std::string counted() const { return counts(dsn(), "t"); }
};

constexpr char kOpenLeases[] =
    "SELECT count(*) FROM pgbackfill.ranges WHERE NOT done AND owner IS NOT NULL AND lease_expires > now()";

constexpr char kGateSessions[] =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND pid <> pg_backend_pid()";

boost::json::object json_of(ProgramResult const& result) {
  return boost::json::parse(result.out).as_object();
}

std::size_t widest_line(std::string const& text) {
  std::istringstream lines(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, line.size());
  return widest;
}

// --- the command line ------------------------------------------------------------------------------------------------

TEST_F(CommandTest, SaysItsVersionAndExplainsEveryCommand) {
  auto const version = run({"--version"}, false);
  EXPECT_EQ(version.exit_code, kDone);
  EXPECT_THAT(version.out, testing::MatchesRegex("pgbackfill [0-9]+\\.[0-9]+\\.[0-9]+\n"
                                                 "commit [^\n]+\n"
                                                 "libpq [0-9]+\\.[0-9]+\n"
                                                 "compiler [^\n]+\n"));
  auto const help = run({"--help"}, false);
  EXPECT_EQ(help.exit_code, kDone);
  std::pair<std::string, std::vector<std::string>> const commands[] = {
      {"init", {}},
      {"plan", {"FILE", "--sample", "--format"}},
      {"run",
       {"FILE", "--workers", "--exit-outside-window", "--lease", "--wait-for-rows", "--wait-for-server", "--poll",
        "--accept-drift"}},
      {"complete", {"NAME", "--yes"}},
      {"rollback", {"NAME", "--yes", "--dry-run", "--to"}},
      {"stamp", {"FILE", "--phase", "--yes"}},
      {"approve", {"NAME", "--reason"}},
      {"gate", {"NAME"}},
      {"verify", {"NAME", "--repair", "--replica", "--restart"}},
      {"status", {"NAME", "--watch", "--interval"}},
      {"locks", {"NAME", "--release", "--terminate", "--release-leases"}},
      {"history", {}},
      {"log", {"NAME", "--limit"}},
      {"pause", {"NAME", "--reason", "--for"}},
      {"resume", {"NAME", "--reason", "--retry-quarantine"}},
      {"cancel", {"NAME", "--reason"}},
      {"set", {"NAME", "KEY=VALUE", "workers", "throttle.replica_lag", "throttle.nice"}},
      {"doctor", {"FILE"}},
      {"sandbox", {"--replicas", "--rows", "--pg-bin"}}};
  for (auto const& [command, options] : commands) {
    EXPECT_THAT(help.out, HasSubstr("\n  " + command + " "));
    auto const of_command = run({command, "--help"}, false);
    EXPECT_EQ(of_command.exit_code, kDone) << command;
    for (auto const& option : options) EXPECT_THAT(of_command.out, HasSubstr(option)) << command;
    EXPECT_LE(widest_line(of_command.out), 80U) << command << "\n" << of_command.out;
    EXPECT_THAT(of_command.out, Not(HasSubstr("Exit codes"))) << command;
  }
  EXPECT_LE(widest_line(help.out), 80U) << help.out;
  EXPECT_THAT(help.out, HasSubstr("\n  3  the gate is closed"));
  EXPECT_THAT(run({"log", "--help"}, false).out, HasSubstr("=200"));
  for (char const* option : {"--dsn", "--format", "--log-format", "--log-level", "--no-progress"}) {
    EXPECT_THAT(help.out, HasSubstr(option));
  }
}

TEST_F(CommandTest, RefusesWhatItDoesNotKnow) {
  make_table(1);
  std::pair<std::vector<std::string>, std::string> const mistakes[] = {
      {{}, "a command is missing"},
      {{"frobnicate"}, "there is no command 'frobnicate'"},
      {{"stauts"}, "there is no command 'stauts' (did you mean 'status'?)"},
      {{"--frobnicate", "run", "t.yaml"}, "--frobnicate"},
      {{"run"}, "FILE is required"},
      {{"run", "t.yaml", "--wokers", "3"}, "--wokers"},
      {{"run", "t.yaml", "--workers", "0"}, "--workers"},
      {{"run", "t.yaml", "--workers", "257"}, "--workers"},
      {{"run", "t.yaml", "--lease", "30"}, "no duration with a unit"},
      {{"run", "t.yaml", "--poll", "2m"}, "is not from 100ms to 1m"},
      {{"pause", "t.yaml", "--for", "2"}, "no duration with a unit"},
      {{"pause", "t.yaml", "--for", "0s"}, "is not from 1s to 8760h"},
      {{"run", "t.yaml", "--format", "xml"}, "xml"},
      {{"run", "t.yaml", "more.yaml"}, "more.yaml"},
      {{"run", "missing.yaml"}, "missing.yaml: cannot be read"},
      {{"doctor", "."}, "cannot be read"},
      {{"run", "/dev"}, "/dev: there are no .yaml files in it"},
      {{"plan", "missing.yaml"}, "missing.yaml: cannot be read"},
  };
  for (auto const& [words, text] : mistakes) {
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kUsage) << testing::PrintToString(words) << result.err;
    EXPECT_THAT(result.out + result.err, HasSubstr(text)) << testing::PrintToString(words);
  }
  EXPECT_FALSE(has_state());
}

TEST_F(CommandTest, NeverShowsAPassword) {
  make_table(1);
  int const port = engine::free_loopback_port();
  std::string const at = "127.0.0.1:" + std::to_string(port);
  std::pair<std::string, int> const targets[] = {
      {"postgresql://me:hidden%40word@" + at + "/db", kFailed},
      {"host=127.0.0.1 port=" + std::to_string(port) + " user=me password=hidden@word", kFailed},
      {"postgresql://me:hidden@word@" + at + "/db?x=hidden", kUsage},
      {"postgresql://me:hidden%zz@" + at + "/db", kUsage},
      {"host=127.0.0.1 password='hidden", kUsage},
      {"hidden", kUsage},
      {"passwrd=hidden", kUsage},
  };
  for (auto const& [target, code] : targets) {
    for (std::vector<std::string> words :
         {std::vector<std::string>{"run", "t.yaml"}, {"plan", "t.yaml"}, {"init"}, {"gate", "count_up"}}) {
      words.insert(words.end(), {"--dsn", target});
      if (words.front() == "run") words.insert(words.end(), {"--wait-for-server", "1ms"});
      auto const result = run(words, false);
      EXPECT_EQ(result.exit_code, code) << target << "\n" << result.err;
      EXPECT_THAT(result.out + result.err, Not(HasSubstr("hidden"))) << target;
      EXPECT_THAT(result.err, Not(IsEmpty()));
    }
  }
  auto const unreachable = run({"init", "--dsn", targets[0].first}, false);
  EXPECT_THAT(unreachable.err,
              HasSubstr("cannot connect to host=127.0.0.1 port=" + std::to_string(port) + " dbname=db user=me"));
}

TEST_F(CommandTest, WrongPasswordIsNotRepeated) {
  auto const result = run({"init", "--dsn", cluster_->dsn() + " dbname=nowhere password=hidden"}, false);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("database \"nowhere\" does not exist"));
  EXPECT_THAT(result.err, Not(HasSubstr("hidden")));
}

TEST_F(CommandTest, FindsTheServerByEnvironment) {
  ProgramOptions options;
  options.environment = {
      {"DATABASE_URL", "postgresql://postgres@127.0.0.1:" + std::to_string(cluster_->port()) + "/" + database_}};
  EXPECT_EQ(run_program({PGBACKFILL_PROGRAM, "init"}, 30s, options).exit_code, kDone);
  EXPECT_TRUE(has_state());
  options.environment = {{"DATABASE_URL", ""},
                         {"PGHOST", "127.0.0.1"},
                         {"PGPORT", std::to_string(cluster_->port())},
                         {"PGUSER", "postgres"},
                         {"PGDATABASE", database_}};
  auto const again = run_program({PGBACKFILL_PROGRAM, "init"}, 30s, options);
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_THAT(again.out, HasSubstr("already"));
}

TEST_F(CommandTest, OutputMayEndEarly) {
  make_table(1);
  auto const result = run_program({"sh", "-c",
                                   std::string(PGBACKFILL_PROGRAM) + " run " + (dir() / "t.yaml").string() +
                                       " --dsn '" + dsn() + "' 2>&1 | true; exit ${PIPESTATUS:-0}"});
  EXPECT_EQ(result.exit_code, 0);
  // The reader is gone, the work is not.
  EXPECT_TRUE(poll_until([&] { return counted() == "1: 1"; }, 30s));
}

// --- init ------------------------------------------------------------------------------------------------------------

TEST_F(CommandTest, InitMakesTheStateOnce) {
  auto const first = run({"init"});
  EXPECT_EQ(first.exit_code, kDone) << first.err;
  EXPECT_EQ(first.out, "schema pgbackfill is ready\n");
  auto const second = run({"init"});
  EXPECT_EQ(second.exit_code, kDone);
  EXPECT_EQ(second.out, "schema pgbackfill was there already, at the right version\n");
}

TEST_F(CommandTest, InitByARoleWithoutRightsSaysWhoHasTo) {
  client_->exec("CREATE ROLE weak LOGIN");
  auto const result = run({"init", "--dsn", dsn("weak")}, false);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("this role may not create schema pgbackfill"));
  EXPECT_THAT(result.err, HasSubstr("GRANT CREATE ON DATABASE"));
  EXPECT_FALSE(has_state());
  make_table(10);
  client_->exec("GRANT SELECT, UPDATE ON t TO weak");
  auto const run_result = run({"run", "t.yaml", "--dsn", dsn("weak")}, false);
  EXPECT_EQ(run_result.exit_code, kFailed);
  EXPECT_THAT(run_result.err, HasSubstr("GRANT CREATE ON DATABASE"));
}

TEST_F(CommandTest, RoleThatMayNotUseTheStateIsToldSo) {
  run({"init"});
  make_table(10);
  client_->exec("CREATE ROLE outsider LOGIN; GRANT SELECT, UPDATE ON t TO outsider");
  auto const result = run({"run", "t.yaml", "--dsn", dsn("outsider")}, false);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("permission denied for schema pgbackfill"));
  EXPECT_EQ(counted(), "0: 10");
}

// It could do nothing to a row without our functions, and so has no business to make a job.
TEST_F(CommandTest, RoleThatMayNotCallOurFunctionsIsToldTheGrantBeforeAJobIsMade) {
  run({"init"});
  make_table(10);
  client_->exec(
      "CREATE ROLE half LOGIN; GRANT SELECT, UPDATE ON t TO half; GRANT USAGE ON SCHEMA pgbackfill TO half; GRANT "
      "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgbackfill TO half");
  auto const result = run({"run", "t.yaml", "--dsn", dsn("half")}, false);
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbackfill TO half"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs"), "0");
}

TEST_F(CommandTest, StateOfAnotherRoleIsRefusedUnlessItIsTrustedByName) {
  make_table(10);
  client_->exec("CREATE ROLE stranger LOGIN; CREATE SCHEMA pgbackfill AUTHORIZATION stranger");
  auto const refused = run({"run", "t.yaml"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("schema pgbackfill belongs to role stranger"));
  EXPECT_THAT(refused.err, HasSubstr("--trust-owner stranger"));
  EXPECT_EQ(run({"status"}).exit_code, kUsage);
  EXPECT_EQ(counted(), "0: 10");
  EXPECT_EQ(run({"run", "t.yaml", "--trust-owner", "stranger"}).exit_code, kDone);
  EXPECT_EQ(counted(), "1: 10");
}

TEST_F(CommandTest, ATriggerThatSomebodyPutOnTheStateIsNotRun) {
  run({"init"});
  make_table(10);
  client_->exec(
      "CREATE FUNCTION public.planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN CREATE TABLE public.was_run (); "
      "RETURN NEW; END'; CREATE TRIGGER planted BEFORE INSERT ON pgbackfill.jobs FOR EACH ROW EXECUTE FUNCTION "
      "public.planted()");
  auto const result = run({"run", "t.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("trigger planted on pgbackfill.jobs calls public.planted"));
  EXPECT_EQ(client_->value("SELECT to_regclass('public.was_run') IS NULL"), "t");
}

// --- files with mistakes ---------------------------------------------------------------------------------------------

struct Mistake {
  char const* text;
  char const* message;
};

constexpr Mistake kMistakes[] = {
    {"", "bad.yaml:1:1: "},
    {"name: x\nbackfill:\n  table: t\n  set: {n: n}\n  wokers: 3\n",
     "bad.yaml:5:3: unknown key 'wokers' (did you mean 'workers'?)\n"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: n}\n  batch: {target: 100}\n",
     "bad.yaml:5:19: 'target: 100' has no unit (write 100ms or 100s)\n"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: n}\n  workers: many\n",
     "bad.yaml:5:12: 'workers: many' is not a whole number"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: n}\n  delete: true\n  where: id > 1\n",
     "bad.yaml:5:3: 'delete' cannot stand beside 'set'"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: n;}\n", "bad.yaml:4:12: the expression ends with a semicolon"},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t SET n = 1\"}\n", "bad.yaml:3:17: the statement needs {batch}"},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t SET n = 1 WHERE n = 0 OR {batch}\"}\n",
     "bad.yaml:3:17: {batch} stands beside OR"},
    {"name: x\ntable: t\nbackfill: {sql: \"DELETE FROM t WHERE NOT ({batch})\"}\n",
     "bad.yaml:3:17: {batch} stands under NOT"},
    {"name: x\n\ttable: t\n", "bad.yaml:2:"},
    {"name: x\ntable: t\nwindows: [\"Mon-Fri 22:00\"]\nbackfill:\n  set: {n: n}\n", "bad.yaml:3:11: "},
    // These need the server.
    {"name: x\ntable: tt\nbackfill:\n  set: {n: n}\n", "bad.yaml:3:1: table \"tt\" does not exist"},
    {"name: x\ntable: t\nbackfill:\n  set: {m: n}\n", "bad.yaml:4:12: table \"public\".\"t\" has no column 'm'"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: nn + 1}\n", "bad.yaml:4:12: column \"nn\" does not exist"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: n +}\n", "bad.yaml:4:12: syntax error"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: \"'abc'\"}\n",
     "bad.yaml:4:12: invalid input syntax for type integer: \"abc\""},
    {"name: x\ntable: t\nbackfill:\n  set: {n: now()}\n",
     "bad.yaml:4:12: column \"n\" is of type integer but expression is of type timestamp"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: uper(n)}\n", "bad.yaml:4:12: function uper(integer) does not exist"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: \"n) WHERE true; DROP TABLE t; --\"}\n", "bad.yaml:4:12: "},
    {"name: x\ntable: t\nbackfill:\n  set: {n: \"n\"}\n  where: \"n\"\n",
     "bad.yaml:5:10: argument of WHERE must be type boolean, not type integer"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: \"n\"}\n  where: \"n = 1) OR (true\"\n", "bad.yaml:5:10: "},
    {"name: x\ntable: t\nbackfill:\n  set: {n: \"n\"}\n  where: \"n = 1 GROUP BY n\"\n", "bad.yaml:5:10: "},
    {"name: x\ntable: t\nbackfill:\n  set: {id: \"id + 1\"}\n", "bad.yaml:4:13: column 'id' is part of the key"},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t SET m = 1 WHERE {batch}\"}\n",
     "bad.yaml:3:17: column \"m\" of relation \"t\" does not exist"},
    {"name: x\ntable: t\nbackfill: {sql: \"SELECT 1 FROM t WHERE {batch}\"}\n", "bad.yaml:3:17: "},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t SET n = 1 WHERE {batch:o}\"}\n", "bad.yaml:3:17: "},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t SET n = 1 WHERE CASE WHEN {batch} THEN n > 1 ELSE true END\"}\n",
     "bad.yaml:3:17: {batch} does not bound the statement"},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t SET n = 1 WHERE ({batch}) IS NOT TRUE\"}\n",
     "bad.yaml:3:17: {batch} does not bound the statement"},
    {"name: x\ntable: t\nbackfill: {sql: \"UPDATE t AS o SET n = 1 FROM (SELECT count(*) FROM t WHERE {batch:t}) "
     "s\"}\n",
     "bad.yaml:3:17: {batch} does not bound the statement"},
    {"name: x\ntable: t\nbackfill:\n  copy_to: u\n  columns: {id: id}\n",
     "bad.yaml:3:1: table \"u\" (copy_to) does not exist"},
    {"name: x\ntable: t\nbackfill:\n  set: {n: n}\nprobes:\n  - {name: queue, sql: SELECT cont(*) FROM t, max: 5}\n",
     "bad.yaml:6:24: the server refuses the query of probe 'queue': function cont() does not exist"},
};

TEST_F(CommandTest, SaysWhereAFileIsWrongAndTouchesNothing) {
  make_table(3);
  for (auto const& mistake : kMistakes) {
    write("bad.yaml", mistake.text);
    for (char const* command : {"run", "plan"}) {
      auto const result = run({command, "bad.yaml"});
      EXPECT_EQ(result.exit_code, kUsage) << mistake.text << result.err;
      EXPECT_THAT(result.err, HasSubstr(mistake.message)) << mistake.text;
      EXPECT_THAT(result.out, IsEmpty());
    }
  }
  EXPECT_FALSE(has_state());
  EXPECT_EQ(counted(), "0: 3");
}

TEST_F(CommandTest, ListsAllMistakesOfAFile) {
  write("bad.yaml", "name: x\ntable: t\nbackfill:\n  set: {n: n}\n  wokers: 3\n  batch: {target: 7}\nexpnd: []\n");
  auto const result = run({"run", "bad.yaml"});
  EXPECT_EQ(result.err,
            "bad.yaml:5:3: unknown key 'wokers' (did you mean 'workers'?)\n"
            "bad.yaml:6:19: 'target: 7' has no unit (write 7ms or 7s)\n"
            "bad.yaml:7:1: unknown key 'expnd' (did you mean 'expand'?)\n");
}

// --- run -------------------------------------------------------------------------------------------------------------

// Whatever shape the statement has, as long as a batch without rows would change none.
TEST_F(CommandTest, TakesEverySqlThatItsBatchBounds) {
  make_table(3);
  client_->exec("CREATE TABLE u (id int PRIMARY KEY, v int); CREATE TABLE sums (n int PRIMARY KEY, total bigint)");
  for (std::string const sql :
       {"UPDATE t SET n = 1 WHERE n = 0 AND {batch}", "DELETE FROM t USING u WHERE u.id = t.id AND {batch:t}",
        "UPDATE t AS o SET n = v FROM u LEFT JOIN sums ON sums.n = u.v WHERE u.id = o.id AND ({batch:o})",
        "UPDATE t SET n = 1 WHERE id IN (SELECT t.id FROM t LEFT JOIN u USING (id) WHERE {batch:t})",
        "UPDATE t AS o SET n = s.n FROM (SELECT id, max(n) AS n FROM t WHERE {batch:t} GROUP BY id) s WHERE s.id = "
        "o.id",
        "INSERT INTO sums SELECT id, count(*) FROM t WHERE {batch:t} GROUP BY id ON CONFLICT (n) DO NOTHING",
        "WITH s AS (SELECT id FROM t WHERE {batch:t} FOR UPDATE) UPDATE t AS o SET n = 1 FROM s WHERE s.id = o.id"}) {
    write("good.yaml", "name: x\ntable: t\nbackfill:\n  sql: \"" + sql + "\"\n");
    auto const result = run({"plan", "good.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << sql << '\n' << result.err;
  }
}

TEST_F(CommandTest, RunOfACompleteJobChangesNothing) {
  make_table(500);
  auto const first = run({"run", "t.yaml"});
  EXPECT_EQ(first.exit_code, kDone) << first.err;
  EXPECT_THAT(first.err, HasSubstr("count_up is complete: 500 rows changed"));
  auto const second = run({"run", "t.yaml"});
  EXPECT_EQ(second.exit_code, kDone);
  EXPECT_THAT(second.err, HasSubstr("count_up is complete already"));
  EXPECT_EQ(counted(), "1: 500");
  auto const third = json_of(run({"run", "t.yaml", "--format", "json"}));
  EXPECT_EQ(third.at("rows_changed"), 500);
  EXPECT_EQ(third.at("rows_done"), 500);
  EXPECT_GE(third.at("batches").to_number<int>(), 5);
  EXPECT_EQ(third.at("complete"), true);
}

TEST_F(CommandTest, LogLinesMayBeJson) {
  make_table(500);
  auto const result = run({"run", "t.yaml", "--log-format", "json"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  std::istringstream lines(result.err);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    boost::system::error_code error;
    auto const value = boost::json::parse(line, error);
    EXPECT_FALSE(error) << line;
    EXPECT_TRUE(value.is_object()) << line;
    ++count;
  }
  EXPECT_GE(count, 1);
}

TEST_F(CommandTest, RefusesABackfillThatChangedSinceItStarted) {
  make_table(500);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  write("t.yaml", "name: count_up\ntable: t\nbackfill:\n  set: {n: \"n + 2\"}\n");
  auto const result = run({"run", "t.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, StartsWith("t.yaml:3:1: the backfill of 'count_up' was changed since it started"));
  EXPECT_THAT(result.err, HasSubstr("\"n\" = n + 1"));
  write("t.yaml", "name: count_up\ntable: t\nbackfill:\n  set: {n: \"n + 1\"}\n  workers: 7\n");
  EXPECT_EQ(run({"run", "t.yaml"}).exit_code, kDone) << "how fast is not what";
  EXPECT_EQ(counted(), "1: 500");
}

TEST_F(CommandTest, ExpandStepsRunOnce) {
  make_table(100);
  std::string const steps =
      "expand:\n  - sql: ALTER TABLE t ADD COLUMN m int\n    down: ALTER TABLE t DROP COLUMN m\n"
      "  - sql: CREATE INDEX CONCURRENTLY t_n ON t (n)\n    down: DROP INDEX CONCURRENTLY t_n\n"
      "  - sql: CREATE TABLE log (at timestamptz DEFAULT now())\n  - sql: INSERT INTO log DEFAULT VALUES\n";
  std::string const backfill = "backfill:\n  set: {m: \"id * 2\"}\n  where: \"m IS NULL\"\n";
  write("t.yaml", "name: add_m\ntable: t\n" + steps + backfill);
  for (int time = 0; time < 2; ++time) {
    auto const result = run({"run", "t.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM log"), "1");
  EXPECT_EQ(client_->value("SELECT count(*) FROM t WHERE m = id * 2"), "100");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.steps"), "4");
  write("t.yaml", "name: add_m\ntable: t\nexpand:\n  - sql: ALTER TABLE t ADD COLUMN m bigint\n" + backfill);
  auto const changed = run({"run", "t.yaml"});
  EXPECT_EQ(changed.exit_code, kFailed);
  EXPECT_THAT(
      changed.err,
      StartsWith("t.yaml:4:10: expand step 1: it ran already, with another text: ALTER TABLE t ADD COLUMN m int;"));
}

TEST_F(CommandTest, StepThatFailsLeavesNothingAndIsTriedAgain) {
  make_table(10);
  write("t.yaml",
        "name: steps\nexpand:\n  - sql: CREATE TABLE one (id int)\n  - sql: CREATE TABLE two (id int); SELECT 1 / 0\n");
  auto const failed = run({"run", "t.yaml"});
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_THAT(failed.err, HasSubstr("t.yaml:4:10: expand step 2: division by zero (22012)"));
  EXPECT_EQ(client_->value("SELECT to_regclass('one') IS NOT NULL AND to_regclass('two') IS NULL"), "t");
  write("t.yaml", "name: steps\nexpand:\n  - sql: CREATE TABLE one (id int)\n  - sql: CREATE TABLE two (id int)\n");
  auto const repaired = run({"run", "t.yaml"});
  EXPECT_EQ(repaired.exit_code, kDone) << repaired.err;
  EXPECT_THAT(repaired.err, HasSubstr("steps is done"));
}

TEST_F(CommandTest, StepWaitsForALockInShortAttempts) {
  make_table(10);
  write("t.yaml", "name: locked\nexpand:\n  - sql: ALTER TABLE t ADD COLUMN m int\n");
  PgClient holder(dsn());
  holder.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  EXPECT_TRUE(program.wait_for_output("no lock within 50 ms, attempt 1"));
  auto const reading = std::chrono::steady_clock::now();
  EXPECT_EQ(client_->value("SELECT count(*) FROM t"), "10");
  EXPECT_LT(std::chrono::steady_clock::now() - reading, 2s) << "readers must not queue behind the step";
  holder.exec("COMMIT");
  auto const result = program.wait(30s);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT count(m) FROM t"), "0");
}

// --- gate, complete, rollback ----------------------------------------------------------------------------------------

constexpr char const* kWithContract =
    "name: add_m\ntable: t\nexpand:\n  - sql: ALTER TABLE t ADD COLUMN m int\n    down: ALTER TABLE t DROP COLUMN m\n"
    "backfill:\n  set: {m: \"id * 2\"}\n  where: \"m IS NULL\"\n"
    "contract:\n  - sql: ALTER TABLE t ALTER COLUMN m SET NOT NULL\n";

TEST_F(CommandTest, CompleteOnlyBehindTheGate) {
  make_table(100);
  write("t.yaml", kWithContract);
  for (char const* name : {"add_m", "t.yaml"}) {
    auto const before = run({"gate", name});
    EXPECT_EQ(before.exit_code, kGateClosed);
    EXPECT_THAT(before.out, HasSubstr("the gate of add_m is closed: this database has no schema pgbackfill yet"));
    auto const told = json_of(run({"gate", name, "--format", "json"}));
    EXPECT_EQ(told.at("open"), false);
    EXPECT_EQ(told.at("migration"), "add_m");
  }
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  client_->exec("INSERT INTO t VALUES (1000), (1001)");
  auto const closed = run({"gate", "add_m"});
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_EQ(closed.out, "the gate of add_m is closed: 2 row(s) still satisfy `where`\n");
  auto const document = json_of(run({"gate", "add_m", "--format", "json"}));
  EXPECT_EQ(document.at("open"), false);
  EXPECT_EQ(document.at("migration"), "add_m");
  EXPECT_EQ(document.at("status"), "complete");
  EXPECT_EQ(document.at("remaining"), 2);
  EXPECT_EQ(document.at("reasons").as_array().size(), 1U);
  auto const refused = run({"complete", "add_m", "--yes"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("the gate of add_m is closed"));
  client_->exec("UPDATE t SET m = 0 WHERE m IS NULL");
  EXPECT_EQ(json_of(run({"gate", "t.yaml", "--format", "json"})).at("open"), true);
  auto const unconfirmed = run({"complete", "add_m"});
  EXPECT_EQ(unconfirmed.exit_code, kGateClosed);
  EXPECT_THAT(unconfirmed.err, HasSubstr("--yes"));
  auto const done = run({"complete", "add_m", "--yes"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'm'"),
            "t");
  EXPECT_EQ(run({"complete", "add_m", "--yes"}).exit_code, kDone);
  auto const too_late = run({"rollback", "add_m", "--yes"});
  EXPECT_EQ(too_late.exit_code, kFailed);
  EXPECT_THAT(too_late.err, HasSubstr("add_m has begun `complete`"));
}

TEST_F(CommandTest, RollbackUndoesTheExpandSteps) {
  make_table(100);
  write("t.yaml", kWithContract);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  auto const unconfirmed = run({"rollback", "add_m"});
  EXPECT_EQ(unconfirmed.exit_code, kGateClosed);
  EXPECT_THAT(unconfirmed.err, HasSubstr("--yes"));
  EXPECT_EQ(client_->value("SELECT count(m) FROM t"), "100");
  auto const done = run({"rollback", "add_m", "--yes"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->try_exec("SELECT m FROM t"), "42703");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.steps"), "0");
}

TEST_F(CommandTest, RollbackAsksBeforeItTakesASyncTriggerOrAnUnfinishedJob) {
  for (auto const* sync : {"sync: {set: {n: \"1\"}}\n", ""}) {
    client_->exec("DROP TABLE IF EXISTS t");
    make_table(20'000);
    write("t.yaml", std::string("name: m") + (*sync == '\0' ? "1" : "2") + "\ntable: t\n" + sync +
                        "backfill: {set: {n: \"1\"}, where: n = 0}\nthrottle: {max_rows_per_second: 500}\n");
    ProgramOptions options;
    options.working_dir = dir();
    Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "t.yaml"}, options);
    ASSERT_TRUE(poll_until([&] {
      return client_->value("SELECT to_regclass('pgbackfill.jobs') IS NOT NULL") == "t" &&
             client_->value("SELECT count(*) FROM pgbackfill.jobs WHERE status = 'running'") == "1";
    }));
    auto const refused = run({"rollback", "t.yaml"});
    EXPECT_EQ(refused.exit_code, kGateClosed);
    EXPECT_THAT(refused.err, testing::AllOf(HasSubstr("the backfill, which is not complete"), HasSubstr("--yes")));
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs WHERE status = 'running'"), "1");
    EXPECT_EQ(client_->value("SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 't'::regclass"),
              *sync == '\0' ? "f" : "t");
    program.signal(SIGINT);
    EXPECT_EQ(program.wait().exit_code, kResumable);
    EXPECT_EQ(run({"rollback", "t.yaml", "--yes"}).exit_code, kDone);
  }
}

TEST_F(CommandTest, ARunThatIsRolledBackSaysByWhomAndIsNoFailure) {
  make_table(200'000);
  write("t.yaml",
        "name: m\ntable: t\nexpand:\n  - add_column: {name: y, type: text}\nbackfill: {set: {y: \"n::text\"}, where: y "
        "IS NULL}\nthrottle: {max_rows_per_second: 5000}\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "t.yaml"}, options);
  ASSERT_TRUE(poll_until([&] {
    return client_->value("SELECT to_regclass('pgbackfill.ranges') IS NOT NULL") == "t" &&
           client_->value("SELECT coalesce(sum(batches), 0) > 3 FROM pgbackfill.ranges") == "t";
  }));
  ASSERT_EQ(run({"rollback", "t.yaml", "--yes"}).exit_code, kDone);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_THAT(result.err, testing::ContainsRegex("rolled back by [^ ]+@"));
}

TEST_F(CommandTest, AStepThatFailsLeavesItsReasonAndIsNobodyElsesChange) {
  make_table(10);
  write(
      "t.yaml",
      "name: m\ntable: t\nexpand:\n  - add_column: {name: d1, type: text}\n  - sql: \"ALTER TABLE t ADD COLUMN d2 int "
      "DEFAULT (1/0)\"\n");
  for (int time = 0; time < 2; ++time) {
    auto const result = run({"run", "t.yaml"});
    EXPECT_EQ(result.exit_code, kFailed);
    EXPECT_THAT(result.err, testing::AllOf(HasSubstr("division by zero"), Not(HasSubstr("changed by"))));
  }
  auto const page = run({"status", "m"});
  EXPECT_THAT(page.out,
              testing::AllOf(HasSubstr("step failed"), HasSubstr("t.yaml:5:10"), HasSubstr("division by zero")));
  EXPECT_THAT(run({"status"}).out, HasSubstr("failed: t.yaml:5:10"));
  EXPECT_THAT(run({"log", "m"}).out, HasSubstr("division by zero"));
  write(
      "t.yaml",
      "name: m\ntable: t\nexpand:\n  - add_column: {name: d1, type: text}\n  - sql: \"ALTER TABLE t ADD COLUMN d2 int "
      "DEFAULT (1)\"\n");
  auto const repaired = run({"run", "t.yaml"});
  EXPECT_EQ(repaired.exit_code, kDone) << repaired.err;
  EXPECT_THAT(repaired.err, Not(HasSubstr("changed by")));
  EXPECT_THAT(run({"status", "m"}).out, Not(HasSubstr("step failed")));
}

TEST_F(CommandTest, RunAfterRollbackDoesTheWorkAgain) {
  make_table(100);
  write("t.yaml", kWithContract);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"rollback", "add_m", "--yes"}).exit_code, kDone);
  auto const again = run({"run", "t.yaml"});
  bool const is_filled =
      client_->try_exec("SELECT m FROM t") == "00000" && client_->value("SELECT count(m) FROM t") == "100";
  // Whatever it decides, it must not say that all is done over a column that is empty.
  EXPECT_TRUE(is_filled || again.exit_code != kDone) << again.err;
}

// --- control ---------------------------------------------------------------------------------------------------------

TEST_F(CommandTest, UnknownNamesSuggestTheKnownOne) {
  for (char const* command : {"pause", "resume", "cancel"}) {
    EXPECT_EQ(run({command, "count_up"}).exit_code, kFailed) << "there is no state yet";
  }
  make_table(10);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  for (std::vector<std::string> const& words : {std::vector<std::string>{"pause", "count_upp"},
                                                {"resume", "count_upp"},
                                                {"cancel", "count_upp"},
                                                {"set", "count_upp", "workers=2"}}) {
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kUsage) << words.front();
    EXPECT_THAT(result.err, HasSubstr("there is no backfill 'count_upp' in this database (did you mean 'count_up'?)"));
  }
  auto const gate = run({"gate", "count_upp"});
  EXPECT_EQ(gate.exit_code, kGateClosed) << "what never ran is not complete";
  EXPECT_THAT(gate.out, HasSubstr("'count_upp' is neither a file nor a migration that ran in this database"));
  write("never.yaml", "name: never\ntable: t\nbackfill: {set: {n: \"n + 1\"}}\n");
  EXPECT_EQ(run({"gate", "never.yaml"}).exit_code, kGateClosed);
}

TEST_F(CommandTest, EveryCommandAnswersInJsonAlsoWhenItCannotAnswer) {
  for (std::vector<std::string> words : {std::vector<std::string>{"status"},
                                         {"status", "nothing"},
                                         {"history"},
                                         {"log", "nothing"},
                                         {"locks"},
                                         {"pause", "nothing"},
                                         {"set", "nothing"},
                                         {"approve", "nothing"},
                                         {"verify", "nothing"},
                                         {"complete", "nothing"},
                                         {"rollback", "nothing"},
                                         {"plan", "nothing.yaml"},
                                         {"run", "nothing.yaml"}}) {
    words.insert(words.end(), {"--format", "json"});
    auto const result = run(words);
    EXPECT_NE(result.exit_code, kDone) << words.front();
    auto const document = boost::json::parse(result.out).as_object();
    EXPECT_EQ(document.at("exit_code"), result.exit_code) << words.front();
    EXPECT_THAT(result.err, HasSubstr(std::string(document.at("error").as_string()))) << words.front();
  }
}

TEST_F(CommandTest, AResultThatCannotBeWrittenIsAnError) {
  make_table(10);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  for (std::string const words : {"status >/dev/full", "gate count_up >/dev/full", "gate count_up >&-"}) {
    auto const lost = run_program({"sh", "-c", "DATABASE_URL='" + dsn() + "' " + PGBACKFILL_PROGRAM + " " + words});
    EXPECT_EQ(lost.exit_code, kFailed) << words;
    EXPECT_THAT(lost.err, HasSubstr("could not be written to standard output")) << words;
  }
}

TEST_F(CommandTest, GateWaitsUntilItOpens) {
  make_table(2000, "", "throttle: {max_rows_per_second: 2000}\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program gate({PGBACKFILL_PROGRAM, "gate", "count_up", "--wait", "2m", "--dsn", dsn()}, options);
  EXPECT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  auto const opened = gate.wait();
  EXPECT_EQ(opened.exit_code, kDone) << opened.err;
  EXPECT_EQ(opened.out, "the gate of count_up is open\n") << "what it found before is nothing to tell";
  client_->exec("UPDATE pgbackfill.jobs SET status = 'running'");
  auto const closed = run({"gate", "count_up", "--wait", "1s"});
  EXPECT_EQ(closed.exit_code, kGateClosed) << closed.err;
  // The backend of the one before outlives it by a moment.
  ASSERT_TRUE(poll_until([&] { return client_->value(kGateSessions) == "0"; }));
  Program interrupted({PGBACKFILL_PROGRAM, "gate", "count_up", "--wait", "10m", "--dsn", dsn()}, options);
  EXPECT_TRUE(poll_until([&] { return client_->value(kGateSessions) != "0"; }));
  interrupted.signal(SIGINT);
  EXPECT_EQ(interrupted.wait().exit_code, kResumable);
}

TEST_F(CommandTest, SaysWhatComesNextAndWhoHasToAgree) {
  make_table(10);
  std::string const file = "name: m\ntable: t\nbackfill: {set: {n: \"n + 1\"}}\ncontract:\n  - ";
  write("t.yaml", file + "set_not_null: {column: n}\n");
  auto const harmless = run({"run", "t.yaml"});
  EXPECT_THAT(harmless.err, HasSubstr("next: `pgbackfill gate m`, then `pgbackfill complete m`"));
  client_->exec("DROP SCHEMA pgbackfill CASCADE; ALTER TABLE t ADD COLUMN old int");
  write("t.yaml", file + "drop_column: {name: old}\n");
  auto const destructive = run({"run", "t.yaml", "--log-level", "debug"});
  EXPECT_THAT(destructive.err, HasSubstr("next: `pgbackfill gate m`, `pgbackfill approve m` by whoever may agree"));
  EXPECT_THAT(destructive.err, HasSubstr("10 rows after key the start in ")) << "each batch has a line";
}

TEST_F(CommandTest, WatchEndsAsTheJobDid) {
  make_table(2000, "", "throttle: {max_rows_per_second: 1000}\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program process({PGBACKFILL_PROGRAM, "run", "t.yaml", "--dsn", dsn()}, options);
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 2000"; }));
  Program watch({PGBACKFILL_PROGRAM, "status", "count_up", "--watch", "--dsn", dsn()}, options);
  EXPECT_EQ(run({"cancel", "count_up"}).exit_code, kDone);
  EXPECT_EQ(watch.wait().exit_code, kHalted);
  process.wait();
  ASSERT_EQ(run({"resume", "count_up"}).exit_code, kDone);
  ASSERT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"status", "count_up", "--watch"}).exit_code, kDone);
  client_->exec("UPDATE pgbackfill.jobs SET status = 'failed'");
  EXPECT_EQ(run({"status", "count_up", "--watch"}).exit_code, kFailed);
}

TEST_F(CommandTest, SetExplainsWhatItTakes) {
  make_table(10);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  std::pair<std::string, std::string> const mistakes[] = {
      {"workers", "'workers' is not key=value"},
      {"wrkers=3", "unknown key 'wrkers' (did you mean 'workers'?)"},
      {"workers=0", "a number from 1 to 256"},
      {"workers=many", "a number from 1 to 256"},
      {"workers=257", "a number from 1 to 256"},
      {"batch.target=100", "a duration from 5ms to 60s with its unit"},
      {"batch.target=1ms", "a duration from 5ms to 60s with its unit"},
      {"throttle.max_rows_per_second=0", "throttle.max_rows_per_second=0 is out of bounds"},
      {"throttle.max_rows_per_secnd=5", "did you mean 'throttle.max_rows_per_second'"},
      {"replica_lag=1s", "unknown key 'replica_lag' (did you mean 'throttle.replica_lag'?)"},
      {"throttle.replica_lag=500", "throttle.replica_lag=500 has no unit (write 500ms or 500s)"},
      {"throttle.max_wal_per_second=40MB", "has no '/s' (write 40MB/s); or none"},
      {"throttle.mode=onn", "is not one of 'on', 'observe', 'off' (did you mean 'on'?)"},
  };
  for (auto const& [word, message] : mistakes) {
    auto const result = run({"set", "count_up", "workers=9", word});
    EXPECT_EQ(result.exit_code, kUsage) << word;
    EXPECT_THAT(result.err, HasSubstr(message));
  }
  EXPECT_EQ(client_->value("SELECT workers || ' ' || settings FROM pgbackfill.jobs"), "2 {}") << "all or nothing";
  auto const good = run({"set", "t.yaml", "workers=9", "batch.target=1s", "throttle.max_rows_per_second=77"});
  EXPECT_EQ(good.exit_code, kDone) << good.err;
  EXPECT_EQ(client_->value("SELECT workers || ' ' || batch_target_ms || ' ' || settings FROM pgbackfill.jobs"),
            "9 1000 {\"throttle.max_rows_per_second\": \"77\"}");
  EXPECT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT settings ->> 'throttle.max_rows_per_second' FROM pgbackfill.jobs"), "none");
}

TEST_F(CommandTest, SetTellsWhatEachSettingWasAndTakesItAwayAgain) {
  make_table(10, "", "throttle: {replica_lag: 5s}\n");
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"set", "count_up", "throttle.replica_lag=500ms", "workers=3"}).exit_code, kDone);
  ASSERT_EQ(run({"set", "count_up", "throttle.replica_lag=1s", "throttle.bloat=30%"}).exit_code, kDone);
  ASSERT_EQ(run({"set", "count_up", "throttle.replica_lag=default", "throttle.replicas=db 2,db'3"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT string_agg(detail, '; ' ORDER BY id) FROM pgbackfill.events WHERE kind = 'set' AND "
                           "os_user <> '' AND pid > 0"),
            "workers: 2 -> 3; throttle.replica_lag: 5s -> 500ms; throttle.replica_lag: 500ms -> 1s; throttle.bloat: "
            "20% -> 30%; throttle.replica_lag: 1s -> 5s; throttle.replicas: all -> db 2,db'3");
  EXPECT_EQ(client_->value("SELECT settings FROM pgbackfill.jobs"),
            "{\"throttle.bloat\": \"30%\", \"throttle.replicas\": \"db 2,db'3\"}");
}

TEST_F(CommandTest, SetWithoutChangesListsAllSettings) {
  make_table(10, "", "throttle: {replica_lag: 5s}\n");
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"set", "count_up", "throttle.bloat=30%"}).exit_code, kDone);
  auto const listed = run({"set", "count_up"});
  EXPECT_EQ(listed.exit_code, kDone) << listed.err;
  EXPECT_THAT(listed.out, testing::ContainsRegex("throttle.replica_lag +5s +file +1ms to 24h +How far a standby"));
  EXPECT_THAT(listed.out, testing::ContainsRegex("throttle.bloat +30% +live"));
  EXPECT_THAT(listed.out, testing::ContainsRegex("throttle.nice +0 +default"));
  EXPECT_THAT(listed.out, testing::ContainsRegex("workers +2 +job"));
  auto const settings = json_of(run({"set", "count_up", "--format", "json"})).at("settings").as_array();
  auto const bloat = std::find_if(settings.begin(), settings.end(),
                                  [](auto const& each) { return each.at("key") == "throttle.bloat"; });
  ASSERT_NE(bloat, settings.end());
  EXPECT_EQ(bloat->at("value"), "30%");
  EXPECT_EQ(bloat->at("origin"), "live");
  auto const status = json_of(run({"status", "count_up", "--format", "json"}));
  EXPECT_EQ(status.at("throttle").at("replica_lag").at("from"), "file");
  EXPECT_EQ(status.at("throttle").at("bloat").at("value"), "30%");
}

// Whoever reads the job each minute only can have heard it in time from nobody but the server.
TEST_F(CommandTest, RunningProcessIsToldOfEveryChange) {
  make_table(3000, "", "throttle: {max_rows_per_second: 300}\n");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn(), "--poll", "1m"});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 3000"; }, 20s)) << program.err();
  EXPECT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=100", "throttle.bloat=30%"}).exit_code, kDone);
  EXPECT_TRUE(program.wait_for_output("throttle.max_rows_per_second: 300 -> 100", 20s)) << program.err();
  EXPECT_TRUE(program.wait_for_output("throttle.bloat: 20% -> 30%", 20s)) << program.err();
  client_->exec("UPDATE pgbackfill.jobs SET status = 'paused', status_reason = 'by hand'");
  EXPECT_TRUE(poll_until([&] { return client_->value(kOpenLeases) == "0"; }, 20s)) << program.err();
  EXPECT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  EXPECT_EQ(run({"resume", "count_up"}).exit_code, kDone);
  auto const ended = program.wait(30s);
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_EQ(counted(), "1: 3000");
}

TEST_F(CommandTest, LiveSettingThatCannotBeReadHoldsTheRun) {
  make_table(3000, "", "throttle: {max_rows_per_second: 300}\n");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 3000"; }, 20s)) << program.err();
  client_->exec("UPDATE pgbackfill.jobs SET settings = '{\"throttle.replica_lag\": \"soon\"}'");
  EXPECT_TRUE(program.wait_for_output("throttle.replica_lag=soon is not a duration", 20s)) << program.err();
  EXPECT_TRUE(poll_until([&] { return client_->value(kOpenLeases) == "0"; }, 20s)) << program.err();
  EXPECT_TRUE(program.is_running());
  EXPECT_EQ(run({"set", "count_up", "throttle.replica_lag=default", "throttle.max_rows_per_second=none"}).exit_code,
            kDone);
  EXPECT_EQ(program.wait(30s).exit_code, kDone);
  EXPECT_EQ(counted(), "1: 3000");
}

TEST_F(CommandTest, PauseForATimeEndsByItself) {
  make_table(3000, "", "throttle: {max_rows_per_second: 300}\n");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn(), "--poll", "1m"});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 3000"; }, 20s)) << program.err();
  auto const paused = run({"pause", "count_up", "--for", "1h", "--reason", "lunch"});
  EXPECT_THAT(paused.out, HasSubstr("nothing more starts for 1h"));
  EXPECT_TRUE(poll_until([&] { return client_->value(kOpenLeases) == "0"; }, 20s)) << program.err();
  auto const status = run({"status", "count_up"});
  EXPECT_THAT(status.out, testing::ContainsRegex("until +20[0-9-]+ [0-9:]+ UTC, in (59 min|1 h)")) << status.out;
  EXPECT_THAT(status.out, HasSubstr("lunch"));
  EXPECT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  EXPECT_EQ(run({"pause", "count_up", "--for", "2s"}).exit_code, kDone) << "a pause can be made shorter";
  auto const ended = program.wait(30s);
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_EQ(counted(), "1: 3000");
  EXPECT_EQ(client_->value("SELECT string_agg(kind, ' ' ORDER BY id) FROM pgbackfill.events WHERE kind IN ('paused', "
                           "'resumed') AND (kind = 'paused' OR detail = 'the pause is over')"),
            "paused paused resumed");
  EXPECT_EQ(client_->value("SELECT paused_until FROM pgbackfill.jobs"), "NULL");
}

TEST_F(CommandTest, RunThatStartsInAPauseWithAnEndWaitsForIt) {
  make_table(2000, "", "throttle: {max_rows_per_second: 300}\n");
  Program first({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 2000"; }, 20s)) << first.err();
  ASSERT_EQ(run({"pause", "count_up", "--for", "1h"}).exit_code, kDone);
  first.signal(SIGKILL);
  first.wait(60s);
  Program second({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  EXPECT_TRUE(second.wait_for_output("held back: paused until 20", 20s)) << second.err();
  EXPECT_NE(counted(), "1: 2000");
  ASSERT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  ASSERT_EQ(run({"resume", "count_up"}).exit_code, kDone);
  EXPECT_EQ(second.wait(30s).exit_code, kDone) << second.err();
  EXPECT_EQ(counted(), "1: 2000");
}

TEST_F(CommandTest, PauseWithoutATimeReplacesOneWithATime) {
  make_table(2000, "", "throttle: {max_rows_per_second: 300}\n");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 2000"; }, 20s)) << program.err();
  ASSERT_EQ(run({"pause", "count_up", "--for", "1h"}).exit_code, kDone);
  auto const stays = run({"pause", "count_up"});
  EXPECT_EQ(stays.exit_code, kDone) << stays.err;
  EXPECT_EQ(client_->value("SELECT status || ' ' || (paused_until IS NULL) FROM pgbackfill.jobs"), "paused true");
  EXPECT_THAT(run({"pause", "count_up"}).out, HasSubstr("paused already"));
  auto const other = run({"run", "t.yaml"});
  EXPECT_EQ(other.exit_code, kHalted) << "nobody knows when it ends";
}

TEST_F(CommandTest, ClosedWindowEndsTheRunIfAskedTo) {
  // The day after the next one, whatever the hour is when the test ends.
  auto const day = client_->value("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '2 days', 'Dy')");
  make_table(100, "", "windows: [\"" + day + "\"]\n");
  auto const closed = run({"run", "t.yaml", "--exit-outside-window"});
  EXPECT_EQ(closed.exit_code, kResumable) << closed.err;
  EXPECT_THAT(closed.err, HasSubstr("the window is closed"));
  EXPECT_EQ(counted(), "0: 100");
  auto const status = run({"status", "count_up"});
  EXPECT_THAT(status.out, testing::ContainsRegex("windows +closed: no batch starts; it goes on at 20")) << status.out;
  write("t.yaml", "name: count_up\ntable: t\nbackfill:\n  set: {n: \"n + 1\"}\nblackout: [\"" + day + "\"]\n");
  EXPECT_EQ(run({"run", "t.yaml", "--exit-outside-window"}).exit_code, kDone);
  EXPECT_EQ(counted(), "1: 100");
}

TEST_F(CommandTest, PauseResumeAndCancelWhileItRuns) {
  make_table(6000, "", "throttle: {max_rows_per_second: 1500}\n");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 6000"; }, 20s)) << program.err();
  auto const paused = run({"pause", "count_up", "--reason", "lunch"});
  EXPECT_EQ(paused.exit_code, kDone) << paused.err;
  EXPECT_THAT(paused.out, StartsWith("count_up is paused"));
  EXPECT_THAT(run({"pause", "count_up"}).out, HasSubstr("paused already"));
  std::string before;
  EXPECT_TRUE(poll_until(
      [&] {
        auto const now = counted();
        return std::exchange(before, now) == now;
      },
      10s, 1200ms))
      << "batches go on while it is paused";
  EXPECT_TRUE(program.is_running());
  EXPECT_EQ(run({"resume", "count_up"}).exit_code, kDone);
  EXPECT_TRUE(poll_until([&] { return counted() != before; }, 30s));
  EXPECT_EQ(run({"cancel", "count_up"}).exit_code, kDone);
  auto const ended = program.wait(60s);
  EXPECT_EQ(ended.exit_code, kHalted) << ended.err;
  auto const refused = run({"run", "t.yaml"});
  EXPECT_EQ(refused.exit_code, kHalted);
  EXPECT_THAT(refused.err, HasSubstr("count_up is cancelled"));
  EXPECT_THAT(refused.err, HasSubstr("pgbackfill resume count_up"));
  EXPECT_EQ(run({"resume", "count_up"}).exit_code, kDone);
  EXPECT_EQ(run({"set", "count_up", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  auto const last = run({"run", "t.yaml"});
  EXPECT_EQ(last.exit_code, kDone) << last.err;
  EXPECT_EQ(counted(), "1: 6000");
  EXPECT_EQ(run({"pause", "count_up"}).exit_code, kFailed) << "nothing brings a complete job back";
}

TEST_F(CommandTest, InterruptPausesAndTheSameCommandGoesOn) {
  make_table(4000, "", "throttle: {max_rows_per_second: 2000}\n");
  Program program({PGBACKFILL_PROGRAM, "run", (dir() / "t.yaml").string(), "--dsn", dsn()});
  ASSERT_TRUE(poll_until([&] { return has_state() && counted() != "0: 4000"; }, 20s)) << program.err();
  program.signal(SIGINT);
  auto const stopped = program.wait(60s);
  EXPECT_EQ(stopped.exit_code, kResumable) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("count_up stopped, resumable: interrupted"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.ranges WHERE owner IS NOT NULL"), "0");
  auto const rest = run({"run", "t.yaml"});
  EXPECT_EQ(rest.exit_code, kDone) << rest.err;
  EXPECT_EQ(counted(), "1: 4000");
}

// A name is a name even where a folder of that name stands; a file is read for its name.
TEST_F(CommandTest, NamesAndFilesAreToldApart) {
  make_table(10);
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  std::filesystem::create_directory(dir() / "count_up");
  EXPECT_EQ(run({"gate", "count_up"}).exit_code, kDone);
  EXPECT_EQ(run({"gate", "t.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"gate", "./t.yaml"}).exit_code, kDone);
  write("broken.yaml", "name: [\n");
  auto const broken = run({"gate", "broken.yaml"});
  EXPECT_EQ(broken.exit_code, kUsage);
  EXPECT_THAT(broken.err, StartsWith("broken.yaml:"));
}

}  // namespace
}  // namespace pgbackfill::tests
