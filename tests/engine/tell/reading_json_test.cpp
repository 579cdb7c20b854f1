#include "engine/tell/reading_json.h"

#include <gtest/gtest.h>

#include <limits>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using throttle::Sight;
using throttle::TimePoint;

RecordedMoment full_moment() {
  TimePoint const now{std::chrono::nanoseconds{123'456'789'012'345}};
  RecordedMoment moment;
  moment.at = now;
  moment.clock_ms = 1'700'000'000'000;
  moment.work = {1'200, 1'100, 3, 4.5e6, 2, 1.5, 4};
  moment.work.growth = {0.25, true, "vacuum of users is at work"};
  auto& reading = moment.reading;
  throttle::ReplicaReading replica;
  replica.name = "db-2 \"odd\"";
  replica.kind = throttle::ReplicaKind::kLogicalSlot;
  replica.state = throttle::ReplicaState::kVanished;
  replica.replayed = {Sight::kNoPrivilege, 0, now, "pg_monitor"};
  replica.reply_age = {Sight::kSeen, 250ms, now, ""};
  replica.apply_delay = 5s;
  reading.replication = {Sight::kSeen, {now, 18'000'000'000'000'000'000U, {replica}}, now, ""};
  reading.canary = {Sight::kSeen, {now, 512'345ns}, now, ""};
  reading.canaries = {{now - 100ms, 1us}, {now, 512'345ns}};
  reading.waiters = {Sight::kFailed, {}, now, "canceled"};
  reading.activity = {Sight::kSeen, {now, 3, 40, 90s, "pid 7"}, now, ""};
  reading.wal.sight = Sight::kSeen;
  reading.wal.value.own_bytes = 77;
  reading.health.sight = Sight::kSeen;
  reading.slots = {Sight::kSeen, {now, 7, {{"s", true, "lost", {}, -5}}}, now, ""};
  reading.probes = {{"queue", {Sight::kSeen, 7.5, now, ""}, 10}};
  reading.neighbours = {Sight::kSeen, {{"other", 2, 1e6, std::numeric_limits<double>::infinity(), 1.5, 4}}, now, ""};
  reading.elsewhere = {Sight::kSeen, {{"far", 0.5, 1, 2, 3, 4, "shop"}}, now, ""};
  return moment;
}

TEST(ReadingJson, ComesBackAsItWas) {
  auto const moment = full_moment();
  auto const line = to_json_line(moment);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  auto const read = moment_from_json(line);
  ASSERT_TRUE(std::holds_alternative<RecordedMoment>(read)) << std::get<std::string>(read);
  auto const& again = std::get<RecordedMoment>(read);
  EXPECT_EQ(to_json_line(again), line);
  EXPECT_EQ(again.at, moment.at);
  EXPECT_EQ(again.reading.replication.value.flushed, 18'000'000'000'000'000'000U);
  auto const& replica = again.reading.replication.value.replicas.at(0);
  EXPECT_EQ(replica.name, "db-2 \"odd\"");
  EXPECT_EQ(replica.replayed.sight, Sight::kNoPrivilege);
  EXPECT_EQ(replica.apply_delay, 5s);
  EXPECT_EQ(again.reading.canary.value.latency, 512'345ns);
  EXPECT_EQ(again.reading.slots.value.slots.at(0).retained, std::nullopt);
  EXPECT_EQ(again.reading.slots.value.slots.at(0).safe_wal_size, -5);
  EXPECT_EQ(again.reading.activity.value.oldest_xmin_age, 90s);
  EXPECT_EQ(again.reading.neighbours.value.at(0).wal_wanted, std::numeric_limits<double>::infinity());
  EXPECT_EQ(again.reading.elsewhere.value.at(0).database, "shop");
  EXPECT_EQ(again.work.busy, 1.5);
  EXPECT_EQ(again.work.rows_changed, 1'100);
  EXPECT_EQ(again.work.wal_bytes, 4.5e6);
  EXPECT_EQ(again.work.growth.share, 0.25);
  EXPECT_TRUE(again.work.growth.is_held);
  EXPECT_EQ(again.work.growth.text, "vacuum of users is at work");
}

TEST(ReadingJson, LeavesOutWhatALineDoesNotHave) {
  auto const read = moment_from_json(R"({"at": 5, "later": true})");
  ASSERT_TRUE(std::holds_alternative<RecordedMoment>(read));
  EXPECT_EQ(std::get<RecordedMoment>(read).reading.replication.sight, Sight::kNeverSampled);
}

TEST(ReadingJson, SaysWhatIsWrongWithALine) {
  for (char const* line : {"", "[]", "{", R"({"at": "soon"})", R"({"reading": {"canary": {"sight": "dim"}}})",
                           R"({"work": {"rows": 1.5}})", R"({"reading": {"probes": {}}})"}) {
    auto const read = moment_from_json(line);
    EXPECT_TRUE(std::holds_alternative<std::string>(read)) << line;
  }
}

}  // namespace
}  // namespace pgbackfill::engine
