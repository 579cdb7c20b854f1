// A job and its table, on a real server: a table that has the name and is another one, and a key that is not what it
// was.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

class JobBindingTest : public DatabaseTest {
 protected:
  static constexpr char kCountUp[] =
      "name: m\ntable: t\nbackfill:\n  set: {n: \"n + 1\"}\n  workers: 1\n  batch: {target: 50ms, max_rows: "
      "200}\nthrottle: {max_rows_per_second: 2000}\n";

  void make_table(std::string const& key = "id int") const {
    client_->exec(
        fmt::format("CREATE TABLE t ({} PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM "
                    "generate_series(1, 6000) g",
                    key));
    write("m.yaml", kCountUp);
  }
  // Ends in the middle.
  void run_half() const {
    Program process({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn()});
    MigrationRun const job("m", dsn(), "");
    ASSERT_TRUE(job.waits_for_rows(1'000)) << process.err();
    process.signal(SIGTERM);
    ASSERT_EQ(process.wait().exit_code, kResumable) << process.err();
  }
  std::string counts_of(std::string const& table = "t") const { return counts(dsn(), table); }
};

TEST_F(JobBindingTest, ATableOfTheSameNameIsRefusedUntilItIsAccepted) {
  make_table();
  run_half();
  auto const before = counts_of();
  client_->exec(
      "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (LIKE t_old INCLUDING ALL); INSERT INTO t SELECT * FROM "
      "t_old");
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("table \"public\".\"t\" is not the one that m began on"), HasSubstr("oid"),
                                 HasSubstr("--accept-drift"), HasSubstr("rows were done")));
  EXPECT_EQ(counts_of(), before);
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_EQ(counts_of(), "1: 6000");
  EXPECT_EQ(counts_of("t_old"), before);
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.events WHERE kind = 'bound'"), "1");
}

// Job and table come from one moment then: what is done there is done here.
TEST_F(JobBindingTest, ADatabaseThatWasRestoredInTheMiddleOfAJobIsGoneOnWith) {
  if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
  make_table();
  run_half();
  auto const before = counts_of();
  std::string const restored = database_ + "_restored";
  PgClient(cluster_->dsn()).exec("CREATE DATABASE " + restored);
  std::string const there = cluster_->dsn() + " dbname=" + restored;
  PgClient(there).exec("CREATE TABLE takes_a_number (n int)");
  ProgramOptions options;
  options.environment = {{"HERE", dsn()}, {"THERE", there}};
  auto const copied =
      run_program({"sh", "-c", "pg_dump \"$HERE\" | psql -qAtX -v ON_ERROR_STOP=1 \"$THERE\""}, 60s, options);
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  ASSERT_EQ(counts(there, "t"), before);
  auto const ran = run({"run", "m.yaml", "--dsn", there}, false);
  EXPECT_EQ(ran.exit_code, kDone) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("It was restored from a dump, and schema pgbackfill with it: the job goes on here"));
  EXPECT_EQ(counts(there, "t"), "1: 6000");
  EXPECT_EQ(counts_of(), before);
  // From now on it belongs there.
  PgClient(there).exec(
      "UPDATE pgbackfill.jobs SET status = 'running'; ALTER TABLE t RENAME TO t_old; CREATE TABLE t (LIKE t_old "
      "INCLUDING ALL)");
  EXPECT_EQ(run({"run", "m.yaml", "--dsn", there}, false).exit_code, kGateClosed);
}

// Of the state alone: what was done since is not in it.
TEST_F(JobBindingTest, AStateThatIsOlderThanItsTableIsRefusedUntilItIsAccepted) {
  if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
  make_table();
  run_half();
  ProgramOptions options;
  options.environment = {{"HERE", dsn()}};
  auto const again = run_program({"sh", "-c",
                                  "pg_dump -n pgbackfill \"$HERE\" > state.sql && psql -qXc 'DROP SCHEMA pgbackfill "
                                  "CASCADE' \"$HERE\" && psql -qAtX -v ON_ERROR_STOP=1 -f state.sql \"$HERE\"; rm -f "
                                  "state.sql"},
                                 60s, options);
  ASSERT_EQ(again.exit_code, 0) << again.err;
  auto const before = counts_of();
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("schema pgbackfill was restored from a dump, and table \"public\".\"t\" was "
                                           "not"),
                                 HasSubstr("--accept-drift")));
  EXPECT_EQ(counts_of(), before);
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_EQ(counts_of(), "1: 6000");
}

