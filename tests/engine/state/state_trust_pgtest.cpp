// What other roles, or somebody's hand, wrote into the state: it is not run in this role's name, and crashes nothing.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class StateTrustTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO t SELECT g FROM generate_series(1, 100) g");
    write("m.yaml", kFile);
    app_ = "app";
    client_->exec("CREATE ROLE " + app_ + " LOGIN");
  }
  void TearDown() override {
    client_->exec("DROP OWNED BY " + app_ + "; DROP ROLE " + app_);
    DatabaseTest::TearDown();
  }

  // As docs/privileges.md says for roles that run jobs.
  void let_app_run_jobs() {
    client_->exec("GRANT USAGE ON SCHEMA pgbackfill TO " + app_ +
                  "; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgbackfill TO " + app_);
  }
  void as_app(std::string const& sql) { PgClient(dsn(app_)).exec(sql); }

  static constexpr char kFile[] =
      "name: m\ntable: t\nthrottle: {mode: off}\nbackfill:\n  set: {n: n + 1}\n  where: n = 0\ncontract:\n  - "
      "set_not_null: n\n";
  std::string app_;
};

TEST_F(StateTrustTest, ItsOwnSourceIsRunByName) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  let_app_run_jobs();
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  auto const result = run({"complete", "m"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
}

TEST_F(StateTrustTest, WhatAnotherRoleWroteIsRunFromTheFileAlone) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  let_app_run_jobs();
  // Each a way to have one's own text there, and another's name to it.
  for (std::string const forged :
       {"UPDATE pgbackfill.migrations SET source = source || '  - sql: CREATE TABLE owned ()'",
        "UPDATE pgbackfill.migrations SET source = source || '  - sql: CREATE TABLE owned ()', stored_by = 'postgres'",
        "WITH old AS (DELETE FROM pgbackfill.migrations RETURNING *) INSERT INTO pgbackfill.migrations (name, file, "
        "source, stored_by) SELECT name, file, source || '  - sql: CREATE TABLE owned ()', 'postgres' FROM old",
        "UPDATE pgbackfill.migrations SET session_settings = '{\"search_path\": \"evil\"}'"}) {
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
    as_app(forged);
    for (std::vector<std::string> const& words : {std::vector<std::string>{"complete", "m"},
                                                  {"complete", "m", "--yes"},
                                                  {"gate", "m"},
                                                  {"rollback", "m", "--yes"},
                                                  {"rollback", "m", "--dry-run"}}) {
      auto const result = run(words);
      EXPECT_EQ(result.exit_code, kUsage) << forged << '\n' << words.front() << '\n' << result.out << result.err;
      EXPECT_THAT(result.err, AllOf(HasSubstr("was written by role " + app_), HasSubstr("give the file")));
    }
    client_->exec("UPDATE pgbackfill.migrations SET session_settings = NULL");
  }
  EXPECT_EQ(run({"complete", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT to_regclass('owned') IS NULL"), "t");
}

TEST_F(StateTrustTest, WhoCouldTakeTheSignatureAwayIsNamed) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("GRANT ALL ON pgbackfill.migrations TO " + app_);
  auto result = run({"complete", "m", "--trust-owner", app_});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("role " + app_ + " could have changed"));
  client_->exec("REVOKE ALL ON pgbackfill.migrations FROM " + app_ +
                "; ALTER TABLE pgbackfill.migrations DISABLE "
                "TRIGGER sign");
  result = run({"complete", "m"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("nobody can tell who wrote"));
}

// What is planted while a run goes on is found by no look at its start.
TEST_F(StateTrustTest, WhoeverCouldPlantCodeIsRefused) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  let_app_run_jobs();
  ASSERT_EQ(run({"status"}).exit_code, kDone);
  struct Case {
    std::string given;
    std::string told;
    std::string remedy;
  };
  for (auto const& [given, told, remedy] : std::vector<Case>{
           {"GRANT TRIGGER ON pgbackfill.events TO app", "role app has TRIGGER on pgbackfill.events",
            "REVOKE TRIGGER, REFERENCES ON ALL TABLES IN SCHEMA pgbackfill FROM app"},
           {"GRANT REFERENCES (id) ON pgbackfill.jobs TO app", "role app has REFERENCES on pgbackfill.jobs",
            "REVOKE REFERENCES ON ALL TABLES IN SCHEMA pgbackfill FROM app"},
           {"GRANT CREATE ON SCHEMA pgbackfill TO app", "role app has CREATE on schema pgbackfill",
            "REVOKE CREATE ON SCHEMA pgbackfill FROM app"},
           {"CREATE TABLE f (id bigint REFERENCES pgbackfill.jobs ON DELETE CASCADE); ALTER TABLE f OWNER TO app",
            "foreign key f_id_fkey of public.f, of role app, refers to pgbackfill.jobs",
            "ALTER TABLE public.f DROP CONSTRAINT f_id_fkey"}}) {
    client_->exec(given);
    for (std::vector<std::string> const& words :
         {std::vector<std::string>{"init"}, {"run", "m.yaml"}, {"status"}, {"gate", "m.yaml"}}) {
      auto const refused = run(words);
      EXPECT_EQ(refused.exit_code, kUsage) << given << '\n' << words.front() << refused.out;
      EXPECT_THAT(refused.err, AllOf(HasSubstr(told), HasSubstr("--trust-owner app; else `" + remedy + "`")));
    }
    EXPECT_THAT(run({"doctor", "m.yaml"}).out, HasSubstr(told));
    EXPECT_EQ(run({"status", "--trust-owner", app_}).exit_code, kDone) << given;
    EXPECT_EQ(run_program({PGBACKFILL_PROGRAM, "status", "--dsn", dsn(app_)}).exit_code, kDone) << "it is its own";
    client_->exec(remedy);
    EXPECT_EQ(run({"status"}).exit_code, kDone) << remedy;
  }
  client_->exec("GRANT TRIGGER ON pgbackfill.events TO PUBLIC");
  auto const refused = run({"status"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("everybody has TRIGGER on pgbackfill.events"), HasSubstr("FROM PUBLIC`")));
}

// A common way to set a database up for an application.
class DefaultRightsTest : public StateTrustTest {
 protected:
  static constexpr char kGiven[] =
      "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES GRANT ALL ON "
      "SEQUENCES TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON "
      "SCHEMAS TO app";
  void SetUp() override {
    StateTrustTest::SetUp();
    client_->exec(kGiven);
  }
  // What others than the owner may do, with objects whose name is like this.
  std::string rights(std::string const& like) {
    return client_->value(
        "SELECT coalesce(string_agg(DISTINCT a.privilege_type, ' '), '') FROM (SELECT relname, relacl, relowner FROM "
        "pg_class WHERE relnamespace = 'pgbackfill'::regnamespace UNION ALL SELECT proname, proacl, proowner FROM "
        "pg_proc WHERE pronamespace = 'pgbackfill'::regnamespace UNION ALL SELECT nspname, nspacl, nspowner FROM "
        "pg_namespace WHERE nspname = 'pgbackfill') o (name, acl, owner), aclexplode(acl) a WHERE a.grantee <> owner "
        "AND name LIKE '" +
        like + "'");
  }
};

TEST_F(DefaultRightsTest, GiveNobodyARightOnTheState) {
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  EXPECT_EQ(rights("%"), "");
  write("p.yaml",
        "name: p\ntable: t\nthrottle: {max_rows_per_second: 5}\nbackfill:\n  prepare:\n    k: {as: SELECT id FROM t, "
        "key: "
        "[id]}\n  set: {n: \"(SELECT k.id FROM {prepare:k} k WHERE k.id = t.id)\"}\n  batch: {min_rows: 1, max_rows: "
        "1}\n");
  EXPECT_EQ(run({"run", "p.yaml", "--limit", "1"}).exit_code, kResumable);
  EXPECT_EQ(rights("prepared%"), "SELECT");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(DefaultRightsTest, OfAnUpgradeAreThoseThatTheOperatorGave) {
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  let_app_run_jobs();
  client_->exec(
      "CREATE ROLE looks; GRANT SELECT ON pgbackfill.ranges TO looks; CREATE ROLE listed; ALTER DEFAULT PRIVILEGES IN "
      "SCHEMA pgbackfill GRANT SELECT ON TABLES TO listed");
  std::string const before = rights("ranges");
  client_->exec("DROP TABLE pgbackfill.samples, pgbackfill.notices; UPDATE pgbackfill.meta SET revision = 2");
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  EXPECT_EQ(rights("ranges"), before);
  EXPECT_EQ(client_->value("SELECT relacl FROM pg_class WHERE oid = 'pgbackfill.samples'::regclass"),
            "{postgres=arwdDxt/postgres,app=arwd/postgres,listed=r/postgres,looks=r/postgres}");
  client_->exec("DROP OWNED BY looks, listed; DROP ROLE looks, listed");
}

TEST_F(StateTrustTest, AnApprovalBearsTheNameOfWhoMadeIt) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  let_app_run_jobs();
  as_app(
      "INSERT INTO pgbackfill.approvals (migration, plan_hash, plan, db_user, os_user, host) VALUES ('m', 'x', 'y', "
      "'postgres', 'root', 'here')");
  EXPECT_EQ(client_->value("SELECT db_user FROM pgbackfill.approvals"), app_);
}

TEST_F(StateTrustTest, HowAStepFoundThingsIsNotTakenFromAnother) {
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - set_default: {column: n, value: 7}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  let_app_run_jobs();
  as_app("UPDATE pgbackfill.claims SET before = '(SELECT 1)', stored_by = 'postgres'");
  auto const result = run({"rollback", "m.yaml", "--yes"});
  EXPECT_EQ(result.exit_code, kFailed) << result.out;
  EXPECT_THAT(result.err, HasSubstr("pgbackfill.claims, written by role " + app_));
}

// Where a type of the key is part of a statement, it has to be the table's own.
TEST_F(StateTrustTest, KeysThatCannotBeAreTold) {
  auto& client = *client_;
  for (auto const& [broken, message] : std::vector<std::pair<std::string, std::string>>{
           {"UPDATE pgbackfill.leaves SET key_types = '{}'", "pgbackfill.leaves, leaf 0 (t): its arrays"},
           {"UPDATE pgbackfill.leaves SET key_types = '{NULL}'", "an array of the state is not a list of texts"},
           {"UPDATE pgbackfill.leaves SET key_columns = '{{id}}'", "an array of the state is not a list of texts"},
           {"UPDATE pgbackfill.leaves SET key_types = ARRAY['int) OR evil(1']", "where it was int) OR evil(1 when"},
           {"UPDATE pgbackfill.leaves SET key_types = '{evil.domain}'", "where it was evil.domain when"},
           {"UPDATE pgbackfill.ranges SET cursor = '{}', owner = NULL", "cursor has 0 value(s)"},
           {"UPDATE pgbackfill.ranges SET hi = '{1,2}', owner = NULL", "hi has 2 value(s)"},
           {"UPDATE pgbackfill.ranges SET leaf = 77, owner = NULL", "which pgbackfill.leaves does not have"},
           {"UPDATE pgbackfill.jobs SET workers = 2000000000", "pgbackfill.jobs: workers is 2000000000"},
           {"UPDATE pgbackfill.jobs SET batch_target_ms = 9000000000000000", "pgbackfill.jobs: batch_target_ms"},
           {"UPDATE pgbackfill.ranges SET rows_done = 9223372036854775807, owner = NULL; INSERT INTO "
            "pgbackfill.ranges (job_id, leaf, pass, rows_estimated, rows_done) SELECT job_id, 0, 0, 1, "
            "9223372036854775807 FROM pgbackfill.ranges",
            "sum of ranges.rows_done is '"}}) {
    client.exec("DROP SCHEMA IF EXISTS pgbackfill CASCADE");
    EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
    client.exec(
        "DELETE FROM pgbackfill.ranges WHERE pass > 0; UPDATE pgbackfill.jobs SET status = 'running', completed_at = "
        "NULL, pass = 0; UPDATE pgbackfill.ranges SET done = false, cursor = NULL");
    client.exec(broken);
    auto const result = run({"run", "m.yaml"});
    EXPECT_THAT(result.exit_code, AnyOf(kFailed, kGateClosed)) << broken << '\n' << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << broken;
    auto const status = run({"status", "m"});
    EXPECT_LT(status.exit_code, 128) << broken;
    client.exec("UPDATE t SET n = 0");
  }
}

TEST_F(StateTrustTest, OneBrokenMigrationHidesNoOther) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  write("other.yaml", "name: other\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  ASSERT_EQ(run({"run", "other.yaml"}).exit_code, kDone);
  client_->exec(
      "UPDATE pgbackfill.ranges SET rows_done = 9223372036854775807, batches = 9223372036854775807; INSERT "
      "INTO pgbackfill.ranges (job_id, leaf, pass, rows_estimated, rows_done, rows_changed) SELECT DISTINCT "
      "job_id, 0, 0, 1, 9223372036854775807, 9223372036854775807 FROM pgbackfill.ranges r JOIN "
      "pgbackfill.jobs j ON j.id = r.job_id WHERE j.name = 'other'; UPDATE pgbackfill.ranges SET "
      "rows_changed = 9223372036854775807");
  client_->exec(
      "UPDATE pgbackfill.jobs SET created_at = 'infinity', paused_until = '-infinity'; UPDATE "
      "pgbackfill.events SET at = 'infinity'; UPDATE pgbackfill.ranges SET updated_at = '-infinity', owner = "
      "'x/0', lease_expires = 'infinity', done = false");
  for (std::string const command : {"status", "history"}) {
    auto const result = run({command});
    EXPECT_EQ(result.exit_code, kDone) << command << result.err;
    EXPECT_THAT(result.out, AllOf(HasSubstr("m "), HasSubstr("other"), HasSubstr("broken"))) << command;
  }
  EXPECT_EQ(run({"log", "m"}).exit_code, kDone);
  auto const broken = run({"status", "other"});
  EXPECT_EQ(broken.exit_code, kFailed);
  EXPECT_THAT(broken.err, AllOf(HasSubstr("pgbackfill, of other"), Not(HasSubstr("stoll"))));
}

TEST_F(StateTrustTest, ARoleThatMayOnlyReadAsksTheGate) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("GRANT USAGE ON SCHEMA pgbackfill TO " + app_ +
                "; GRANT SELECT ON ALL TABLES IN SCHEMA pgbackfill TO " + app_ + "; GRANT SELECT ON t TO " + app_);
  auto const gate = [&] { return run_program({PGBACKFILL_PROGRAM, "gate", "m", "--dsn", dsn(app_)}); };
  auto const open = gate();
  EXPECT_EQ(open.exit_code, kDone) << open.err;
  client_->exec("INSERT INTO t VALUES (1000, 0)");
  auto const closed = gate();
  EXPECT_EQ(closed.exit_code, kGateClosed) << closed.err;
  EXPECT_THAT(closed.out, HasSubstr("1 row(s) still satisfy `where`"));
}

// Of a clock that was set back.
TEST_F(StateTrustTest, LeasesOfTheFutureAreStale) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec(
      "UPDATE t SET n = 0; DELETE FROM pgbackfill.ranges WHERE pass > 0; UPDATE pgbackfill.jobs SET status = "
      "'running', completed_at = NULL, pass = 0; UPDATE "
      "pgbackfill.ranges SET done = false, cursor = lo, owner = 'gone/0', host = 'elsewhere', machine = "
      "'elsewhere', pid = 1, lease_expires = now() + interval '1 day', updated_at = now() + interval '1 day'; "
      "INSERT INTO pgbackfill.runners (process, job_id, host, pid, seen_at, mode, weight, may_start, "
      "wal_per_second, workers, causes) SELECT 'gone', id, 'elsewhere', 1, now() + interval '1 day', 'on', 1, "
      "true, 1, 1, '[]' FROM pgbackfill.jobs");
  EXPECT_THAT(run({"status", "m"}).out, Not(HasSubstr("shares")));
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM t WHERE n = 1"), "100");
}

}  // namespace
}  // namespace pgbackfill::tests
