// What status, history and log say of migrations that run, stop, die, fail and end.
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <memory>
#include <sstream>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;

constexpr int kUsage = 2;

bool contains(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

std::string text_of(boost::json::value const& value) {
  return std::string(value.as_string());
}

std::string counting(std::string const& table) {
  CountUp options;
  options.table = table;
  return count_up(options);
}

std::vector<std::string> lines_of(std::string const& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class StatusCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "status";
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  // Slow enough to be looked at: 2000 rows at 300 rows a second.
  std::unique_ptr<MigrationRun> slow_run() {
    CountUp options;
    options.table = make_counted_table(client_, 2000);
    options.max_rows = 50;
    options.throttling = "  max_rows_per_second: 300\n";
    return std::make_unique<MigrationRun>(name_of_test(), cluster_->dsn(), count_up(options));
  }

  static ProgramResult pgbackfill(std::vector<std::string> arguments, ProgramOptions const& options = {}) {
    arguments.insert(arguments.begin(), PGBACKFILL_PROGRAM);
    arguments.insert(arguments.end(), {"--dsn", cluster_->dsn()});
    return run_program(arguments, 20s, options);
  }
  static boost::json::object json(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--format", "json"});
    auto const result = pgbackfill(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return boost::json::parse(result.out).as_object();
  }

  static std::unique_ptr<LocalCluster> cluster_;
  PgClient client_{cluster_->dsn()};
};

std::unique_ptr<LocalCluster> StatusCommand::cluster_;

TEST_F(StatusCommand, SaysThatNothingEverRanInThisDatabase) {
  client_.exec("CREATE DATABASE untouched");
  auto const result = run_program({PGBACKFILL_PROGRAM, "status", "--dsn", cluster_->dsn() + " dbname=untouched"}, 20s);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_TRUE(contains(result.err, "nothing ever ran here")) << result.err;
}

TEST_F(StatusCommand, ShowsAJobThatRunsWithItsPaceAndItsProcess) {
  auto const run = slow_run();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(100)) << run->story();
  auto const status = json({"status", run->name()});
  EXPECT_EQ(text_of(status.at("status")), "running");
  EXPECT_EQ(text_of(status.at("phase")), "backfill");
  EXPECT_GE(status.at("rows_done").to_number<std::int64_t>(), 100);
  EXPECT_GT(status.at("rows_per_second").to_number<double>(), 0);
  EXPECT_GT(status.at("eta_ms").to_number<std::int64_t>(), 0);
  EXPECT_EQ(status.at("processes").to_number<int>(), 1);
  auto const& holder = status.at("lease_holders").as_array().at(0).as_object();
  EXPECT_EQ(holder.at("pid").to_number<pid_t>(), process.pid());
  EXPECT_GT(holder.at("lease_ms").to_number<std::int64_t>(), 0);
  auto const all = json({"status"});
  EXPECT_EQ(text_of(all.at("migrations").as_array().at(0).at("migration")), run->name());
  auto const page = pgbackfill({"status", run->name()});
  EXPECT_TRUE(contains(page.out, "joins in")) << page.out;
}

TEST_F(StatusCommand, SaysWhoPausedAJobAndHowToGoOn) {
  auto const run = slow_run();
  run->start();
  ASSERT_TRUE(run->waits_for_rows(50)) << run->story();
  EXPECT_EQ(run->command("pause", {"--reason", "lunch break"}).exit_code, 0);
  ASSERT_TRUE(poll_until([&] { return json({"status", run->name()}).at("lease_holders").as_array().empty(); }, 30s));
  auto const status = json({"status", run->name()});
  EXPECT_EQ(text_of(status.at("status")), "paused");
  EXPECT_TRUE(contains(text_of(status.at("reason")), "lunch break"));
  EXPECT_TRUE(status.at("status_changed_by").is_string());
  EXPECT_EQ(status.at("waiting_processes").as_array().size(), 1U);
  EXPECT_TRUE(contains(text_of(status.at("next")), "pgbackfill resume"));
}

TEST_F(StatusCommand, TellsAProcessThatDiedFromOneThatRuns) {
  auto const run = slow_run();
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(50)) << run->story();
  run->kill_process(process);
  auto const status = json({"status", run->name()});
  EXPECT_TRUE(status.at("lease_holders").as_array().at(0).as_object().at("is_gone").as_bool());
  EXPECT_TRUE(contains(text_of(status.at("next")), "its process is gone"));
  auto const soon = pgbackfill({"status", run->name()});
  EXPECT_TRUE(contains(soon.out, "its process is gone")) << soon.out;
  EXPECT_FALSE(contains(soon.out, " left\n")) << "nobody works, and so there is no time left: " << soon.out;
  run->state("UPDATE pgbackfill.ranges SET owner = NULL WHERE job_id = {job} RETURNING 1");
  auto const page = pgbackfill({"status", run->name()});
  EXPECT_TRUE(contains(page.out, "no process is working on it; run it again")) << page.out;
}

