// prepare: what is computed once, before the batches, and read by them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <tuple>
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

}  // namespace
}  // namespace pgbackfill::tests
