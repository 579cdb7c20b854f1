// The state schema when it is not as this program left it: newer, made twice at once, broken by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/state/state_store.h"
#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class StateUpgradeTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
        "generate_series(1, 100) g");
    run_ = std::make_unique<MigrationRun>("count_up", dsn(), "table: t\nbackfill:\n  set: {n: \"n + 1\"}\n");
  }

  ProgramResult init() const { return run_program({PGBACKFILL_PROGRAM, "init", "--dsn", dsn()}); }
  ProgramResult run() { return run_->start().wait(60s); }

  std::unique_ptr<MigrationRun> run_;
};

TEST_F(StateUpgradeTest, ANewerVersionIsLeftAlone) {
  ASSERT_EQ(init().exit_code, kDone);
  client_->exec("INSERT INTO pgbackfill.meta (version) VALUES (1000)");
  for (auto const& result : {init(), run(), run_->command("gate"), run_->command("pause"), run_->command("status")}) {
    EXPECT_EQ(result.exit_code, kFailed) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr("schema pgbackfill has version 1000, this program knows"));
    EXPECT_THAT(result.err, HasSubstr("a newer pgbackfill was here"));
  }
  EXPECT_EQ(counts(dsn(), "t"), "0: 100");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.migrations"), "0");
}

TEST_F(StateUpgradeTest, ManyMayInitAtOnce) {
  std::vector<std::unique_ptr<Program>> programs;
  for (int number = 0; number < 6; ++number) {
    programs.push_back(std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "init", "--dsn", dsn()}));
  }
  int made = 0;
  for (auto const& program : programs) {
    auto const result = program->wait(30s);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    made += result.out == "schema pgbackfill is ready\n" ? 1 : 0;
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.meta"), std::to_string(engine::kStateVersion));
  EXPECT_EQ(run().exit_code, kDone);
  EXPECT_EQ(counts(dsn(), "t"), "1: 100");
}

TEST_F(StateUpgradeTest, ManyMayBeginTheSameJobAtOnce) {
  std::vector<Program*> programs;
  for (int number = 0; number < 4; ++number) programs.push_back(&run_->start());
  for (auto* program : programs) EXPECT_TRUE(run_->ends(*program, kDone));
  EXPECT_EQ(counts(dsn(), "t"), "1: 100");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs"), "1");
}

TEST_F(StateUpgradeTest, AnEmptySchemaOfThatNameIsTakenOver) {
  client_->exec("CREATE SCHEMA pgbackfill");
  auto const result = init();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(run().exit_code, kDone);
}

TEST_F(StateUpgradeTest, SomebodyElsesTablesAreNotTouched) {
  client_->exec(
      "CREATE SCHEMA pgbackfill; CREATE TABLE pgbackfill.jobs (mine text); INSERT INTO pgbackfill.jobs "
      "VALUES ('precious')");
  auto const result = init();
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("making schema pgbackfill: relation \"jobs\" already exists"));
  EXPECT_EQ(client_->value("SELECT mine FROM pgbackfill.jobs"), "precious");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_class WHERE relnamespace = 'pgbackfill'::regnamespace AND relkind "
                           "= 'r'"),
            "1");
}

// Each break by hand has to be told, not to crash, and never to count rows twice.
TEST_F(StateUpgradeTest, BrokenStateIsTold) {
  ASSERT_EQ(init().exit_code, kDone);
  ASSERT_EQ(run().exit_code, kDone);
  std::pair<char const*, char const*> const breaks[] = {
      {"DELETE FROM pgbackfill.meta", "pgbackfill.meta has no version"},
      {"ALTER TABLE pgbackfill.jobs RENAME TO jobs_x", "relation \"pgbackfill.jobs\" does not exist"},
      {"ALTER TABLE pgbackfill.jobs DROP CONSTRAINT jobs_status_check; UPDATE pgbackfill.jobs SET status = 'odd'",
       "pgbackfill.jobs has a status that this version does not know: odd"},
      {"ALTER TABLE pgbackfill.jobs DROP COLUMN sweeps", "sweeps"},
  };
  for (auto const& [statement, message] : breaks) {
    std::string const database = client_->value("SELECT current_database()");
    PgClient admin(cluster_->dsn());
    client_.reset();
    admin.exec("DROP DATABASE IF EXISTS broken");
    admin.exec("CREATE DATABASE broken TEMPLATE " + database);
    client_ = std::make_unique<PgClient>(dsn());
    std::string const broken = cluster_->dsn() + " dbname=broken";
    PgClient(broken).exec(statement);
    run_->set_dsn(broken);
    auto const result = run();
    EXPECT_EQ(result.exit_code, kFailed) << statement << "\n" << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << statement;
    EXPECT_THAT(result.err, Not(AnyOf(HasSubstr("bad optional"), HasSubstr("stoi"), HasSubstr("terminate"))));
    EXPECT_EQ(counts(broken, "t"), "1: 100");
  }
}

