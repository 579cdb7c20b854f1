// The report of real runs: one that is paused, killed and held back by a replica; what others named and said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "tests/support/database_fixtures.h"
#include "tests/support/html_check.h"
#include "tests/support/poll_until.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string content_of(std::filesystem::path const& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::set<std::string> texts_of(boost::json::array const& array, char const* key) {
  std::set<std::string> texts;
  for (auto const& one : array) texts.insert(std::string(one.as_object().at(key).as_string()));
  return texts;
}

// --- a run that things happen to -------------------------------------------------------------------------------------

class ReportOfARun : public CountedTableTest {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "report";
    options.replicas = 1;
    options.is_fsync_on = false;
    cluster_ = std::make_unique<engine::LocalCluster>(options);
    cluster_->start();
  }
};

TEST_F(ReportOfARun, TellsOfItsPauseItsKillAndItsSlowReplica) {
  make_table(12'000);
  CountUp options;
  options.max_rows = 50;
  options.throttling = "  replica_lag: 500ms\n  max_rows_per_second: 500\n";
  auto const run = migration_from(cluster_->dsn(), options);
  SlowReplica replica(*cluster_);
  auto& killed = run->start();
  ASSERT_TRUE(run->waits_for_rows(1'500)) << run->story();
  ASSERT_EQ(run->command("pause", {"--reason", "lunch & <b>rest</b>"}).exit_code, kDone);
  std::this_thread::sleep_for(2s);
  ASSERT_EQ(run->command("resume").exit_code, kDone);
  ASSERT_TRUE(run->waits_for_rows(3'000)) << run->story();
  run->kill_process(killed);
  std::this_thread::sleep_for(16s);  // longer than two moments: somebody may have been there else
  auto& second = run->start();
  ASSERT_TRUE(run->waits_for_rows(5'000)) << run->story();
  replica.freeze();
  auto const seen = [&] {
    return client_->value("SELECT coalesce(max((held_ms ->> 'replica_lag')::int), 0) > 1000 FROM pgbackfill.samples") ==
           "t";
  };
  EXPECT_TRUE(poll_until(seen, 30s)) << run->story();
  replica.thaw();
  ASSERT_TRUE(run->ends(second, kDone)) << run->story();
  EXPECT_EQ(counts_now(), all_once());

  auto const json = run->command("report", {"--format", "json"});
  ASSERT_EQ(json.exit_code, kDone) << json.err;
  auto const report = boost::json::parse(json.out).as_object();
  EXPECT_EQ(report.at("state").as_string(), "complete");
  auto const kinds = texts_of(report.at("marks").as_array(), "kind");
  for (char const* kind : {"started", "paused", "resumed", "gone", "complete", "stopped"})
    EXPECT_TRUE(kinds.contains(kind)) << kind;
  auto const& course = report.at("course").as_object();
  EXPECT_TRUE(course.at("held_ms").as_object().contains("replica_lag"));
  EXPECT_TRUE(course.at("held_ms").as_object().contains("row_rate"));
  EXPECT_GE(course.at("covered_ms").as_int64() - course.at("at_work_ms").as_int64(), 10'000) << json.out;
  EXPECT_EQ(report.at("rows_done").as_int64(), 12'000);
  EXPECT_TRUE(report.at("notes").as_array().empty()) << json.out;
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"what\":\"lag\""), HasSubstr(" behind (0.50 s allowed)")));

  auto const page = run->command("report", {"--format", "html"});
  ASSERT_EQ(page.exit_code, kDone) << page.err;
  EXPECT_EQ(html_trouble(page.out), "");
  EXPECT_THAT(page.out, AllOf(HasSubstr("<rect class=\"band paused\""), HasSubstr("<rect class=\"band gone\""),
                              HasSubstr("class=\"mark gone\""), Not(HasSubstr("<b>rest"))));
  EXPECT_THAT(html_words(page.out), AllOf(HasSubstr("paused: lunch & <b>rest</b>"), HasSubstr("resumed"),
                                          HasSubstr("replica_lag"), HasSubstr("was gone without a word")));
  std::string const keep =
      std::getenv("PGBACKFILL_KEEP_REPORT") == nullptr ? "" : std::getenv("PGBACKFILL_KEEP_REPORT");
  if (!keep.empty()) std::ofstream(keep) << page.out;
}

// --- what else is in one ---------------------------------------------------------------------------------------------

class ReportTest : public DatabaseTest {
 protected:
  void make_table(std::string const& name = "t") {
    client_->exec(
        "CREATE TABLE " + name + " (id int PRIMARY KEY, n int, note text); INSERT INTO " + name +
        " SELECT g, g, CASE WHEN g = 7 THEN 'secret of seven' ELSE g::text END FROM generate_series(1, 100) g");
  }
};

TEST_F(ReportTest, GoesIntoAFileWhoseEndingSaysWhatItIs) {
  make_table();
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  for (std::string const file : {"report.html", "report.md", "report.json", "report.txt"}) {
    auto const result = run({"report", "m", "--output", file});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(std::filesystem::exists(dir() / (file + ".part")));
  }
  EXPECT_EQ(html_trouble(content_of(dir() / "report.html")), "");
  EXPECT_THAT(content_of(dir() / "report.md"), testing::StartsWith("### pgbackfill report of m: complete"));
  EXPECT_EQ(boost::json::parse(content_of(dir() / "report.json")).as_object().at("migration").as_string(), "m");
  EXPECT_THAT(content_of(dir() / "report.txt"), testing::StartsWith("m  complete\n"));
  EXPECT_EQ(run({"report", "m", "--output", "report.html", "--format", "markdown"}).exit_code, kDone);
  EXPECT_THAT(content_of(dir() / "report.html"), testing::StartsWith("### "));
  EXPECT_THAT(run({"report", "m.yaml"}).out, testing::StartsWith("m  complete\n")) << "by file";
  EXPECT_THAT(run({"report", "m", "--output", "-", "--format", "html"}).out, testing::StartsWith("<!doctype html>"));
}

// It stood for five minutes, half an hour ago.
TEST_F(ReportTest, TheLogSaysWhenItStoodAndWhy) {
  make_table();
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("UPDATE pgbackfill.events SET at = at - interval '1 hour' WHERE kind = 'created'");
  client_->exec(R"sql(
    DELETE FROM pgbackfill.samples;
    INSERT INTO pgbackfill.samples (job_id, moment, at, took_ms, phase, rows_done, rows_changed, workers, processes,
      wal_per_second, waiters, held_ms, held_by)
    SELECT (SELECT id FROM pgbackfill.jobs), g, now() - interval '30 min' + g * interval '5 s', 5000, 'backfill',
      least(g, 10) + greatest(g - 70, 0), 1, 1, 1, 1, 0,
      CASE WHEN g BETWEEN 11 AND 70 THEN '{"replica_lag": 5000}'::jsonb ELSE '{}' END,
      CASE WHEN g BETWEEN 11 AND 70 THEN 'replica db-2 is 3 s behind' ELSE '' END
    FROM generate_series(1, 100) g)sql");
  auto const log = run({"log", "m"}).out;
  EXPECT_THAT(log, testing::ContainsRegex("created.*\n(.*\n)*.*stood +for 5 min 00 s: replica_lag, replica db-2 is 3 s "
                                          "behind\n(.*\n)*.*complete"));
  EXPECT_THAT(log, HasSubstr("it stood 5 min 00 s: replica_lag"));
  auto const json = run({"log", "m", "--format", "json"}).out;
  EXPECT_THAT(json,
              HasSubstr("\"kind\":\"stood\",\"detail\":\"for 5 min 00 s: replica_lag, replica db-2 is 3 s behind\""));
  EXPECT_THAT(json, Not(HasSubstr("rows/s in the mean")));
  // What is older than the events that are shown is not.
  EXPECT_THAT(run({"log", "m", "--limit", "1"}).out, Not(HasSubstr("stood  ")));
  // Without the past the events are there all the same.
  client_->exec("DROP TABLE pgbackfill.samples");
  auto const without = run({"log", "m"});
  EXPECT_EQ(without.exit_code, kDone) << without.err;
  EXPECT_THAT(without.out, AllOf(HasSubstr("created"), HasSubstr("complete"), Not(HasSubstr("stood"))));
}

TEST_F(ReportTest, ReplaysWhatTheThrottleSawAndDecides) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 4000) g");
  // Waits for its rows most of the time, at five decisions a second.
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  batch: {max_rows: 200}\nthrottle:\n  max_rows_per_second: "
        "2000\n");
  ASSERT_EQ(run({"run", "m.yaml", "--record-readings", "readings.jsonl"}).exit_code, kDone);
  auto const result = run({"report", "m", "--replay", "readings.jsonl", "--format", "json"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  auto const replay = boost::json::parse(result.out).as_object().at("replay").as_object();
  EXPECT_GE(replay.at("decisions").as_int64(), 5);
  double rows = 0;
  double commits = 0;
  for (auto const& stretch : replay.at("stretches").as_array()) {
    rows += stretch.at("rows").to_number<double>();
    commits += stretch.at("commit_ms").is_null() ? 0 : 1;
  }
  EXPECT_GT(rows, 1'000);
  EXPECT_GT(commits, 0);
  // The recording and the kept past are of the same time.
  auto const first = replay.at("stretches").as_array().front().at("from_ms").to_number<double>();
  auto const began = std::stod(client_->value("SELECT extract(epoch FROM created_at) * 1000 FROM pgbackfill.jobs"));
  EXPECT_NEAR(first, began, 60'000);

  ASSERT_EQ(run({"report", "m", "--replay", "readings.jsonl", "--output", "report.html"}).exit_code, kDone);
  auto const page = content_of(dir() / "report.html");
  EXPECT_EQ(html_trouble(page), "");
  EXPECT_THAT(page, AllOf(HasSubstr("What the throttle saw and decided"), HasSubstr("seen: a commit of the canary"),
                          HasSubstr("decided: workers that may run, and those that ran")));
  EXPECT_THAT(run({"report", "m", "--replay", "readings.jsonl"}).out, HasSubstr("replayed from readings.jsonl"));

  write("broken.jsonl", "{}\nnothing\n");
  auto const broken = run({"report", "m", "--replay", "broken.jsonl"});
  EXPECT_EQ(broken.exit_code, kUsage);
  EXPECT_THAT(broken.err, HasSubstr("broken.jsonl:2: not a recorded reading"));
  EXPECT_EQ(run({"report", "m", "--replay", "none.jsonl"}).exit_code, kUsage);
}

TEST_F(ReportTest, RefusesWhatItCannotWriteOrDoesNotKnow) {
  make_table();
  auto const before = run({"report", "m"});
  EXPECT_EQ(before.exit_code, kFailed);
  EXPECT_THAT(before.err, HasSubstr("this database has no schema pgbackfill yet"));
  write("month.yaml", "name: month\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "month.yaml"}).exit_code, kDone);
  auto const unknown = run({"report", "mont", "--output", "r.html"});
  EXPECT_EQ(unknown.exit_code, kUsage);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("no migration 'mont' ran in this database"), HasSubstr("month")));
  EXPECT_FALSE(std::filesystem::exists(dir() / "r.html"));
  auto const ending = run({"report", "month", "--output", "r.pdf"});
  EXPECT_EQ(ending.exit_code, kUsage);
  EXPECT_THAT(ending.err, HasSubstr("--output r.pdf: its ending says no format"));
  auto const nowhere = run({"report", "month", "--output", "no/where.html"});
  EXPECT_EQ(nowhere.exit_code, kFailed);
  EXPECT_THAT(nowhere.err, HasSubstr("cannot write no/where.html: No such file or directory"));
  client_->exec("INSERT INTO pgbackfill.meta (version) VALUES (1000)");
  auto const newer = run({"report", "month"});
  EXPECT_EQ(newer.exit_code, kFailed);
  EXPECT_THAT(newer.err, HasSubstr("schema pgbackfill has version 1000, this program knows"));
}

TEST_F(ReportTest, OfAnOlderLayoutItTellsWhatThereIs) {
  make_table();
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - add_column: {name: a, type: int}\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec(
      "DROP TABLE pgbackfill.samples, pgbackfill.gate_readings; ALTER TABLE pgbackfill.steps DROP COLUMN took_ms, DROP "
      "COLUMN lock_wait_ms, DROP COLUMN waited_for; UPDATE pgbackfill.meta SET revision = 1");
  auto const result = run({"report", "m", "--format", "html"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(html_trouble(result.out), "");
  EXPECT_THAT(html_words(result.out), AllOf(HasSubstr("its course: relation \"pgbackfill.samples\" does not exist"),
                                            HasSubstr("add_column: {name: a, type: int}")));
}

TEST_F(ReportTest, ARoleThatMayOnlyReadMayHaveIt) {
  make_table();
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec(
      "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO reader; GRANT SELECT "
      "ON "
      "ALL TABLES IN SCHEMA pgbackfill TO reader");
  auto const result = run_program({PGBACKFILL_PROGRAM, "report", "m", "--format", "json", "--dsn", dsn("reader")});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"notes\":[]"));
  client_->exec("DROP OWNED BY reader; DROP ROLE reader");
}

TEST_F(ReportTest, HasNoValueOfARow) {
  make_table();
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: \"note::int\"}\n  on_bad_row: {quarantine: 5}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("UPDATE pgbackfill.jobs SET status_reason = 'row data at key 7 of t: \"secret of seven\" (22P02)'");
  for (char const* format : {"html", "json", "markdown", "text"}) {
    auto const report = run({"report", "m", "--format", format});
    EXPECT_EQ(report.exit_code, kDone) << report.err;
    EXPECT_THAT(report.out, AllOf(Not(HasSubstr("secret of seven")), HasSubstr("22P02"), HasSubstr("pgbackfill log m")))
        << format;
  }
}

TEST_F(ReportTest, NobodyBreaksOutOfItByAName) {
  std::string const evil = "\"</td><script>alert(1)</script><img src=x onerror=y>\"";
  make_table(evil);
  write("m.yaml",
        "name: m\ntable: '" + evil + "'\nbackfill:\n  set: {n: n + 1}\n  where: \"note <> '</pre><script>'\"\n");
  ASSERT_EQ(run({"run", "m.yaml", "--limit", "10"}).exit_code, kResumable);
  ASSERT_EQ(run({"cancel", "m", "--reason", "</li><script>alert(2)</script>"}).exit_code, kDone);
  auto const page = run({"report", "m", "--format", "html"});
  ASSERT_EQ(page.exit_code, kDone) << page.err;
  EXPECT_EQ(html_trouble(page.out), "");
  EXPECT_THAT(html_words(page.out), HasSubstr("</td><script>alert(1)</script>"));
}

// Somebody reads, and the step waits for him.
TEST_F(ReportTest, SaysHowLongAStepWaitedForItsLockAndForWhom) {
  make_table();
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - add_column: {name: a, type: int}\nbackfill:\n  set: {n: n + 1}\nverify:\n  - "
        "zero: "
        "SELECT count(*) FROM t WHERE n IS NULL\ncontract:\n  - set_not_null: n\nbefore:\n  backfill:\n    - command: "
        "echo "
        "ready for it\n");
  client_->exec("BEGIN; SELECT note AS very_private FROM t LIMIT 1");
  Program running({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn()});
  ASSERT_TRUE(running.wait_for_output("in the way")) << running.err();
  std::this_thread::sleep_for(1s);
  client_->exec("COMMIT");
  ASSERT_EQ(running.wait().exit_code, kDone) << running.err();
  ASSERT_EQ(run({"gate", "m"}).exit_code, kDone);
  ASSERT_EQ(run({"approve", "m", "--reason", "it is Friday"}).exit_code, kDone);
  auto const json = run({"report", "m", "--format", "json"});
  ASSERT_EQ(json.exit_code, kDone) << json.err;
  auto const report = boost::json::parse(json.out).as_object();
  auto const& steps = report.at("steps").as_array();
  ASSERT_EQ(steps.size(), 2U);
  auto const& step = steps[0].as_object();
  EXPECT_GE(step.at("lock_wait_ms").as_int64(), 500) << json.out;
  EXPECT_GE(step.at("took_ms").as_int64(), step.at("lock_wait_ms").as_int64());
  EXPECT_THAT(std::string(step.at("waited_for").as_string()), HasSubstr("pid " + std::to_string(client_->pid())));
  EXPECT_THAT(json.out, Not(HasSubstr("very_private"))) << "whatever he did there";
  EXPECT_TRUE(steps[1].as_object().at("done_at").is_null());
  EXPECT_TRUE(report.at("gate").as_object().at("is_open").as_bool());
  EXPECT_THAT(json.out, AllOf(HasSubstr("it is Friday"), HasSubstr("ready for it"),
                              HasSubstr("SELECT count(*) FROM t WHERE n IS NULL")));
}

}  // namespace
}  // namespace pgbackfill::tests
