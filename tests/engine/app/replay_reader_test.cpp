// A recording played through the throttle: what becomes of its moments, and what is refused.
#include "engine/app/replay_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

#include "engine/base/command_error.h"
#include "engine/tell/reading_json.h"

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using throttle::Sight;
using throttle::TimePoint;

constexpr std::int64_t kStart = 1'700'000'000'000;

// Moment `number` of five a second; the server is close to the wraparound from `bad_from` on.
RecordedMoment moment(int number, int bad_from) {
  TimePoint const at{1h + number * 200ms};
  RecordedMoment one;
  one.at = at;
  one.clock_ms = kStart + number * 200;
  one.work.rows = 10;
  one.work.wal_bytes = 1'000;
  one.work.busy = 1;
  one.work.wanted = 2;
  one.reading.canary = {Sight::kSeen, {at, 2ms}, at, ""};
  one.reading.waiters = {Sight::kSeen, {at, 0, 0ms, 0, ""}, at, ""};
  one.reading.activity = {Sight::kSeen, {at, 0, 50, 1s, ""}, at, ""};
  one.reading.slots = {Sight::kSeen, {at, 1'500, {}}, at, ""};
  one.reading.presence = {Sight::kSeen, {at, 0, 0}, at, ""};
  throttle::ReplicaReading replica;
  replica.name = "db-2";
  replica.replayed = {Sight::kSeen, 1'000, at, ""};
  one.reading.replication = {Sight::kSeen, {at, 1'500, {replica}}, at, ""};
  throttle::HealthReading health;
  health.at = at;
  health.archive = {Sight::kSeen, {}, at, ""};
  health.vacuum = {Sight::kSeen, {}, at, ""};
  health.wraparound_age = {Sight::kSeen, number >= bad_from ? 2'000'000'000 : 1'000, at, ""};
  one.reading.health = {Sight::kSeen, health, at, ""};
  return one;
}

class ReplayReader : public testing::Test {
 protected:
  ReplayReader() {
    std::string pattern = std::filesystem::temp_directory_path() / "pgbackfill-replay-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~ReplayReader() override { std::filesystem::remove_all(folder_); }

  std::string write(int moments, int bad_from, std::string const& more = "") const {
    std::string const path = folder_ / "readings.jsonl";
    std::ofstream file(path);
    for (int number = 0; number < moments; ++number) file << to_json_line(moment(number, bad_from)) << '\n';
    file << more;
    return path;
  }

  std::filesystem::path folder_;
};

TEST_F(ReplayReader, ShowsEachDecisionUntilTheNext) {
  auto const replay = read_replay(write(11, 5), {});
  EXPECT_EQ(replay.decisions, 11);
  ASSERT_EQ(replay.stretches.size(), 10U);
  for (int number = 0; number < 10; ++number) {
    auto const& one = replay.stretches[static_cast<std::size_t>(number)];
    EXPECT_EQ(one.from_ms, kStart + number * 200);
    EXPECT_EQ(one.to_ms, kStart + (number + 1) * 200);
    EXPECT_EQ(one.backlog, (std::map<std::string, double>{{"db-2", 500}}));
    EXPECT_EQ(one.commit_ms, 2);
    EXPECT_EQ(one.rows, 10);
    bool const is_bad = number >= 5;
    EXPECT_EQ(one.held_ms.contains("wraparound"), is_bad) << number;
    EXPECT_EQ(one.workers_allowed > 0, !is_bad) << number << testing::PrintToString(one.held_ms);
  }
  EXPECT_EQ(replay.stretches[7].held_ms.at("wraparound"), 200);
}

TEST_F(ReplayReader, JoinsTheMomentsOfALongRecordingAndLosesNone) {
  auto const replay = read_replay(write(5'000, 2'500), {});
  EXPECT_EQ(replay.decisions, 5'000);
  EXPECT_LE(replay.stretches.size(), kMostStretches);
  EXPECT_GT(replay.stretches.size(), kMostStretches / 4);
  double rows = 0;
  double held = 0;
  std::int64_t decisions = 0;
  std::int64_t end = kStart;
  for (auto const& one : replay.stretches) {
    EXPECT_EQ(one.from_ms, end);
    end = one.to_ms;
    rows += one.rows;
    decisions += one.decisions;
    if (one.held_ms.contains("wraparound")) held += one.held_ms.at("wraparound");
  }
  EXPECT_EQ(rows, 49'990);
  EXPECT_EQ(decisions, 4'999);
  EXPECT_EQ(held, (4'999 - 2'500) * 200);
}

TEST_F(ReplayReader, PassesByALineThatWasCutByAKill) {
  EXPECT_EQ(read_replay(write(3, 100, "{\"at\": 12"), {}).decisions, 3);
}

TEST_F(ReplayReader, RefusesWhatIsNoRecording) {
  auto const trouble = [](std::string const& path) -> std::string {
    try {
      read_replay(path, {});
    } catch (CommandError const& error) {
      EXPECT_EQ(error.exit_code, kExitUsage);
      return error.text;
    }
    return "";
  };
  EXPECT_THAT(trouble(write(3, 100, "nonsense\n")), HasSubstr("readings.jsonl:4: not a recorded reading"));
  EXPECT_THAT(trouble(write(1, 100)), HasSubstr("no two readings"));
  EXPECT_THAT(trouble(write(0, 100)), HasSubstr("no two readings"));
  EXPECT_THAT(trouble(folder_ / "none"), HasSubstr("No such file"));
}

}  // namespace
}  // namespace pgbackfill::engine
