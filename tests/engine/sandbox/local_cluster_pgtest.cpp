#include "engine/sandbox/local_cluster.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/support/pg_bouncer.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::tests {
namespace {

namespace fs = std::filesystem;
using engine::LocalCluster;
using engine::LocalClusterOptions;
using engine::StopMode;

LocalClusterOptions options_with(int replicas) {
  LocalClusterOptions options;
  options.name = "test";
  options.replicas = replicas;
  return options;
}

class LocalClusterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = std::make_unique<LocalCluster>(options_with(1));
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static std::unique_ptr<LocalCluster> cluster_;
};

std::unique_ptr<LocalCluster> LocalClusterTest::cluster_;

TEST_F(LocalClusterTest, ShowsThePrimarysRowsOnItsReplica) {
  PgClient(cluster_->dsn()).exec("CREATE TABLE seen AS SELECT generate_series(1, 1000) AS id");
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  PgClient replica(cluster_->replica_dsn(0));
  EXPECT_EQ(replica.value("SELECT count(*) FROM seen"), "1000");
  EXPECT_EQ(replica.try_exec("DELETE FROM seen"), "25006");
}

TEST_F(LocalClusterTest, KnowsItsVersion) {
  auto const number = PgClient(cluster_->dsn()).value("SHOW server_version_num");
  EXPECT_EQ(cluster_->major_version(), std::stoi(number) / 10000);
}

TEST_F(LocalClusterTest, KeepsCommittedRowsThroughKill9) {
  PgClient client(cluster_->dsn());
  client.exec("CREATE TABLE kept (id int)");
  client.exec("INSERT INTO kept SELECT generate_series(1, 5000)");
  PgClient other(cluster_->dsn());
  other.exec("BEGIN; INSERT INTO kept VALUES (-1)");
  cluster_->kill9();
  EXPECT_EQ(client.try_exec("SELECT 1"), "08006");
  EXPECT_THROW(PgClient{cluster_->dsn()}, PgClientError);
  auto const port = cluster_->port();
  cluster_->start_primary();
  EXPECT_EQ(cluster_->port(), port);
  EXPECT_EQ(PgClient(cluster_->dsn()).value("SELECT count(*) FROM kept"), "5000");
  EXPECT_NE(cluster_->log_text(100000).find("automatic recovery in progress"), std::string::npos);
  // The replica finds its primary again.
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  EXPECT_EQ(PgClient(cluster_->replica_dsn(0)).value("SELECT count(*) FROM kept"), "5000");
}

TEST_F(LocalClusterTest, ReplicaCatchesUpAfterItsRestart) {
  cluster_->stop_replica(0);
  PgClient(cluster_->dsn()).exec("CREATE TABLE meanwhile AS SELECT 1 AS id");
  cluster_->start_replica(0);
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  EXPECT_EQ(PgClient(cluster_->replica_dsn(0)).value("SELECT count(*) FROM meanwhile"), "1");
}

TEST_F(LocalClusterTest, AFrozenReplicaReceivesButDoesNotReplay) {
  SlowReplica slow(*cluster_);
  slow.freeze();
  PgClient(cluster_->dsn()).exec("CREATE TABLE late AS SELECT 1 AS id");
  EXPECT_FALSE(wait_until_replayed(*cluster_, 0, std::chrono::milliseconds(300)));
  auto const received = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()";
  PgClient replica(cluster_->replica_dsn(0));
  EXPECT_TRUE(poll_until([&] { return replica.value(received) == "t"; }));
  slow.thaw();
  EXPECT_TRUE(wait_until_replayed(*cluster_));
}

TEST_F(LocalClusterTest, IsReachedThroughPgBouncer) {
  PgBouncer bouncer(*cluster_);
  PgClient client(bouncer.dsn());
  EXPECT_EQ(client.value("SELECT 7"), "7");
  EXPECT_EQ(PgClient(bouncer.admin_dsn()).exec("SHOW POOLS").empty(), false);
}

TEST(LocalCluster, PromotesAReplica) {
  LocalCluster cluster(options_with(1));
  cluster.start();
  PgClient(cluster.dsn()).exec("CREATE TABLE moved AS SELECT generate_series(1, 10) AS id");
  ASSERT_TRUE(wait_until_replayed(cluster));
  cluster.stop_primary(StopMode::kImmediate);
  cluster.promote_replica(0);
  PgClient client(cluster.multi_host_dsn());
  EXPECT_EQ(client.value("SELECT inet_server_port()"), std::to_string(cluster.replica_port(0)));
  client.exec("INSERT INTO moved VALUES (11)");
  EXPECT_EQ(client.value("SELECT count(*) FROM moved"), "11");
}

TEST(LocalCluster, LeavesNothingBehind) {
  fs::path dir;
  pid_t postmaster = 0;
  {
    LocalCluster cluster(options_with(1));
    cluster.start();
    dir = cluster.dir();
    postmaster = cluster.postmaster_pid();
    ASSERT_TRUE(fs::exists(dir / "primary"));
  }
  EXPECT_FALSE(fs::exists(dir));
  EXPECT_EQ(kill(postmaster, 0), -1) << "the postmaster runs";
}

TEST(LocalCluster, SaysWhyTheServerDidNotStart) {
  auto options = options_with(0);
  options.primary_settings = {"shared_buffers = 'plenty'"};
  LocalCluster cluster(options);
  try {
    cluster.start();
    FAIL() << "started with a bad setting";
  } catch (std::runtime_error const& error) {
    EXPECT_NE(std::string(error.what()).find("invalid value for parameter \"shared_buffers\""), std::string::npos)
        << error.what();
  }
}

TEST(LocalCluster, RefusesAFolderWithoutPrograms) {
  auto options = options_with(0);
  options.bin_dir = "/nonexistent";
  EXPECT_THROW(LocalCluster{options}, std::runtime_error);
}

// A process that is about to be killed: starts a cluster, tells its postmasters and folder, and waits for ever.
[[noreturn]] void own_a_cluster(int answer) {
  LocalCluster cluster(options_with(1));
  cluster.start();
  auto const text =
      fmt::format("{} {} {}\n", cluster.postmaster_pid(), cluster.replica_postmaster_pid(0), cluster.dir().string());
  if (write(answer, text.data(), text.size()) < 0) _exit(1);
  for (;;) pause();
}

// A process that has ended but that nobody has waited for yet still has a number.
bool is_alive(pid_t pid) {
  std::error_code error;
  return !fs::read_symlink(fmt::format("/proc/{}/cwd", pid), error).empty();
}

TEST(LocalCluster, DiesWithItsOwner) {
  std::array<int, 2> answer{};
  ASSERT_EQ(pipe(answer.data()), 0);
  pid_t const owner = fork();
  if (owner == 0) own_a_cluster(answer[1]);
  close(answer[1]);
  FILE* const told = fdopen(answer[0], "r");
  int primary = 0;
  int replica = 0;
  std::array<char, 256> dir{};
  ASSERT_EQ(fscanf(told, "%d %d %255s", &primary, &replica, dir.data()), 3);
  fclose(told);
  ASSERT_TRUE(is_alive(primary) && is_alive(replica));

  kill(owner, SIGKILL);
  waitpid(owner, nullptr, 0);
  EXPECT_TRUE(poll_until([&] { return !is_alive(primary) && !is_alive(replica); }));
  // Any cluster that starts sweeps what a killed owner left; another test may be at it already.
  LocalCluster const next(options_with(0));
  EXPECT_TRUE(poll_until([&] { return !fs::exists(dir.data()); }));
}

}  // namespace
}  // namespace pgbackfill::tests
