// Partitions that come and go, on a real server: a job goes on without those that are gone, takes in those that are
// new, and never changes a table that is not its own any more.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// p0 to p2, of 2000 rows each; p0 is worked on first.
class PartitionsTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec("CREATE TABLE p (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id)");
    for (int part = 0; part < 3; ++part) make_partition(part);
    client_->exec("INSERT INTO p SELECT g FROM generate_series(0, 5999) g; ANALYZE p");
    client_->exec("SET lock_timeout = '10s'");
  }
  void make_partition(int number) const {
    client_->exec(fmt::format("CREATE TABLE p{0} PARTITION OF p FOR VALUES FROM ({1}) TO ({2})", number, number * 2000,
                              number * 2000 + 2000));
  }
  // A table that could be the partition of this number, with all its rows.
  void make_table(std::string const& name, int number) const {
    client_->exec(
        fmt::format("CREATE TABLE {0} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO {0} SELECT "
                    "g FROM generate_series({1}, {2}) g",
                    name, number * 2000, number * 2000 + 1999));
  }
  std::unique_ptr<MigrationRun> migration(int rows_per_second = 1500, int workers = 1) const {
    return std::make_unique<MigrationRun>(
        "m", dsn(),
        fmt::format("table: p\nbackfill:\n  set: {{n: \"n + 1\"}}\n  workers: {}\n  batch: {{target: 50ms, max_rows: "
                    "200}}\nthrottle: {{max_rows_per_second: {}}}\n",
                    workers, rows_per_second));
  }
  std::string counts_of(std::string const& table) const { return counts(dsn(), table); }
  std::string events() const {
    return client_->value(
        "SELECT coalesce(string_agg(detail, '; '), '') FROM pgbackfill.events WHERE kind = "
        "'partition gone'");
  }
};

TEST_F(PartitionsTest, OneThatIsDroppedInTheMiddleIsNamedAndLeftOut) {
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  client_->exec("DROP TABLE p0");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_THAT(process.err(), HasSubstr("partition \"public\".\"p0\" of \"public\".\"p\" was dropped"));
  EXPECT_EQ(counts_of("p"), "1: 4000") << run->story();
  EXPECT_THAT(events(), HasSubstr("\"p0\""));
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(run->command("gate").exit_code, kDone);
}

TEST_F(PartitionsTest, OneThatIsDroppedWhileTheJobRestsIsLeftOut) {
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  process.signal(SIGTERM);
  EXPECT_TRUE(run->ends(process, kResumable));
  client_->exec("DROP TABLE p0; DROP TABLE p2");
  make_partition(3);
  client_->exec("INSERT INTO p SELECT g FROM generate_series(6000, 6099) g");
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_of("p"), "1: 2100") << run->story();
  EXPECT_EQ(client_->value("SELECT string_agg(leaf || ' ' || table_name || ' ' || (gone_at IS NOT NULL)::text, ', ' "
                           "ORDER BY leaf) FROM pgbackfill.leaves"),
            "0 p0 true, 1 p1 false, 2 p2 true, 3 p3 false");
}

TEST_F(PartitionsTest, OneThatIsDetachedIsNotChangedAnyMore) {
  for (std::string const how : {"", " CONCURRENTLY"}) {
    if (!how.empty() && cluster_->major_version() < 14) continue;
    client_->exec("DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS p0; UPDATE p SET n = 0");
    make_partition(0);
    client_->exec("INSERT INTO p SELECT g FROM generate_series(0, 1999) g");
    auto run = migration();
    auto& process = run->start();
    ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
    client_->exec("ALTER TABLE p DETACH PARTITION p0" + how);
    auto const before = counts_of("p0");
    EXPECT_TRUE(run->ends(process, kDone));
    EXPECT_EQ(counts_of("p0"), before) << run->story();
    EXPECT_THAT(process.err(), HasSubstr("partition \"public\".\"p0\" of \"public\".\"p\" was detached"));
    EXPECT_EQ(counts_of("p"), "1: 4000") << run->story();
  }
}

TEST_F(PartitionsTest, OneThatIsRenamedOrMovedGoesOn) {
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  client_->exec("ALTER TABLE p0 RENAME TO p_zero; CREATE SCHEMA attic; ALTER TABLE p2 SET SCHEMA attic");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_of("p"), "1: 6000") << run->story();
  EXPECT_THAT(process.err(), HasSubstr("is called \"public\".\"p_zero\" now"));
}

