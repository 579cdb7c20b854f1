// Files that are given values: by --param, a job for each set of them; and by the environment, which nobody else sees.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Parameters : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, h text); INSERT INTO t SELECT g FROM "
        "generate_series(1, 1000) g");
  }
  std::string value(std::string const& sql) { return client_->value(sql); }

  static constexpr char kCounting[] =
      "name: count\ntable: t\nparams: {from: bigint, to: {type: bigint, default: 1000}}\nbackfill:\n  set: {n: n + 1}\n"
      "  where: \"id BETWEEN {param:from} AND {param:to}\"\n";
};

TEST_F(Parameters, EachSetOfValuesIsAJobOfItsOwn) {
  write("m.yaml", kCounting);
  auto const first = run({"run", "m.yaml", "--param", "from=1", "--param", "to=400"});
  EXPECT_EQ(first.exit_code, kDone) << first.err;
  EXPECT_THAT(first.err, HasSubstr("count[from=1,to=400] is complete"));
  auto const again = run({"run", "m.yaml", "--param", "to=0400", "--param", "from=+1"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_THAT(again.err, HasSubstr("complete already")) << "the same values, written in another way";
  auto const stopped = run({"run", "m.yaml", "--param", "from=401"});
  EXPECT_EQ(stopped.exit_code, kDone) << "the default";
  EXPECT_THAT(run({"status", "count[from=1,to=400]"}).out,
              HasSubstr("`pgbackfill run m.yaml --param from=1 --param to=400`"));
  EXPECT_EQ(value("SELECT string_agg(DISTINCT n::text, ',') FROM t"), "1");
  EXPECT_EQ(value("SELECT string_agg(name, ' ' ORDER BY name) FROM pgbackfill.jobs"),
            "count[from=1,to=400] count[from=401,to=1000]");
}

TEST_F(Parameters, CommandsTakeTheFileOrTheNameWithThem) {
  write("m.yaml", std::string(kCounting) +
                      "verify:\n  - zero: \"SELECT count(*) FROM t WHERE n = 0 AND id BETWEEN "
                      "{param:from} AND {param:to}\"\n");
  EXPECT_EQ(run({"run", "m.yaml", "--param", "from=1", "--param", "to=10"}).exit_code, kDone);
  EXPECT_EQ(run({"run", "m.yaml", "--param", "from=11", "--param", "to=20"}).exit_code, kDone);
  std::string const name = "count[from=1,to=10]";
  for (std::string const word : {"gate", "verify", "status", "log", "locks"}) {
    for (std::vector<std::string> const& words : {std::vector<std::string>{word, name},
                                                  {word, "m.yaml", "--param", "from=1", "--param", "to=10"},
                                                  {word, "count", "--param", "from=1"}}) {
      auto const result = run(words);
      EXPECT_TRUE(result.exit_code == kDone || (word == "gate" && result.exit_code == kGateClosed))
          << testing::PrintToString(words) << result.out << result.err;
      bool const says_name = word == "log" || (result.out + result.err).find(name) != std::string::npos;
      EXPECT_TRUE(says_name) << testing::PrintToString(words) << result.out << result.err;
    }
  }
  auto const which = run({"status", "count"});
  EXPECT_EQ(which.exit_code, kUsage);
  EXPECT_THAT(which.err, AllOf(HasSubstr("runs once for each set of values"), HasSubstr("count[from=11,to=20]")));
  EXPECT_EQ(run({"status", "count", "--param", "from=3"}).exit_code, kUsage);
  EXPECT_EQ(run({"status", "cuont", "--param", "from=1"}).exit_code, kUsage);
  auto const paused = run({"pause", "count", "--param", "to=20"});
  EXPECT_THAT(paused.out, HasSubstr("count[from=11,to=20] is complete"));
  auto const undone = run({"rollback", "count", "--param", "to=20", "--yes"});
  EXPECT_EQ(undone.exit_code, kDone) << undone.err;
}

TEST_F(Parameters, WhatIsWrongIsRefusedBeforeAnythingIsTouched) {
  write("m.yaml", kCounting);
  for (auto const& [words, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"run", "m.yaml"},
            "m.yaml:3:10: parameter 'from' has no value and no default; give it with --param from=..."},
           {{"run", "m.yaml", "--param", "from=1 OR true"}, "is no whole number"},
           {{"plan", "m.yaml", "--param", "from=1", "--param", "form=2"}, "did you mean 'from'"},
           {{"run", "m.yaml", "--param", "from"}, "is not name=value"},
           {{"run", "m.yaml", "--param", "from=1", "--param", "from=2"}, "more than once"}}) {
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kUsage) << testing::PrintToString(words);
    EXPECT_THAT(result.err, HasSubstr(text)) << testing::PrintToString(words);
  }
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL AND sum(n) = 0 FROM t"), "t");
  auto const folder = run({"run", ".", "--param", "from=1"});
  EXPECT_EQ(folder.exit_code, kUsage);
  EXPECT_THAT(folder.err, HasSubstr("--param is for one file"));
}

TEST_F(Parameters, AValueIsNeverSql) {
  write("m.yaml",
        "name: m\ntable: t\nparams: {v: text}\nbackfill:\n  set: {h: \"{param:v}\"}\n  where: h IS DISTINCT FROM "
        "{param:v}\n");
  std::string const hostile = "'; DROP TABLE t; -- \\ {batch} {param:v} ${HOME} $1 \"x\"";
  auto const result = run({"run", "m.yaml", "--param", "v=" + hostile});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT DISTINCT h FROM t"), hostile);
  auto const gate = run({"gate", "m", "--param", "v=" + hostile});
  EXPECT_EQ(gate.exit_code, kDone) << gate.err << gate.out;
}

