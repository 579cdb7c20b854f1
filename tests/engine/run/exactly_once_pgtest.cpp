// Guarantee 1: `n = n + 1` adds exactly one to every row, whatever dies, stalls or lies in between.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;

constexpr std::int64_t kRows = 150'000;
constexpr char kOurs[] = "application_name = 'pgbackfill'";

std::string all_once(std::int64_t rows = kRows) {
  return "1: " + std::to_string(rows);
}

// Where in the run to strike: one place in each of `count` equal parts.
std::vector<std::int64_t> places_to_strike(int count, std::int64_t rows = kRows) {
  auto random = random_of_test();
  std::vector<std::int64_t> places;
  for (int part = 0; part < count; ++part) {
    places.push_back(between(random, rows * part / (count + 1) + 1, rows * (part + 1) / (count + 1)));
  }
  return places;
}

std::string processes_with_batches(MigrationRun const& run) {
  return run.state("SELECT count(DISTINCT pid) FROM pgbackfill.ranges WHERE job_id = {job} AND batches > 0");
}

class ExactlyOnce : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "once";
    // No power cut is played here: what a killed server has written is in the page cache.
    options.is_fsync_on = false;
    options.primary_settings = {"max_wal_size = 2GB"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  std::unique_ptr<MigrationRun> migration_of_counted_rows(CountUp options = {}, std::int64_t rows = kRows) {
    PgClient client(cluster_->dsn());
    table_ = make_counted_table(client, rows);
    options.table = table_;
    return std::make_unique<MigrationRun>(table_, cluster_->dsn(), count_up(options));
  }

  std::string counts_now() const { return counts(cluster_->dsn(), table_); }

  // Of our own connections, and only those.
  static std::string terminate_ours(PgClient& client) {
    return client.value(fmt::format("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {}", kOurs));
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::string table_;
};

std::unique_ptr<LocalCluster> ExactlyOnce::cluster_;

class ExactlyOnceWithCommit : public ExactlyOnce, public testing::WithParamInterface<char const*> {};

TEST_P(ExactlyOnceWithCommit, SurvivesKilledProcesses) {
  CountUp options;
  options.commit = GetParam();
  auto run = migration_of_counted_rows(options);
  auto random = random_of_test();
  for (auto const place : places_to_strike(5)) {
    auto& process = run->start();
    ASSERT_TRUE(run->waits_for_rows(place)) << run->story();
    std::this_thread::sleep_for(std::chrono::microseconds(between(random, 0, 20'000)));
    run->kill_process(process);
  }
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  EXPECT_EQ(run->status(), "complete");
}

TEST_P(ExactlyOnceWithCommit, SurvivesCrashesOfTheServer) {
  CountUp options;
  options.commit = GetParam();
  auto run = migration_of_counted_rows(options);
  auto& process = run->start();
  int crash = 0;
  for (auto const place : places_to_strike(3)) {
    ASSERT_TRUE(run->waits_for_rows(place)) << run->story();
    if (++crash % 2 == 1) {
      cluster_->kill9();
    } else {
      cluster_->stop_primary(engine::StopMode::kImmediate);
    }
    cluster_->start_primary();
  }
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

INSTANTIATE_TEST_SUITE_P(Commit, ExactlyOnceWithCommit, testing::Values("async", "sync"),
                         [](auto const& instance) { return std::string(instance.param); });

TEST_F(ExactlyOnce, SurvivesARestartOfTheServer) {
  auto run = migration_of_counted_rows();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 3)) << run->story();
  cluster_->restart_primary(engine::StopMode::kFast);
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(ExactlyOnce, SurvivesTerminatedConnections) {
  auto run = migration_of_counted_rows();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(1)) << run->story();
  PgClient client(cluster_->dsn());
  auto random = random_of_test();
  int terminated = 0;
  while (process.is_running() && terminated < 60) {
    terminated += std::stoi(terminate_ours(client));
    std::this_thread::sleep_for(std::chrono::milliseconds(between(random, 20, 200)));
  }
  EXPECT_GE(terminated, 4);
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(ExactlyOnce, SurvivesCancelledStatements) {
  auto run = migration_of_counted_rows();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(1)) << run->story();
  PgClient client(cluster_->dsn());
  for (int turn = 0; turn < 100 && process.is_running(); ++turn) {
    client.exec(
        fmt::format("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {} AND state = 'active'", kOurs));
    std::this_thread::sleep_for(15ms);
  }
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(ExactlyOnce, NeverGuessesWhetherABatchWasCommitted) {
  auto run = migration_of_counted_rows();
  FaultProxy proxy(cluster_->port());
  run->set_dsn(proxy.dsn());
  auto& process = run->start();
  run->set_dsn(cluster_->dsn());
  ASSERT_TRUE(run->waits_for_rows(1)) << run->story();
  proxy.drop_next_answer("UPDATE 1");
  ASSERT_TRUE(poll_until([&] { return proxy.dropped_answers() == 1; }));
  proxy.drop_answers_with_probability(0.05, seed_of_tests());
  proxy.drop_requests_with_probability(0.03, seed_of_tests() + 1);
  EXPECT_TRUE(run->waits_for_rows(kRows * 9 / 10)) << run->story();
  proxy.drop_answers_with_probability(0, 0);
  proxy.drop_requests_with_probability(0, 0);
  EXPECT_GT(proxy.dropped_answers(), 5);
  EXPECT_GT(proxy.dropped_requests(), 2);
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

// The server leased a range to a worker that never heard of it: nobody else may work on it before the lease runs out.
TEST_F(ExactlyOnce, FindsARangeAgainWhenTheAnswerToItsClaimWasLost) {
  auto run = migration_of_counted_rows();
  FaultProxy proxy(cluster_->port());
  proxy.drop_next_answer("UPDATE 1");
  run->set_dsn(proxy.dsn());
  auto& process = run->start({"--lease", "60s"});
  run->set_dsn(cluster_->dsn());
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(proxy.dropped_answers(), 1);
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(ExactlyOnce, SurvivesANetworkThatStallsAndRefuses) {
  auto run = migration_of_counted_rows();
  FaultProxy proxy(cluster_->port());
  run->set_dsn(proxy.dsn());
  auto& process = run->start();
  run->set_dsn(cluster_->dsn());
  ASSERT_TRUE(run->waits_for_rows(kRows / 4)) << run->story();
  proxy.stall(true);
  std::this_thread::sleep_for(500ms);
  proxy.cut_all();
  proxy.stall(false);
  proxy.refuse_new(true);
  std::this_thread::sleep_for(1s);
  proxy.refuse_new(false);
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(ExactlyOnce, IsFencedOffWhenItWasStoppedBeyondItsLease) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 25000\n";
  auto run = migration_of_counted_rows(options);
  auto& stopped = run->start({"--lease", "2s"});
  ASSERT_TRUE(run->waits_for_rows(kRows / 8)) << run->story();
  stopped.signal(SIGSTOP);
  auto& other = run->start({"--lease", "2s"});
  auto const old_pid = std::to_string(stopped.pid());
  bool const taken_over = poll_until([&] {
    return run->state("SELECT count(*) FROM pgbackfill.ranges WHERE job_id = {job} AND owner IS NOT NULL AND pid = " +
                      old_pid) == "0";
  });
  EXPECT_TRUE(taken_over) << "the stopped process still owns ranges" << run->story();
  EXPECT_TRUE(other.is_running()) << "nothing is left to double" << run->story();
  stopped.signal(SIGCONT);
  EXPECT_TRUE(run->ends(other, kDone));
  EXPECT_TRUE(run->ends(stopped, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  // A range names the last process that held it; the stopped one need not have finished any of its own.
  EXPECT_NE(run->state("SELECT count(*) FROM pgbackfill.ranges WHERE job_id = {job} AND batches > 0 AND pid = " +
                       std::to_string(other.pid())),
            "0");
}

TEST_F(ExactlyOnce, SharesTheWorkAmongTwoProcesses) {
  auto run = migration_of_counted_rows();
  auto& first = run->start();
  auto& second = run->start();
  EXPECT_TRUE(run->ends(first, kDone));
  EXPECT_TRUE(run->ends(second, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  EXPECT_EQ(processes_with_batches(*run), "2") << run->story();
}

TEST_F(ExactlyOnce, SharesTheWorkAmongThreeProcessesOfWhichOneIsKilled) {
  auto run = migration_of_counted_rows();
  auto& first = run->start({"--lease", "2s"});
  auto& second = run->start({"--lease", "2s"});
  auto& third = run->start({"--lease", "2s"});
  auto const at_work = [&] { return run->waits_for_rows(1) && processes_with_batches(*run) == "3"; };
  EXPECT_TRUE(poll_until(at_work, 30s)) << run->story();
  run->kill_process(second);
  EXPECT_TRUE(run->ends(first, kDone));
  EXPECT_TRUE(run->ends(third, kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

class StoppedBySignal : public ExactlyOnce, public testing::WithParamInterface<int> {};

TEST_P(StoppedBySignal, GivesItsRangesBackAndGoesOnLater) {
  auto run = migration_of_counted_rows();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 4)) << run->story();
  process.signal(GetParam());
  EXPECT_TRUE(run->ends(process, kResumable, 60s));
  EXPECT_EQ(run->state("SELECT count(*) FROM pgbackfill.ranges WHERE job_id = {job} AND owner IS NOT NULL"), "0")
      << run->story();
  EXPECT_NE(process.err().find("pgbackfill run"), std::string::npos) << "does not say how to go on" << run->story();
  EXPECT_NE(counts_now(), all_once()) << "was not stopped in the middle";
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

INSTANTIATE_TEST_SUITE_P(Signal, StoppedBySignal, testing::Values(SIGINT, SIGTERM),
                         [](auto const& instance) { return std::string(instance.param == SIGINT ? "Int" : "Term"); });

TEST_F(ExactlyOnce, CancelsOnTheServerWhenInterruptedTwice) {
  PgClient client(cluster_->dsn());
  table_ = make_counted_table(client, 5'000);
  client.exec(fmt::format(
      "CREATE FUNCTION {0}_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END "
      "$$; CREATE TRIGGER slow BEFORE UPDATE ON {0} FOR EACH ROW WHEN (OLD.id = 9000) EXECUTE FUNCTION {0}_slow()",
      table_));
  MigrationRun run(table_, cluster_->dsn(),
                   fmt::format("table: {}\nbackfill:\n  set: {{n: \"n + 1\"}}\n  batch: {{target: 60s}}\n", table_));
  auto& process = run.start();
  auto const busy = [&] {
    return client.value(
        fmt::format("SELECT count(*) FROM pg_stat_activity WHERE {} AND wait_event = 'PgSleep'", kOurs));
  };
  ASSERT_TRUE(poll_until([&] { return busy() == "1"; })) << run.story();
  process.signal(SIGINT);
  std::this_thread::sleep_for(500ms);
  EXPECT_TRUE(process.is_running()) << "a batch in flight should be let finish" << run.story();
  EXPECT_EQ(busy(), "1");
  process.signal(SIGINT);
  EXPECT_TRUE(run.ends(process, kResumable, 60s));
  EXPECT_EQ(busy(), "0");
  client.exec("DROP TRIGGER slow ON " + table_);
  EXPECT_TRUE(run.runs(kDone));
  EXPECT_EQ(counts_now(), all_once(5'000)) << run.story();
}

// These lose their primary or need settings of their own.
class ExactlyOnceOnItsOwnServer : public testing::Test {
 protected:
  void start(std::vector<std::string> settings, int replicas) {
    engine::LocalClusterOptions options;
    options.name = "own";
    options.is_fsync_on = false;
    options.replicas = replicas;
    options.primary_settings = std::move(settings);
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient client(cluster_->dsn());
    table_ = make_counted_table(client, kRows);
  }

  std::unique_ptr<LocalCluster> cluster_;
  std::string table_;
};

// The new primary is behind: batches that were committed are undone together with their checkpoints.
TEST_F(ExactlyOnceOnItsOwnServer, GoesBackConsistentlyAfterAFailOver) {
  start({"wal_sender_timeout = 60s"}, 1);
  FaultProxy replication(cluster_->port());
  PgClient standby(cluster_->replica_dsn(0));
  standby.exec("ALTER SYSTEM SET primary_conninfo = '" + replication.dsn() + "'");
  standby.exec("SELECT pg_reload_conf()");
  ASSERT_TRUE(poll_until([&] { return replication.connections() == 1; }));
  CountUp options;
  options.table = table_;
  MigrationRun run(table_, cluster_->multi_host_dsn(), count_up(options));
  auto& process = run.start();
  run.set_dsn(cluster_->dsn());
  auto const place = places_to_strike(1).front();
  ASSERT_TRUE(run.waits_for_rows(place)) << run.story();
  replication.stall(true);
  ASSERT_TRUE(run.waits_for_rows(place + kRows / 4)) << run.story();
  cluster_->kill9();
  replication.cut_all();
  run.set_dsn(cluster_->replica_dsn(0));
  auto const rows_kept = std::stoll(run.rows_done());
  cluster_->promote_replica(0);
  EXPECT_LT(rows_kept, place + kRows / 4) << "nothing was lost";
  EXPECT_TRUE(run.ends(process, kDone));
  EXPECT_EQ(counts(cluster_->replica_dsn(0), table_), all_once()) << run.story();
  EXPECT_EQ(run.status(), "complete");
}

TEST_F(ExactlyOnceOnItsOwnServer, EndsWithFewerConnectionsThanWorkers) {
  start({"max_connections = 10", "superuser_reserved_connections = 1"}, 0);
  std::vector<std::unique_ptr<PgClient>> others;
  // One more is taken by make_counted_table() and given back; five places are left, most of them for the run's own
  // connections and its probes.
  while (others.size() < 4) others.push_back(std::make_unique<PgClient>(cluster_->dsn()));
  CountUp options;
  options.table = table_;
  options.workers = 6;
  MigrationRun run(table_, cluster_->dsn(), count_up(options));
  auto& process = run.start();
  EXPECT_TRUE(run.ends(process, kDone));
  others.clear();
  EXPECT_EQ(counts(cluster_->dsn(), table_), all_once()) << run.story();
  EXPECT_NE(process.err().find("short of resources"), std::string::npos) << "every worker found a place" << run.story();
}

}  // namespace
}  // namespace pgbackfill::tests
