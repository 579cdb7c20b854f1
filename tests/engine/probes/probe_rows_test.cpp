#include "engine/probes/probe_rows.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using throttle::ReplicaState;
using throttle::Sight;
using Row = std::vector<std::optional<std::string>>;

constexpr auto kNull = std::nullopt;

throttle::TimePoint at(std::chrono::milliseconds since) {
  return throttle::TimePoint() + 1h + since;
}

Rows rows_of(std::vector<Row> rows) {
  Rows all;
  all.rows = std::move(rows);
  return all;
}

Row standby(std::string name, std::optional<std::string> state, std::optional<std::string> replayed,
            std::optional<std::string> reply, std::optional<std::string> slot = kNull) {
  return {
      "1000",          "standby", std::move(name), "10.0.0.1", std::move(state), std::move(replayed), std::move(reply),
      std::move(slot), kNull,     kNull,           "77",       "00000001"};
}

TEST(NeighboursElsewhere, AreThoseWhoseNamesCanBeRead) {
  auto const found = neighbours_elsewhere(rows_of({{"shop", "pgbackfill w=0.5 wal=12/* b=1/2 prices"},
                                                   {"shop", "pgbackfill w=plenty"},
                                                   {"b", "pgbackfill w=2 wal=0/0 b=0/0 idle"}}));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].database, "shop");
  EXPECT_EQ(found[0].name, "prices");
  EXPECT_EQ(found[1].database, "b");
  EXPECT_EQ(found[1].wal_wanted, 0);
}

ServerFacts facts() {
  ServerFacts facts;
  facts.sees_all = true;
  facts.role = "app";
  return facts;
}

TEST(ProbeRows, CountFreshnessByOurOwnClock) {
  ReplicaMemory memory;
  // The standby's clock is years behind; only that its message is a new one counts.
  auto first = memory.read(rows_of({standby("db-2", "streaming", "900", "1.0")}), facts(), at(0ms));
  EXPECT_EQ(first.replicas.at(0).reply_age.value, 0ms);
  auto same = memory.read(rows_of({standby("db-2", "streaming", "900", "1.0")}), facts(), at(500ms));
  EXPECT_EQ(same.replicas.at(0).reply_age.value, 500ms);
  auto fresh = memory.read(rows_of({standby("db-2", "streaming", "950", "1.4")}), facts(), at(1000ms));
  EXPECT_EQ(fresh.replicas.at(0).reply_age.value, 0ms);
  EXPECT_EQ(fresh.replicas.at(0).replayed.value, 950U);
  EXPECT_EQ(fresh.flushed, 1000U);
}

TEST(ProbeRows, TellStatesOfAStandbyApart) {
  ReplicaMemory memory;
  auto const reading =
      memory.read(rows_of({standby("catches", "catchup", "10", "1"), standby("copies", "backup", kNull, kNull),
                           standby("new", "streaming", kNull, kNull), standby("stores", "streaming", kNull, "1"),
                           standby("streams", "streaming", "900", "1"), standby("hidden", kNull, kNull, kNull)}),
                  facts(), at(0ms));
  ASSERT_EQ(reading.replicas.size(), 6U);
  EXPECT_EQ(reading.replicas[0].state, ReplicaState::kJoining);
  EXPECT_EQ(reading.replicas[1].state, ReplicaState::kJoining);
  EXPECT_EQ(reading.replicas[2].state, ReplicaState::kJoining);
  EXPECT_EQ(reading.replicas[3].state, ReplicaState::kReceiver);
  EXPECT_EQ(reading.replicas[3].replayed.sight, Sight::kNull);
  EXPECT_EQ(reading.replicas[4].state, ReplicaState::kStreaming);
  EXPECT_EQ(reading.replicas[5].replayed.sight, Sight::kNoPrivilege);
  EXPECT_NE(reading.replicas[5].replayed.why.find("GRANT pg_monitor TO \"app\""), std::string::npos);
}

TEST(ProbeRows, MissOnlyWhoHasStreamedBefore) {
  ReplicaMemory memory;
  memory.read(rows_of({standby("db-2", "streaming", "900", "1"), standby("copy", "backup", kNull, kNull),
                       standby("store", "streaming", kNull, "1")}),
              facts(), at(0ms));
  auto const later =
      memory.read(rows_of({{"1000", kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, "00000001"}}),
                  facts(), at(500ms));
  ASSERT_EQ(later.replicas.size(), 1U);
  EXPECT_EQ(later.replicas[0].name, "db-2");
  EXPECT_EQ(later.replicas[0].state, ReplicaState::kVanished);
  EXPECT_EQ(later.replicas[0].replayed.sight, Sight::kMissing);
  auto const back = memory.read(rows_of({standby("db-2", "catchup", "900", "2")}), facts(), at(1s));
  ASSERT_EQ(back.replicas.size(), 1U);
  EXPECT_EQ(back.replicas[0].state, ReplicaState::kJoining);
}

TEST(ProbeRows, MissNobodyAfterAFailOver) {
  ReplicaMemory memory;
  memory.read(rows_of({standby("db-2", "streaming", "900", "1")}), facts(), at(0ms));
  Row promoted = {"1000", kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, kNull, "0000000A"};
  auto const reading = memory.read(rows_of({promoted}), facts(), at(5s));
  EXPECT_TRUE(reading.replicas.empty());
}

