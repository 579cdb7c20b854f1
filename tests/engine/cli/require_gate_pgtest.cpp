// pgbackfill.require_gate(): migrations of other tools that wait for a gate, and what they are told while it is closed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/sandbox/local_cluster.h"
#include "engine/state/state_store.h"
#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class RequireGateTest : public DatabaseTest {
 protected:
  void make_table() const {
    client_->exec("CREATE TABLE t (id int PRIMARY KEY, n int)");
    client_->exec("INSERT INTO t SELECT g FROM generate_series(1, 100) g");
    write("t.yaml",
          "name: fill_n\ntable: t\nexpand:\n  - add_column: {name: m, table: t, type: int}\nbackfill:\n  set: {n: "
          "\"id\"}\n  where: n IS NULL\n");
  }

  // What it says; empty: the gate is open.
  std::string require(std::string const& arguments = "'fill_n'", std::string const& user = "postgres") const {
    try {
      PgClient(dsn(user)).exec("SELECT pgbackfill.require_gate(" + arguments + ")");
    } catch (std::exception const& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(RequireGateTest, OpensOnceGateHasMeasuredTheMigration) {
  make_table();
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  EXPECT_THAT(require(), HasSubstr("the gate of migration fill_n is closed: it is not recorded in this database"));
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  EXPECT_THAT(require(), HasSubstr("its gate was never measured"));
  ASSERT_EQ(run({"gate", "fill_n"}).exit_code, kDone);
  EXPECT_THAT(require(), IsEmpty());
  EXPECT_THAT(require("'fill_n', interval '1 hour'"), IsEmpty());
  EXPECT_THAT(require("'fill_n', max_age => '0 s'"), HasSubstr("longer than 00:00:00 ago"));
  EXPECT_THAT(require("NULL"), HasSubstr("the name of the migration is NULL"));
}

TEST_F(RequireGateTest, EndsAMigrationOfAnotherToolBeforeItsFirstStep) {
  make_table();
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  client_->exec("INSERT INTO t VALUES (101)");
  ASSERT_EQ(run({"gate", "fill_n"}).exit_code, kGateClosed);
  std::string const script =
      "BEGIN; SELECT pgbackfill.require_gate('fill_n'); ALTER TABLE t ALTER n SET NOT NULL; COMMIT";
  std::string said;
  try {
    PgClient(dsn()).exec(script);
  } catch (std::exception const& error) {
    said = error.what();
  }
  EXPECT_THAT(said, HasSubstr("the gate was closed: 1 row(s) still satisfy `where`"));
  client_->exec("UPDATE t SET n = id WHERE n IS NULL");
  ASSERT_EQ(run({"gate", "fill_n"}).exit_code, kDone);
  EXPECT_NO_THROW(PgClient(dsn()).exec(script));
  EXPECT_EQ(client_->value("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'n'"),
            "t");
}

TEST_F(RequireGateTest, SaysWhatTheStateItselfKnows) {
  make_table();
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"gate", "fill_n"}).exit_code, kDone);
  client_->exec(
      "INSERT INTO pgbackfill.deferred (job_id, leaf, key) SELECT id, 0, '{1}' FROM pgbackfill.jobs; INSERT INTO "
      "pgbackfill.quarantine (job_id, leaf, key, sqlstate, message) SELECT id, 0, '{2}', '22012', 'x' FROM "
      "pgbackfill.jobs; UPDATE pgbackfill.jobs SET status = 'paused'");
  EXPECT_THAT(require(), HasSubstr("the backfill is paused, 0 range(s) are open; 1 row(s) are deferred: somebody held "
                                   "them; 1 row(s) are quarantined"));
  client_->exec(
      "DELETE FROM pgbackfill.deferred; DELETE FROM pgbackfill.quarantine; UPDATE pgbackfill.jobs SET status "
      "= 'complete', completed_at = clock_timestamp()");
  EXPECT_THAT(require(), HasSubstr("before the backfill was complete"));
}

TEST_F(RequireGateTest, ForgetsAReadingThatARollbackHasOvertaken) {
  make_table();
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"gate", "fill_n"}).exit_code, kDone);
  ASSERT_EQ(run({"rollback", "fill_n", "--yes"}).exit_code, kDone);
  EXPECT_THAT(require(), HasSubstr("the backfill has not started"));
}

TEST_F(RequireGateTest, IsNotForPublicAndNeedsTheRightToLook) {
  make_table();
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"gate", "fill_n"}).exit_code, kDone);
  client_->exec("CREATE ROLE deployer LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO deployer");
  EXPECT_THAT(require("'fill_n'", "deployer"), HasSubstr("permission denied for function require_gate"));
  client_->exec(
      "GRANT SELECT ON ALL TABLES IN SCHEMA pgbackfill TO deployer; GRANT EXECUTE ON FUNCTION "
      "pgbackfill.require_gate(text, interval) TO deployer");
  EXPECT_THAT(require("'fill_n'", "deployer"), IsEmpty());
}

TEST_F(RequireGateTest, RolesThatCouldWorkBeforeTheUpgradeStillCan) {
  make_table();
  client_->exec("CREATE ROLE worker LOGIN; GRANT ALL ON t TO worker");
  auto const scripts = engine::state::upgrades(0);
  for (std::size_t each = 0; each + 1 < scripts.size(); ++each) client_->exec(scripts[each]);
  client_->exec(engine::state::grants_to("worker"));
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT has_function_privilege('worker', 'pgbackfill.require_gate(text, interval)', "
                           "'EXECUTE') AND has_table_privilege('worker', 'pgbackfill.gate_readings', 'INSERT')"),
            "t");
}

TEST_F(RequireGateTest, AGateThatMayNotWriteMeasuresAllTheSameAndSaysSo) {
  make_table();
  ASSERT_EQ(run({"run", "t.yaml"}).exit_code, kDone);
  client_->exec(
      "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA "
      "pgbackfill TO reader; GRANT SELECT ON t TO reader");
  auto const gate = run({"gate", "t.yaml", "--dsn", dsn("reader")}, false);
  EXPECT_EQ(gate.exit_code, kDone) << gate.err;
  EXPECT_THAT(gate.err, HasSubstr("pgbackfill.require_gate() will not know of this reading"));
  EXPECT_THAT(require(), HasSubstr("its gate was never measured"));
}

}  // namespace
}  // namespace pgbackfill::tests