TEST_F(JobBindingTest, ALabelOfAKeyThatWasRenamedIsToldWithTheWayOn) {
  client_->exec(
      "CREATE TYPE level AS ENUM ('low', 'high'); CREATE TABLE t (l level, id int, n int NOT NULL DEFAULT 0, PRIMARY "
      "KEY (l, id)); INSERT INTO t SELECT (enum_range(NULL::level))[1 + g % 2], g FROM generate_series(1, 6000) g");
  write("m.yaml", kCountUp);
  run_half();
  client_->exec("ALTER TYPE level RENAME VALUE 'low' TO 'lowest'; ALTER TYPE level RENAME VALUE 'high' TO 'highest'");
  auto const before = counts_of();
  for (bool const is_accepted : {false, true}) {
    std::vector<std::string> command = {"run", "m.yaml"};
    if (is_accepted) command.emplace_back("--accept-drift");
    auto const refused = run(command);
    EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("in column \"l\" of \"public\".\"t\""), HasSubstr("it was renamed"),
                                   HasSubstr("ALTER TYPE public.level RENAME VALUE '...' TO 'high'")));
  }
  EXPECT_EQ(counts_of(), before);
  client_->exec("ALTER TYPE level RENAME VALUE 'lowest' TO 'low'; ALTER TYPE level RENAME VALUE 'highest' TO 'high'");
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_EQ(counts_of(), "1: 6000");
}

// As with pg_dump and pg_restore of the table alone, where numbers of tables may be those that others had.
TEST_F(JobBindingTest, PartitionsThatWereRestoredAreToldByTheirNames) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE t0 "
      "PARTITION OF t FOR VALUES FROM (0) TO (3001); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (3001) TO (6001); "
      "INSERT INTO t SELECT g FROM generate_series(1, 6000) g");
  write("m.yaml", kCountUp);
  run_half();
  client_->exec(
      "ALTER TABLE t RENAME TO u; ALTER TABLE t0 RENAME TO u0; ALTER TABLE t1 RENAME TO u1; CREATE TABLE t (LIKE u "
      "INCLUDING ALL) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (3001) TO (6001); CREATE "
      "TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (3001); INSERT INTO t SELECT * FROM u; UPDATE pgbackfill.leaves "
      "SET relation = 't0'::regclass WHERE table_name = 't1'");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kGateClosed);
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_EQ(counts_of(), "1: 6000");
}

// The usual way to partition a table by hand.
TEST_F(JobBindingTest, ATableThatBecameAPartitionIsGoneOnWith) {
  make_table();
  run_half();
  client_->exec(
      "BEGIN; ALTER TABLE t RENAME TO t_all; CREATE TABLE t (LIKE t_all INCLUDING ALL) PARTITION BY RANGE (id); ALTER "
      "TABLE "
      "t ATTACH PARTITION t_all FOR VALUES FROM (MINVALUE) TO (7000); CREATE TABLE t_more PARTITION OF t FOR VALUES "
      "FROM "
      "(7000) TO (8000); INSERT INTO t SELECT g FROM generate_series(7001, 7100) g; COMMIT");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kGateClosed);
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_EQ(counts_of(), "1: 6100");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kDone);
}

TEST_F(JobBindingTest, APartitionThatBecameTheTableIsGoneOnWith) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE t_rest "
      "PARTITION "
      "OF t DEFAULT; CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (7000); INSERT INTO t SELECT g FROM "
      "generate_series(1, 6000) g; INSERT INTO t SELECT g FROM generate_series(8001, 8100) g");
  write("m.yaml", kCountUp);
  run_half();
  client_->exec(
      "BEGIN; ALTER TABLE t DETACH PARTITION t1; ALTER TABLE t RENAME TO t_parted; ALTER TABLE t1 RENAME TO t; COMMIT");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kGateClosed);
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_EQ(counts_of(), "1: 6000");
}

TEST_F(JobBindingTest, ATableThatNoneOfThePartitionsBecameIsRefused) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE t_rest "
      "PARTITION "
      "OF t DEFAULT; CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (7000); INSERT INTO t SELECT g FROM "
      "generate_series(1, 6000) g");
  write("m.yaml", kCountUp);
  run_half();
  client_->exec(
      "BEGIN; ALTER TABLE t RENAME TO t_parted; CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL); INSERT INTO t "
      "SELECT * "
      "FROM t_parted; COMMIT");
  auto const before = counts_of();
  auto const refused = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("it cannot be gone on with: 2 partitions"), HasSubstr("another name")));
  EXPECT_EQ(counts_of(), before);
}

