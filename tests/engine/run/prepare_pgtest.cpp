// prepare: what is computed once, before the batches, and read by them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
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

class Prepare : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, latest int); INSERT INTO t (id) SELECT g "
        "FROM "
        "generate_series(1, 5000) g; CREATE TABLE e (t_id bigint, at int); INSERT INTO e SELECT 1 + g % 5000, g FROM "
        "generate_series(0, 19999) g; ANALYZE");
  }
  std::string value(std::string const& sql) { return client_->value(sql); }
  std::string wrong() {
    return value("SELECT count(*) FROM t WHERE latest IS DISTINCT FROM (SELECT max(at) FROM e WHERE t_id = t.id)");
  }
  std::string tables_left() {
    return value(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'pgbackfill'::regnamespace AND relpersistence = 'u' AND "
        "relkind = 'r'");
  }
  std::unique_ptr<Program> start() {
    return std::make_unique<Program>(
        std::vector<std::string>{PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn()});
  }

  static constexpr char kEntry[] =
      "  prepare:\n    last: {as: \"SELECT t_id, max(at) AS at FROM e GROUP BY t_id\", key: [t_id]}\n";
  static constexpr char kJoin[] =
      "  sql: \"UPDATE t SET latest = l.at, n = n + 1 FROM {prepare:last} l WHERE l.t_id = t.id AND {batch:t}\"\n";
};

TEST_F(Prepare, IsReadByEveryKindOfWorkAndGoneAfterwards) {
  client_->exec("CREATE TABLE c (id bigint PRIMARY KEY, latest int)");
  for (auto const& [name, work, check] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"joins", kJoin, "SELECT count(*) = 0 FROM t WHERE n <> 1"},
           {"sets", "  set: {latest: \"(SELECT l.at + 1 FROM {prepare:last} l WHERE l.t_id = t.id)\"}\n",
            "SELECT bool_and(latest > 15000) FROM t"},
           {"copies",
            "  copy_to: c\n  columns: {id: id, latest: \"(SELECT l.at FROM {prepare:last} l WHERE l.t_id = t.id)\"}\n",
            "SELECT count(latest) = 5000 FROM c"},
           {"deletes", "  delete: true\n  where: \"id IN (SELECT l.t_id FROM {prepare:last} l WHERE l.at % 2 = 0)\"\n",
            "SELECT count(*) = 2500 FROM t"}}) {
    write(name + ".yaml", "name: " + name + "\ntable: t\nbackfill:\n" + kEntry + work);
    auto const planned = run({"plan", name + ".yaml"});
    EXPECT_EQ(planned.exit_code, kDone) << name << planned.err;
    EXPECT_THAT(planned.out, HasSubstr("prepare 'last' is computed once")) << name;
    auto const result = run({"run", name + ".yaml"});
    EXPECT_EQ(result.exit_code, kDone) << name << result.err;
    EXPECT_THAT(result.err, HasSubstr("prepare 'last': 5,000 rows in")) << name;
    EXPECT_EQ(value(check), "t") << name;
    EXPECT_EQ(tables_left(), "0") << name;
    EXPECT_EQ(run({"gate", name}).exit_code, kDone) << name;
  }
}

TEST_F(Prepare, WhatIsWrongIsRefusedBeforeAnythingIsTouched) {
  auto const refused = [&](std::string const& entry, std::string const& text) {
    write("m.yaml", "name: m\ntable: t\nbackfill:\n  prepare: {last: " + entry + "}\n" + kJoin);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << entry << result.err;
    EXPECT_THAT(result.err, HasSubstr(text)) << entry;
  };
  refused("{as: SELECT t_id FROM missing, key: [t_id]}", "m.yaml:4:24: relation \"missing\" does not exist");
  refused("{as: \"SELECT t_id, at FROM e\", key: [id]}",
          "the key of prepare 'last': column pgbackfill_prepared.id does not exist");
  refused("{as: \"SELECT 1;\", key: [id]}", "the query ends with a semicolon");
  refused("{as: SELECT 1}", "'key' is missing");
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  write(
      "m.yaml",
      std::string("name: m\ntable: t\nbackfill:\n  prepare: {last: {as: \"SELECT t_id, at FROM e\", key: [t_id]}}\n") +
          kJoin);
  auto const twice = run({"run", "m.yaml"});
  EXPECT_EQ(twice.exit_code, kFailed);
  EXPECT_THAT(twice.err, AllOf(HasSubstr("is duplicated"), HasSubstr("tell one row from all others")));
  EXPECT_EQ(value("SELECT sum(n) FROM t") + tables_left(), "00");
}

