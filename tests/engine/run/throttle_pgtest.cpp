// The throttle through the whole program: a real replica that stops replaying, limits that change meanwhile, processes
// that hear of each other, and readings on record.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/tell/reading_json.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"
#include "tests/support/slow_replica.h"
#include "throttle/throttle.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::int64_t kRows = 20'000;

// One runner of `status --format json`, or nothing yet.
struct Runner {
  std::string mode;
  bool may_start = true;
  std::vector<std::string> causes;  // "replica_lag stops: text"

  std::string cause(std::string const& start) const {
    auto const found =
        std::find_if(causes.begin(), causes.end(), [&](std::string const& each) { return each.starts_with(start); });
    return found == causes.end() ? "" : *found;
  }
};

class ThrottleTest : public CountedTableTest {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "throttle";
    options.is_fsync_on = false;
    options.replicas = 1;
    cluster_ = std::make_unique<engine::LocalCluster>(options);
    cluster_->start();
  }

  // Takes at least ten seconds, if nothing but its ceiling in rows holds it.
  std::unique_ptr<MigrationRun> slow_run(std::string const& throttling) {
    make_table(kRows);
    CountUp options;
    options.throttling = "  max_rows_per_second: 2000\n" + throttling;
    // A test before may have left the standby behind; a run that meets it so waits for it first.
    EXPECT_TRUE(wait_until_replayed(*cluster_, 0));
    EXPECT_TRUE(poll_until(
        [&] { return client_->value("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"; }));
    return migration_from(cluster_->dsn(), options);
  }

  static std::vector<Runner> runners(MigrationRun& migration) {
    auto const result = migration.command("status", {"--format", "json"});
    if (result.exit_code != kDone) return {};
    std::vector<Runner> runners;
    auto const page = boost::json::parse(result.out);
    for (auto const& each : page.as_object().at("runners").as_array()) {
      auto const& object = each.as_object();
      Runner runner;
      runner.mode = std::string(object.at("mode").as_string());
      runner.may_start = object.at("may_start").as_bool();
      for (auto const& cause : object.at("causes").as_array()) {
        auto const word = [&](char const* name) { return std::string(cause.as_object().at(name).as_string()); };
        runner.causes.push_back(word("kind") + " " + word("grip") + ": " + word("text"));
      }
      runners.push_back(std::move(runner));
    }
    return runners;
  }

  // Waits until the only process names such a cause; its text.
  static std::string waits_for_cause(MigrationRun& migration, std::string const& start) {
    std::string text;
    poll_until([&] {
      auto const now = runners(migration);
      if (now.size() == 1) text = now.front().cause(start);
      return !text.empty();
    });
    return text;
  }

  static std::vector<engine::RecordedMoment> recorded(std::filesystem::path const& file) {
    std::vector<engine::RecordedMoment> moments;
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
      auto read = engine::moment_from_json(line);
      if (auto const* error = std::get_if<std::string>(&read)) {
        ADD_FAILURE() << *error;
        break;
      }
      moments.push_back(std::get<engine::RecordedMoment>(std::move(read)));
    }
    return moments;
  }
};

