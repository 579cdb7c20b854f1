// The twin-table oracle: seeded traffic makes every change to the migrated table and to its twin in one transaction.
// Afterwards the backfill must have lost no change, brought back no row, and reached every row it promised to reach.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/app_traffic.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;

constexpr std::int64_t kRows = 40'000;
constexpr std::int64_t kLastKey = 3 * kRows;
constexpr int kWriters = 3;

// What the application does to one row, in both tables. New writers know of display_name, old ones leave it NULL.
std::string change(std::mt19937_64& random, std::string const& table) {
  auto const key = between(random, 1, kRows) * 3;
  // Beyond the last key too, and never a key of the start.
  auto const new_key = between(random, 1, kRows * 6 / 5) * 3 + between(random, 1, 2);
  auto const name = fmt::format("'{:x}'", random());
  auto const display = between(random, 0, 1) == 0 ? "upper(" + name + ")" : std::string("NULL");
  auto const pause = between(random, 0, 49) == 0 ? "SELECT pg_sleep(0.12);" : "";
  switch (between(random, 0, 9)) {
    case 0:
    case 1:
      return fmt::format(
          "INSERT INTO {0} (id, name, display_name, is_new) VALUES ({1}, {2}, {3}, true); INSERT INTO {0}_twin VALUES "
          "({1}, {2}); {4}",
          table, new_key, name, display, pause);
    case 2:
      return fmt::format("DELETE FROM {0} WHERE id = {1}; DELETE FROM {0}_twin WHERE id = {1}; {2}", table, key, pause);
    case 3:
    case 4:
      return fmt::format(
          "UPDATE {0} SET id = {2}, is_moved = true, touched_at = clock_timestamp() WHERE id = {1}; UPDATE {0}_twin "
          "SET id = {2} WHERE id = {1}; {3}",
          table, key, new_key, pause);
    default:
      return fmt::format(
          "UPDATE {0} SET name = {2}, display_name = {3}, touched_at = clock_timestamp() WHERE id = {1}; UPDATE "
          "{0}_twin SET name = {2} WHERE id = {1}; {4}",
          table, key, name, display, pause);
  }
}

class TwinTable : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    seed_of_tests();
    engine::LocalClusterOptions options;
    options.name = "twin";
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override {
    client_ = std::make_unique<PgClient>(cluster_->dsn());
    table_ = name_of_test();
    client_->exec(fmt::format(
        "CREATE TABLE {0} (id bigint PRIMARY KEY, name text NOT NULL, display_name text, n int NOT NULL DEFAULT 0, "
        "is_new boolean NOT NULL DEFAULT false, is_moved boolean NOT NULL DEFAULT false, touched_at timestamptz NOT "
        "NULL DEFAULT clock_timestamp()); CREATE TABLE {0}_twin (id bigint PRIMARY KEY, name text NOT NULL); INSERT "
        "INTO {0} (id, name) SELECT 3 * i, 'name ' || i FROM generate_series(1, {1}) i; INSERT INTO {0}_twin SELECT "
        "id, name FROM {0}",
        table_, kRows));
    client_->exec(fmt::format("VACUUM ANALYZE {}", table_));
  }

  std::unique_ptr<MigrationRun> migration(std::string const& work, int rows_per_second = 15'000) {
    return std::make_unique<MigrationRun>(
        table_, cluster_->dsn(),
        fmt::format("table: {}\nbackfill:\n  {}\n  batch: {{target: 20ms, max_rows: 300}}\nthrottle:\n  mode: off\n  "
                    "max_rows_per_second: {}\n",
                    table_, work, rows_per_second));
  }

  std::string rows_where(std::string const& condition) {
    return client_->value(fmt::format("SELECT count(*) FROM {} t WHERE {}", table_, condition));
  }
  // Rows that one table has and the other has not, or has with another name.
  std::string differences() {
    return client_->value(fmt::format(
        "SELECT count(*) FROM {0} t FULL JOIN {0}_twin o USING (id) WHERE t.name IS DISTINCT FROM o.name", table_));
  }
  // When the last pass was made; the ends of the table were read a moment before. The margin covers that moment.
  static std::string last_bound(MigrationRun const& run) {
    return run.state(
        "SELECT quote_literal(max(at) - interval '0.5 s') FROM pgbackfill.events WHERE job_id = {job} AND kind = "
        "'pass'");
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<PgClient> client_;
  std::string table_;
};