TEST_F(Prepare, IsComputedOnceForSeveralProcessesAndAfterAKill) {
  client_->exec("CREATE SEQUENCE times");
  write("m.yaml",
        std::string("name: m\ntable: t\nbackfill:\n  prepare:\n    last: {as: \"SELECT t_id, max(at) AS at, (SELECT "
                    "nextval('times')) AS x FROM e GROUP BY t_id\", key: [t_id]}\n  batch: {max_rows: 50}\n") +
            kJoin + "throttle: {max_rows_per_second: 2000}\n");
  auto const one = start();
  auto const two = start();
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 300 FROM t WHERE n = 1") == "t"; }, 60s));
  auto const status = run({"status", "m"});
  EXPECT_THAT(status.out, HasSubstr("last: 5,000 rows, computed ")) << status.out;
  one->signal(9);
  one->wait();
  EXPECT_EQ(two->wait(90s).exit_code, kDone) << two->err();
  EXPECT_EQ(wrong() + value("SELECT string_agg(DISTINCT n::text, ',') FROM t") + tables_left(), "010");
  EXPECT_LE(std::stoi(value("SELECT last_value FROM times")), 2) << "at the start, and for the last pass";
}

TEST_F(Prepare, ThatACrashOfTheServerHasEmptiedIsComputedAnew) {
  write("m.yaml", std::string("name: m\ntable: t\nbackfill:\n") + kEntry + "  batch: {max_rows: 50}\n" + kJoin +
                      "throttle: {max_rows_per_second: 1000}\n");
  auto const program = start();
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 300 FROM t WHERE n = 1") == "t"; }, 60s));
  cluster_->restart_primary(engine::StopMode::kImmediate);
  EXPECT_EQ(program->wait(120s).exit_code, kDone) << program->err();
  client_ = std::make_unique<PgClient>(dsn());
  EXPECT_EQ(wrong() + value("SELECT string_agg(DISTINCT n::text, ',') FROM t") + tables_left(), "010")
      << program->err();
}

TEST_F(Prepare, GoesWithPartitionsAndWithALimit) {
  client_->exec(
      "DROP TABLE t; CREATE TABLE t (id bigint, n int NOT NULL DEFAULT 0, latest int, part int, PRIMARY KEY (id, "
      "part)) "
      "PARTITION BY LIST (part); CREATE TABLE t0 PARTITION OF t FOR VALUES IN (0); CREATE TABLE t1 (part int NOT NULL, "
      "latest int, id bigint NOT NULL, n int NOT NULL DEFAULT 0); ALTER TABLE t ATTACH PARTITION t1 FOR VALUES IN (1); "
      "CREATE TABLE t2 PARTITION OF t DEFAULT PARTITION BY HASH (part); CREATE TABLE t3 PARTITION OF t2 FOR VALUES "
      "WITH "
      "(MODULUS 1, REMAINDER 0); INSERT INTO t (id, part) SELECT g, g % 4 FROM generate_series(1, 5000) g; ANALYZE");
  write("m.yaml", std::string("name: m\ntable: t\nbackfill:\n") + kEntry + "  batch: {max_rows: 100}\n" + kJoin);
  for (int slice = 1; slice <= 3; ++slice) {
    auto const result = run({"run", "m.yaml", "--limit", "700"});
    EXPECT_EQ(result.exit_code, kResumable) << result.err;
    EXPECT_EQ(value("SELECT sum(n) FROM t"), std::to_string(700 * slice));
    EXPECT_EQ(tables_left(), "1") << "the next run goes on with it";
  }
  // A partition that comes meanwhile is joined too.
  client_->exec(
      "CREATE TABLE t7 PARTITION OF t FOR VALUES IN (7); INSERT INTO t (id, part) SELECT g, 7 FROM "
      "generate_series(1, 100) g");
  auto const rest = run({"run", "m.yaml"});
  EXPECT_EQ(rest.exit_code, kDone) << rest.err;
  EXPECT_EQ(wrong() + value("SELECT string_agg(DISTINCT n::text, ',') || count(*) FROM t") + tables_left(), "0151000")
      << rest.err;
}

