// run --only-keys: a job of the rows whose keys a file lists.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <tuple>
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

class OnlyKeys : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
        "generate_series(1, 100000) g; ANALYZE t");
    write("m.yaml", kCounting);
  }
  std::string value(std::string const& sql) { return client_->value(sql); }
  std::string jobs() { return value("SELECT string_agg(name, ' ' ORDER BY id) FROM pgbackfill.jobs"); }
  std::string counted() {
    return value("SELECT string_agg(n || ': ' || c, ', ' ORDER BY n) FROM (SELECT n, count(*) c FROM t GROUP BY n) x");
  }
  std::string tables_left() {
    return value(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'pgbackfill'::regnamespace AND relpersistence = 'u' AND "
        "relkind = 'r'");
  }

  static constexpr char kCounting[] = "name: m\ntable: t\nbackfill: {set: {n: n + 1}}\n";
};

TEST_F(OnlyKeys, DoesTheseRowsOnceAndNoOthers) {
  write("ids.txt", "7\n99999\n5\n\n7\n200000\n300000\n");
  auto const plan = run({"plan", "m.yaml", "--only-keys", "ids.txt"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("only the rows of 5 keys of ids.txt are worked"),
                              HasSubstr("no row of \"public\".\"t\" has 2 of the 5 keys: 200000, 300000")));
  auto const dry = run({"run", "m.yaml", "--only-keys", "ids.txt", "--dry-run"});
  EXPECT_EQ(dry.exit_code, kDone) << dry.err;
  EXPECT_THAT(dry.out,
              AllOf(HasSubstr("keys     5, and no other rows"), HasSubstr("row      5: n: 0 -> 1"),
                    HasSubstr("3 changed"), HasSubstr("missing  no row of \"public\".\"t\" has 2 of the 5 keys")));
  EXPECT_EQ(counted(), "0: 100000");
  auto const first = run({"run", "m.yaml", "--only-keys", "ids.txt"});
  EXPECT_EQ(first.exit_code, kDone) << first.err;
  EXPECT_THAT(first.err,
              AllOf(HasSubstr("m[only-keys=5:"), HasSubstr("3 rows changed"), HasSubstr("has 2 of the 5 keys")));
  EXPECT_EQ(value("SELECT string_agg(id::text, ',' ORDER BY id) FROM t WHERE n = 1"), "5,7,99999");
  write("same.txt", "300000\r\n5\r\n7\r\n99999\r\n200000\r\n");
  auto const again = run({"run", "m.yaml", "--only-keys", "same.txt"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_THAT(again.err, HasSubstr("complete already")) << "the same keys in another order";
  EXPECT_EQ(counted() + tables_left(), "0: 99997, 1: 30");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(counted(), "1: 99997, 2: 3") << "the job of all rows is another one";
  EXPECT_THAT(jobs(), HasSubstr("] m"));
}

TEST_F(OnlyKeys, WhatIsWrongIsRefusedBeforeAnythingIsTouched) {
  for (auto const& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"1\nabc\n", "ids.txt:2:1: the value 'abc' of column 'id' is no whole number"},
           {"1\n2,3\n", "ids.txt:2:1: this line has 2 values, and the key has 1 (id)"},
           {"1\n99999999999999999999\n", "ids.txt:2:1: "},
           {"1\n2\"\n", "ids.txt:2:2: a quote in the middle"},
           {"1\n\"\"\n", "ids.txt:2:1: "},
           {"", "ids.txt:1:1: there are no keys in the file"}}) {
    write("ids.txt", text);
    for (std::vector<std::string> const& words :
         {std::vector<std::string>{"run", "m.yaml"}, {"plan", "m.yaml"}, {"run", "m.yaml", "--dry-run"}}) {
      auto all = words;
      all.insert(all.end(), {"--only-keys", "ids.txt"});
      auto const result = run(all);
      EXPECT_EQ(result.exit_code, kUsage) << text << result.err;
      EXPECT_THAT(result.err, HasSubstr(said));
    }
  }
  auto const missing = run({"run", "m.yaml", "--only-keys", "nowhere.txt"});
  EXPECT_EQ(missing.exit_code, kUsage);
  EXPECT_THAT(missing.err, HasSubstr("nowhere.txt cannot be read"));
  write("ids.txt", "1\n");
  EXPECT_EQ(run({"run", ".", "--only-keys", "ids.txt"}).exit_code, kUsage);
  write("m.yaml", "name: m\ntable: t\nsync: {set: {n: id}}\nbackfill: {set: {n: id}}\n");
  EXPECT_THAT(run({"run", "m.yaml", "--only-keys", "ids.txt"}).err, HasSubstr("m.yaml:3:1: --only-keys goes with no"));
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  client_->exec("CREATE TABLE bare (n int); CREATE TABLE moods (k point, id name PRIMARY KEY)");
  for (std::string const table : {"bare", "moods"}) {
    write("m.yaml", "name: m\ntable: " + table + "\nbackfill: {delete: true, where: \"true\"}\n");
    auto const result = run({"run", "m.yaml", "--only-keys", "ids.txt"});
    EXPECT_EQ(result.exit_code, kUsage) << table << result.err;
    EXPECT_THAT(result.err, HasSubstr("ids.txt: ")) << table;
  }
}