TEST_F(JobBindingTest, ATableThatAnotherSearchPathFindsIsRefused) {
  make_table();
  run_half();
  client_->exec("CREATE SCHEMA app; CREATE TABLE app.t (LIKE t INCLUDING ALL); INSERT INTO app.t SELECT id FROM t");
  // As if the job had begun there.
  client_->exec(
      "UPDATE pgbackfill.jobs SET table_schema = 'app', relation = 'app.t'::regclass; UPDATE "
      "pgbackfill.leaves SET table_schema = 'app', relation = 'app.t'::regclass");
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("which was \"app\".\"t\""));
}

TEST_F(JobBindingTest, ATableThatCannotBePagedByTheStoredKeysIsNotAccepted) {
  make_table();
  run_half();
  client_->exec("ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id text PRIMARY KEY, n int NOT NULL DEFAULT 0)");
  auto const refused = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("is text where it was integer"));
}

// Jobs of older programs do not know the number of their table, but those of its leaves.
TEST_F(JobBindingTest, AJobThatDoesNotKnowItsTableLearnsIt) {
  make_table();
  run_half();
  client_->exec("UPDATE pgbackfill.jobs SET relation = NULL");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT relation = 't'::regclass FROM pgbackfill.jobs"), "t");
  EXPECT_EQ(counts_of(), "1: 6000");
}

TEST_F(JobBindingTest, AKeyThatBecameWiderIsGoneOnWith) {
  make_table();
  run_half();
  client_->exec(
      "ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t SELECT g FROM generate_series(3000000000, "
      "3000000099) g");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kGateClosed) << "it is drift";
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_THAT(accepted.err, HasSubstr("is bigint where it was integer: it sorts alike"));
  EXPECT_EQ(counts_of(), "1: 6100");
}

TEST_F(JobBindingTest, AKeyThatBecameWiderInTheMiddleIsGoneOnWith) {
  make_table();
  MigrationRun job("m", dsn(), std::string(kCountUp).substr(8));
  auto& process = job.start();
  ASSERT_TRUE(job.waits_for_rows(1'000)) << job.story();
  client_->exec(
      "ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t SELECT g FROM generate_series(3000000000, "
      "3000000099) g");
  EXPECT_TRUE(job.ends(process, kDone));
  EXPECT_EQ(counts_of(), "1: 6100") << job.story();
}

TEST_F(JobBindingTest, AKeyThatSortsInAnotherWayIsRefused) {
  make_table();
  run_half();
  auto const before = counts_of();
  client_->exec("ALTER TABLE t ALTER id TYPE text");
  auto const refused = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("key column \"id\" of table \"public\".\"t\" is text where it was integer"));
  EXPECT_EQ(counts_of(), before);
}

class CollationTest : public JobBindingTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec("CREATE COLLATION sv (provider = icu, locale = 'sv')");
    make_table("id text COLLATE sv");
  }
};

TEST_F(CollationTest, AnIndexThatMayBeOutOfOrderIsToldAndNotPagedBy) {
  client_->exec(
      "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'sv' AND collnamespace = "
      "'public'::regnamespace");
  auto const doctor = run({"doctor", "m.yaml"});
  EXPECT_EQ(doctor.exit_code, kGateClosed) << doctor.out;
  auto const refused = run({"run", "m.yaml"});
  EXPECT_NE(refused.exit_code, kDone);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("built with version 1.0 of collation"), HasSubstr("REINDEX"),
                                 HasSubstr("REFRESH VERSION")));
  EXPECT_EQ(counts_of(), "0: 6000");
  client_->exec("REINDEX TABLE t; ALTER COLLATION sv REFRESH VERSION");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
}

TEST_F(CollationTest, AnOrderThatChangedUnderTheJobIsRefused) {
  run_half();
  auto const before = counts_of();
  client_->exec("UPDATE pgbackfill.leaves SET key_collation_versions = '{1.0}'");
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("and was by version 1.0 when the job began"));
  EXPECT_EQ(counts_of(), before);
}

}  // namespace
}  // namespace pgbackfill::tests
