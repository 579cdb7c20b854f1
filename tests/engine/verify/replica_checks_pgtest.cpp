// `verify --replica`: the checks are asked of a standby, once it has replayed what the primary had written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/pg_client.h"
#include "tests/support/program.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ReplicaChecksTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.replicas = 1;
    options.is_fsync_on = false;
    cluster_ = std::make_unique<engine::LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override {
    std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    PgClient(cluster_->dsn())
        .exec(
            "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS users; CREATE TABLE users (id int PRIMARY "
            "KEY, name text, display text); INSERT INTO users SELECT g, 'name ' || g, 'NAME ' || g FROM "
            "generate_series(1, 2000) g");
    std::ofstream(dir_ / "m.yaml")
        << "name: m\ntable: users\nverify:\n  - zero: SELECT count(*) FROM users WHERE NOT pg_is_in_recovery()\n"
           "  - agrees: {set: {display: upper(name)}, where: pg_is_in_recovery()}\n";
    ASSERT_EQ(run_program({PGBACKFILL_PROGRAM, "init", "--dsn", cluster_->dsn()}).exit_code, 0);
  }
  void TearDown() override {
    std::error_code error;
    std::filesystem::remove_all(dir_, error);
  }

  std::vector<std::string> words(std::string const& replica) const {
    return {PGBACKFILL_PROGRAM, "verify", (dir_ / "m.yaml").string(), "--dsn", cluster_->dsn(), "--replica", replica};
  }

  static std::unique_ptr<engine::LocalCluster> cluster_;
  std::filesystem::path dir_;
};

std::unique_ptr<engine::LocalCluster> ReplicaChecksTest::cluster_;

TEST_F(ReplicaChecksTest, AreAskedOfTheStandby) {
  auto const result = run_program(words(cluster_->replica_dsn(0)));
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("2000 row(s) agree"));
  PgClient(cluster_->dsn()).exec("UPDATE users SET display = 'x' WHERE id = 5");
  auto const differs = run_program(words(cluster_->replica_dsn(0)));
  EXPECT_EQ(differs.exit_code, 3) << differs.err;
  EXPECT_THAT(differs.out, HasSubstr("1 of 2000 row(s) do not agree, for example row 5 of \"public\".\"users\""));
}

TEST_F(ReplicaChecksTest, WaitUntilTheStandbyHasReplayedWhatWasThere) {
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  SlowReplica slow(*cluster_);
  slow.freeze();
  PgClient(cluster_->dsn()).exec("UPDATE users SET display = 'x' WHERE id = 5");
  Program program(words(cluster_->replica_dsn(0)));
  EXPECT_TRUE(program.wait_for_output("waits for the replica"));
  EXPECT_TRUE(program.is_running());
  slow.thaw();
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, 3) << "the standby that was behind would have said that all rows agree\n" << result.out;
}

TEST_F(ReplicaChecksTest, AServerThatIsNoStandbyOfThisOneIsRefused) {
  auto const primary = run_program(words(cluster_->dsn()));
  EXPECT_EQ(primary.exit_code, 2) << primary.out;
  EXPECT_THAT(primary.err, AllOf(HasSubstr("is not a standby: it is not in recovery")));
  engine::LocalClusterOptions options;
  options.replicas = 1;
  options.is_fsync_on = false;
  engine::LocalCluster other(options);
  other.start();
  auto const stranger = run_program(words(other.replica_dsn(0)));
  EXPECT_EQ(stranger.exit_code, 2) << stranger.out;
  EXPECT_THAT(stranger.err, HasSubstr("is a standby of another server: its system identifier is"));
  auto const elsewhere = run_program(words(cluster_->replica_dsn(0) + " dbname=template1"));
  EXPECT_EQ(elsewhere.exit_code, 2) << elsewhere.out;
  EXPECT_THAT(elsewhere.err, HasSubstr("is connected to database template1, and not to postgres"));
}

}  // namespace
}  // namespace pgbackfill::tests