TEST_F(Prepare, IsDroppedByCancelAndByRollback) {
  write("m.yaml", std::string("name: m\ntable: t\nbackfill:\n") + kEntry + kJoin);
  EXPECT_EQ(run({"run", "m.yaml", "--limit", "100"}).exit_code, kResumable);
  EXPECT_EQ(tables_left(), "1");
  EXPECT_EQ(run({"cancel", "m"}).exit_code, kDone);
  EXPECT_EQ(tables_left(), "0");
  EXPECT_EQ(run({"resume", "m"}).exit_code, kDone);
  EXPECT_EQ(run({"run", "m.yaml", "--limit", "100"}).exit_code, kResumable);
  EXPECT_EQ(tables_left(), "1");
  EXPECT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(tables_left(), "0");
}

TEST_F(Prepare, TheLastPassReadsANewOne) {
  write("m.yaml",
        std::string("name: m\ntable: t\nbackfill:\n") + kEntry +
            "  set: {latest: \"(SELECT l.at FROM {prepare:last} l WHERE l.t_id = t.id)\"}\n  where: latest IS "
            "NULL\n  batch: {max_rows: 50}\nthrottle: {max_rows_per_second: 2000}\n");
  auto const program = start();
  ASSERT_TRUE(
      poll_until([&] { return client_->value("SELECT count(*) > 1000 FROM t WHERE latest IS NOT NULL") == "t"; }, 60s));
  client_->exec("INSERT INTO e VALUES (-1, 77); INSERT INTO t (id) VALUES (-1)");
  EXPECT_EQ(program->wait(90s).exit_code, kDone) << program->err();
  EXPECT_EQ(value("SELECT latest FROM t WHERE id = -1"), "77");
}

// --- rows of a file --------------------------------------------------------------------------------------------------

class FromFile : public Prepare {
 protected:
  void SetUp() override {
    Prepare::SetUp();
    std::string rows = "note,t_id,at\n";
    for (int id = 10; id <= 5000; id += 10) rows += fmt::format("\"n, {}\",{},{}\n", id, id, 2 * id);
    write("ids.csv", rows);
  }
  static constexpr char kFrom[] =
      "  prepare:\n    last: {from: {csv: ids.csv, columns: {t_id: bigint, at: integer, note: text}}, key: [t_id]}\n";
};

TEST_F(FromFile, IsReadByEveryKindOfWorkAndByTheGate) {
  client_->exec("CREATE TABLE c (id bigint PRIMARY KEY, note text)");
  std::string const of_file = "id IN (SELECT l.t_id FROM {prepare:last} l)";
  for (auto const& [name, work, check] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"joins", kJoin, "SELECT count(*) = 500 AND bool_and(latest = 2 * id AND n = 1) FROM t WHERE n > 0"},
           {"sets", "  set: {latest: \"-1\"}\n  where: \"latest > 0 AND " + of_file + "\"\n",
            "SELECT count(*) = 500 FROM t WHERE latest = -1"},
           {"copies",
            "  copy_to: c\n  columns: {id: id, note: \"(SELECT l.note FROM {prepare:last} l WHERE l.t_id = "
            "t.id)\"}\n  where: " +
                of_file + "\n",
            "SELECT count(*) = 500 AND bool_and(note = 'n, ' || id) FROM c"},
           {"deletes", "  delete: true\n  where: " + of_file + "\n", "SELECT count(*) = 4500 FROM t"}}) {
    write(name + ".yaml", "name: " + name + "\ntable: t\nbackfill:\n" + kFrom + work);
    auto const planned = run({"plan", name + ".yaml", "--sample"});
    EXPECT_EQ(planned.exit_code, kDone) << name << planned.err;
    EXPECT_THAT(planned.out, AllOf(HasSubstr("prepare 'last' has the rows of ids.csv"), Not(HasSubstr("n, 10"))))
        << name;
    auto const dry = run({"run", name + ".yaml", "--dry-run"});
    EXPECT_EQ(dry.exit_code, kDone) << name << dry.err;
    EXPECT_THAT(dry.out, HasSubstr("row      10: ")) << name << dry.out;
    auto const result = run({"run", name + ".yaml"});
    EXPECT_EQ(result.exit_code, kDone) << name << result.err;
    EXPECT_THAT(result.err, HasSubstr("prepare 'last': 500 rows in")) << name;
    EXPECT_EQ(value(check), "t") << name;
    EXPECT_EQ(tables_left(), "0") << name;
    auto const gate = run({"gate", name});
    EXPECT_EQ(gate.exit_code, kDone) << name << gate.err << gate.out;
  }
  client_->exec("INSERT INTO t (id) VALUES (20), (6000)");
  auto const gate = run({"gate", "deletes"});
  EXPECT_EQ(gate.exit_code, kGateClosed);
  EXPECT_THAT(gate.out, HasSubstr("1 row(s) still satisfy `where`"));
}

