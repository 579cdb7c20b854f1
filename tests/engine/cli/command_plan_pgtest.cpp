// plan: that it only reads, and that what it shows is what the server would do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;
using testing::Not;

constexpr int kManyRows = 1'000'000;

class CommandPlanTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.is_fsync_on = false;
    options.replicas = 1;
    options.primary_settings = {"autovacuum = off", "max_wal_size = 4GB"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient client(cluster_->dsn());
    client.exec(
        "CREATE TABLE big (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, name text); INSERT INTO big SELECT "
        "g * 3, 0, 'name ' || g FROM generate_series(1, " +
        std::to_string(kManyRows) + ") g");
    std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = std::make_unique<std::filesystem::path>(dir);
    std::ofstream(*dir_ / "big.yaml") << "name: big_n\ntable: big\nbackfill:\n  set: {n: \"n + 1\"}\n";
  }
  static void TearDownTestSuite() {
    std::error_code error;
    std::filesystem::remove_all(*dir_, error);
    cluster_.reset();
  }

  static void write(std::string const& name, std::string const& text) { std::ofstream(*dir_ / name) << text; }

  static ProgramResult plan(std::string const& file, std::vector<std::string> const& options = {},
                            std::string const& dsn = cluster_->dsn()) {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM, "plan", file, "--dsn", dsn};
    words.insert(words.end(), options.begin(), options.end());
    ProgramOptions in_dir;
    in_dir.working_dir = *dir_;
    return run_program(words, 60s, in_dir);
  }
  static boost::json::object json_plan(std::string const& file, std::vector<std::string> options = {}) {
    options.insert(options.end(), {"--format", "json"});
    auto const result = plan(file, options);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    return boost::json::parse(result.out).as_object();
  }

  // Everything of the database that a statement could have changed: catalogs, row versions, transaction numbers.
  static std::string fingerprint() {
    return PgClient(cluster_->dsn())
        .value(
            "SELECT concat_ws(' ', (SELECT count(*) || ' ' || max(oid) FROM pg_class), (SELECT count(*) FROM "
            "pg_namespace), (SELECT count(*) || ' ' || count(DISTINCT xmin::text) || ' ' || count(*) FILTER (WHERE "
            "xmax "
            "<> 0) FROM big), (SELECT md5(string_agg(c::text, '|' ORDER BY oid)) FROM pg_class c), "
            "pg_current_xact_id_if_assigned(), pg_snapshot_xmax(pg_current_snapshot()))");
  }

  static std::unique_ptr<LocalCluster> cluster_;
  static std::unique_ptr<std::filesystem::path> dir_;
};

std::unique_ptr<LocalCluster> CommandPlanTest::cluster_;
std::unique_ptr<std::filesystem::path> CommandPlanTest::dir_;

