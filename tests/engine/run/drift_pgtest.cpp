// Drift on a real server: what others do to a table is named, what the migration relies on stops it, and its own steps
// are never taken for somebody else's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kFile[] = R"yaml(name: m
table: users
expand:
  - add_column: {name: display, type: text}
  - create_index: {name: by_display, columns: [display]}
sync:
  set: {display: "upper(name)"}
backfill:
  set: {display: "upper(name)"}
  where: display IS NULL
contract:
  - set_not_null: display
  - drop_column: name
)yaml";

class DriftTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, note text); INSERT INTO users SELECT g, 'name ' || g FROM "
        "generate_series(1, 50) g");
    write("m.yaml", kFile);
  }
  // A run that has begun and is not at its end, so that the next one has work to do.
  void run_half() {
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
    client_->exec(
        "UPDATE pgbackfill.ranges r SET done = false, owner = NULL FROM pgbackfill.jobs j WHERE j.id = r.job_id AND "
        "r.pass = j.pass; UPDATE pgbackfill.jobs SET status = 'failed'");
  }
  std::string plan(std::string const& format = "text") const { return run({"plan", "m.yaml", "--format", format}).out; }
  void expect_quiet(std::string const& when) const {
    auto const document = boost::json::parse(plan("json")).as_object();
    EXPECT_EQ(document.at("drift").as_array().size(), 0U) << when << plan();
    EXPECT_EQ(document.at("critical_drift").as_array().size(), 0U) << when << plan();
  }
};

TEST_F(DriftTest, OwnStepsAreNoDrift) {
  expect_quiet("nothing is recorded");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(
      client_->value(
          "SELECT string_agg(name, ' ' ORDER BY name) FROM pgbackfill.facts WHERE is_own AND kind <> 'column number'"),
      "by_display display ~pgbackfill_m");
  expect_quiet("after run");
  auto const again = run({"run", "m.yaml"});
  EXPECT_EQ(again.exit_code, kDone);
  EXPECT_THAT(again.err, Not(HasSubstr("somebody else")));
  ASSERT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.facts WHERE name = 'name' OR definition LIKE '%name%pgb%'"),
            "0");
  EXPECT_EQ(client_->value("SELECT definition FROM pgbackfill.facts WHERE name = 'display' AND kind = 'column'"),
            "text NOT NULL");
  EXPECT_EQ(client_->value("SELECT steps_pending FROM pgbackfill.migrations"), "f");
}

TEST_F(DriftTest, WhatDoesNotTouchTheWorkIsNamedAndGoneOnWith) {
  run_half();
  client_->exec(
      "ALTER TABLE users ALTER note TYPE varchar(80); CREATE INDEX hasty ON users (note); ALTER TABLE users ADD CHECK "
      "(id > 0)");
  EXPECT_THAT(plan(), AllOf(HasSubstr("  drift      since 20"),
                            HasSubstr("column \"note\" of \"public\".\"users\" is character varying(80) where it was "
                                      "text\n"),
                            HasSubstr("index \"hasty\" of \"public\".\"users\" is new: CREATE INDEX hasty ON"),
                            HasSubstr("constraint \"users_id_check\" of"), Not(HasSubstr("drift!"))));
  EXPECT_THAT(plan("markdown"), HasSubstr("**Changed by others since the first run**"));
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("changed by somebody else: since 20"));
}

TEST_F(DriftTest, WhatTheWorkReliesOnStopsIt) {
  struct {
    char const* change;
    char const* back;
    char const* text;
  } const cases[] = {
      {"ALTER TABLE users ALTER name TYPE varchar(80)", "ALTER TABLE users ALTER name TYPE text",
       "column \"name\" of \"public\".\"users\" is character varying(80) where it was text (the work reads or writes "
       "it"},
      {"ALTER TABLE users ALTER id TYPE bigint", "ALTER TABLE users ALTER id TYPE int",
       "column \"id\" of \"public\".\"users\" is bigint NOT NULL where it was integer NOT NULL (it is part of the key"},
      {"DROP INDEX by_display", "CREATE INDEX by_display ON users (display)",
       "index \"by_display\" of \"public\".\"users\" is gone; it was CREATE INDEX by_display"},
  };
  client_->exec("CREATE TABLE log (n int)");
  run_half();
  for (auto const& one : cases) {
    // The trigger of sync depends on the types of its columns in name only.
    client_->exec(one.change);
    EXPECT_THAT(plan(), AllOf(HasSubstr("drift!"), HasSubstr(one.text)));
    auto const refused = run({"run", "m.yaml"});
    EXPECT_EQ(refused.exit_code, kGateClosed) << one.change << refused.err;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("m relies on what was changed by somebody else:\n  since 20"),
                                   HasSubstr(one.text), HasSubstr("`pgbackfill run m.yaml --accept-drift`")));
    EXPECT_EQ(client_->value("SELECT status FROM pgbackfill.jobs"), "failed") << "nothing was started";
    client_->exec(one.back);
    expect_quiet(one.back);
  }
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