TEST_F(StatusCommand, NamesWhoHoldsDeferredRows) {
  auto const table = make_counted_table(client_, 60);
  MigrationRun run(name_of_test(), cluster_->dsn(), counting(table));
  PgClient holder(cluster_->dsn() + " application_name=greedy");
  holder.exec("BEGIN; UPDATE " + table + " SET n = n WHERE id = 6");
  run.start();
  ASSERT_TRUE(poll_until(
      [&] {
        return client_.try_exec("SELECT 1 FROM pgbackfill.deferred") == "00000" &&
               client_.value("SELECT count(*) FROM pgbackfill.deferred") == "1";
      },
      15s))
      << run.story();
  auto const page = pgbackfill({"status", run.name()});
  EXPECT_TRUE(contains(page.out, "1 row that somebody held")) << page.out;
  EXPECT_TRUE(contains(page.out, "greedy")) << page.out;
  holder.exec("ROLLBACK");
}

TEST_F(StatusCommand, ListsQuarantinedRowsWithKeyAndErrorAndWhatToDo) {
  auto const table = make_counted_table(client_, 100);
  MigrationRun run(
      name_of_test(), cluster_->dsn(),
      "table: public." + table + "\nbackfill:\n  set: {n: \"n + 1 / (id - 6)::int\"}\n  on_bad_row: {quarantine: 3}\n");
  EXPECT_TRUE(run.runs(kDone)) << run.story();
  auto const status = json({"status", run.name()});
  EXPECT_EQ(status.at("quarantined").to_number<int>(), 1);
  auto const& bad = status.at("quarantine").as_array().at(0).as_object();
  EXPECT_EQ(text_of(bad.at("key").at("id")), "6");
  EXPECT_EQ(text_of(bad.at("sqlstate")), "22012");
  auto const page = pgbackfill({"status", run.name()});
  EXPECT_TRUE(contains(page.out, "id=6")) << page.out;
  EXPECT_TRUE(contains(page.out, "--retry-quarantine")) << page.out;
}

TEST_F(StatusCommand, SaysWhyAJobFailedAndThatARepeatTriesAgain) {
  auto const table = make_counted_table(client_, 100);
  MigrationRun run(name_of_test(), cluster_->dsn(),
                   "table: public." + table + "\nbackfill:\n  set: {n: \"n + 1 / (id - 6)::int\"}\n");
  EXPECT_TRUE(run.runs(kFailed)) << run.story();
  auto const status = json({"status", run.name()});
  EXPECT_EQ(text_of(status.at("status")), "failed");
  EXPECT_FALSE(status.at("reason").as_string().empty());
  EXPECT_TRUE(contains(text_of(status.at("next")), "tries again"));
}

TEST_F(StatusCommand, ShowsStepsThatAreDoneAndThoseThatWaitForComplete) {
  auto const table = make_counted_table(client_, 10);
  MigrationRun run(name_of_test(), cluster_->dsn(),
                   "expand:\n  - sql: \"ALTER TABLE " + table + " ADD COLUMN extra int\"\n" + counting(table) +
                       "contract:\n  - sql: \"ALTER TABLE " + table + " DROP COLUMN extra\"\n");
  EXPECT_TRUE(run.runs(kDone)) << run.story();
  auto const page = pgbackfill({"status", run.name()});
  EXPECT_TRUE(contains(page.out, "1 of 1 steps done")) << page.out;
  EXPECT_TRUE(contains(page.out, "0 of 1 steps done, next: ALTER TABLE " + table + " DROP COLUMN extra")) << page.out;
  EXPECT_TRUE(contains(page.out, "pgbackfill complete " + run.name())) << page.out;
  EXPECT_TRUE(contains(page.out, "pgbackfill approve " + run.name())) << page.out;
  EXPECT_EQ(pgbackfill({"approve", run.name()}).exit_code, 0);
  auto const approved = pgbackfill({"status", run.name()});
  EXPECT_FALSE(contains(approved.out, "pgbackfill approve " + run.name())) << approved.out;
}

TEST_F(StatusCommand, SaysOfAMigrationWithoutABackfillWhatIsNext) {
  auto const table = make_counted_table(client_, 10);
  MigrationRun run(name_of_test(), cluster_->dsn(), "table: " + table + "\ncontract:\n  - set_not_null: n\n");
  EXPECT_TRUE(run.runs(kDone)) << run.story();
  auto const page = pgbackfill({"status", run.name()});
  EXPECT_TRUE(contains(page.out, run.name() + "  waits for complete\n")) << page.out;
  EXPECT_TRUE(contains(page.out, "it has steps only, and no backfill")) << page.out;
  EXPECT_TRUE(contains(page.out, "pgbackfill complete " + run.name())) << page.out;
  EXPECT_FALSE(contains(page.out, "approve")) << page.out;
  EXPECT_EQ(pgbackfill({"complete", run.name()}).exit_code, 0);
  auto const done = pgbackfill({"status", run.name()});
  EXPECT_TRUE(contains(done.out, "nothing is left to do")) << done.out;
  EXPECT_TRUE(contains(done.out, run.name() + "  complete\n")) << done.out;
}

