// The past of a job: a row a moment, however many processes; bounded; never in the way of a batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <chrono>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "engine/state/state_sample.h"
#include "engine/state/state_store.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class SamplesTest : public DatabaseTest {
 protected:
  // So many rows at 400 a second.
  std::unique_ptr<MigrationRun> slow_run(std::int64_t rows, std::string const& more = "") {
    CountUp options;
    options.table = make_counted_table(*client_, rows);
    options.max_rows = 50;
    options.more = more;
    options.throttling = "  max_rows_per_second: 400\n";
    rows_ = rows;
    return std::make_unique<MigrationRun>(options.table, dsn(), count_up(options));
  }
  std::string counts_now() const { return counts(dsn(), name_of_test()); }
  std::string all_once() const { return "1: " + std::to_string(rows_); }
  std::string value(std::string const& what) { return client_->value("SELECT " + what + " FROM pgbackfill.samples"); }

  std::int64_t rows_ = 0;
};

TEST_F(SamplesTest, ARunLeavesItsCourse) {
  auto const run = slow_run(5'000);
  ASSERT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once());
  EXPECT_EQ(value("count(*) >= 3"), "t");
  EXPECT_EQ(value("(array_agg(rows_done ORDER BY moment DESC))[1] || ' ' || max(rows_changed)"), "5000 5000");
  EXPECT_EQ(value("bool_and(phase IN ('backfill', 'sweep'))"), "t");
  EXPECT_EQ(value("bool_or(rows_done > 0 AND rows_done < 5000 AND batch_rows BETWEEN 1 AND 50 AND batch_ms >= 0)"),
            "t");
  EXPECT_EQ(value("bool_or(took_ms BETWEEN 4000 AND 7000 AND (held_ms ->> 'row_rate')::int BETWEEN 1 AND took_ms)"),
            "t");
  // No moment is of nothing, and none is of another one's time.
  EXPECT_EQ(client_->value("SELECT abs(sum(took_ms) - extract(epoch FROM max(at) - min(at)) * 1000) < 1500 FROM "
                           "pgbackfill.samples"),
            "t");
  EXPECT_EQ(value("bool_or(held_by = 'max_rows_per_second = 400')"), "t");
  EXPECT_EQ(value("bool_and(processes <= 1 AND waiters = 0 AND lag_ms = '{}')"), "t");
  EXPECT_EQ(value("bool_or(table_bytes > 8192)"), "t");
  EXPECT_EQ(value("bool_or(wal_per_second > 0)"), "t");
}