TEST_F(CommandPlanTest, ReadsOnly) {
  PgClient(cluster_->dsn()).exec("CHECKPOINT");
  fingerprint();
  auto const before = fingerprint();
  for (std::vector<std::string> const& options : {std::vector<std::string>{}, {"--format", "json"}}) {
    auto const result = plan("big.yaml", options);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
  }
  EXPECT_EQ(fingerprint(), before) << "a transaction number was used, or something was written";
  EXPECT_EQ(PgClient(cluster_->dsn()).value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
}

// The server evaluates immutable functions when it plans; one that lies about itself could write there.
TEST_F(CommandPlanTest, CannotBeMadeToWrite) {
  PgClient client(cluster_->dsn());
  client.exec(
      "CREATE TABLE trap (id int); CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO trap "
      "VALUES (1); RETURN 1; END'; CREATE FUNCTION lies() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN "
      "writes(); END'");
  client.exec("EXPLAIN SELECT lies()");
  EXPECT_EQ(client.value("SELECT count(*) FROM trap"), "1") << "the trap does not work";
  write("trap.yaml", "name: trap\ntable: big\nbackfill:\n  set: {n: \"lies()\"}\n");
  for (std::vector<std::string> const& options : {std::vector<std::string>{}, {"--sample"}}) {
    auto const result = plan("trap.yaml", options);
    EXPECT_NE(result.exit_code, kDone);
    EXPECT_THAT(result.err, HasSubstr("read-only transaction"));
  }
  EXPECT_EQ(client.value("SELECT count(*) FROM trap"), "1");
}

TEST_F(CommandPlanTest, ShowsTheBatchAndHowTheServerWouldRunIt) {
  auto const result = plan("big.yaml");
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  for (char const* text : {"migration big_n (big.yaml)", "table      \"public\".\"big\", about ",
                           "key        \"big_pkey\" (\"id\" bigint)", "UPDATE ONLY \"public\".\"big\"",
                           "Index Cond: (id <= '3000'::bigint)", "ranges", "2 workers", "rule of thumb"}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
  auto const backfill = json_plan("big.yaml").at("backfill").as_object();
  EXPECT_EQ(backfill.at("table"), "\"public\".\"big\"");
  EXPECT_NEAR(static_cast<double>(backfill.at("rows_estimated").as_int64()), kManyRows, kManyRows * 0.8);
  EXPECT_GT(backfill.at("ranges").to_number<int>(), 1);
  // The SQL that is shown is whole: the server takes it as it is.
  PgClient client(cluster_->dsn());
  client.exec("BEGIN");
  client.exec(std::string(backfill.at("batch_sql").as_string()));
  EXPECT_EQ(client.value("SELECT count(*) FROM big WHERE n = 1"), "1000");
  client.exec("ROLLBACK");
  // What is explained is the statement that runs, not a form of it that would be planned with a Aggregate above.
  EXPECT_THAT(result.out, HasSubstr("its plan:\n  Update on big\n"));
}

TEST_F(CommandPlanTest, NamesWhatWouldFireAndWhatItCosts) {
  PgClient(cluster_->dsn())
      .exec(
          "CREATE TABLE watched (id int PRIMARY KEY, n int); CREATE INDEX watched_n ON watched (n); INSERT INTO "
          "watched "
          "SELECT g FROM generate_series(1, 100) g; CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
          "RETURN NEW; END'; CREATE TRIGGER \"on Update\" BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION "
          "see(); CREATE TRIGGER on_insert BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION see(); CREATE "
          "TRIGGER is_off BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION see(); ALTER TABLE watched DISABLE "
          "TRIGGER is_off");
  write("watched.yaml", "name: watched\ntable: watched\nbackfill:\n  set: {n: \"1\"}\n  where: \"n IS NULL\"\n");
  auto const result = plan("watched.yaml");
  EXPECT_THAT(result.out, HasSubstr("note: trigger \"on Update\" fires for each row"));
  EXPECT_THAT(result.out, Not(HasSubstr("on_insert")));
  EXPECT_THAT(result.out, Not(HasSubstr("is_off")));
  EXPECT_THAT(result.out, HasSubstr("note: index \"watched_n\" depends on column \"n\": updates cannot be HOT"));
  EXPECT_THAT(result.out, HasSubstr("note: a last pass over the table"));
  write("skip.yaml", "name: skip\ntable: watched\nbackfill:\n  set: {n: \"1\"}\n  triggers: skip\n");
  EXPECT_THAT(plan("skip.yaml").out, HasSubstr("trigger \"on Update\" is skipped"));
}

TEST_F(CommandPlanTest, FailsOnARiskWhenAsked) {
  PgClient client(cluster_->dsn());
  client.exec(
      "CREATE TABLE risky (id int PRIMARY KEY, a int, b text); INSERT INTO risky SELECT g FROM "
      "generate_series(1, 100) g");
  write("r.yaml",
        "name: r\ntable: risky\nexpand:\n  - sql: CREATE INDEX ON risky (a)\n    down: DROP INDEX risky_a_idx\n"
        "backfill: {set: {a: id}}\ncontract:\n  - drop_column: {name: b}\n");
  EXPECT_EQ(plan("r.yaml").exit_code, kDone);
  auto const high = plan("r.yaml", {"--fail-on", "high"});
  EXPECT_EQ(high.exit_code, kGateClosed) << high.err;
  EXPECT_THAT(high.err, HasSubstr("--fail-on: r, expand step 1: high risk: "));
  EXPECT_THAT(high.err, Not(HasSubstr("contract"))) << "that is approved apart";
  auto const destructive = plan("r.yaml", {"--fail-on", "destructive", "--format", "json"});
  EXPECT_EQ(destructive.exit_code, kGateClosed);
  EXPECT_THAT(destructive.err, HasSubstr("--fail-on: r, contract step 1: destructive: "));
  EXPECT_EQ(boost::json::parse(destructive.out).as_object().at("migration"), "r") << "the plan, and no second document";
  ProgramOptions options;
  options.working_dir = *dir_;
  ASSERT_EQ(run_program({PGBACKFILL_PROGRAM, "run", "r.yaml", "--dsn", cluster_->dsn()}, 60s, options).exit_code,
            kDone);
  EXPECT_EQ(plan("r.yaml", {"--fail-on", "high"}).exit_code, kDone) << "what is done is no risk any more";
  client.exec("DROP SCHEMA pgbackfill CASCADE; DROP TABLE risky");
}

TEST_F(CommandPlanTest, SampleMeasuresABatchAndRollsItBack) {
  PgClient client(cluster_->dsn());
  std::string const first_rows =
      "SELECT md5(string_agg(row, ',' ORDER BY id)) FROM (SELECT id, concat_ws(' ', ctid, xmin, n) AS row FROM big "
      "ORDER "
      "BY id LIMIT 5000) first";
  auto const before = client.value(first_rows);
  auto const backfill = json_plan("big.yaml", {"--sample"}).at("backfill").as_object();
  auto const& sample = backfill.at("sample").as_object();
  EXPECT_EQ(sample.at("rows"), 1000);
  EXPECT_GT(sample.at("wal_bytes").to_number<std::int64_t>(), 50'000);
  EXPECT_GT(sample.at("milliseconds").to_number<double>(), 0);
  EXPECT_GT(backfill.at("wal_bytes_estimated").to_number<double>(), 50'000'000);
  EXPECT_EQ(client.value(first_rows), before);
  EXPECT_EQ(client.value("SELECT sum(n) FROM big"), "0");
  EXPECT_EQ(client.value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  auto const text = plan("big.yaml", {"--sample"});
  EXPECT_THAT(text.out, HasSubstr("of WAL"));
  EXPECT_THAT(text.out, HasSubstr("rolled back"));
}

TEST_F(CommandPlanTest, SampleGivesWayToWhoeverHoldsTheRows) {
  PgClient holder(cluster_->dsn());
  holder.exec("BEGIN; SELECT * FROM big ORDER BY id LIMIT 1 FOR UPDATE");
  auto const result = plan("big.yaml", {"--sample"});
  EXPECT_EQ(result.exit_code, kResumable);
  EXPECT_THAT(result.err, HasSubstr("the sample batch: canceling statement due to lock timeout"));
}

// A table that was never analyzed has no histogram: its ranges come from a sample of some pages.
TEST_F(CommandPlanTest, NeverReadsTheWholeOfALargeTable) {
  PgClient client(cluster_->dsn());
  std::string const blocks_read =
      "SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'big'";
  std::string const scans = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'big'";
  auto const blocks = std::stoll(client.value("SELECT pg_relation_size('big') / 8192"));
  client.try_exec("SELECT pg_stat_force_next_flush()");  // from PostgreSQL 15 on
  std::this_thread::sleep_for(1s);
  auto const read_before = std::stoll(client.value(blocks_read));
  auto const rows_before = std::stoll(client.value(scans));
  auto const began = std::chrono::steady_clock::now();
  auto const result = plan("big.yaml");
  auto const took = std::chrono::steady_clock::now() - began;
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  // Statistics of a session are flushed at its end at the latest.
  std::this_thread::sleep_for(500ms);
  PgClient again(cluster_->dsn());
  auto const read = std::stoll(again.value(blocks_read)) - read_before;
  std::cout << "plan of " << kManyRows << " rows without statistics: " << took / 1ms << " ms, " << read << " of "
            << blocks << " blocks touched\n";
  EXPECT_GT(read, 0);
  EXPECT_LT(read, blocks / 4);
  EXPECT_LT(std::stoll(again.value(scans)) - rows_before, kManyRows / 10);
}

TEST_F(CommandPlanTest, TellsWhatExpandStepsHideUntilTheyRan) {
  write("new.yaml",
        "name: new\ntable: big\nexpand:\n  - sql: ALTER TABLE big ADD COLUMN m int\n    down: ALTER TABLE big DROP "
        "COLUMN m\nbackfill:\n  set: {m: \"1\"}\ncontract:\n  - sql: ALTER TABLE big DROP COLUMN name\n");
  auto const result = plan("new.yaml");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  for (char const* text : {"expand     1. ALTER TABLE big ADD COLUMN m int", "down: ALTER TABLE big DROP COLUMN m",
                           "contract   1. ALTER TABLE big DROP COLUMN name",
                           "cannot be checked until the expand steps ran", "has no column 'm'"}) {
    EXPECT_THAT(result.out, HasSubstr(text));
  }
}

TEST_F(CommandPlanTest, RefusesWhatNoExpandStepWillMake) {
  std::string const steps = "expand:\n  - add_column: {name: full_name, type: text}\n";
  write("table.yaml", "name: m\ntable: nowhere\n" + steps + "backfill:\n  set: {full_name: name}\n");
  write("column.yaml", "name: m\ntable: big\n" + steps + "backfill:\n  set: {fullname: name}\n");
  for (auto const& [file, text] : {std::pair{"table.yaml", "table \"nowhere\" does not exist"},
                                   std::pair{"column.yaml", "has no column 'fullname'"}}) {
    auto const planned = plan(file);
    EXPECT_EQ(planned.exit_code, kUsage) << planned.out;
    EXPECT_THAT(planned.err, HasSubstr(text));
    auto const result = run_program({PGBACKFILL_PROGRAM, "run", (*dir_ / file).string(), "--dsn", cluster_->dsn()});
    EXPECT_EQ(result.exit_code, kUsage) << result.err;
    EXPECT_THAT(result.err, HasSubstr(text));
  }
  EXPECT_EQ(PgClient(cluster_->dsn()).value("SELECT count(*) FROM pg_attribute WHERE attname = 'full_name'"), "0");
}

TEST_F(CommandPlanTest, ShowsTheBatchOverAColumnThatItsOwnStepsAdd) {
  std::string const file =
      "name: m\ntable: big\nexpand:\n  - add_column: {name: full_name, type: varchar(40)}\nbackfill:\n  set: "
      "{full_name: upper(name)}\n  where: full_name IS NULL\n";
  write("coming.yaml", file);
  auto const document = json_plan("coming.yaml");
  auto const& backfill = document.at("backfill").as_object();
  EXPECT_EQ(backfill.at("leaves").as_array().size(), 1U);
  EXPECT_GT(backfill.at("ranges").as_int64(), 1);
  EXPECT_GT(backfill.at("seconds_estimated").to_number<double>(), 0);
  EXPECT_THAT(std::string(backfill.at("batch_sql").as_string()), HasSubstr("SET \"full_name\" = (upper(name)"));
  auto const text = plan("coming.yaml");
  EXPECT_THAT(text.out, HasSubstr("  key        \"big_pkey\" (\"id\" bigint)"));
  EXPECT_THAT(text.out, HasSubstr("once the expand steps have added its columns"));
  EXPECT_THAT(text.out, Not(HasSubstr("its plan")));
  for (auto const& [from, to] : {std::pair{"upper(name)", "upper(nam)"}, std::pair{"varchar(40)", "date"}}) {
    auto wrong = file;
    wrong.replace(wrong.find(from), std::string(from).size(), to);
    write("wrong.yaml", wrong);
    auto const refused = plan("wrong.yaml");
    EXPECT_EQ(refused.exit_code, kUsage) << to;
    EXPECT_THAT(refused.err, HasSubstr("wrong.yaml:5:1: once the expand steps have run, the server would refuse"))
        << to;
  }
  EXPECT_EQ(PgClient(cluster_->dsn()).value("SELECT count(*) FROM pg_attribute WHERE attname = 'full_name'"), "0");
}

TEST_F(CommandPlanTest, ShowsEachKeyOfAPartitionedTableOnce) {
  PgClient(cluster_->dsn())
      .exec(
          "CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY HASH (id); CREATE TABLE parts_0 PARTITION OF "
          "parts FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH "
          "(MODULUS 2, REMAINDER 1); INSERT INTO parts SELECT g FROM generate_series(1, 1000) g");
  write("parts.yaml", "name: parts\ntable: parts\nbackfill:\n  set: {n: \"1\"}\n");
  auto const leaves = json_plan("parts.yaml").at("backfill").at("leaves").as_array();
  ASSERT_EQ(leaves.size(), 2U);
  EXPECT_EQ(leaves[0].at("relation"), "\"public\".\"parts_0\"");
  EXPECT_THAT(plan("parts.yaml").out, HasSubstr("2 partitions"));
}

TEST_F(CommandPlanTest, EmptyTable) {
  PgClient(cluster_->dsn()).exec("CREATE TABLE nobody (id int PRIMARY KEY, n int)");
  write("nobody.yaml", "name: nobody\ntable: nobody\nbackfill:\n  set: {n: \"1\"}\n");
  for (std::vector<std::string> const& options : {std::vector<std::string>{}, {"--sample"}, {"--format", "json"}}) {
    auto const result = plan("nobody.yaml", options);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
  }
}

TEST_F(CommandPlanTest, MarksAnEstimateThatIsAGuess) {
  PgClient client(cluster_->dsn());
  client.exec(
      "CREATE TABLE fresh (id int PRIMARY KEY, n int); INSERT INTO fresh SELECT g FROM generate_series(1, 5000) g");
  write("fresh.yaml", "name: fresh\ntable: fresh\nbackfill:\n  set: {n: \"1\"}\n");
  EXPECT_THAT(plan("fresh.yaml").out, HasSubstr("rows (a guess from its size: never analyzed)"));
  EXPECT_EQ(json_plan("fresh.yaml").at("backfill").at("rows_guessed"), true);
  client.exec("ANALYZE fresh");
  EXPECT_THAT(plan("fresh.yaml").out, HasSubstr("about 5,000 rows, "));
  EXPECT_EQ(json_plan("fresh.yaml").at("backfill").at("rows_guessed"), false);
}

// Whoever has a standby to look at may say so in the connection string; the default looks for the primary.
TEST_F(CommandPlanTest, WorksOnAStandbyThatIsAskedFor) {
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  auto const refused = plan("big.yaml", {}, cluster_->replica_dsn(0));
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("server is in hot standby mode"));
  EXPECT_THAT(refused.err, HasSubstr("target_session_attrs=any"));
  std::string const standby = cluster_->replica_dsn(0) + " target_session_attrs=any";
  auto const result = plan("big.yaml", {}, standby);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Index Cond: (id <= '3000'::bigint)"));
  auto const sample = plan("big.yaml", {"--sample"}, standby);
  EXPECT_EQ(sample.exit_code, kFailed);
  EXPECT_THAT(sample.err, HasSubstr("read-only transaction"));
  ProgramOptions in_dir;
  in_dir.working_dir = *dir_;
  auto const run = run_program({PGBACKFILL_PROGRAM, "run", "big.yaml", "--dsn", standby}, 60s, in_dir);
  EXPECT_EQ(run.exit_code, kFailed);
  EXPECT_THAT(run.err, testing::AnyOf(HasSubstr("read-only transaction"), HasSubstr("standby")));
}

TEST_F(CommandPlanTest, SaysWhatKeepsUpdatesFromBeingHotAndHowTheTableWillGrow) {
  PgClient client(cluster_->dsn());
  client.exec(
      "CREATE TABLE indexed (id int PRIMARY KEY, n int NOT NULL, m int, k int); CREATE INDEX by_expression ON indexed "
      "((n + 1)); CREATE INDEX by_predicate ON indexed (id) WHERE n > 0; CREATE INDEX covering ON indexed (id) INCLUDE "
      "(n); CREATE INDEX other ON indexed (m); INSERT INTO indexed SELECT i, 0, i FROM generate_series(1, 1000) i; "
      "CREATE TABLE roomy (id int PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 50); INSERT INTO roomy SELECT i, 0 "
      "FROM generate_series(1, 1000) i; ANALYZE indexed; ANALYZE roomy");
  write("indexed.yaml", "name: indexed_n\ntable: indexed\nbackfill:\n  set: {n: \"n + 1\"}\n");
  auto const result = plan("indexed.yaml");
  for (char const* index : {"by_expression", "by_predicate", "covering"}) {
    EXPECT_THAT(result.out, HasSubstr(std::string("note: index \"") + index + "\" depends on column \"n\""));
  }
  EXPECT_THAT(result.out, Not(HasSubstr("\"other\"")));
  EXPECT_THAT(result.out, Not(HasSubstr("fillfactor")));

  write("full.yaml", "name: full_k\ntable: indexed\nbackfill:\n  set: {k: \"1\"}\n");
  EXPECT_THAT(plan("full.yaml").out, HasSubstr("note: pages of \"public\".\"indexed\" are filled to the end"));

  write("roomy.yaml", "name: roomy_n\ntable: roomy\nbackfill:\n  set: {n: \"n + 1\"}\n");
  auto const roomy = json_plan("roomy.yaml");
  auto const& estimate = roomy.at("backfill").as_object();
  EXPECT_EQ(estimate.at("heap_bytes_without_vacuum"), estimate.at("heap_bytes"));
  auto const full = json_plan("full.yaml");
  EXPECT_EQ(full.at("backfill").at("heap_bytes_without_vacuum").as_int64(),
            2 * full.at("backfill").at("heap_bytes").as_int64());
}

}  // namespace
}  // namespace pgbackfill::tests