// A job as version 1 left it, half-way through 100 rows.
constexpr char kJobOfVersion1[] = R"sql(
INSERT INTO pgbackfill.jobs (name, definition, table_schema, table_name, status, sweeps, workers, batch_target_ms,
    max_rows_per_second, rows_estimated)
  VALUES ('count_up', E'table "t"\nupdate\n"n" = n + 1\n', 'public', 't', 'running', false, 3, 200, 5000, 100),
    ('other', '', 'public', 't', 'paused', false, 1, 100, NULL, 100),
    ('old', '', 'public', 't', 'complete', false, 1, 100, 77, 100);
INSERT INTO pgbackfill.leaves (job_id, leaf, relation, table_schema, table_name, key_index, key_columns, key_types,
    key_collations, key_order_collations, key_descending, key_nulls_first, rows_estimated, blocks, bytes, upper_key)
  SELECT id, 0, 't'::regclass, 'public', 't', 't_pkey', '{id}', '{integer}', '{""}', '{""}', '{f}', '{f}', 100, 1,
    8192, '{100}' FROM pgbackfill.jobs WHERE name = 'count_up';
INSERT INTO pgbackfill.ranges (job_id, leaf, pass, lo, hi, cursor, rows_estimated, rows_done, rows_changed)
  SELECT id, 0, 0, NULL, '{100}', '{50}', 100, 50, 50 FROM pgbackfill.jobs WHERE name = 'count_up';
UPDATE t SET n = 1 WHERE id <= 50;
)sql";

TEST_F(StateUpgradeTest, AJobOfVersion1GoesOnWhereItWas) {
  client_->exec(engine::state::upgrades(0).front());
  client_->exec(kJobOfVersion1);
  auto const result = init();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.out, HasSubstr("schema pgbackfill went from layout 1.0 to "));
  EXPECT_THAT(result.out, HasSubstr("programs that know version 1 at most will refuse it from their next start on"));
  EXPECT_EQ(client_->value("SELECT string_agg(name || ' ' || settings, '; ' ORDER BY id) FROM pgbackfill.jobs"),
            "count_up {\"throttle.max_rows_per_second\": \"5000\"}; other {\"throttle.max_rows_per_second\": "
            "\"none\"}; old {}");
  EXPECT_EQ(run().exit_code, kDone);
  EXPECT_EQ(counts(dsn(), "t"), "1: 100");
  EXPECT_EQ(client_->value("SELECT workers || ' ' || batch_target_ms FROM pgbackfill.jobs WHERE name = 'count_up'"),
            "3 200");
}

TEST_F(StateUpgradeTest, EachVersionIsReachedFromEachOlderOne) {
  for (int version = 0; version < engine::kStateVersion; ++version) {
    client_->exec("DROP SCHEMA IF EXISTS pgbackfill CASCADE");
    auto const scripts = engine::state::upgrades(0);
    for (int each = 0; each < version; ++each) client_->exec(scripts[static_cast<std::size_t>(each)]);
    EXPECT_EQ(init().exit_code, kDone) << "from version " << version;
    EXPECT_EQ(client_->value("SELECT max(version) FROM pgbackfill.meta"), std::to_string(engine::kStateVersion));
    EXPECT_EQ(client_->value("SELECT max(revision) FROM pgbackfill.meta"), std::to_string(engine::kStateRevision));
  }
}