// The index and its definition are as they were, and the rows are numbered anew.
TEST_F(DriftTest, AKeyColumnThatIsAnotherOneOfTheNameStopsIt) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0, other int); INSERT INTO t SELECT g FROM generate_series(1, "
      "60) g");
  write("t.yaml", "name: t\ntable: t\nbackfill: {set: {n: n + 1}, batch: {min_rows: 1, max_rows: 7}}\n");
  ASSERT_EQ(run({"run", "t.yaml", "--limit", "20"}).exit_code, kResumable);
  client_->exec(
      "ALTER TABLE t RENAME id TO old_id; ALTER TABLE t ADD id int; UPDATE t SET id = 100 - old_id; ALTER TABLE t DROP "
      "CONSTRAINT t_pkey, ADD PRIMARY KEY (id)");
  auto const before = client_->value("SELECT string_agg(n::text, ' ' ORDER BY id) FROM t");
  auto const refused = run({"run", "t.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("column \"id\" of \"public\".\"t\" is another one of that name"),
                                 HasSubstr("part of the key")));
  EXPECT_EQ(client_->value("SELECT string_agg(n::text, ' ' ORDER BY id) FROM t"), before);
}

TEST_F(DriftTest, AColumnThatTheWorkDoesNotNameMayBeAnotherOne) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0, other int); INSERT INTO t SELECT g FROM generate_series(1, "
      "60) g");
  write("t.yaml", "name: t\ntable: t\nbackfill: {set: {n: n + 1}, batch: {min_rows: 1, max_rows: 7}}\n");
  ASSERT_EQ(run({"run", "t.yaml", "--limit", "20"}).exit_code, kResumable);
  client_->exec("ALTER TABLE t RENAME other TO gone; ALTER TABLE t ADD other int");
  auto const result = run({"run", "t.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("is another one of that name")));
  EXPECT_EQ(client_->value("SELECT string_agg(DISTINCT n::text, ' ') FROM t"), "1");
}

TEST_F(DriftTest, AcceptedDriftIsRecordedAndSaidNoMore) {
  run_half();
  client_->exec("ALTER TABLE users ALTER name TYPE varchar(80); CREATE INDEX hasty ON users (note)");
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  EXPECT_THAT(accepted.err, HasSubstr("2 difference(s) are accepted"));
  expect_quiet("accepted");
  EXPECT_THAT(run({"log", "m"}).out, AllOf(HasSubstr("drift accepted"), HasSubstr("character varying(80)")));
}

// A migration that is complete relies on nothing any more: a repeat of its run, as pipelines do it, has to pass.
TEST_F(DriftTest, DoesNotHoldUpWhatIsComplete) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("ALTER TABLE users ALTER name TYPE varchar(80)");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("character varying(80)"));
}

// The mark stands while steps are under way; a process that ended in between leaves it.
TEST_F(DriftTest, StepsThatWereCutShortAreNotTakenForSomebodyElses) {
  run_half();
  client_->exec(
      "UPDATE pgbackfill.migrations SET steps_pending = true; DELETE FROM pgbackfill.facts WHERE is_own; DELETE FROM "
      "pgbackfill.steps WHERE phase = 'expand' AND position = 1");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(
      client_->value(
          "SELECT string_agg(name, ' ' ORDER BY name) FROM pgbackfill.facts WHERE is_own AND kind <> 'column number'"),
      "by_display display ~pgbackfill_m");
  expect_quiet("settled");
}

TEST_F(DriftTest, ACopyThatTakesTheTablesPlaceIsNoDrift) {
  write("m.yaml",
        "name: m\ntable: users\nexpand:\n  - create_table: {table: users_v2, columns: \"id int PRIMARY KEY, name "
        "text\"}\nsync:\n  mirror: [id]\nbackfill:\n  copy_to: users_v2\n  columns: {id: id, name: upper(name)}\n"
        "contract:\n  - swap: {with: users_v2, keep_as: users_v1}\n");
  auto const first = run({"run", "m.yaml"});
  ASSERT_EQ(first.exit_code, kDone) << first.err;
  expect_quiet("after run");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const completed = run({"complete", "m", "--yes"});
  ASSERT_EQ(completed.exit_code, kDone) << completed.err;
  auto const again = run({"run", "m.yaml"});
  EXPECT_THAT(again.err, Not(HasSubstr("somebody else")));
  EXPECT_NE(again.exit_code, kGateClosed) << again.err;
}