TEST_F(ThrottleTest, StopsForAReplicaThatReplaysNothingAndGoesOnWhenItDoes) {
  auto const migration = slow_run("  replica_lag: 500ms\n");
  SlowReplica replica(*cluster_);
  auto& process = migration->start();
  ASSERT_TRUE(migration->waits_for_rows(2'000)) << migration->story();
  replica.freeze();
  std::string const cause = waits_for_cause(*migration, "replica_lag stops");
  EXPECT_THAT(cause, HasSubstr("replica")) << migration->story();
  EXPECT_THAT(cause, HasSubstr("0.50 s allowed")) << migration->story();
  std::string const page = migration->command("status").out;
  EXPECT_THAT(page, HasSubstr("held back"));
  EXPECT_THAT(page, HasSubstr(" behind"));
  EXPECT_NE(counts_now(), all_once());
  EXPECT_TRUE(process.is_running());
  replica.thaw();
  EXPECT_TRUE(migration->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once());
  EXPECT_THAT(process.err(), testing::ContainsRegex("held back by [^\n]*replica_lag"));
}

TEST_F(ThrottleTest, WaitsForANamedReplicaThatIsNotThereUntilItIsNoLongerAsked) {
  auto const migration = slow_run("  replicas: [db-9]\n");
  auto& process = migration->start();
  EXPECT_THAT(waits_for_cause(*migration, "replica_missing stops"), HasSubstr("db-9")) << migration->story();
  EXPECT_EQ(migration->rows_done(), "0");
  EXPECT_EQ(migration->command("set", {"throttle.missing_replica=ignore", "throttle.missing_patience=0s"}).exit_code,
            kDone);
  EXPECT_TRUE(migration->ends(process, kDone)) << migration->story();
  EXPECT_EQ(counts_now(), all_once());
}

TEST_F(ThrottleTest, OnlyShowsWhatItWouldDoInModeObserve) {
  auto const migration = slow_run("  mode: observe\n  replica_lag: 500ms\n");
  SlowReplica replica(*cluster_);
  replica.freeze();
  auto& process = migration->start();
  EXPECT_THAT(waits_for_cause(*migration, "replica_lag stops"), HasSubstr("0.50 s allowed")) << migration->story();
  EXPECT_THAT(migration->command("status").out, HasSubstr("it would be: "));
  EXPECT_TRUE(migration->ends(process, kDone));
  EXPECT_THAT(process.err(), testing::ContainsRegex("would have been held back by [^\n]*replica_lag"));
  EXPECT_EQ(counts_now(), all_once());
}

TEST_F(ThrottleTest, HeedsALimitThatIsSetWhileItRuns) {
  auto const migration = slow_run("  replica_lag: 10m\n");
  SlowReplica replica(*cluster_);
  replica.freeze();
  auto& process = migration->start();
  ASSERT_TRUE(migration->waits_for_rows(2'000)) << migration->story();
  EXPECT_EQ(migration->command("set", {"throttle.replica_lag=500ms"}).exit_code, kDone);
  EXPECT_NE(waits_for_cause(*migration, "replica_lag stops"), "") << migration->story();
  EXPECT_EQ(migration->command("set", {"throttle.replica_lag=10m"}).exit_code, kDone);
  EXPECT_TRUE(migration->ends(process, kDone));
  EXPECT_EQ(counts_now(), all_once());
}

TEST_F(ThrottleTest, DividesAJobsWeightAmongItsProcessesAndHearsOfOtherJobs) {
  auto const migration = slow_run("  nice: 1\n");
  client_->exec("CREATE TABLE other_job (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)");
  client_->exec("INSERT INTO other_job (id) SELECT generate_series(1, 20000); ANALYZE other_job");
  CountUp options;
  options.table = "other_job";
  options.throttling = "  max_rows_per_second: 2000\n";
  MigrationRun other("other_job", cluster_->dsn(), count_up(options));

  auto const file = std::filesystem::temp_directory_path() / (name_of_test() + std::to_string(getpid()) + ".jsonl");
  auto& first = migration->start({"--record-readings", file.string()});
  auto& second = migration->start();
  auto& third = other.start();
  EXPECT_TRUE(poll_until([&] { return runners(*migration).size() == 2 && runners(other).size() == 1; }));
  EXPECT_TRUE(migration->ends(first, kDone));
  EXPECT_TRUE(migration->ends(second, kDone));
  EXPECT_TRUE(other.ends(third, kDone));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.runners"), "0");

  bool heard = false;
  for (auto const& moment : recorded(file)) {
    if (!moment.reading.neighbours.is_seen() || moment.work.processes != 2) continue;
    auto const& others = moment.reading.neighbours.value;
    if (others.size() != 2) continue;
    for (auto const& each : others) EXPECT_DOUBLE_EQ(each.weight, each.name == "other_job" ? 1 : 0.4);
    heard = true;
  }
  EXPECT_TRUE(heard) << migration->story();
  std::filesystem::remove(file);
}

TEST_F(ThrottleTest, SharesTheServerWithAJobInAnotherDatabase) {
  PgClient(cluster_->dsn()).exec("CREATE DATABASE shop");
  struct Job {
    std::string dsn;
    int nice;
    double weight;  // 0.8 to the power of nice
    std::unique_ptr<MigrationRun> migration;
    std::filesystem::path readings;
    Program* process = nullptr;
  };
  std::vector<Job> jobs;
  jobs.push_back({cluster_->dsn(), 0, 1, nullptr, "", nullptr});
  jobs.push_back({cluster_->dsn() + " dbname=shop", 3, 0.512, nullptr, "", nullptr});
  for (auto& job : jobs) {
    PgClient client(job.dsn);
    client.exec(
        "CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, name text NOT NULL); ALTER TABLE wide ALTER "
        "name SET STORAGE PLAIN; INSERT INTO wide SELECT g, 0, repeat('x', 1500) FROM generate_series(1, 150000) g");
    client.exec("VACUUM ANALYZE wide");
    CountUp options;
    options.table = "wide";
    options.max_rows = 5'000;
    options.throttling = "  nice: " + std::to_string(job.nice) + "\n";
    job.migration = std::make_unique<MigrationRun>("wide_" + std::to_string(job.nice), job.dsn, count_up(options));
    job.readings = std::filesystem::temp_directory_path() /
                   (name_of_test() + std::to_string(job.nice) + "-" + std::to_string(getpid()) + ".jsonl");
  }
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  for (auto& job : jobs) job.process = &job.migration->start({"--record-readings", job.readings.string()});
  std::string page;
  EXPECT_TRUE(poll_until([&] {
    page = jobs[0].migration->command("status").out;
    return page.find("the server with wide_3 in database shop, weight 0.51: ") != std::string::npos;
  })) << page;
  for (auto& job : jobs) EXPECT_TRUE(job.migration->ends(*job.process, kDone)) << job.migration->story();
  // What each heard of the other is what it divides the server by.
  for (std::size_t at = 0; at < jobs.size(); ++at) {
    double most_wal = 0;
    for (auto const& moment : recorded(jobs[at].readings)) {
      for (auto const& other : moment.reading.elsewhere.value) {
        EXPECT_DOUBLE_EQ(other.weight, jobs[1 - at].weight);
        EXPECT_EQ(other.database, at == 0 ? "shop" : "postgres");
        most_wal = std::max(most_wal, other.wal_per_second);
      }
    }
    EXPECT_GT(most_wal, 1e6) << jobs[at].migration->story();
    std::filesystem::remove(jobs[at].readings);
  }
  EXPECT_EQ(counts(jobs[1].dsn, "wide"), "1: 150000");
  jobs.clear();
  PgClient(cluster_->dsn()).exec("DROP DATABASE shop WITH (FORCE)");
}

TEST_F(ThrottleTest, RecordsReadingsThatBindTheSameWhenReplayed) {
  auto const migration = slow_run("  replica_lag: 500ms\n");
  auto const file = std::filesystem::temp_directory_path() / (name_of_test() + std::to_string(getpid()) + ".jsonl");
  SlowReplica replica(*cluster_);
  auto& process = migration->start({"--record-readings", file.string()});
  ASSERT_TRUE(migration->waits_for_rows(2'000)) << migration->story();
  replica.freeze();
  EXPECT_NE(waits_for_cause(*migration, "replica_lag stops"), "") << migration->story();
  replica.thaw();
  EXPECT_TRUE(migration->ends(process, kDone));

  throttle::Limits limits;
  limits.replica_lag = 500ms;
  throttle::Throttle law(limits);
  int stopped_by_lag = 0;
  for (auto const& moment : recorded(file)) {
    auto const decision = law.decide(moment.reading, moment.work, moment.at);
    stopped_by_lag += std::any_of(decision.causes.begin(), decision.causes.end(), [](throttle::Cause const& cause) {
      return cause.kind == throttle::CauseKind::kReplicaLag && cause.grip == throttle::Grip::kStops;
    });
  }
  EXPECT_GT(stopped_by_lag, 0);
  std::filesystem::remove(file);
}

TEST_F(ThrottleTest, RefusesLimitsThatContradictEachOther) {
  make_table(kRows);
  CountUp options;
  options.table = table_;
  options.throttling = "  mode: off\n  archive_slow: 20\n  archive_stop: 30\n";
  MigrationRun migration(table_, cluster_->dsn(), count_up(options));
  ASSERT_TRUE(migration.runs(kDone));
  auto const refused = migration.command("set", {"throttle.archive_stop=10"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("archive_slow is 20 and archive_stop is 10: it would stop before"));
  EXPECT_EQ(migration.state("SELECT settings ->> 'throttle.archive_stop' FROM pgbackfill.jobs WHERE id = {job}"),
            "NULL");
  EXPECT_EQ(migration.command("set", {"throttle.archive_stop=10", "throttle.archive_slow=5"}).exit_code, kDone);
  // Without the live one that of the file holds again.
  EXPECT_EQ(migration.command("set", {"throttle.archive_slow=default"}).exit_code, kUsage);
  EXPECT_EQ(migration.command("set", {"throttle.replica_lag=1s"}).exit_code, kDone);
  EXPECT_EQ(migration.command("set", {"throttle.archive_slow=default", "throttle.archive_stop=default"}).exit_code,
            kDone);
  options.throttling = "  archive_slow: 200\n";
  MigrationRun other("other_limits", cluster_->dsn(), count_up(options));
  auto& process = other.start();
  EXPECT_TRUE(other.ends(process, kUsage));
  EXPECT_THAT(process.err(), HasSubstr("other_limits.yaml:9:17: archive_slow is 200 and archive_stop is 128 (the "
                                       "default)"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs WHERE name = 'other_limits'"), "0");
}

TEST_F(ThrottleTest, RefusesAFileForReadingsThatItCannotWrite) {
  auto const migration = slow_run("");
  auto& process = migration->start({"--record-readings", "/nowhere/readings.jsonl"});
  EXPECT_TRUE(migration->ends(process, kUsage));
  EXPECT_THAT(process.err(), HasSubstr("cannot write /nowhere/readings.jsonl"));
  EXPECT_EQ(counts_now(), "0: " + std::to_string(kRows));
}

}  // namespace
}  // namespace pgbackfill::tests