TEST(ProbeRows, TellStandbysOfOneNameApart) {
  ReplicaMemory memory;
  auto const all = rows_of({standby("twin", "streaming", "1", "1"), standby("twin", "streaming", "2", "1"),
                            standby("walreceiver", "streaming", "3", "1", "east"),
                            standby("walreceiver", "streaming", "4", "1", "west")});
  for (int round = 0; round < 2; ++round) {
    auto const reading = memory.read(all, facts(), at(round * 500ms));
    ASSERT_EQ(reading.replicas.size(), 4U);
    EXPECT_EQ(reading.replicas[0].name, "twin");
    EXPECT_EQ(reading.replicas[1].name, "twin #2");
    EXPECT_EQ(reading.replicas[2].name, "walreceiver (slot east)");
    EXPECT_EQ(reading.replicas[3].name, "walreceiver (slot west)");
  }
}

TEST(ProbeRows, ForgetStandbysBeyondTheMost) {
  ReplicaMemory memory;
  throttle::ReplicationReading reading;
  for (int each = 0; each < 2 * static_cast<int>(kMostReplicas); ++each) {
    auto const name = "pod-" + std::to_string(each);
    reading = memory.read(rows_of({standby(name, "streaming", "1", "1")}), facts(), at(each * 500ms));
  }
  EXPECT_LE(reading.replicas.size(), kMostReplicas + 1);
  EXPECT_EQ(reading.replicas.front().state, ReplicaState::kStreaming);
}

TEST(ProbeRows, RememberSinceWhenSomebodyWaits) {
  WaiterMemory memory;
  Row row = {"0", kNull, kNull, kNull, kNull, kNull, kNull, "11,12"};
  memory.read(rows_of({row}), at(0ms));
  row[7] = "12,13";
  memory.read(rows_of({row}), at(250ms));
  auto const known = memory.known(at(300ms));
  ASSERT_EQ(known.size(), 2U);
  EXPECT_EQ(known[0], std::make_pair(12, 300ms));
  EXPECT_EQ(known[1], std::make_pair(13, 50ms));
}

TEST(ProbeRows, GiveASnapshotWithoutATimeTheAgeForWhichItWasSeen) {
  ActivityMemory memory;
  Row row = {"3", "90", "1000", "a query on replica db-2", kNull, "731"};
  EXPECT_EQ(memory.read(rows_of({row}), at(0s)).oldest_xmin_age, 0s);
  EXPECT_EQ(memory.read(rows_of({row}), at(7s)).oldest_xmin_age, 7s);
  row[5] = "732";
  EXPECT_EQ(memory.read(rows_of({row}), at(9s)).oldest_xmin_age, 0s) << "a later snapshot of the same replica";
  row[4] = "60";
  EXPECT_EQ(memory.read(rows_of({row}), at(10s)).oldest_xmin_age, 60s) << "the server knows better";
  Row const none = {"3", "90", "1000", kNull, kNull, kNull};
  auto const reading = memory.read(rows_of({none}), at(11s));
  EXPECT_FALSE(reading.oldest_xmin_age.has_value());
  EXPECT_EQ(reading.active, 3);
}

TEST(ProbeRows, SumOwnWalOverSessionsThatComeAndGo) {
  WalMemory memory;
  Row row = {"5", "1", "0", "2", "1024", "300000", "0.9", "11:100,12:50"};
  EXPECT_EQ(memory.read(rows_of({row}), 7, at(0s)).own_bytes, 150U);
  row[7] = "12:80,13:10";
  EXPECT_EQ(memory.read(rows_of({row}), 7, at(1s)).own_bytes, 190U);
  row[7] = "12:5";
  EXPECT_EQ(memory.read(rows_of({row}), 7, at(2s)).own_bytes, 195U) << "a new session with an old number";
  row[7] = kNull;
  auto const reading = memory.read(rows_of({row}), 7, at(3s));
  EXPECT_FALSE(reading.own_bytes.has_value());
  EXPECT_EQ(reading.inserted, 7U);
  EXPECT_EQ(reading.checkpoint_timeout, 300s);
}

TEST(ProbeRows, EstimateTheArchiversBacklogWhereItsFilesMayNotBeListed) {
  Row row = {"t", "0", "000000010000000A000000FE", "000000020000000B00000003", "16777216", kNull};
  auto sample = archive_of(rows_of({row}), facts(), at(0s));
  EXPECT_TRUE(sample.is_seen());
  EXPECT_EQ(sample.value.segments_waiting, 4);
  row[5] = "9";
  EXPECT_EQ(archive_of(rows_of({row}), facts(), at(0s)).value.segments_waiting, 9);
  row[5] = kNull;
  row[2] = "00000002.history";
  EXPECT_EQ(archive_of(rows_of({row}), facts(), at(0s)).sight, Sight::kNoPrivilege);
  row[2] = kNull;
  EXPECT_EQ(archive_of(rows_of({row}), facts(), at(0s)).sight, Sight::kNoPrivilege);
  row[0] = "f";
  EXPECT_TRUE(archive_of(rows_of({row}), facts(), at(0s)).is_seen());
}

TEST(ProbeRows, TakeMissingTablesForMissing) {
  Row const row = {"f", "f", "0", "0", "0", "0", "0"};
  EXPECT_EQ(vacuum_of(rows_of({row}), at(0s)).sight, Sight::kMissing);
}

TEST(ProbeRows, KeepTheLastValueOfASpoiledSample) {
  auto sample = seen(5.0, at(0s));
  spoil(sample, Sight::kFailed, at(1s), "why");
  EXPECT_FALSE(sample.is_seen());
  EXPECT_EQ(sample.value, 5.0);
  EXPECT_EQ(sample.at, at(1s));
  EXPECT_EQ(sample.why, "why");
}

}  // namespace
}  // namespace pgbackfill::engine