// As the program before left it: what reads and what steers a job goes by it, and leaves it as it is.
TEST_F(StateUpgradeTest, NobodyWhoLooksUpgradesIt) {
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  where: n = 0\nverify:\n  - zero: SELECT count(*) FROM t "
        "WHERE "
        "n = 0\ncontract:\n  - set_not_null: n\n");
  ASSERT_EQ(DatabaseTest::run({"run", "m.yaml"}).exit_code, kDone);
  struct Layout {
    std::string name;
    std::string made_by;
  };
  std::vector<Layout> const layouts = {
      {"9.0",
       "ALTER TABLE pgbackfill.meta DROP COLUMN revision; ALTER TABLE pgbackfill.migrations DROP COLUMN "
       "session_settings; ALTER TABLE pgbackfill.leaves DROP COLUMN key_operators, DROP COLUMN key_collation_versions, "
       "DROP COLUMN gone_at; ALTER TABLE pgbackfill.runners DROP COLUMN machine; DROP FUNCTION pgbackfill.sign() "
       "CASCADE; ALTER TABLE pgbackfill.migrations DROP COLUMN stored_by; ALTER TABLE pgbackfill.claims DROP COLUMN "
       "stored_by"},
      {"8.0",
       "DROP TABLE pgbackfill.facts; ALTER TABLE pgbackfill.migrations DROP COLUMN steps_pending; DELETE FROM "
       "pgbackfill.meta WHERE version = 9"}};
  for (auto const& [name, made_by] : layouts) {
    client_->exec(made_by);
    std::string const before = client_->value(
        "SELECT max(version) || ' ' || (SELECT count(*) FROM pg_attribute a JOIN "
        "pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = "
        "'pgbackfill'::regnamespace) FROM pgbackfill.meta");
    for (std::vector<std::string> const& words : {std::vector<std::string>{"status"},
                                                  {"status", "m"},
                                                  {"history"},
                                                  {"log", "m"},
                                                  {"locks"},
                                                  {"plan", "m.yaml"},
                                                  {"gate", "m.yaml"},
                                                  {"verify", "m.yaml"},
                                                  {"rollback", "m.yaml", "--dry-run"},
                                                  {"set", "m"},
                                                  {"set", "m", "workers=2"}}) {
      auto const result = DatabaseTest::run(words);
      EXPECT_EQ(result.exit_code, kDone) << name << ": " << words.front() << "\n" << result.out << result.err;
    }
    EXPECT_THAT(DatabaseTest::run({"doctor", "m.yaml"}).out, Not(HasSubstr("could not be looked at")));
    auto const complete = DatabaseTest::run({"complete", "m.yaml"});
    EXPECT_EQ(complete.exit_code, kFailed) << complete.out;
    EXPECT_THAT(complete.err, HasSubstr("has the layout " + name));
    EXPECT_THAT(complete.err, HasSubstr("`pgbackfill init` upgrades it"));
    EXPECT_EQ(client_->value("SELECT max(version) || ' ' || (SELECT count(*) FROM pg_attribute a JOIN pg_class c ON "
                             "c.oid = a.attrelid WHERE c.relnamespace = 'pgbackfill'::regnamespace) FROM "
                             "pgbackfill.meta"),
              before)
        << name;
  }
  client_->exec("DELETE FROM pgbackfill.meta WHERE version > 7");
  auto const status = DatabaseTest::run({"status"});
  EXPECT_EQ(status.exit_code, kFailed);
  EXPECT_THAT(status.err, HasSubstr("has the layout 7.0 of an older pgbackfill"));
}

TEST_F(StateUpgradeTest, ARunUpgradesItAndSaysWhatOlderProgramsWillMeet) {
  ASSERT_EQ(init().exit_code, kDone);
  client_->exec(
      "DROP TABLE pgbackfill.facts; ALTER TABLE pgbackfill.migrations DROP COLUMN steps_pending; ALTER TABLE "
      "pgbackfill.meta DROP COLUMN revision; DELETE FROM pgbackfill.meta WHERE version = 9");
  auto const result = run();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("schema pgbackfill went from layout 8.0 to "));
  EXPECT_THAT(result.err, HasSubstr("programs that know version 8 at most will refuse it"));
}

// Somebody reads, and so holds the upgrade up; it does not make others queue behind it for long.
TEST_F(StateUpgradeTest, AnUpgradeDoesNotQueueForLong) {
  ASSERT_EQ(init().exit_code, kDone);
  client_->exec(
      "DROP TABLE pgbackfill.facts; ALTER TABLE pgbackfill.migrations DROP COLUMN steps_pending; ALTER TABLE "
      "pgbackfill.meta DROP COLUMN revision; DELETE FROM pgbackfill.meta WHERE version = 9");
  PgClient reader(dsn());
  reader.exec("BEGIN; SELECT * FROM pgbackfill.migrations");
  auto const began = std::chrono::steady_clock::now();
  auto const result = init();
  EXPECT_EQ(result.exit_code, kResumable) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("in the way: pid " + std::to_string(reader.pid())));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 8s);
  reader.exec("COMMIT");
  EXPECT_EQ(init().exit_code, kDone);
}

TEST_F(StateUpgradeTest, AJobWhoseTableIsGoneOrMadeAnewIsTold) {
  run_ = std::make_unique<MigrationRun>(
      "count_up", dsn(), "table: t\nbackfill:\n  set: {n: \"n + 1\"}\nthrottle: {max_rows_per_second: 1}\n");
  auto& process = run_->start();
  ASSERT_TRUE(run_->waits_for_rows(1));
  run_->command("cancel");
  process.wait(60s);
  run_->command("resume");
  client_->exec("DROP TABLE t");
  auto const gone = run();
  EXPECT_EQ(gone.exit_code, 2);
  EXPECT_THAT(gone.err, HasSubstr("table \"t\" does not exist"));
  client_->exec("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t VALUES (1)");
  auto const anew = run();
  EXPECT_NE(anew.exit_code, kDone) << "the ranges are of another table:\n" << anew.err;
}

}  // namespace
}  // namespace pgbackfill::tests