TEST_F(OnlyKeys, AreOfEveryKindOfWork) {
  client_->exec("CREATE TABLE c (id bigint PRIMARY KEY)");
  write("nine.py", std::string("import sys\nsys.path.insert(0, '") + PGBACKFILL_SOURCE_DIR +
                       "/examples/compute')\nfrom pgbackfill_compute import answer_requests\n"
                       "answer_requests(lambda read: {'n': 9})\n");
  std::string keys;
  for (int key = 10; key <= 90000; key += 10) keys += std::to_string(key) + "\n";
  write("ids.txt", keys);
  for (auto const& [name, work, check] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"sets", "{set: {n: \"7\"}, where: n <> 7 AND id < 50000}",
            "SELECT count(*) = 4999 AND bool_and(id % 10 = 0) FROM t WHERE n = 7"},
           {"joins", "{sql: \"UPDATE t SET n = 8 FROM (VALUES (1)) v (x) WHERE {batch:t}\"}",
            "SELECT count(*) = 9000 AND bool_and(id % 10 = 0) FROM t WHERE n = 8"},
           {"copies", "{copy_to: c, columns: {id: id}}", "SELECT count(*) = 9000 FROM c"},
           {"computes", "{compute: {read: {id: id}, write: [n], command: [python3, nine.py]}}",
            "SELECT count(*) = 9000 AND bool_and(id % 10 = 0) FROM t WHERE n = 9"},
           {"deletes", "{delete: true, where: n > 0}", "SELECT count(*) = 91000 FROM t"}}) {
    write(name + ".yaml", "name: " + name + "\ntable: t\nbackfill: " + work + "\n");
    auto const result = run({"run", name + ".yaml", "--only-keys", "ids.txt"});
    EXPECT_EQ(result.exit_code, kDone) << name << result.err;
    EXPECT_EQ(value(check), "t") << name;
    auto const gate = run({"gate", name + ".yaml", "--only-keys", "ids.txt"});
    EXPECT_EQ(gate.exit_code, kDone) << name << gate.out << gate.err;
  }
}

TEST_F(OnlyKeys, AKilledJobGoesOnWithThem) {
  std::string keys;
  for (int key = 3; key <= 90000; key += 3) keys += std::to_string(key) + "\n";
  write("ids.txt", keys);
  write("m.yaml",
        "name: m\ntable: t\nbackfill: {set: {n: n + 1}, batch: {max_rows: 200}}\nthrottle: {max_rows_per_second: "
        "8000}\n");
  auto const start = [&] {
    ProgramOptions options;
    options.working_dir = dir();
    return std::make_unique<Program>(
        std::vector<std::string>{PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn(), "--only-keys", "ids.txt"},
        options);
  };
  auto const killed = start();
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 2000 FROM t WHERE n = 1") == "t"; }, 60s));
  killed->signal(9);
  killed->wait();
  EXPECT_EQ(run({"run", "m.yaml", "--only-keys", "ids.txt", "--limit", "100"}).exit_code, kResumable);
  EXPECT_EQ(value("SELECT rows_estimated FROM pgbackfill.jobs"), "30000") << "what progress is a part of";
  auto const two = start();
  auto const three = start();
  EXPECT_EQ(two->wait(90s).exit_code, kDone) << two->err();
  EXPECT_EQ(three->wait(90s).exit_code, kDone) << three->err();
  EXPECT_EQ(counted(), "0: 70000, 1: 30000");
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE n = 1 AND id % 3 = 0"), "30000");
  EXPECT_EQ(tables_left(), "0");
}