TEST_F(Parameters, AKilledJobGoesOnWithItsValues) {
  write("m.yaml",
        "name: m\ntable: t\nparams: {by: integer}\nbackfill:\n  set: {n: \"n + {param:by}\"}\n  batch: {min_rows: 10, "
        "max_rows: 10}\nthrottle: {max_rows_per_second: 400}\n");
  auto const start = [&](std::string const& by) {
    return std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(),
                                                              "--dsn", dsn(), "--param", by});
  };
  auto const killed = start("by=3");
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 100 FROM t WHERE n = 3") == "t"; }, 30s));
  killed->signal(9);
  killed->wait();
  auto const two = start("by=3");
  auto const three = start("by=3");
  EXPECT_EQ(two->wait(60s).exit_code, kDone) << two->err();
  EXPECT_EQ(three->wait(60s).exit_code, kDone) << three->err();
  EXPECT_EQ(value("SELECT string_agg(DISTINCT n::text, ',') FROM t"), "3");
}

class Variables : public Parameters {
 protected:
  void SetUp() override {
    Parameters::SetUp();
    setenv("PGBF_SALT", kSalt, 1);
  }
  void TearDown() override {
    unsetenv("PGBF_SALT");
    Parameters::TearDown();
  }
  static constexpr char kSalt[] = "s3cret'salt\\ \"x\"";
  static constexpr char kHashing[] =
      "name: hash\ntable: t\nbackfill:\n  set: {h: \"md5(id || ${PGBF_SALT})\"}\n  where: h IS NULL\nverify:\n  - "
      "zero: "
      "\"SELECT count(*) FROM t WHERE h IS DISTINCT FROM md5(id || ${PGBF_SALT})\"\n  - agrees: {set: {h: \"md5(id || "
      "${PGBF_SALT})\"}}\n";
};

TEST_F(Variables, AVariableIsAValueThatNobodyElseSees) {
  client_->exec("ALTER DATABASE " + database_ + " SET log_statement = 'all'");
  write("m.yaml", kHashing);
  std::string told;
  for (std::vector<std::string> const& words : {std::vector<std::string>{"plan", "m.yaml"},
                                                {"plan", "m.yaml", "--sample"},
                                                {"doctor", "m.yaml"},
                                                {"run", "m.yaml"},
                                                {"gate", "hash"},
                                                {"verify", "hash"},
                                                {"status", "hash"},
                                                {"log", "hash"}}) {
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kDone) << testing::PrintToString(words) << result.out << result.err;
    told += result.out + result.err;
  }
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE h = md5(id || $$" + std::string(kSalt) + "$$)"), "1000");
  EXPECT_THAT(told, Not(HasSubstr("s3cret")));
  EXPECT_THAT(told, HasSubstr("current_setting('pgbackfill.env_PGBF_SALT')")) << "the plan says where it is read";
  std::string state;
  for (std::string const table : {"jobs", "migrations", "events", "facts", "steps", "comparisons", "ranges"}) {
    state += value("SELECT string_agg(x::text, ' ') FROM pgbackfill." + table + " x");
  }
  EXPECT_THAT(state, AllOf(Not(HasSubstr("s3cret")), HasSubstr("${PGBF_SALT}")));
  auto const log = cluster_->log_text(64 * 1024 * 1024);
  EXPECT_THAT(log, HasSubstr("pgbackfill.env_PGBF_SALT")) << "statements are logged";
  // The test's own statement has it.
  auto const own = log.find("h = md5(id || $$");
  EXPECT_EQ(log.substr(0, own).find("s3cret"), std::string::npos);
}

TEST_F(Variables, AnErrorDoesNotTellIt) {
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set: {n: \"${PGBF_SALT}::int + id\"}\n  on_bad_row: {quarantine: 5}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, AllOf(HasSubstr("invalid input syntax"), HasSubstr("***"), Not(HasSubstr("s3cret"))));
  EXPECT_THAT(value("SELECT string_agg(message, ' ') FROM pgbackfill.quarantine") +
                  value("SELECT string_agg(status_reason, ' ') FROM pgbackfill.jobs"),
              Not(HasSubstr("s3cret")));
}

TEST_F(Variables, OneThatIsNotSetIsRefusedBeforeAnythingIsTouched) {
  write("m.yaml", kHashing);
  unsetenv("PGBF_SALT");
  for (std::string const word : {"run", "plan", "doctor"}) {
    auto const result = run({word, "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << word << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr("m.yaml:4:12: SQL reads ${PGBF_SALT}, and the variable PGBF_SALT")) << word;
  }
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  setenv("PGBF_SALT", kSalt, 1);
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  unsetenv("PGBF_SALT");
  for (std::string const word : {"gate", "verify"}) EXPECT_EQ(run({word, "hash"}).exit_code, kUsage) << word;
  EXPECT_EQ(run({"status", "hash"}).exit_code, kDone) << "it runs no SQL of the file";
  EXPECT_EQ(run({"rollback", "hash", "--yes"}).exit_code, kDone);
}

}  // namespace
}  // namespace pgbackfill::tests
