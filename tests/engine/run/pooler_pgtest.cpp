// Through PgBouncer in transaction mode, with fewer server connections than pgbackfill has workers: everything that a
// batch needs is said in its own transaction, and nothing of it stays behind.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_bouncer.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kRows = 100'000;
constexpr int kPool = 3;

class Pooler : public CountedTableTest {
 protected:
  static void SetUpTestSuite() {
    start_cluster("pooler");
    bouncer_ = std::make_unique<PgBouncer>(*cluster_, std::vector<std::string>{"postgres"},
                                           std::vector<std::string>{fmt::format("default_pool_size = {}", kPool)});
  }
  static void TearDownTestSuite() {
    bouncer_.reset();
    CountedTableTest::TearDownTestSuite();
  }
  void SetUp() override { make_table(kRows); }

  std::unique_ptr<MigrationRun> migration(CountUp options = {}) const {
    options.workers = 5;
    return migration_from(bouncer_->dsn(), options);
  }

  static std::string settings_of(PgClient& client) {
    return client.value(
        "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN "
        "('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout', 'DateStyle', 'IntervalStyle', "
        "'extra_float_digits', 'bytea_output', 'max_parallel_workers_per_gather', 'jit', 'synchronous_commit', "
        "'session_replication_role', 'enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'search_path', "
        "'default_transaction_isolation', 'transaction_timeout')");
  }
  // Of the session as a whole: settings of a transaction, prepared statements, channels, locks.
  static std::string remains_in(PgClient& client) {
    return client.value(
        "SELECT 'batch=' || coalesce(current_setting('pgbackfill.batch', true), '') || ' prepared=' || (SELECT "
        "count(*) FROM pg_prepared_statements) || ' channels=' || (SELECT count(*) FROM pg_listening_channels()) || "
        "' advisory=' || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')");
  }

  // Every server connection of the pool in turn: an open transaction keeps it from the next client.
  static void expect_clean_pool() {
    PgClient direct(cluster_->dsn());
    auto const expected = settings_of(direct);
    std::vector<std::unique_ptr<PgClient>> clients;
    for (int place = 0; place < kPool; ++place) {
      auto& client = *clients.emplace_back(std::make_unique<PgClient>(bouncer_->dsn()));
      client.exec("BEGIN");
      EXPECT_EQ(settings_of(client), expected);
      EXPECT_EQ(remains_in(client), "batch= prepared=0 channels=0 advisory=0");
    }
  }

  static std::unique_ptr<PgBouncer> bouncer_;
};

std::unique_ptr<PgBouncer> Pooler::bouncer_;

TEST_F(Pooler, CountsEveryRowOnceAndLeavesNothingInSessions) {
  auto run = migration();
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  expect_clean_pool();
}

TEST_F(Pooler, SurvivesKilledProcessesAndLostServerConnections) {
  auto run = migration();
  auto random = random_of_test();
  for (int strike = 0; strike < 4; ++strike) {
    auto& process = run->start();
    ASSERT_TRUE(run->waits_for_rows(kRows * (strike + 1) / 6 + between(random, 0, kRows / 10))) << run->story();
    PgClient(cluster_->dsn())
        .exec(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> "
            "pg_backend_pid()");
    std::this_thread::sleep_for(std::chrono::milliseconds(between(random, 0, 60)));
    run->kill_process(process);
  }
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  expect_clean_pool();
}

TEST_F(Pooler, HearsOrdersWhileItRuns) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 20000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 8)) << run->story();
  EXPECT_EQ(run->command("pause").exit_code, kDone);
  std::this_thread::sleep_for(2s);
  auto const before = run->rows_done();
  std::this_thread::sleep_for(700ms);
  EXPECT_EQ(run->rows_done(), before) << run->story();
  EXPECT_NE(before, std::to_string(kRows));
  EXPECT_TRUE(process.is_running()) << run->story();
  EXPECT_EQ(run->command("resume").exit_code, kDone);
  ASSERT_TRUE(run->waits_for_rows(std::stoll(before) + 1)) << run->story();
  process.signal(SIGINT);
  EXPECT_TRUE(run->ends(process, kResumable, 60s));
  EXPECT_EQ(run->command("set", {"throttle.max_rows_per_second=none", "workers=2"}).exit_code, kDone);
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  expect_clean_pool();
}

TEST_F(Pooler, WorksAroundHeldRowsAndNamesTheirHolder) {
  auto run = migration();
  PgClient holder(cluster_->dsn() + " application_name=holder");
  holder.exec(fmt::format("BEGIN; UPDATE {} SET name = 'held' WHERE id = 3000", table_));
  auto& process = run->start({"--wait-for-rows", "1s"});
  EXPECT_TRUE(run->ends(process, kResumable, 60s));
  EXPECT_NE(process.err().find(fmt::format("pid {}", holder.pid())), std::string::npos) << run->story();
  holder.exec("COMMIT");
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  expect_clean_pool();
}

TEST_F(Pooler, TheTableIsVacuumedThroughItAndNoSettingStaysBehind) {
  PgClient direct(cluster_->dsn());
  // Large enough to be vacuumed: ten rows a page.
  direct.exec(
      "CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL, pad text) WITH (autovacuum_enabled = off); INSERT INTO "
      "wide "
      "SELECT i * 3, 0, repeat('x', 700) FROM generate_series(1, 100000) i; ANALYZE wide");
  auto const size = [&] { return std::stoll(direct.value("SELECT pg_relation_size('wide')")); };
  auto const before = size();
  CountUp options;
  options.table = "wide";
  options.throttling = "  max_rows_per_second: 12000\n";
  MigrationRun run("wide", bouncer_->dsn(), count_up(options));
  auto& process = run.start();
  ASSERT_TRUE(run.ends(process, kDone));
  EXPECT_NE(process.err().find("vacuumed"), std::string::npos) << run.story();
  EXPECT_LE(size(), before * 5 / 4) << run.story();
  EXPECT_EQ(counts(cluster_->dsn(), "wide"), "1: 100000");
  expect_clean_pool();
}

}  // namespace
}  // namespace pgbackfill::tests