std::unique_ptr<LocalCluster> TwinTable::cluster_;

TEST_F(TwinTable, AgreesWhereEveryRowWithoutAValueGetsOne) {
  auto run = migration("set: {display_name: \"upper(name)\"}\n  where: \"display_name IS NULL\"");
  AppTraffic traffic(
      cluster_->dsn(), [this](std::mt19937_64& random) { return change(random, table_); }, 0, kWriters);
  auto& process = run->start();
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_GT(traffic.stop(), 300);
  EXPECT_EQ(differences(), "0") << run->story();
  EXPECT_EQ(rows_where("display_name <> upper(name)"), "0") << "a value of an older name" << run->story();
  auto const promised = "touched_at < " + last_bound(*run);
  EXPECT_GT(std::stoll(rows_where(promised + " AND is_new")), 10);
  EXPECT_GT(std::stoll(rows_where(promised + " AND is_moved")), 10);
  EXPECT_EQ(rows_where("display_name IS NULL AND " + promised), "0") << run->story();
}

TEST_F(TwinTable, AgreesAfterTwoRunsOnceTheWritersAreDone) {
  auto run = migration("set: {display_name: \"upper(name)\"}\n  where: \"display_name IS NULL\"");
  AppTraffic traffic(
      cluster_->dsn(), [this](std::mt19937_64& random) { return change(random, table_); }, 0, kWriters);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 2)) << run->story();
  run->kill_process(process);
  auto& next = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows * 3 / 4)) << run->story();
  // What is left NULL by now was there when the last bound is read.
  traffic.stop();
  EXPECT_TRUE(run->ends(next, kDone, 60s));
  EXPECT_EQ(differences(), "0") << run->story();
  EXPECT_EQ(rows_where("display_name IS DISTINCT FROM upper(name)"), "0") << run->story();
  EXPECT_EQ(run->command("gate").exit_code, kDone);
}

TEST_F(TwinTable, AgreesWhereEveryRowIsCountedOnce) {
  auto run = migration("set: {n: \"n + 1\"}");
  AppTraffic traffic(
      cluster_->dsn(), [this](std::mt19937_64& random) { return change(random, table_); }, 0, kWriters);
  auto& process = run->start();
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_GT(traffic.stop(), 300);
  EXPECT_EQ(differences(), "0") << run->story();
  EXPECT_EQ(rows_where("n <> 1 AND NOT is_new AND NOT is_moved"), "0") << run->story();
  EXPECT_EQ(rows_where("n > 1 AND is_new AND NOT is_moved"), "0") << run->story();
  EXPECT_GT(std::stoll(rows_where("n = 1 AND is_new AND id > " + std::to_string(kLastKey))), 0)
      << "rows that came behind the last key are the second pass's";
}

TEST_F(TwinTable, EndsDespiteAFloodOfInsertsAtTheEnd) {
  auto run = migration("set: {display_name: \"upper(name)\"}\n  where: \"display_name IS NULL\"", 20'000);
  std::atomic<bool> is_over{false};
  std::atomic<int> floods{0};
  std::thread flood([&] {
    PgClient client(cluster_->dsn());
    while (!is_over) {
      client.exec(
          fmt::format("INSERT INTO {0} (id, name, is_new) SELECT m + i, 'new', true FROM (SELECT max(id) AS m "
                      "FROM {0}) last, generate_series(1, 500) i",
                      table_));
      ++floods;
      // Twice the pace of the run, and not what stops the disk of a busy machine for seconds.
      std::this_thread::sleep_for(12ms);
    }
  });
  auto& process = run->start();
  auto const ended = run->ends(process, kDone, 120s);
  auto const bound = run->status() == "complete" ? last_bound(*run) : "'-infinity'";
  is_over = true;
  flood.join();
  EXPECT_TRUE(ended);
  EXPECT_GT(floods, 20);
  EXPECT_EQ(rows_where("display_name IS NULL AND touched_at < " + bound), "0") << run->story();
  EXPECT_GT(std::stoll(rows_where("display_name IS NULL")), 0) << "nothing came after the last bound";
}

}  // namespace
}  // namespace pgbackfill::tests
