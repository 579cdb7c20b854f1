// `verify --repair` on a real server: rows that differ are repaired in batches, and no other row is touched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <memory>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class RepairTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, display text, writes int NOT NULL DEFAULT 0); INSERT INTO "
        "users SELECT g, 'name ' || g FROM generate_series(1, 2000) g; CREATE FUNCTION counts() RETURNS trigger "
        "LANGUAGE "
        "plpgsql AS $$ BEGIN NEW.writes := OLD.writes + 1; RETURN NEW; END $$; CREATE TRIGGER counts BEFORE UPDATE ON "
        "users FOR EACH ROW EXECUTE FUNCTION counts()");
    write_file();
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
    client_->exec(
        "ALTER TABLE users DISABLE TRIGGER counts; UPDATE users SET writes = 0, display = CASE WHEN id % 100 = 7 "
        "THEN 'x' ELSE display END; ALTER TABLE users ENABLE TRIGGER counts");
  }
  void write_file(std::string const& more = "") const {
    write("m.yaml",
          "name: m\ntable: users\nbackfill:\n  set: {display: upper(name)}\nverify:\n  - agrees: {set: "
          "{display: upper(name)}, where: id > 100}\n" +
              more);
  }
  std::string writes() const {
    return client_->value("SELECT count(*) || ' of ' || coalesce(sum(writes), 0) FROM users WHERE writes > 0");
  }
};

TEST_F(RepairTest, MendsTheRowsThatDifferAndTouchesNoOther) {
  auto const result = run({"verify", "m", "--repair"});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("ok     agrees: users (display): 1900 row(s) agree"),
                                HasSubstr("m: 19 row(s) repaired\n"), HasSubstr("m: 1 of 1 check(s) hold")));
  EXPECT_EQ(writes(), "19 of 19");
  EXPECT_EQ(client_->value("SELECT display FROM users WHERE id = 7"), "x") << "the check's condition leaves it out";
  EXPECT_EQ(client_->value("SELECT count(*) FROM users WHERE display <> upper(name)"), "1");
  EXPECT_THAT(run({"log", "m"}).out, HasSubstr("agrees: users (display): 19 row(s) repaired"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs"), "1") << "the repair is no job any more";
  auto const again = boost::json::parse(run({"verify", "m", "--repair", "--format", "json"}).out).as_object();
  EXPECT_EQ(again.at("rows_repaired"), 0);
  EXPECT_EQ(writes(), "19 of 19");
}

// 1.0 is equal to 1.00, and an application reads it as another text.
TEST_F(RepairTest, MendsWhatTheTypeCallsEqual) {
  client_->exec(
      "ALTER TABLE users ADD price numeric; UPDATE users SET price = CASE WHEN id % 100 = 7 THEN 1.0 ELSE 1.00 "
      "END, writes = 0");
  client_->exec(
      "ALTER TABLE users DISABLE TRIGGER counts; UPDATE users SET writes = 0; ALTER TABLE users ENABLE TRIGGER "
      "counts");
  write(
      "m.yaml",
      "name: m\ntable: users\nbackfill:\n  set: {display: upper(name)}\nverify:\n  - agrees: {set: {price: '1.00'}}\n");
  auto const result = run({"verify", "m.yaml", "--repair"});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("m: 20 row(s) repaired\n"));
  EXPECT_EQ(writes(), "20 of 20");
  EXPECT_EQ(client_->value("SELECT string_agg(DISTINCT price::text, ' ') FROM users"), "1.00");
}

TEST_F(RepairTest, WorksAroundARowThatSomebodyHolds) {
  PgClient other(dsn());
  other.exec("BEGIN; SELECT FROM users WHERE id = 107 FOR UPDATE");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "verify", "m", "--repair", "--dsn", dsn()}, options);
  EXPECT_TRUE(poll_until([&] {
    return client_->value("SELECT count(*) FROM users WHERE id > 100 AND display <> upper(name)") == "1";
  })) << "all but the row that is held";
  other.exec("COMMIT");
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_EQ(writes(), "19 of 19");
}

TEST_F(RepairTest, InterruptedItGoesOn) {
  write_file("throttle: {max_rows_per_second: 500}\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "verify", "m.yaml", "--repair", "--dsn", dsn()}, options);
  ASSERT_TRUE(poll_until([&] { return writes() != "0 of 0"; }));
  program.signal(SIGINT);
  auto const cut_short = program.wait();
  EXPECT_EQ(cut_short.exit_code, 4) << cut_short.out << cut_short.err;
  write_file();
  auto const rest = run({"verify", "m.yaml", "--repair"});
  EXPECT_EQ(rest.exit_code, kDone) << rest.out << rest.err;
  EXPECT_EQ(writes(), "19 of 19");
}

TEST_F(RepairTest, GoesOnWhenTheServerWasRestarted) {
  PgClient other(dsn());
  other.exec("BEGIN; SELECT FROM users WHERE id = 107 FOR UPDATE");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "verify", "m", "--repair", "--dsn", dsn()}, options);
  ASSERT_TRUE(poll_until([&] { return writes() == "18 of 18"; })) << "all but the row that is held";
  cluster_->restart_primary();
  client_ = std::make_unique<PgClient>(dsn());
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_EQ(writes(), "19 of 19");
}

TEST_F(RepairTest, WritesNothingOutsideTheWindows) {
  write_file("blackout: [daily]\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "verify", "m.yaml", "--repair", "--dsn", dsn()}, options);
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) FROM pgbackfill.runners") != "0"; }))
      << "the repair is under way";
  program.signal(SIGINT);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, 4) << result.out << result.err;
  EXPECT_EQ(writes(), "0 of 0");
}

TEST_F(RepairTest, IsRefusedBesideABackfillThatIsUnderWay) {
  client_->exec("UPDATE pgbackfill.jobs SET status = 'running'");
  auto const result = run({"verify", "m", "--repair"});
  EXPECT_EQ(result.exit_code, kGateClosed) << result.out;
  EXPECT_THAT(result.err, HasSubstr("the backfill of m is not complete"));
  EXPECT_EQ(writes(), "0 of 0");
}

TEST_F(RepairTest, WhatCannotBeWrittenIsSaid) {
  write("m.yaml", "name: n\ntable: users\nverify:\n  - agrees: {set: {id: id + 1}}\n");
  auto const result = run({"verify", "m.yaml", "--repair"});
  EXPECT_EQ(result.exit_code, kUsage) << result.out;
  EXPECT_THAT(result.err, HasSubstr("m.yaml:4:24: column 'id' is part of the key that the table is paged by"));
}

}  // namespace
}  // namespace pgbackfill::tests