// The new one has the name and the place of the old one, and the job has not been there.
TEST_F(PartitionsTest, OneThatIsReplacedUnderItsNameIsDoneFromItsFirstRow) {
  make_table("stand_in", 0);
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  client_->exec(
      "BEGIN; ALTER TABLE p DETACH PARTITION p0; ALTER TABLE p0 RENAME TO p0_old; ALTER TABLE stand_in RENAME TO p0; "
      "ALTER TABLE p ATTACH PARTITION p0 FOR VALUES FROM (0) TO (2000); COMMIT");
  auto const before = counts_of("p0_old");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_of("p"), "1: 6000") << run->story();
  EXPECT_EQ(counts_of("p0_old"), before) << run->story();
}

// A table that took the name is none of ours.
TEST_F(PartitionsTest, ATableThatTookTheNameOfOneIsNotTouched) {
  make_table("stand_in", 0);
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  client_->exec("BEGIN; ALTER TABLE p0 RENAME TO p_zero; ALTER TABLE stand_in RENAME TO p0; COMMIT");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_of("p"), "1: 6000") << run->story();
  EXPECT_EQ(counts_of("p0"), "0: 2000") << run->story();
}

TEST_F(PartitionsTest, OneThatIsAttachedIsTakenInByTheNextPass) {
  make_table("late", 3);
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  client_->exec("ALTER TABLE p ATTACH PARTITION late FOR VALUES FROM (6000) TO (8000)");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_of("p"), "1: 8000") << run->story();
  EXPECT_THAT(process.err(), HasSubstr("partition \"public\".\"late\" of \"public\".\"p\" is new"));
}

TEST_F(PartitionsTest, OneThatIsAttachedDuringTheLastPassIsTakenInToo) {
  make_table("late", 4);
  make_partition(3);
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  // So many that the pass over them takes a while.
  client_->exec("INSERT INTO p SELECT g FROM generate_series(6000, 7999) g");
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT max(pass) FROM pgbackfill.jobs") == "1"; }, 20s));
  client_->exec("ALTER TABLE p ATTACH PARTITION late FOR VALUES FROM (8000) TO (10000)");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_of("p"), "1: 10000") << run->story();
}

TEST_F(PartitionsTest, OneThatComesBackGoesOnWhereItWas) {
  PgClient holder(dsn());
  holder.exec("BEGIN; SELECT FROM p WHERE id IN (7, 8) FOR UPDATE");
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(600)) << run->story();
  holder.exec("COMMIT");
  ASSERT_EQ(client_->value("SELECT count(*) FROM pgbackfill.deferred"), "2") << run->story();
  client_->exec("ALTER TABLE p DETACH PARTITION p0");
  ASSERT_TRUE(process.wait_for_output("was detached")) << run->story();
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.deferred"), "0");
  client_->exec("INSERT INTO p0 VALUES (-1), (-2); DELETE FROM p0 WHERE id < 0");
  client_->exec("ALTER TABLE p ATTACH PARTITION p0 FOR VALUES FROM (0) TO (2000)");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_of("p"), "1: 6000") << run->story();
  EXPECT_THAT(process.err(), HasSubstr("is back; the job goes on with it"));
}

TEST_F(PartitionsTest, ATableThatIsReplacedInTheMiddleEndsTheRun) {
  client_->exec(
      "CREATE TABLE plain (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO plain SELECT g FROM "
      "generate_series(1, 6000) g; CREATE TABLE other (LIKE plain INCLUDING ALL); INSERT INTO other SELECT * "
      "FROM plain");
  MigrationRun run("m", dsn(),
                   "table: plain\nbackfill:\n  set: {n: \"n + 1\"}\n  workers: 1\n  batch: {target: 50ms, max_rows: "
                   "200}\nthrottle: {max_rows_per_second: 1500}\n");
  auto& process = run.start();
  ASSERT_TRUE(run.waits_for_rows(600)) << run.story();
  client_->exec("BEGIN; ALTER TABLE plain RENAME TO plain_old; ALTER TABLE other RENAME TO plain; COMMIT");
  EXPECT_TRUE(run.ends(process, kFailed));
  EXPECT_THAT(process.err(), HasSubstr("is not the one any more that the job works on"));
  EXPECT_EQ(counts_of("plain"), "0: 6000") << run.story();
  client_->exec("BEGIN; ALTER TABLE plain RENAME TO other; ALTER TABLE plain_old RENAME TO plain; COMMIT");
  EXPECT_TRUE(run.runs(kDone));
  EXPECT_EQ(counts_of("plain"), "1: 6000") << run.story();
}