TEST_F(SamplesTest, SeveralProcessesWriteOneRowAMoment) {
  auto const run = slow_run(8'000);
  std::vector<Program*> programs;
  for (int number = 0; number < 3; ++number) programs.push_back(&run->start());
  for (auto* program : programs) EXPECT_TRUE(run->ends(*program, kDone));
  EXPECT_EQ(counts_now(), all_once());
  EXPECT_EQ(value("max(processes)"), "3");
  // Nobody counts what another one has counted: the rates between the rows add up to the job.
  EXPECT_EQ(value("max(rows_done)"), "8000");
  EXPECT_EQ(client_->value("SELECT count(*) = count(*) FILTER (WHERE rows_done >= before) FROM (SELECT rows_done, "
                           "coalesce(lag(rows_done) OVER (ORDER BY moment), 0) AS before FROM pgbackfill.samples) s"),
            "t");
}

TEST_F(SamplesTest, HistoryOffKeepsNone) {
  auto const run = slow_run(1'000, "  history: off\n");
  ASSERT_TRUE(run->runs(kDone));
  EXPECT_EQ(value("count(*)"), "0");
}

TEST_F(SamplesTest, APauseIsATurnOfItsOwn) {
  auto const run = slow_run(4'000);
  auto& program = run->start();
  ASSERT_TRUE(run->waits_for_rows(200));
  ASSERT_EQ(run->command("pause", {"--reason", "lunch"}).exit_code, kDone);
  std::this_thread::sleep_for(2s);
  ASSERT_EQ(run->command("resume").exit_code, kDone);
  EXPECT_TRUE(poll_until([&] { return value("bool_or(phase = 'paused' AND took_ms > 1000)") == "t"; }, 10s));
  EXPECT_TRUE(run->ends(program, kDone));
  EXPECT_EQ(value("(array_agg(phase ORDER BY moment DESC))[1] <> 'paused'"), "t");
}

// The table may be locked for as long as somebody likes, and may be gone: no batch waits and none fails.
TEST_F(SamplesTest, WhatKeepsARowFromBeingWrittenDisturbsNoBatch) {
  auto const run = slow_run(4'000);
  auto& locked = run->start();
  ASSERT_TRUE(run->waits_for_rows(200));
  PgClient other(dsn());
  other.exec("BEGIN; LOCK pgbackfill.samples");
  EXPECT_TRUE(run->ends(locked, kDone));
  other.exec("ROLLBACK");
  EXPECT_EQ(counts_now(), all_once());
  EXPECT_THAT(locked.err(), HasSubstr("the past of this job is not kept for now"));

  auto const second = std::make_unique<MigrationRun>(
      "again", dsn(), "table: " + name_of_test() + "\nbackfill:\n  set: {n: \"n + 1\"}\n  batch: {max_rows: 50}\n");
  client_->exec("ALTER TABLE pgbackfill.samples RENAME TO moved");
  EXPECT_TRUE(second->runs(kDone));
  EXPECT_EQ(counts_now(), "2: 4000");
  client_->exec("ALTER TABLE pgbackfill.moved RENAME TO samples");
}

TEST_F(SamplesTest, TheyGoWithTheJob) {
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  where: n = 0\n");
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 100)");
  ASSERT_EQ(DatabaseTest::run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("count(*) > 0"), "t");
  client_->exec("DELETE FROM pgbackfill.jobs");
  EXPECT_EQ(value("count(*)"), "0");
}

// As of a job of some hours: every moment has its own numbers, so that what is lost in one shows.
constexpr char kManySamples[] = R"sql(
INSERT INTO pgbackfill.samples (job_id, moment, at, took_ms, phase, rows_done, rows_changed, batch_rows, batch_ms,
    workers, processes, wal_per_second, lag_ms, latency_ratio, waiters, held_ms, held_by, table_bytes)
  SELECT j.id, 5 * g, j.created_at + g * interval '5 seconds', 5000, 'backfill',
    g * 100, g * 90, 50, 20, 1.5, 1, 1000, jsonb_build_object('db-2', abs(g) % 97, 'db-3', 1) ||
    CASE WHEN abs(g) = 777 THEN '{"db-2": 60000}' ELSE '{}' END::jsonb, 1 + (abs(g) % 10) / 10.0, abs(g) % 3,
    jsonb_build_object('replica_lag', abs(g) % 5000), CASE WHEN g % 50 = 0 THEN 'held at ' || g ELSE '' END, 8192 + g
  FROM pgbackfill.jobs j, generate_series(-3000, -1) g
)sql";

TEST_F(SamplesTest, OfWhatIsThinnedTheWorstAndTheSumsStay) {
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  where: n = 0\n  history: off\n");
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 100)");
  ASSERT_EQ(DatabaseTest::run({"run", "m.yaml"}).exit_code, kDone);
  std::string many = kManySamples;
  many.replace(many.find("-3000, -1"), 9, "1, 3000");
  client_->exec(many);
  std::string const sums =
      "SELECT sum(took_ms) || ' ' || max(rows_done) || ' ' || max(waiters) || ' ' || max(latency_ratio) || ' ' || "
      "sum((held_ms ->> 'replica_lag')::bigint) || ' ' || max((lag_ms ->> 'db-2')::int) || ' ' || min((lag_ms ->> "
      "'db-3')::int) || ' ' || max(table_bytes) FROM pgbackfill.samples";
  auto const before = client_->value(sums);
  std::vector<std::int64_t> moments;
  for (std::int64_t number = 1; number <= 3'000; ++number) moments.push_back(5 * number);
  auto const thinning = engine::thinning_of(moments);
  ASSERT_TRUE(thinning);
  std::int64_t const job = std::stoll(client_->value("SELECT id FROM pgbackfill.jobs"));
  client_->exec(engine::state::thin_samples(job, *thinning));
  EXPECT_EQ(client_->value(sums), before);
  EXPECT_EQ(value("count(*) BETWEEN 1000 AND 1400"), "t");
  EXPECT_EQ(value("count(*) FILTER (WHERE moment >= 15000 - 3600)"), "721");
  EXPECT_EQ(value("count(*) FILTER (WHERE took_ms > 5000 AND moment < 11400) > 300"), "t");
  // What a moment says of the end of its time is of its end.
  EXPECT_EQ(value("bool_and(rows_done = moment * 20 AND table_bytes = 8192 + moment / 5)"), "t");
  EXPECT_EQ(value("count(DISTINCT held_by) FILTER (WHERE held_by <> '') >= 60"), "t");
  auto const again = client_->value("SELECT md5(string_agg(s::text, ',' ORDER BY moment)) FROM pgbackfill.samples s");
  client_->exec(engine::state::thin_samples(job, *thinning));
  EXPECT_EQ(client_->value("SELECT md5(string_agg(s::text, ',' ORDER BY moment)) FROM pgbackfill.samples s"), again);
}

TEST_F(SamplesTest, ARunThinsThem) {
  // On a busy machine it is tried several times: it has a second, and nobody waits for it.
  auto const run = slow_run(14'000);
  auto& program = run->start();
  ASSERT_TRUE(run->waits_for_rows(200));
  client_->exec(kManySamples);
  EXPECT_TRUE(poll_until([&] { return value("count(*) < 2000") == "t"; }, 35s));
  EXPECT_TRUE(run->ends(program, kDone));
  std::istringstream lines(program.err());
  for (std::string line; std::getline(lines, line);) {
    bool const is_of_past = line.find("is not kept") != std::string::npos;
    EXPECT_TRUE(!is_of_past || line.find("statement timeout") != std::string::npos) << line;
  }
  EXPECT_EQ(value("max((lag_ms ->> 'db-2')::int)"), "60000") << "the worst of them is still there";
  EXPECT_EQ(counts_now(), all_once());
}

TEST_F(SamplesTest, StatusSaysHowTheLastHourWent) {
  auto const run = slow_run(16'000);
  run->start();
  ASSERT_TRUE(run->waits_for_rows(200));
  client_->exec(
      "INSERT INTO pgbackfill.samples (job_id, moment, at, took_ms, phase, rows_done, rows_changed, workers, "
      "processes, "
      "wal_per_second, waiters, held_ms, held_by) SELECT j.id, g, clock_timestamp() + g * interval '5 seconds', 5000, "
      "'backfill', 0, 0, 0, 1, 0, 0, '{\"replica_lag\": 5000}', 'replica db-2 is 9 s behind' FROM pgbackfill.jobs j, "
      "generate_series(-60, -5) g");
  auto const status = run->command("status");
  EXPECT_THAT(status.out, HasSubstr("last hour"));
  EXPECT_THAT(status.out, HasSubstr("replica_lag"));
  auto const json = run->command("status", {"--format", "json"});
  EXPECT_THAT(json.out, HasSubstr("\"cause\":\"replica_lag\",\"text\":\"replica db-2 is 9 s behind\""));
}

TEST_F(SamplesTest, AWatchDrawsRateAndLagWhereThereIsRoom) {
  auto const run = slow_run(20'000);
  run->start();
  ASSERT_TRUE(run->waits_for_rows(200));
  client_->exec(
      "INSERT INTO pgbackfill.samples (job_id, moment, at, took_ms, phase, rows_done, rows_changed, workers, "
      "processes, "
      "wal_per_second, waiters, lag_ms) SELECT j.id, g, clock_timestamp() + g * interval '5 seconds', 5000, "
      "'backfill', "
      "(g + 60) * 100, 0, 0, 1, 0, 0, '{\"db-2\": 700}' FROM pgbackfill.jobs j, generate_series(-60, -5) g");
  auto const watched = [&](int columns) {
    ProgramOptions options;
    options.terminal_columns = columns;
    options.terminal_lines = 60;
    options.environment = {{"LC_ALL", "C.UTF-8"}, {"TERM", "xterm"}};
    Program watch({PGBACKFILL_PROGRAM, "status", run->name(), "--watch", "--dsn", dsn()}, options);
    EXPECT_TRUE(watch.wait_for_output("ends the watch"));
    watch.signal(SIGINT);
    return watch.wait(20s).out;
  };
  auto const wide = watched(120);
  EXPECT_THAT(wide, AllOf(HasSubstr("█████"), HasSubstr(" at most 700 ms")));
  EXPECT_THAT(watched(60), Not(HasSubstr("at most 700 ms")));
  EXPECT_THAT(run->command("status").out, Not(HasSubstr("at most 700 ms"))) << "it is of a watch";
}

TEST_F(SamplesTest, ARoleThatOnlyLooksSeesThemAndNoMore) {
  auto const run = slow_run(400);
  ASSERT_TRUE(run->runs(kDone));
  client_->exec(
      "DROP TABLE pgbackfill.samples; ALTER TABLE pgbackfill.steps DROP COLUMN took_ms, DROP COLUMN lock_wait_ms, DROP "
      "COLUMN waited_for; UPDATE pgbackfill.meta SET revision = 3; DROP ROLE IF EXISTS looker; DROP ROLE IF EXISTS "
      "worker; CREATE ROLE looker LOGIN; CREATE ROLE worker LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO looker, worker; "
      "GRANT SELECT ON ALL TABLES IN SCHEMA pgbackfill TO looker; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES "
      "IN "
      "SCHEMA pgbackfill TO worker");
  auto const init = DatabaseTest::run({"init"});
  EXPECT_EQ(init.exit_code, kDone) << init.err;
  EXPECT_THAT(init.out, HasSubstr("went from layout 9.3 to 9." + std::to_string(engine::kStateRevision) +
                                  "; programs that know version 9 go on as before"));
  EXPECT_EQ(client_->value("SELECT has_table_privilege('looker', 'pgbackfill.samples', 'SELECT') AND NOT "
                           "has_table_privilege('looker', 'pgbackfill.samples', 'INSERT, UPDATE, DELETE') AND "
                           "has_table_privilege('worker', 'pgbackfill.samples', 'SELECT') AND "
                           "has_table_privilege('worker', 'pgbackfill.samples', 'INSERT') AND "
                           "has_table_privilege('worker', 'pgbackfill.samples', 'UPDATE') AND "
                           "has_table_privilege('worker', 'pgbackfill.samples', 'DELETE')"),
            "t");
  client_->exec("DROP OWNED BY looker, worker; DROP ROLE looker, worker");
}

}  // namespace
}  // namespace pgbackfill::tests