TEST_F(FromFile, WhatIsWrongIsRefusedByItsPlaceBeforeAnythingIsTouched) {
  for (auto const& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"t_id,at,note\n1,2,x\n3,many,y\n", "ids.csv:3:3: the value 'many' of column 'at' is no whole number"},
           {"t_id,at,note\n1,2,x\n1,3,y\n", "ids.csv:3:1: the key (t_id) of this row is that of one before it"},
           {"t_id,note\n1,x\n", "ids.csv:1:1: the first line names no column 'at'"},
           {"t_id,at,note\n1,2,x,y\n", "ids.csv:2:1: this line has 4 values"},
           {"t_id,at,note\n1,2,\"x\n", "ids.csv:2:5: the quote that begins this value is never closed"},
           {"t_id,at,note\n,2,x\n", "ids.csv:2:1: there is no value for column 't_id' of the key"}}) {
    write("ids.csv", text);
    write("m.yaml", std::string("name: m\ntable: t\nbackfill:\n") + kFrom + kJoin);
    for (std::vector<std::string> const& words :
         {std::vector<std::string>{"run", "m.yaml"}, {"plan", "m.yaml"}, {"run", "m.yaml", "--dry-run"}}) {
      auto const result = run(words);
      EXPECT_EQ(result.exit_code, kUsage) << text << result.err;
      EXPECT_THAT(result.err, HasSubstr(said));
    }
  }
  std::filesystem::remove(dir() / "ids.csv");
  EXPECT_THAT(run({"run", "m.yaml"}).err, HasSubstr("m.yaml:5:24: ids.csv cannot be read"));
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
}

TEST_F(FromFile, AValueIsNeverSqlAndStandsInNoStatement) {
  client_->exec("ALTER DATABASE " + database_ + " SET log_statement = 'all'");
  std::string const hostile = "'); DROP TABLE t; -- \\ $1 {batch}";
  write("ids.csv", "t_id,at,note\n1,5,\"" + hostile + "\"\n");
  client_->exec("ALTER TABLE t ADD COLUMN note text");
  write("m.yaml",
        std::string("name: m\ntable: t\nbackfill:\n") + kFrom +
            "  sql: \"UPDATE t SET note = l.note FROM {prepare:last} l WHERE l.t_id = t.id AND {batch:t}\"\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT string_agg(note, '|') FROM t"), hostile);
  EXPECT_THAT(cluster_->log_text(64 * 1024 * 1024), Not(HasSubstr("DROP TABLE t; --")));
}

TEST_F(FromFile, AnotherFileIsAnotherBackfill) {
  write("m.yaml", std::string("name: m\ntable: t\nbackfill:\n") + kFrom + kJoin);
  EXPECT_EQ(run({"run", "m.yaml", "--limit", "100"}).exit_code, kResumable);
  write("ids.csv", "t_id,at,note\n1,5,x\n");
  auto const other = run({"run", "m.yaml"});
  EXPECT_EQ(other.exit_code, kUsage);
  EXPECT_THAT(other.err, HasSubstr("was changed since it started"));
}

TEST_F(FromFile, StandsBesideItsMigrationAndOutlivesACrash) {
  std::filesystem::create_directory(dir() / "migrations");
  std::filesystem::rename(dir() / "ids.csv", dir() / "migrations" / "ids.csv");
  write("migrations/m.yaml", std::string("name: m\ntable: t\nbackfill:\n") + kFrom + "  batch: {max_rows: 50}\n" +
                                 kJoin + "throttle: {max_rows_per_second: 1000}\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "run", "migrations/m.yaml", "--dsn", dsn()}, options);
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 50 FROM t WHERE n = 1") == "t"; }, 60s));
  cluster_->restart_primary(engine::StopMode::kImmediate);
  EXPECT_EQ(program.wait(120s).exit_code, kDone) << program.err();
  client_ = std::make_unique<PgClient>(dsn());
  EXPECT_EQ(value("SELECT count(*) || ' ' || sum(n) FROM t WHERE latest = 2 * id"), "500 500") << program.err();
  EXPECT_EQ(tables_left(), "0");
}

}  // namespace
}  // namespace pgbackfill::tests