TEST_F(OnlyKeys, ACrashOfTheServerLosesNone) {
  std::string keys;
  for (int key = 3; key <= 30000; key += 3) keys += std::to_string(key) + "\n";
  write("ids.txt", keys);
  write("m.yaml",
        "name: m\ntable: t\nbackfill: {set: {n: n + 1}, batch: {max_rows: 100}}\nthrottle: {max_rows_per_second: "
        "2000}\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn(), "--only-keys", "ids.txt"}, options);
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 1000 FROM t WHERE n = 1") == "t"; }, 60s));
  cluster_->restart_primary(engine::StopMode::kImmediate);
  EXPECT_EQ(program.wait(120s).exit_code, kDone) << program.err();
  client_ = std::make_unique<PgClient>(dsn());
  EXPECT_EQ(counted(), "0: 90000, 1: 10000") << program.err();
}

TEST_F(OnlyKeys, MayHaveSeveralColumnsAndBeInPartitions) {
  client_->exec(
      "CREATE TABLE p (region text COLLATE \"C\", at timestamptz, id int, n int NOT NULL DEFAULT 0, PRIMARY KEY "
      "(region, at, id)) PARTITION BY LIST (region); CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a', 'b, \"c\"'); "
      "CREATE TABLE p2 PARTITION OF p FOR VALUES IN ('d'); INSERT INTO p SELECT r, '2026-01-01Z'::timestamptz + g * "
      "interval '1 day', g FROM generate_series(1, 50) g, unnest('{a,d,\"b, \\\"c\\\"\"}'::text[]) r; ANALYZE p");
  write("p.yaml", "name: p\ntable: p\nbackfill: {set: {n: n + 1}}\n");
  write("keys.csv",
        "a,2026-01-02T00:00:00Z,1\n\"b, \"\"c\"\"\",2026-01-03 01:00:00+01,2\nd,2026-01-04T00:00:00Z,3\nd,2026-01-04T"
        "00:00:00Z,4\n");
  auto const result = run({"run", "p.yaml", "--only-keys", "keys.csv"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT string_agg(region || id, ' ' ORDER BY id) FROM p WHERE n = 1"), "a1 b, \"c\"2 d3");
  EXPECT_THAT(result.err, HasSubstr("no row of \"public\".\"p\" has 1 of the 4 keys: (d, "));
}

TEST_F(OnlyKeys, HaveAGateByTheFileAndNoContract) {
  write(
      "m.yaml",
      "name: m\ntable: t\nbackfill: {set: {n: \"1\"}, where: n = 0}\nverify: [{zero: \"SELECT count(*) FROM t WHERE n "
      "= 0\"}]\ncontract: [{sql: \"DROP TABLE t\"}]\n");
  write("ids.txt", "1\n2\n3\n");
  EXPECT_EQ(run({"run", "m.yaml", "--only-keys", "ids.txt"}).exit_code, kDone);
  std::string const name = jobs();
  auto const open = run({"gate", "m.yaml", "--only-keys", "ids.txt"});
  EXPECT_EQ(open.exit_code, kDone) << open.out << open.err;
  client_->exec("UPDATE t SET n = 0 WHERE id = 2");
  auto const closed = run({"gate", "m.yaml", "--only-keys", "ids.txt"});
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, HasSubstr("1 row(s) still satisfy `where`")) << "others do not count";
  auto const by_name = run({"gate", name});
  EXPECT_EQ(by_name.exit_code, kUsage);
  EXPECT_THAT(by_name.err, HasSubstr("give the file of the migration and --only-keys FILE"));
  auto const complete = run({"complete", name, "--yes"});
  EXPECT_EQ(complete.exit_code, kUsage) << complete.out << complete.err;
  EXPECT_THAT(complete.err, HasSubstr("has no contract"));
  EXPECT_THAT(run({"status", name}).out, HasSubstr("complete"));
  EXPECT_EQ(run({"rollback", name, "--yes"}).exit_code, kDone);
}

TEST_F(OnlyKeys, ARowThatIsHeldIsVisitedLater) {
  write("ids.txt", "1\n2\n3\n");
  PgClient holder(dsn());
  holder.exec("BEGIN; UPDATE t SET n = 10 WHERE id IN (2, 4)");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn(), "--only-keys", "ids.txt"}, options);
  ASSERT_TRUE(poll_until([&] { return value("SELECT count(*) FROM t WHERE n = 1") == "2"; }, 60s)) << program.err();
  holder.exec("COMMIT");
  EXPECT_EQ(program.wait(60s).exit_code, kDone) << program.err();
  EXPECT_EQ(value("SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM t WHERE n > 0"), "1:1 2:11 3:1 4:10");
}

}  // namespace
}  // namespace pgbackfill::tests
