// What the probes see of a real standby and of slots, each in the trouble that it can be in.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/probes_run.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using throttle::Reading;
using throttle::ReplicaKind;
using throttle::ReplicaState;
using throttle::Sight;

constexpr char kStandby[] = "replica-0";

// A process of another program, stopped for as long as this lives.
class Stopped {
 public:
  explicit Stopped(pid_t pid) : pid_(pid) { kill(pid_, SIGSTOP); }
  ~Stopped() { go_on(); }
  void go_on() { kill(pid_, SIGCONT); }

 private:
  pid_t pid_;
};

class ProbesReplication : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "probes";
    options.replicas = 1;
    options.wal_level = "logical";
    options.is_fsync_on = false;
    options.primary_settings = {"max_slot_wal_keep_size = 64MB", "autovacuum = off"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient(cluster_->dsn()).exec("CREATE TABLE filler (text text)");
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void write_wal(int megabytes) {
    client_.exec(fmt::format("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, {}); TRUNCATE filler",
                             megabytes * 1000));
  }
  // Without writing that much.
  void pass_segments(int count) {
    for (int each = 0; each < count; ++each)
      client_.exec("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()");
    client_.exec("CHECKPOINT");
  }

  static throttle::ReplicaReading standby(Reading const& reading) { return find_replica(reading, kStandby); }
  static std::int64_t bytes_behind(Reading const& reading) {
    auto const& replication = reading.replication.value;
    return static_cast<std::int64_t>(replication.flushed - standby(reading).replayed.value);
  }
  static bool streams(Reading const& reading) {
    return standby(reading).state == ReplicaState::kStreaming && standby(reading).replayed.is_seen();
  }

  static std::unique_ptr<LocalCluster> cluster_;
  PgClient client_{cluster_->dsn()};
};

std::unique_ptr<LocalCluster> ProbesReplication::cluster_;

TEST_F(ProbesReplication, FollowsAStandbyThatKeepsUp) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until(streams));
  EXPECT_EQ(standby(probes.reading()).kind, ReplicaKind::kStandby);
  EXPECT_EQ(standby(probes.reading()).address, "127.0.0.1");
  auto const before = standby(probes.reading()).replayed;
  // The canary alone writes enough to see that it goes on.
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    auto const replayed = standby(reading).replayed;
    return replayed.value > before.value && replayed.at > before.at && bytes_behind(reading) < (1 << 20);
  }));
}

TEST_F(ProbesReplication, SeesHowFarAStalledStandbyFallsBehindThoughItStillAnswers) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until(streams));
  SlowReplica slow(*cluster_);
  slow.freeze();
  write_wal(16);
  ASSERT_TRUE(probes.until([](Reading const& reading) { return bytes_behind(reading) > (16 << 20); }));
  auto const stuck = standby(probes.reading()).replayed;
  ASSERT_TRUE(probes.look_again());
  EXPECT_EQ(standby(probes.reading()).replayed.value, stuck.value);
  EXPECT_GT(standby(probes.reading()).replayed.at, stuck.at);
  EXPECT_EQ(standby(probes.reading()).state, ReplicaState::kStreaming);
  // It receives, and says so each time: what it says is fresh.
  EXPECT_TRUE(probes.until([](Reading const& reading) { return standby(reading).reply_age.value < 2s; }));
  slow.thaw();
  EXPECT_TRUE(probes.until([](Reading const& reading) { return bytes_behind(reading) < (1 << 20); }));
}

TEST_F(ProbesReplication, SeesThatAFrozenReceiverSaysNothingAnyMore) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until(streams));
  auto const receiver = PgClient(cluster_->replica_dsn(0)).value("SELECT pid FROM pg_stat_wal_receiver");
  Stopped frozen(std::stoi(receiver));
  ASSERT_TRUE(probes.until([](Reading const& reading) { return standby(reading).reply_age.value > 3s; }));
  EXPECT_EQ(standby(probes.reading()).state, ReplicaState::kStreaming);
  EXPECT_TRUE(standby(probes.reading()).reply_age.is_seen());
  frozen.go_on();
  EXPECT_TRUE(probes.until([](Reading const& reading) { return standby(reading).reply_age.value < 1s; }));
}

TEST_F(ProbesReplication, SeesAStandbyVanishAndComeBack) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until(streams));
  cluster_->stop_replica(0);
  ASSERT_TRUE(probes.until([](Reading const& reading) { return standby(reading).state == ReplicaState::kVanished; }));
  auto const gone = standby(probes.reading());
  EXPECT_EQ(gone.replayed.sight, Sight::kMissing);
  EXPECT_EQ(gone.address, "127.0.0.1");
  EXPECT_FALSE(gone.replayed.why.empty());
  cluster_->start_replica(0);
  EXPECT_TRUE(probes.until(streams));
  EXPECT_EQ(probes.reading().replication.value.replicas.size(), 1U);
}

