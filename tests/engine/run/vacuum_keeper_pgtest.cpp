// The budget of growth: a table is vacuumed between the parts of its backfill, whoever comes in between.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kRows = 100'000;
constexpr char kVacuumRuns[] = "SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = '{}'::regclass";
constexpr char kOurVacuum[] =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill vacuum' AND state = 'active' AND query "
    "LIKE 'VACUUM%'";

std::string all_once() {
  return "1: " + std::to_string(kRows);
}

class Bloat : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "bloat";
    options.is_fsync_on = false;
    options.primary_settings = {"shared_buffers = '256MB'", "max_wal_size = '4GB'"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override {
    dsn_ = cluster_->dsn();
    client_ = std::make_unique<PgClient>(dsn_);
    table_ = name_of_test();
    make_table(table_, "");
  }

  // About 80 MB, ten rows a page; autovacuum stays away, so that only the backfill's own vacuums count.
  void make_table(std::string const& table, std::string const& partition) const {
    std::string const options = partition.empty() ? " WITH (autovacuum_enabled = off)" : "";
    client_->exec(
        fmt::format("CREATE TABLE {} (id int PRIMARY KEY, n int NOT NULL, pad text){}{}", table, partition, options));
    if (partition.empty()) fill(table);
  }
  void fill(std::string const& table) const {
    client_->exec(
        fmt::format("INSERT INTO {} SELECT i * 3, 0, repeat('x', 700) FROM generate_series(1, {}) i", table, kRows));
    client_->exec("VACUUM ANALYZE " + table);
  }

  // Slow enough that a look, every quarter of a second, sees a part of the table pass by and not all of it; also when
  // the machine is so busy that a look is late.
  static std::string sections(std::string const& table, std::string const& throttling = "") {
    CountUp options;
    options.table = table;
    options.throttling = "  max_rows_per_second: 12000\n" + throttling;
    return count_up(options);
  }

  double growth(std::int64_t before, std::string const& table) const {
    return static_cast<double>(size(table)) / static_cast<double>(before) - 1;
  }
  std::int64_t size(std::string const& table) const {
    return std::stoll(client_->value(fmt::format("SELECT pg_relation_size('{}')", table)));
  }
  std::int64_t most_bytes_needed() const {
    return std::stoll(
        client_->value("SELECT max(bytes_needed) FROM pgbackfill.leaves WHERE table_name = '" + table_ + "'"));
  }
  // Vacuums that take a second or more, so that a test can come in between.
  void make_vacuum_slow() { dsn_ += " options='-c vacuum_cost_delay=20ms'"; }
  bool waits_for_vacuum() const {
    return poll_until([this] { return client_->value(fmt::format(kVacuumRuns, table_)) == "1"; });
  }
  bool has_no_vacuum_of_ours() const {
    return poll_until([this] { return client_->value(kOurVacuum) == "0"; });
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::string dsn_;
  std::unique_ptr<PgClient> client_;
  std::string table_;
};

std::unique_ptr<LocalCluster> Bloat::cluster_;

TEST_F(Bloat, ATableStaysWithinItsBudget) {
  auto const before = size(table_);
  MigrationRun run(table_, dsn_, sections(table_));
  auto& process = run.start();
  ASSERT_TRUE(run.ends(process, kDone));
  EXPECT_LE(growth(before, table_), 0.20) << run.story();
  EXPECT_THAT(process.err(), HasSubstr("vacuumed"));
  EXPECT_THAT(process.err(), HasSubstr("budget 20 %"));
  EXPECT_EQ(counts(dsn_, table_), all_once());
}

TEST_F(Bloat, JobsInTurnUseTheRoomOfTheOneBefore) {
  auto const before = size(table_);
  for (int number = 1; number <= 3; ++number) {
    MigrationRun run(fmt::format("{}_{}", table_, number), dsn_, sections(table_));
    ASSERT_TRUE(run.runs(kDone)) << run.story();
    EXPECT_LE(growth(before, table_), 0.24) << number << run.story();
  }
  EXPECT_EQ(counts(dsn_, table_), fmt::format("3: {}", kRows));
  // What is nearly full counts as full, so a job may take up to a twelfth more for needed; never a whole budget.
  EXPECT_LE(most_bytes_needed(), before * 11 / 10);
}

TEST_F(Bloat, RowsThatCameInBetweenTwoJobsAreNoRoom) {
  auto const full = 2 * size(table_);
  ASSERT_TRUE(MigrationRun(table_ + "_1", dsn_, sections(table_)).runs(kDone));
  client_->exec(fmt::format("INSERT INTO {} SELECT i * 3, 0, repeat('x', 700) FROM generate_series({}, {}) i", table_,
                            kRows + 1, 2 * kRows));
  client_->exec("VACUUM ANALYZE " + table_);
  MigrationRun run(table_ + "_2", dsn_, sections(table_));
  ASSERT_TRUE(run.runs(kDone));
  EXPECT_GE(most_bytes_needed(), full * 9 / 10) << run.story();
}

TEST_F(Bloat, WithoutTheThrottleItDoubles) {
  auto const before = size(table_);
  MigrationRun run(table_, dsn_, sections(table_, "  mode: off\n"));
  auto& process = run.start();
  ASSERT_TRUE(run.ends(process, kDone));
  EXPECT_GE(growth(before, table_), 0.9) << run.story();
  EXPECT_THAT(process.err(), Not(HasSubstr("vacuumed")));
  EXPECT_THAT(process.err(), HasSubstr("grew from"));
}

TEST_F(Bloat, EachLeafOfAPartitionedTableHasItsOwnBudget) {
  std::string const parent = table_ + "_parent";
  make_table(parent, " PARTITION BY RANGE (id)");
  client_->exec(
      fmt::format("CREATE TABLE {0}_1 PARTITION OF {0} FOR VALUES FROM (0) TO (150001) WITH "
                  "(autovacuum_enabled = off); CREATE TABLE {0}_2 PARTITION OF {0} FOR VALUES FROM (150001) "
                  "TO (1000000) WITH (autovacuum_enabled = off)",
                  parent));
  fill(parent);
  client_->exec(fmt::format("INSERT INTO {} SELECT i * 3 + 1, 0, repeat('x', 700) FROM generate_series(1, {}) i",
                            parent, kRows - 1));
  client_->exec("VACUUM ANALYZE " + parent);
  auto const first = size(parent + "_1");
  auto const second = size(parent + "_2");
  MigrationRun run(parent, dsn_, sections(parent));
  ASSERT_TRUE(run.runs(kDone));
  EXPECT_LE(growth(first, parent + "_1"), 0.20) << run.story();
  EXPECT_LE(growth(second, parent + "_2"), 0.20) << run.story();
}

TEST_F(Bloat, ASnapshotThatMakesVacuumUselessIsNamedAndTheRunFinishes) {
  auto const before = size(table_);
  PgClient reader(dsn_ + " application_name=reporter");
  reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1");
  MigrationRun run(table_, dsn_, sections(table_));
  auto& process = run.start();
  ASSERT_TRUE(run.ends(process, kDone));
  EXPECT_THAT(process.err(), HasSubstr(fmt::format("pid {} (reporter, ", reader.pid())));
  EXPECT_THAT(process.err(), HasSubstr("may still see"));
  EXPECT_GE(growth(before, table_), 0.5) << "the snapshot held nothing: " << run.story();
  EXPECT_EQ(counts(dsn_, table_), all_once());
}

TEST_F(Bloat, AVacuumOfSomebodyElseIsAwaitedAndNotDoubled) {
  MigrationRun run(table_, dsn_, sections(table_));
  PgClient other(dsn_);
  // The lock that a vacuum takes, for as long as the test wants.
  other.exec(fmt::format("BEGIN; LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", table_));
  auto& process = run.start();
  ASSERT_TRUE(run.waits_for_rows(kRows / 2));
  EXPECT_EQ(client_->value("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = '" + table_ + "'"), "1");
  other.exec("COMMIT");
  ASSERT_TRUE(run.ends(process, kDone));
  EXPECT_THAT(process.err(), HasSubstr("vacuumed"));
  EXPECT_EQ(counts(dsn_, table_), all_once());
}

TEST_F(Bloat, KilledDuringAVacuumTheNextRunGoesOn) {
  auto const before = size(table_);
  make_vacuum_slow();
  MigrationRun run(table_, dsn_, sections(table_));
  auto& process = run.start();
  ASSERT_TRUE(waits_for_vacuum()) << run.story();
  run.kill_process(process);
  ASSERT_TRUE(run.runs(kDone));
  EXPECT_LE(growth(before, table_), 0.35) << run.story();
  EXPECT_EQ(counts(dsn_, table_), all_once());
}

TEST_F(Bloat, AnInterruptEndsTheVacuumToo) {
  make_vacuum_slow();
  MigrationRun run(table_, dsn_, sections(table_));
  auto& process = run.start();
  ASSERT_TRUE(waits_for_vacuum()) << run.story();
  process.signal(SIGINT);
  ASSERT_TRUE(run.ends(process, kResumable));
  EXPECT_EQ(client_->value(kOurVacuum), "0");
  ASSERT_TRUE(run.runs(kDone));
  EXPECT_EQ(counts(dsn_, table_), all_once());
}

TEST_F(Bloat, APauseEndsTheVacuumToo) {
  make_vacuum_slow();
  MigrationRun run(table_, dsn_, sections(table_));
  auto& process = run.start();
  ASSERT_TRUE(waits_for_vacuum()) << run.story();
  run.command("pause");
  EXPECT_TRUE(has_no_vacuum_of_ours());
  EXPECT_TRUE(process.is_running());
  run.command("resume");
  ASSERT_TRUE(run.ends(process, kDone));
  EXPECT_EQ(counts(dsn_, table_), all_once());
}

TEST_F(Bloat, WithoutTheRightToVacuumItIsSaidOnceAndTheRunFinishes) {
  client_->exec("CREATE ROLE filler LOGIN");
  client_->exec("CREATE DATABASE not_owner");
  std::string const dsn = dsn_ + " dbname=not_owner";
  client_ = std::make_unique<PgClient>(dsn);
  make_table(table_, "");
  client_->exec(
      fmt::format("GRANT SELECT, UPDATE ON {} TO filler; GRANT CREATE ON DATABASE not_owner TO filler", table_));
  // What is said is the subject, and not how much a busy machine's commits slow the run down.
  MigrationRun run(table_, dsn + " user=filler", sections(table_, "  latency_ratio: 100\n"));
  auto& process = run.start();
  ASSERT_TRUE(run.ends(process, kDone));
  std::string const said = fmt::format("role filler may not vacuum \"public\".\"{}\"", table_);
  auto const first = process.err().find(said);
  ASSERT_NE(first, std::string::npos) << run.story();
  EXPECT_EQ(process.err().find(said, first + 1), std::string::npos);
  EXPECT_EQ(counts(dsn, table_), all_once());
}

}  // namespace
}  // namespace pgbackfill::tests