// Two processes, one of which is killed again and again, while partitions come and go.
TEST_F(PartitionsTest, SeveralProcessesAgreeWhileOneIsKilled) {
  make_table("late", 3);
  make_table("stand_in", 2);
  auto run = migration(1000, 2);
  auto& first = run->start();
  ASSERT_TRUE(run->waits_for_rows(300)) << run->story();
  std::vector<std::string> const changes = {
      "ALTER TABLE p DETACH PARTITION p0", "ALTER TABLE p ATTACH PARTITION late FOR VALUES FROM (6000) TO (8000)",
      "ALTER TABLE p1 RENAME TO p_one",
      "BEGIN; ALTER TABLE p DETACH PARTITION p2; ALTER TABLE p2 RENAME TO p2_old; ALTER TABLE stand_in RENAME TO p2; "
      "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (4000) TO (6000); COMMIT",
      "ALTER TABLE p ATTACH PARTITION p0 FOR VALUES FROM (0) TO (2000)"};
  for (auto const& change : changes) {
    auto& second = run->start();
    std::this_thread::sleep_for(300ms);
    client_->exec(change);
    std::this_thread::sleep_for(150ms);
    run->kill_process(second);
  }
  run->ends(first, kDone);
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(client_->value("SELECT status FROM pgbackfill.jobs"), "complete") << run->story();
  auto const rows = client_->value("SELECT string_agg(DISTINCT n::text, ' ') FROM p");
  EXPECT_EQ(rows, "1") << run->story();
  EXPECT_EQ(client_->value("SELECT count(*) = count(DISTINCT leaf) FROM pgbackfill.leaves"), "t");
}

// A statement on the table computes a virtual column by the table's expression, whatever its partitions say.
TEST_F(PartitionsTest, AVirtualColumnIsWhatTheTableSaysNotThePartition) {
  if (cluster_->major_version() < 18) GTEST_SKIP() << "PostgreSQL 18 brought virtual columns";
  struct Case {
    char const* work;
    char const* statement;
    char const* outcome;
  };
  for (auto const& one :
       {Case{"set: {b: g}", "UPDATE v SET b = g", "SELECT sum(b) FROM v"},
        Case{"delete: true\n  where: g < 20", "DELETE FROM v WHERE g < 20", "SELECT count(*) FROM v"},
        Case{"set: {b: 7}\n  where: g < 20 AND b IS NULL", "UPDATE v SET b = 7 WHERE g < 20", "SELECT sum(b) FROM v"},
        Case{"copy_to: d\n  columns: {id: id, g: g}", "INSERT INTO d SELECT id, g FROM v", "SELECT sum(g) FROM d"}}) {
    SCOPED_TRACE(one.work);
    client_->exec("DROP SCHEMA IF EXISTS pgbackfill CASCADE");
    auto const make = [&] {
      client_->exec(
          "DROP TABLE IF EXISTS v, d; CREATE TABLE v (id int PRIMARY KEY, a int, b int, g int GENERATED ALWAYS AS (a + "
          "1) "
          "VIRTUAL) PARTITION BY RANGE (id); CREATE TABLE v1 (id int NOT NULL PRIMARY KEY, a int, b int, g int "
          "GENERATED "
          "ALWAYS AS (a + 100) VIRTUAL); ALTER TABLE v ATTACH PARTITION v1 FOR VALUES FROM (0) TO (30); CREATE TABLE "
          "v2 "
          "PARTITION OF v DEFAULT; INSERT INTO v (id, a) SELECT g, g FROM generate_series(1, 50) g; CREATE TABLE d (id "
          "int, g "
          "int)");
    };
    make();
    client_->exec(one.statement);
    auto const right = client_->value(one.outcome);
    make();
    write("v.yaml", fmt::format("name: v\ntable: v\nbackfill:\n  {}\n", one.work));
    auto const result = run({"run", "v.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(client_->value(one.outcome), right);
    EXPECT_EQ(run({"gate", "v"}).exit_code, kDone);
  }
}

}  // namespace
}  // namespace pgbackfill::tests