TEST_F(ProbesReplication, TellsWhoIsOnlyJoiningFromWhoStreams) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until(streams));
  {
    // Connected as a standby connects, before it asks for WAL.
    PgClient newcomer(cluster_->dsn() + " replication=true application_name=newcomer");
    ASSERT_TRUE(probes.until([](Reading const& reading) { return find_replica(reading, "newcomer").name != ""; }));
    EXPECT_EQ(probes.replica("newcomer").state, ReplicaState::kJoining);
    EXPECT_FALSE(probes.replica("newcomer").replayed.is_seen());
    EXPECT_TRUE(streams(probes.reading()));
  }
  // It never was a replica, so nobody misses it.
  EXPECT_TRUE(probes.until([](Reading const& reading) { return find_replica(reading, "newcomer").name == ""; }));
}

TEST_F(ProbesReplication, CallsAStandbyThatCatchesUpJoining) {
  cluster_->stop_replica(0);
  write_wal(200);
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.replication.is_seen(); }));
  EXPECT_TRUE(probes.reading().replication.value.replicas.empty());
  cluster_->start_replica(0);
  bool was_seen_behind = false;
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    auto const replica = standby(reading);
    bool const is_behind = replica.state == ReplicaState::kJoining && !replica.name.empty();
    was_seen_behind = was_seen_behind || is_behind;
    // Nothing in between is ever taken for a standby that keeps up.
    return streams(reading) && bytes_behind(reading) < (1 << 20);
  }));
  RecordProperty("was_seen_behind", was_seen_behind ? 1 : 0);
}

TEST_F(ProbesReplication, TellsStandbysOfOneNameApart) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until(streams));
  PgClient first(cluster_->dsn() + " replication=true application_name=twin");
  PgClient second(cluster_->dsn() + " replication=true application_name=twin");
  EXPECT_TRUE(probes.until([](Reading const& reading) {
    return find_replica(reading, "twin").name == "twin" && find_replica(reading, "twin #2").name == "twin #2";
  }));
}

TEST_F(ProbesReplication, NamesALogicalSlotThatNobodyReads) {
  client_.exec("SELECT pg_create_logical_replication_slot('unread', 'pgoutput')");
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until([](Reading const& reading) { return find_replica(reading, "unread").name == "unread"; }));
  auto const slot = probes.replica("unread");
  EXPECT_EQ(slot.kind, ReplicaKind::kLogicalSlot);
  EXPECT_EQ(slot.state, ReplicaState::kInactive);
  ASSERT_TRUE(slot.replayed.is_seen());
  auto const behind = [](Reading const& reading) {
    return reading.replication.value.flushed - find_replica(reading, "unread").replayed.value;
  };
  auto const before = behind(probes.reading());
  write_wal(2);
  EXPECT_TRUE(probes.until([&](Reading const& reading) { return behind(reading) > before + (2 << 20); }));
  // A slot that is dropped on purpose is no loss.
  client_.exec("SELECT pg_drop_replication_slot('unread')");
  EXPECT_TRUE(probes.until([](Reading const& reading) { return find_replica(reading, "unread").name == ""; }));
}

TEST_F(ProbesReplication, SeesASlotRunOutOfRoomAndLoseItsWal) {
  // What is kept for all would keep the slot's WAL as well.
  client_.exec("ALTER SYSTEM SET wal_keep_size = 0");
  client_.exec("SELECT pg_reload_conf()");
  // A new slot keeps what was written since the latest one.
  client_.exec("CHECKPOINT");
  client_.exec("SELECT pg_create_physical_replication_slot('keeper', true)");
  client_.exec("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')");
  ProbesRun probes(cluster_->dsn());
  auto const slot = [](Reading const& reading, std::string const& name) {
    for (auto const& each : reading.slots.value.slots) {
      if (each.name == name) return each;
    }
    return throttle::SlotReading{};
  };
  ASSERT_TRUE(probes.until([&](Reading const& reading) { return slot(reading, "keeper").name == "keeper"; }));
  auto const before = slot(probes.reading(), "keeper");
  EXPECT_EQ(before.wal_status, "reserved");
  EXPECT_FALSE(before.active);
  ASSERT_TRUE(before.retained.has_value());
  ASSERT_TRUE(before.safe_wal_size.has_value());
  pass_segments(2);
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    auto const now = slot(reading, "keeper");
    return now.retained.value_or(0) > *before.retained && now.safe_wal_size.value_or(1LL << 40) < *before.safe_wal_size;
  }));
  pass_segments(8);
  ASSERT_TRUE(probes.until([&](Reading const& reading) { return slot(reading, "keeper").wal_status == "lost"; }));
  // What is gone has no size: not nothing, but unknown.
  EXPECT_FALSE(slot(probes.reading(), "keeper").retained.has_value());
  EXPECT_FALSE(slot(probes.reading(), "keeper").safe_wal_size.has_value());
  EXPECT_TRUE(probes.until(
      [](Reading const& reading) { return find_replica(reading, "reader").state == ReplicaState::kLost; }));
  client_.exec("SELECT pg_drop_replication_slot('keeper'), pg_drop_replication_slot('reader')");
  client_.exec("ALTER SYSTEM RESET wal_keep_size");
  client_.exec("SELECT pg_reload_conf()");
}

}  // namespace
}  // namespace pgbackfill::tests
