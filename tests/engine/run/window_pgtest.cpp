// The end of a window while a batch runs: the pool in this process, on a clock that the test sets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "engine/run/job_setup.h"
#include "engine/run/pg_database.h"
#include "engine/run/worker_pool.h"
#include "engine/sandbox/local_cluster.h"
#include "planner/file/migration_file.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using engine::PoolEnd;

// Wall time is what the test says; all other time goes on.
class ClockedDatabase : public engine::PgDatabase {
 public:
  using engine::PgDatabase::PgDatabase;
  std::chrono::system_clock::time_point wall_now() const override { return wall; }

  std::chrono::system_clock::time_point wall{};
};

class Told : public engine::EventSink {
 public:
  void emit(engine::Event event) override {
    if (auto const* progress = std::get_if<engine::Progress>(&event)) last = *progress;
  }
  engine::Progress last;
};

class WindowTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override {
    client_ = std::make_unique<PgClient>(cluster_->dsn());
    client_->exec(
        "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, n int "
        "NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM generate_series(1, 60) g; CREATE OR REPLACE FUNCTION "
        "slowly(int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN $1; END $$");
    ASSERT_EQ(run_program({PGBACKFILL_PROGRAM, "init", "--dsn", cluster_->dsn()}).exit_code, kDone);
    migration_ = *planner::parse_migration(
                      "name: w\ntable: t\nbackfill:\n  set: {n: slowly(n + 1)}\n  workers: 1\n  batch: {target: 10s, "
                      "min_rows: 20, max_rows: 20}\n",
                      "w.yaml")
                      .migration;
    owner_.id = "window-test";
    owner_.host = "here";
    owner_.pid = 1;
  }

  // Opens by night only; it is night, and morning comes while the first batch runs.
  engine::PoolOutcome run(engine::PoolOptions options) {
    options.schedule = throttle::Schedule({std::get<throttle::Window>(throttle::parse_window("daily 22:00-06:00"))});
    boost::asio::io_context io(1);
    boost::asio::thread_pool blocking(engine::kBlockingThreads);
    engine::PoolOutcome outcome;
    boost::asio::co_spawn(io, work(io, blocking, std::move(options), outcome), [&](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
      io.stop();
    });
    io.run();
    return outcome;
  }

  boost::asio::awaitable<void> work(boost::asio::io_context& io, boost::asio::thread_pool& blocking,
                                    engine::PoolOptions options, engine::PoolOutcome& outcome) {
    engine::ConnectTarget target;
    target.conninfo = cluster_->dsn();
    auto const opened = co_await engine::PgConnection::open(target, blocking);
    auto const connection = *opened;
    auto preflight = co_await engine::check_backfill(*connection, *migration_.backfill);
    auto job = co_await engine::find_job(*connection, migration_.name);
    if (!*job) {
      auto ranges = co_await engine::plan_ranges(*connection, *preflight);
      co_await engine::create_job(*connection, migration_, *preflight, *ranges, owner_);
      job = co_await engine::find_job(*connection, migration_.name);
    }
    auto pg_job = co_await engine::load_pg_job(*connection, (*job)->id, migration_.name, *migration_.backfill,
                                               preflight->table, (*job)->sweeps, preflight->traits);
    ClockedDatabase database(io.get_executor(), blocking, target, std::move(*pg_job), owner_);
    database.wall = night_;
    engine::WorkerPool pool(database, database.job().job, std::move(options), told_);
    boost::asio::co_spawn(io, wait_for_a_batch_then_morning(database), boost::asio::detached);
    outcome = co_await pool.run();
  }

  boost::asio::awaitable<void> wait_for_a_batch_then_morning(ClockedDatabase& database) {
    PgClient observer(cluster_->dsn());
    auto const batch_runs = [&] {
      return observer.value(
                 "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slowly%' AND state = 'active' AND "
                 "pid <> pg_backend_pid()") != "0";
    };
    while (!batch_runs()) co_await database.sleep(1ms);
    EXPECT_EQ(counts(cluster_->dsn(), "t"), "0: 60") << "the first batch has ended already";
    database.wall = night_ + 8h;
    while (says_when_it_waits_ && told_.last.phase != engine::RunPhase::kOutsideWindow) co_await database.sleep(1ms);
    if (!says_when_it_waits_) co_return;
    EXPECT_THAT(told_.last.held_back, testing::HasSubstr("it goes on at 1970-01-02 22:00 UTC"));
    observer.exec("UPDATE pgbackfill.jobs SET status = 'cancelled'");
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<PgClient> client_;
  planner::Migration migration_;
  engine::Owner owner_;
  Told told_;
  bool says_when_it_waits_ = false;
  std::chrono::system_clock::time_point night_{23h};
};

std::unique_ptr<LocalCluster> WindowTest::cluster_;

TEST_F(WindowTest, BatchInFlightEndsAndTheRunExitsResumable) {
  engine::PoolOptions options;
  options.exit_outside_window = true;
  auto const outcome = run(options);
  EXPECT_EQ(outcome.end, PoolEnd::kWindowClosed);
  EXPECT_EQ(counts(cluster_->dsn(), "t"), "0: 40, 1: 20");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.ranges WHERE owner IS NOT NULL"), "0");
  EXPECT_EQ(client_->value("SELECT status FROM pgbackfill.jobs"), "running");
}

TEST_F(WindowTest, WithoutThatItWaitsAndSaysUntilWhen) {
  says_when_it_waits_ = true;
  auto const outcome = run({});
  EXPECT_EQ(outcome.end, PoolEnd::kCancelled);
  EXPECT_EQ(counts(cluster_->dsn(), "t"), "0: 40, 1: 20");
}

}  // namespace
}  // namespace pgbackfill::tests
