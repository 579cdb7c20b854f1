// `pgbackfill exporter`: what it shows of jobs on which nobody works, and that it shows nothing that it does not know.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/http_client.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;
using testing::Not;

constexpr int kUsage = 2;
constexpr int kOk = 200;
constexpr int kUnavailable = 503;
constexpr char kCanRead[] = "pgbackfill_exporter_can_read";

class ExporterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "exporter";
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  // A database of its own, since an exporter shows all jobs of one.
  void SetUp() override {
    PgClient(cluster_->dsn()).exec("CREATE DATABASE " + name_of_test());
    dsn_ = cluster_->dsn() + " dbname=" + name_of_test();
  }

  Program& start(std::string const& more = "") {
    exporter_ = std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "exporter", "--listen", "0",
                                                                   "--interval", "1s", "--dsn", dsn_ + more});
    std::string const before = "http://127.0.0.1:";
    EXPECT_TRUE(exporter_->wait_for_output("/metrics")) << exporter_->err();
    auto const log = exporter_->err();
    auto const at = log.find(before);
    port_ = at == std::string::npos ? 0 : static_cast<std::uint16_t>(std::atoi(log.c_str() + at + before.size()));
    return *exporter_;
  }

  std::string scrape() const { return http_get(port_, "/metrics").body; }

  // As it is printed; empty if it is not there.
  static std::string value_of(std::string const& text, std::string const& series) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(series + " ")) return line.substr(series.size() + 1);
    }
    return "";
  }

  // Waits until the exporter shows this.
  testing::AssertionResult shows(std::string const& series, std::string const& value) const {
    std::string text;
    auto const is_so = [&] {
      text = scrape();
      return value_of(text, series) == value;
    };
    if (poll_until(is_so, 60s, 50ms)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << series << " is not " << value << "\n" << text << exporter_->err();
  }

  static std::string series(std::string const& name, std::string const& migration, std::string const& labels = "") {
    return name + "{migration=\"" + migration + "\"" + (labels.empty() ? "" : "," + labels) + "}";
  }

  // A migration that counts up a table of 4000 rows, which is complete.
  std::unique_ptr<MigrationRun> complete_run(std::string const& name) {
    PgClient client(dsn_);
    client.exec("CREATE TABLE " + name + " (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO " + name +
                " SELECT generate_series(1, 4000); ANALYZE " + name);
    CountUp options;
    options.table = name;
    auto run = std::make_unique<MigrationRun>(name, dsn_, count_up(options));
    EXPECT_TRUE(run->runs(kDone));
    return run;
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::string dsn_;
  std::unique_ptr<Program> exporter_;
  std::uint16_t port_ = 0;
};

std::unique_ptr<LocalCluster> ExporterTest::cluster_;

TEST_F(ExporterTest, ShowsJobsOfEveryStatusToARoleThatMayOnlyLook) {
  auto const done = complete_run("done");
  PgClient client(dsn_);
  client.exec(
      "CREATE TABLE \"Half\" (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO \"Half\" SELECT "
      "generate_series(1, 20000); ANALYZE \"Half\"");
  CountUp options;
  options.table = "'\"Half\"'";
  options.max_rows = 50;
  options.throttling = "  max_rows_per_second: 500\n";
  MigrationRun half("half", dsn_, count_up(options));
  auto& process = half.start();
  ASSERT_TRUE(half.waits_for_rows(100)) << half.story();

  client.exec(
      "CREATE ROLE watcher LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO watcher; GRANT SELECT ON ALL TABLES IN "
      "SCHEMA pgbackfill TO watcher");
  auto& exporter = start(" user=watcher");
  EXPECT_TRUE(shows(series("pgbackfill_job_processes", "half"), "1"));
  process.signal(SIGINT);
  ASSERT_TRUE(half.ends(process, kResumable));
  EXPECT_TRUE(shows(series("pgbackfill_job_processes", "half"), "0"));
  EXPECT_TRUE(shows(series("pgbackfill_job_rows_done", "half"), half.rows_done()));
  EXPECT_EQ(http_get(port_, "/readyz").status, kOk);

  auto const text = scrape();
  EXPECT_EQ(value_of(text, series("pgbackfill_job_info", "half", "table=\"public.Half\"")), "1") << text;
  EXPECT_EQ(value_of(text, series("pgbackfill_job_status", "half", "status=\"running\"")), "1") << text;
  EXPECT_EQ(value_of(text, series("pgbackfill_job_status", "half", "status=\"complete\"")), "0") << text;
  EXPECT_NE(value_of(text, series("pgbackfill_job_last_batch_age_seconds", "half")), "") << text;
  EXPECT_EQ(value_of(text, series("pgbackfill_job_status", "done", "status=\"complete\"")), "1") << text;
  EXPECT_EQ(value_of(text, series("pgbackfill_job_rows_changed", "done")), "4000") << text;
  EXPECT_EQ(value_of(text, series("pgbackfill_job_ranges_open", "done")), "0") << text;
  EXPECT_EQ(value_of(text, series("pgbackfill_job_rows_quarantined", "done")), "0") << text;

  EXPECT_EQ(half.command("cancel").exit_code, 0);
  EXPECT_TRUE(shows(series("pgbackfill_job_status", "half", "status=\"cancelled\""), "1"));
  exporter.signal(SIGTERM);
  EXPECT_EQ(exporter.wait().exit_code, 0) << exporter.err();
}

TEST_F(ExporterTest, ShowsNoJobBeforeTheFirstRunAndFindsItAfterwards) {
  start();
  EXPECT_TRUE(shows(kCanRead, "1"));
  EXPECT_THAT(scrape(), Not(HasSubstr("migration=")));
  auto const run = complete_run("done");
  EXPECT_TRUE(shows(series("pgbackfill_job_status", "done", "status=\"complete\""), "1"));
}

TEST_F(ExporterTest, ShowsNothingOldWhileTheServerIsAwayAndComesBackWithIt) {
  auto const run = complete_run("done");
  auto& exporter = start();
  ASSERT_TRUE(shows(kCanRead, "1"));
  cluster_->stop_primary(engine::StopMode::kImmediate);
  EXPECT_TRUE(shows(kCanRead, "0"));
  EXPECT_THAT(scrape(), Not(HasSubstr("migration=")));
  EXPECT_THAT(scrape(), Not(HasSubstr("pgbackfill_exporter_read_age_seconds ")));
  EXPECT_EQ(http_get(port_, "/healthz").status, kOk);
  auto const ready = http_get(port_, "/readyz");
  EXPECT_EQ(ready.status, kUnavailable);
  EXPECT_THAT(ready.body, HasSubstr("the state cannot be read: "));
  EXPECT_EQ(ready.body.find('\n'), ready.body.size() - 1) << "it is one line";
  cluster_->start_primary();
  EXPECT_TRUE(shows(kCanRead, "1"));
  EXPECT_TRUE(shows(series("pgbackfill_job_rows_changed", "done"), "4000"));
  EXPECT_THAT(exporter.err(), HasSubstr("the state can be read again"));
}

TEST_F(ExporterTest, ShowsNothingOldOfAServerThatDoesNotAnswer) {
  auto const run = complete_run("done");
  auto& exporter = start();
  ASSERT_TRUE(shows(kCanRead, "1"));
  PgClient client(dsn_);
  auto const session = std::stoi(client.value(
      "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND datname = current_database()"));
  ASSERT_EQ(kill(session, SIGSTOP), 0);
  EXPECT_TRUE(shows(kCanRead, "0"));
  EXPECT_EQ(http_get(port_, "/healthz").status, kOk);
  EXPECT_THAT(http_get(port_, "/readyz").body, HasSubstr("the server does not answer"));
  kill(session, SIGCONT);
  EXPECT_TRUE(shows(kCanRead, "1"));
  exporter.signal(SIGINT);
  EXPECT_EQ(exporter.wait().exit_code, 0) << exporter.err();
}

TEST_F(ExporterTest, WaitsForNoLockOfOthersAndEndsWhileItDoes) {
  auto const run = complete_run("done");
  auto& exporter = start();
  ASSERT_TRUE(shows(kCanRead, "1"));
  PgClient holder(dsn_);
  holder.exec("BEGIN; LOCK TABLE pgbackfill.ranges IN ACCESS EXCLUSIVE MODE");
  EXPECT_TRUE(shows(kCanRead, "0"));
  holder.exec("COMMIT");
  EXPECT_TRUE(shows(kCanRead, "1"));
  holder.exec("BEGIN; LOCK TABLE pgbackfill.ranges IN ACCESS EXCLUSIVE MODE");
  PgClient client(dsn_);
  auto const is_waiting = [&] {
    return client.value(
               "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pgbackfill.ranges'::regclass") == "1";
  };
  ASSERT_TRUE(poll_until(is_waiting));
  exporter.signal(SIGINT);
  EXPECT_EQ(exporter.wait().exit_code, 0) << exporter.err();
}

TEST_F(ExporterTest, ShowsTheOthersBesideAJobThatSomebodyBroke) {
  auto const done = complete_run("done");
  auto const broken = complete_run("broken");
  PgClient client(dsn_);
  // Two of the largest numbers add up to one that is none of ours.
  for (int i = 0; i < 2; ++i) {
    client.exec(
        "INSERT INTO pgbackfill.ranges (job_id, leaf, pass, done, rows_estimated, rows_done) SELECT id, 0, 0, true, "
        "1, 9223372036854775807 FROM pgbackfill.jobs WHERE name = 'broken'");
  }
  start();
  EXPECT_TRUE(shows(series("pgbackfill_job_readable", "broken"), "0"));
  EXPECT_TRUE(shows(series("pgbackfill_job_readable", "done"), "1"));
  EXPECT_EQ(value_of(scrape(), series("pgbackfill_job_rows_done", "broken")), "");
}

TEST_F(ExporterTest, RefusesAnAddressThatItCannotHave) {
  std::string const taken = "127.0.0.1:" + std::to_string(cluster_->port());
  auto const refused = run_program({PGBACKFILL_PROGRAM, "exporter", "--listen", taken, "--dsn", dsn_});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("cannot listen on " + taken + ": Address already in use"));
  auto const nowhere = run_program({PGBACKFILL_PROGRAM, "exporter", "--dsn", dsn_});
  EXPECT_EQ(nowhere.exit_code, kUsage);
  EXPECT_THAT(nowhere.err, HasSubstr("--listen"));
}

}  // namespace
}  // namespace pgbackfill::tests