TEST_F(DriftTest, PartitionsThatCameWentOrWereChangedAreNamed) {
  client_->exec(
      "DROP TABLE users; CREATE TABLE users (id int, name text, note text, PRIMARY KEY (id)) PARTITION BY RANGE (id); "
      "CREATE TABLE \"Users 1\" PARTITION OF users FOR VALUES FROM (0) TO (20); CREATE TABLE users_2 PARTITION OF "
      "users "
      "FOR VALUES FROM (20) TO (60) PARTITION BY RANGE (id); CREATE TABLE users_2a PARTITION OF users_2 FOR VALUES "
      "FROM "
      "(20) TO (60); CREATE TABLE users_3 PARTITION OF users FOR VALUES FROM (60) TO (80); CREATE INDEX early ON "
      "\"Users 1\" (note); INSERT INTO users SELECT g, 'name ' || g FROM generate_series(1, 50) g");
  write("m.yaml",
        "name: m\ntable: users\nexpand:\n  - add_column: {name: display, type: text}\nsync:\n  set: {display: "
        "\"upper(name)\"}\nbackfill:\n  set: {display: \"upper(name)\"}\n  where: display IS NULL\n");
  run_half();
  expect_quiet("after the first run");
  client_->exec(
      "CREATE TABLE users_4 PARTITION OF users FOR VALUES FROM (80) TO (90); CREATE INDEX own_of_4 ON users_4 (note); "
      "ALTER TABLE users DETACH PARTITION users_3; DROP INDEX early; CREATE INDEX hasty ON users_2a (note); ALTER "
      "TABLE "
      "\"Users 1\" ALTER note SET DEFAULT 'x', ADD CONSTRAINT short CHECK (length(note) < 9)");
  EXPECT_THAT(
      plan(),
      AllOf(
          HasSubstr("partition \"public\".\"users_4\" of \"public\".\"users\" is new: FOR VALUES FROM (80) TO (90)"),
          HasSubstr("partition \"public\".\"users_3\" of \"public\".\"users\" is gone; it was FOR VALUES FROM (60) TO "
                    "(80)"),
          HasSubstr("index \"early\" of \"public\".\"Users 1\" is gone"),
          HasSubstr("index \"hasty\" of \"public\".\"users_2a\" is new: CREATE INDEX hasty ON"),
          HasSubstr("column \"note\" of \"public\".\"Users 1\" is text DEFAULT 'x'::text where it was text\n"),
          HasSubstr("constraint \"short\" of \"public\".\"Users 1\" is new: CHECK ((length(note) < 9))"),
          Not(HasSubstr("own_of_4")), Not(HasSubstr("drift!"))));
  // What concerns the work stops it, of a partition as of the table.
  client_->exec("ALTER TABLE users_2a ALTER name SET NOT NULL");
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed) << refused.err;
  EXPECT_THAT(refused.err,
              HasSubstr("column \"name\" of \"public\".\"users_2a\" is text NOT NULL where it was text (the "
                        "work reads or writes it"));
  auto const accepted = run({"run", "m.yaml", "--accept-drift"});
  EXPECT_EQ(accepted.exit_code, kDone) << accepted.err;
  expect_quiet("accepted");
}

TEST_F(DriftTest, OwnStepsOnPartitionsAreNoDrift) {
  client_->exec(
      "DROP TABLE users; CREATE TABLE users (id int PRIMARY KEY, name text) PARTITION BY RANGE (id); CREATE TABLE "
      "users_1 "
      "PARTITION OF users FOR VALUES FROM (0) TO (20); CREATE TABLE users_2 PARTITION OF users FOR VALUES FROM (20) TO "
      "(60)");
  write("m.yaml",
        "name: m\ntable: users\nexpand:\n  - create_index: {table: users_1, name: by_name, columns: [name]}\n  - "
        "detach_partition: {partition: users_2}\n");
  auto const first = run({"run", "m.yaml"});
  ASSERT_EQ(first.exit_code, kDone) << first.err;
  expect_quiet("after run");
  auto const again = run({"run", "m.yaml"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("somebody else")));
}

TEST_F(DriftTest, ARollbackForgetsWhatWas) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.facts"), "0");
  client_->exec("ALTER TABLE users ALTER name TYPE varchar(80)");
  expect_quiet("rolled back");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT definition FROM pgbackfill.facts WHERE name = 'name' AND kind = 'column'"),
            "character varying(80)");
}

// As version 8 left it: nothing is recorded, so nothing is said.
TEST_F(DriftTest, AJobOfAnOlderStateBeginsWithWhatIsThere) {
  run_half();
  client_->exec(
      "DROP TABLE pgbackfill.facts; ALTER TABLE pgbackfill.migrations DROP COLUMN steps_pending; DELETE FROM "
      "pgbackfill.meta WHERE version >= 9; ALTER TABLE users ALTER name TYPE varchar(80)");
  EXPECT_EQ(run({"plan", "m.yaml"}).exit_code, kDone);
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT definition FROM pgbackfill.facts WHERE name = 'name' AND kind = 'column'"),
            "character varying(80)");
}

}  // namespace
}  // namespace pgbackfill::tests