TEST_F(StatusCommand, OneWordMeansOneThing) {
  auto const table = make_counted_table(client_, 1'000);
  MigrationRun run(name_of_test(), cluster_->dsn(),
                   "table: " + table +
                       "\nbackfill:\n  set: {n: n + 1}\n  batch: {max_rows: 50}\ncontract:\n  - set_not_null: "
                       "n\nthrottle: {max_rows_per_second: 100}\n");
  auto const state = [&] { return std::string(json({"status", run.name()}).at("state").as_string()); };
  auto& process = run.start();
  ASSERT_TRUE(run.waits_for_rows(1)) << run.story();
  EXPECT_EQ(state(), "running");
  process.signal(SIGINT);
  EXPECT_TRUE(run.ends(process, kResumable));
  EXPECT_EQ(state(), "idle") << "nobody works on it";
  EXPECT_EQ(pgbackfill({"pause", run.name()}).exit_code, kDone);
  EXPECT_EQ(state(), "paused");
  EXPECT_EQ(pgbackfill({"resume", run.name()}).exit_code, kDone);
  EXPECT_EQ(pgbackfill({"set", run.name(), "throttle.max_rows_per_second=none"}).exit_code, kDone);
  EXPECT_TRUE(run.runs(kDone)) << run.story();
  EXPECT_EQ(state(), "waits for complete") << "the backfill is complete, the migration is not";
  EXPECT_EQ(pgbackfill({"complete", run.name()}).exit_code, kDone);
  EXPECT_EQ(state(), "complete");
}

TEST_F(StatusCommand, WatchesUntilTheJobEnds) {
  auto const table = make_counted_table(client_, 300);
  CountUp options;
  options.table = table;
  options.max_rows = 50;
  options.throttling = "  max_rows_per_second: 300\n";
  MigrationRun run(name_of_test(), cluster_->dsn(), count_up(options));
  auto& process = run.start();
  ASSERT_TRUE(run.waits_for_rows(1)) << run.story();
  auto const watch = pgbackfill({"status", run.name(), "--watch", "--interval", "200ms"});
  EXPECT_EQ(watch.exit_code, 0) << watch.err;
  auto const lines = lines_of(watch.out);
  ASSERT_GE(lines.size(), 2U) << watch.out;
  EXPECT_TRUE(contains(lines.back(), "complete")) << watch.out;
  EXPECT_FALSE(contains(watch.out, "\x1b")) << "no terminal, no escape sequences";
  EXPECT_TRUE(run.ends(process, kDone));
}

TEST_F(StatusCommand, RedrawsOnATerminalUntilInterrupted) {
  auto const run = slow_run();
  run->start();
  ASSERT_TRUE(run->waits_for_rows(50)) << run->story();
  ProgramOptions terminal;
  terminal.terminal_columns = 80;
  terminal.environment = {{"TERM", "xterm"}, {"LC_ALL", "C.UTF-8"}};
  Program watch({PGBACKFILL_PROGRAM, "status", run->name(), "--watch", "--interval", "100ms", "--dsn", cluster_->dsn()},
                terminal);
  ASSERT_TRUE(watch.wait_for_output("ends the watch"));
  ASSERT_TRUE(poll_until([&] { return watch.out().rfind("\x1b[H") > 10; }, 30s)) << watch.out();
  watch.type("\x03");
  EXPECT_EQ(watch.wait(30s).exit_code, kResumable) << "nobody knows how the job will end";
  EXPECT_TRUE(contains(watch.out(), "rows/s")) << watch.out();
}

TEST_F(StatusCommand, SuggestsTheNameThatWasMeant) {
  auto const table = make_counted_table(client_, 10);
  MigrationRun run(name_of_test(), cluster_->dsn(), counting(table));
  EXPECT_TRUE(run.runs(kDone)) << run.story();
  for (auto const* command : {"status", "log"}) {
    auto const result = pgbackfill({command, "suggests_the_name_that_was_ment"});
    EXPECT_EQ(result.exit_code, kUsage);
    EXPECT_TRUE(contains(result.err, "did you mean '" + run.name() + "'")) << result.err;
  }
}

TEST_F(StatusCommand, KeepsHistoryAndLog) {
  auto const table = make_counted_table(client_, 10);
  MigrationRun run(name_of_test(), cluster_->dsn(), counting(table));
  EXPECT_TRUE(run.runs(kDone)) << run.story();
  auto const history = json({"history"}).at("history").as_array();
  auto const& last = history.back().as_object();
  EXPECT_EQ(text_of(last.at("migration")), run.name());
  EXPECT_EQ(text_of(last.at("status")), "complete");
  EXPECT_EQ(last.at("rows_changed").to_number<int>(), 10);
  EXPECT_TRUE(last.at("by").is_string());
  auto const log = pgbackfill({"log", run.name(), "--format", "json"});
  auto const lines = lines_of(log.out);
  ASSERT_GE(lines.size(), 3U) << log.out;
  EXPECT_EQ(text_of(boost::json::parse(lines.front()).at("kind")), "created");
  EXPECT_TRUE(contains(log.out, "\"kind\":\"complete\"")) << log.out;
  EXPECT_TRUE(contains(pgbackfill({"log", run.name()}).out, "created")) << log.out;
}

}  // namespace
}  // namespace pgbackfill::tests
