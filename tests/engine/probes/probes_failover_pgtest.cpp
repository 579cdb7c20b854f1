// The probes through a fail-over: the primary goes, a standby is all that is left, the standby becomes the primary.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/pg_client.h"
#include "tests/support/probes_run.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using throttle::Reading;
using throttle::Sight;

std::unique_ptr<LocalCluster> start_cluster(int replicas) {
  engine::LocalClusterOptions options;
  options.name = "probes-failover";
  options.replicas = replicas;
  options.is_fsync_on = false;
  auto cluster = std::make_unique<LocalCluster>(options);
  cluster->start();
  return cluster;
}

bool is_writable(Reading const& reading) {
  return reading.health.is_seen() && reading.health.value.is_writable;
}

TEST(ProbesFailover, SayThatOnlyAStandbyIsLeftUntilItIsPromoted) {
  auto const cluster = start_cluster(1);
  ProbesRun probes(cluster->multi_host_dsn());
  ASSERT_TRUE(
      probes.until([](Reading const& reading) { return is_writable(reading) && reading.replication.is_seen(); }));
  auto const flushed = probes.reading().replication.value.flushed;
  EXPECT_EQ(probes.reading().replication.value.replicas.size(), 1U);
  cluster->stop_primary(engine::StopMode::kImmediate);
  ASSERT_TRUE(probes.until(
      [](Reading const& reading) { return reading.health.is_seen() && !reading.health.value.is_writable; }));
  EXPECT_EQ(probes.reading().health.value.archive.sight, Sight::kMissing);
  ASSERT_TRUE(probes.until([](Reading const& reading) {
    return reading.canary.sight == Sight::kFailed && reading.replication.sight == Sight::kFailed &&
           reading.activity.sight == Sight::kFailed;
  }));
  EXPECT_FALSE(probes.reading().canary.why.empty());
  // What was seen last is not forgotten, and not taken for fresh.
  EXPECT_GE(probes.reading().replication.value.flushed, flushed);
  EXPECT_LT(probes.reading().replication.value.at, probes.reading().replication.at);
  cluster->promote_replica(0);
  EXPECT_TRUE(probes.until([](Reading const& reading) {
    return is_writable(reading) && reading.canary.is_seen() && reading.replication.is_seen() &&
           reading.activity.is_seen() && reading.wal.is_seen();
  }));
  EXPECT_TRUE(probes.reading().replication.value.replicas.empty()) << "the standby has become this very server";
}

TEST(ProbesFailover, SayThatNobodyAnswersAndComeBackAfterACrash) {
  auto const cluster = start_cluster(0);
  ProbesRun probes(cluster->dsn());
  ASSERT_TRUE(probes.until(is_writable));
  cluster->kill9();
  ASSERT_TRUE(probes.until([](Reading const& reading) {
    return reading.health.sight == Sight::kFailed && reading.health.why.find("cannot connect") != std::string::npos;
  })) << probes.reading().health.why;
  EXPECT_FALSE(probes.reading().health.value.is_writable);
  cluster->start_primary();
  EXPECT_TRUE(probes.until([](Reading const& reading) { return is_writable(reading) && reading.canary.is_seen(); }));
}

TEST(ProbesFailover, TakeNothingForFreshOnALinkThatSwallowsEverything) {
  auto const cluster = start_cluster(0);
  FaultProxy proxy(cluster->port());
  ProbesRun probes(proxy.dsn());
  ASSERT_TRUE(probes.until([](Reading const& reading) { return is_writable(reading) && reading.activity.is_seen(); }));
  proxy.stall(true);
  probes.turn(1s);  // what was on its way
  auto const before = probes.reading();
  // Nothing tells that the link is dead but that nobody answers: commits take longer and longer.
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.canary.value.latency > 3s; }));
  EXPECT_EQ(probes.reading().replication.value.at, before.replication.value.at);
  EXPECT_EQ(probes.reading().activity.value.at, before.activity.value.at);
  EXPECT_EQ(probes.reading().wal.value.at, before.wal.value.at);
  proxy.stall(false);
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    return reading.canary.is_seen() && reading.canary.value.latency < 3s &&
           reading.replication.value.at > before.replication.value.at &&
           reading.activity.value.at > before.activity.value.at;
  }));
}

}  // namespace
}  // namespace pgbackfill::tests
