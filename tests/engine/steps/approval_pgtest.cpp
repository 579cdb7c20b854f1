// Approvals on a real server: nothing is destroyed unless somebody agreed to just that.
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
backfill:
  set: {display: "upper(name)"}
  where: display IS NULL
contract:
  - set_not_null: display
  - drop_column: name
)yaml";

constexpr char kOtherContract[] = R"yaml(name: m
table: users
expand:
  - add_column: {name: display, type: text}
backfill:
  set: {display: "upper(name)"}
  where: display IS NULL
contract:
  - set_not_null: display
  - drop_column: note
)yaml";

class ApprovalTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, note text); INSERT INTO users SELECT g, 'name ' || g, "
        "'note' FROM generate_series(1, 50) g");
    write("m.yaml", kFile);
    auto const result = run({"run", "m.yaml"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
  }
  std::string columns() const {
    return client_->value(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'users'::regclass AND "
        "attnum > 0 AND NOT attisdropped");
  }
  std::string not_null() const {
    return client_->value(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'display'");
  }
  boost::json::object status() const {
    return boost::json::parse(run({"status", "m", "--format", "json"}).out).as_object();
  }
};

TEST_F(ApprovalTest, NothingIsDestroyedThatNobodyAgreedTo) {
  auto const refused = run({"complete", "m"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("1 step(s) of m"), HasSubstr("contract step 2"),
                                 HasSubstr("all values of the column are lost"), HasSubstr("`pgbackfill approve m`"),
                                 HasSubstr("--yes"), Not(HasSubstr("set_not_null"))));
  EXPECT_EQ(columns(), "id name note display");
  EXPECT_EQ(not_null(), "f") << "the steps before the destructive one have to wait too";
  EXPECT_TRUE(status().at("approval").is_null());
}

TEST_F(ApprovalTest, AnApprovedPlanIsRun) {
  auto const approved = run({"approve", "m", "--reason", "the old app is gone"});
  EXPECT_EQ(approved.exit_code, kDone) << approved.err;
  EXPECT_THAT(approved.out, AllOf(HasSubstr("drop_column: {name: name, table: users}"), HasSubstr("SHA-256")));
  EXPECT_EQ(columns(), "id name note display");
  auto const approval = status().at("approval").as_object();
  EXPECT_TRUE(approval.at("holds").as_bool());
  EXPECT_EQ(approval.at("reason"), "the old app is gone");
  EXPECT_THAT(run({"status", "m"}).out, AllOf(HasSubstr("approved"), HasSubstr("by postgres ("),
                                              HasSubstr("the old app is gone"), Not(HasSubstr("holds no more"))));
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id note display");
  EXPECT_EQ(not_null(), "t");
  auto const log = run({"log", "m"}).out;
  EXPECT_THAT(log, AllOf(HasSubstr("approved"), HasSubstr("the old app is gone"), HasSubstr("agreed"),
                         HasSubstr("approved by postgres (")));
}

TEST_F(ApprovalTest, YesAgreesOnceAndIsRecorded) {
  write("m.yaml", kOtherContract);
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id name display");
  // With what it was for.
  EXPECT_THAT(client_->value("SELECT string_agg(detail, ';') FROM pgbackfill.events WHERE kind = 'agreed'"),
              AllOf(testing::StartsWith("by --yes; contract step 2 takes table column "), HasSubstr("note")));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.approvals"), "0");
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone) << "there is nothing left to agree to";
}

TEST_F(ApprovalTest, AContractThatDroppedWhatTheGateReadsGoesOnFromThere) {
  std::string two_drops = kFile;
  two_drops += "  - drop_column: note\n";
  write("m.yaml", two_drops);
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id display");
  // As if it had ended before its last step.
  client_->exec(
      "DELETE FROM pgbackfill.steps WHERE phase = 'contract' AND position = (SELECT max(position) FROM "
      "pgbackfill.steps WHERE phase = 'contract'); ALTER TABLE users ADD COLUMN note text");
  auto const again = run({"complete", "m", "--yes"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_EQ(columns(), "id display");
  EXPECT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
}

TEST_F(ApprovalTest, AnApprovalOfOtherStepsIsRefusedAndSaysWhatChanged) {
  ASSERT_EQ(run({"approve", "m"}).exit_code, kDone);
  write("m.yaml", kOtherContract);
  auto const refused = run({"complete", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("not the same any more"), HasSubstr("- contract: drop_column: {name: name,"),
                                 HasSubstr("+ contract: drop_column: {name: note,"), Not(HasSubstr("set_not_null"))));
  EXPECT_EQ(columns(), "id name note display");
  // By its name it is still the file that ran, and that one was approved.
  EXPECT_TRUE(status().at("approval").as_object().at("holds").as_bool());
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_FALSE(status().at("approval").as_object().at("holds").as_bool());
  EXPECT_THAT(run({"status", "m"}).out, HasSubstr("holds no more"));
  EXPECT_EQ(run({"complete", "m"}).exit_code, kGateClosed);
  ASSERT_EQ(run({"approve", "m"}).exit_code, kDone);
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id name display");
}

TEST_F(ApprovalTest, WhatHasComeToThatWhichGoesClosesTheApproval) {
  auto const approved = run({"approve", "m"});
  EXPECT_EQ(approved.exit_code, kDone);
  EXPECT_THAT(approved.out, Not(HasSubstr("for_report")));
  client_->exec(
      "CREATE INDEX for_report ON users (note, name); ALTER TABLE users ADD CONSTRAINT a_name CHECK (name > "
      "'')");
  auto const refused = run({"complete", "m"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("not the same any more"),
                                 HasSubstr("+ contract step 2 drops index "
                                           "public.for_"),
                                 HasSubstr("a_name on public.users")));
  EXPECT_EQ(columns(), "id name note display");
  EXPECT_THAT(run({"approve", "m"}).out, HasSubstr("contract step 2 drops index public.for_report along"));
  client_->exec("DROP INDEX for_report");
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone) << "less than what was agreed to";
  EXPECT_EQ(columns(), "id note display");
}

TEST_F(ApprovalTest, AnotherObjectOfTheNameClosesTheApproval) {
  client_->exec(
      "ALTER TABLE users ADD n int, ADD CONSTRAINT k CHECK (n > 0); CREATE INDEX ix ON users (n); CREATE TABLE d (id "
      "int)");
  struct Case {
    std::string step;
    std::string sql;
    std::string query;
    std::string value;
  };
  std::vector<Case> const cases = {
      {"drop_table: d", "ALTER TABLE d RENAME TO d_old; CREATE TABLE d (mine int); INSERT INTO d VALUES (42)",
       "SELECT mine FROM d", "42"},
      {"drop_column: note", "ALTER TABLE users RENAME note TO note_old; ALTER TABLE users ADD note int DEFAULT 5",
       "SELECT count(*) FROM users WHERE note = 5", "50"},
      {"drop_index: ix", "DROP INDEX ix; CREATE UNIQUE INDEX ix ON users (n)", "SELECT to_regclass('ix')", "ix"},
      {"drop_constraint: k", "ALTER TABLE users DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY (n) REFERENCES users",
       "SELECT count(*) FROM pg_constraint WHERE conname = 'k'", "1"},
      {"rename_column: {name: n, to: nn}", "ALTER TABLE users RENAME n TO n_old; ALTER TABLE users ADD n int",
       "SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'n'", "1"}};
  int number = 0;
  for (auto const& one : cases) {
    auto const name = "c" + std::to_string(++number);
    write(name + ".yaml", "name: " + name + "\ntable: users\nexpand:\n  - add_column: {name: x" + name +
                              ", type: int}\ncontract:\n  - " + one.step + "\n");
    ASSERT_EQ(run({"run", name + ".yaml"}).exit_code, kDone) << one.step;
    auto const approved = run({"approve", name});
    ASSERT_EQ(approved.exit_code, kDone) << approved.err;
    EXPECT_THAT(approved.out, HasSubstr("contract step 1 takes ")) << one.step;
    client_->exec(one.sql);
    auto const refused = run({"complete", name});
    EXPECT_EQ(refused.exit_code, kGateClosed) << one.step << refused.err;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("- contract step 1 takes "), HasSubstr("+ contract step 1 takes ")))
        << one.step;
    EXPECT_EQ(client_->value(one.query), one.value) << one.step;
    EXPECT_EQ(run({"approve", name}).exit_code, kDone);
    auto const done = run({"complete", name});
    EXPECT_EQ(done.exit_code, kDone) << one.step << done.err;
  }
}

TEST_F(ApprovalTest, WhatWouldGoWithThatWhichWasApprovedClosesIt) {
  client_->exec("CREATE TABLE d (id int, v text)");
  std::vector<std::pair<std::string, std::string>> const cases = {
      {"drop_column: {table: d, name: v}", "CREATE TABLE heir () INHERITS (d)"},
      {"drop_table: d", "DROP TABLE heir; ALTER TABLE d ADD precious text"}};
  int number = 0;
  for (auto const& [step, sql] : cases) {
    auto const name = "g" + std::to_string(++number);
    write(name + ".yaml", "name: " + name + "\ntable: users\nexpand:\n  - add_column: {name: x" + name +
                              ", type: int}\ncontract:\n  - " + step + "\n");
    ASSERT_EQ(run({"run", name + ".yaml"}).exit_code, kDone) << step;
    ASSERT_EQ(run({"approve", name}).exit_code, kDone);
    client_->exec(sql);
    auto const refused = run({"complete", name});
    EXPECT_EQ(refused.exit_code, kGateClosed) << step << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("+ contract step 1 takes ")) << step;
  }
}

TEST_F(ApprovalTest, WhoAgreesBeforeTheRunAgreesToWhatItMakes) {
  write("new.yaml",
        "name: new\ntable: users\nexpand:\n  - create_table: {table: n, columns: id int}\ncontract:\n  - drop_table: "
        "n\n");
  ASSERT_EQ(run({"approve", "new.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"run", "new.yaml"}).exit_code, kDone);
  auto const done = run({"complete", "new"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

TEST_F(ApprovalTest, OnlyTheLatestApprovalCounts) {
  ASSERT_EQ(run({"approve", "m"}).exit_code, kDone);
  write("other.yaml", kOtherContract);
  ASSERT_EQ(run({"approve", "other.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"complete", "m"}).exit_code, kGateClosed);
  EXPECT_EQ(columns(), "id name note display");
}

TEST_F(ApprovalTest, AnotherRoleMayApproveAndIsNamed) {
  client_->exec(
      "DROP ROLE IF EXISTS reviewer; CREATE ROLE reviewer LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO reviewer; GRANT "
      "SELECT ON ALL TABLES IN SCHEMA pgbackfill TO reviewer");
  std::vector<std::string> const words = {PGBACKFILL_PROGRAM, "approve", "m", "--dsn", dsn("reviewer")};
  auto const refused = run_program(words);
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(refused.err, HasSubstr("permission denied for table approvals"));
  EXPECT_EQ(run({"complete", "m"}).exit_code, kGateClosed);
  client_->exec("GRANT INSERT ON pgbackfill.approvals, pgbackfill.events TO reviewer");
  auto const approved = run_program(words);
  EXPECT_EQ(approved.exit_code, kDone) << approved.err;
  EXPECT_THAT(run({"status", "m"}).out, HasSubstr("by reviewer ("));
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id note display");
  client_->exec("DROP OWNED BY reviewer; DROP ROLE reviewer");
}

TEST_F(ApprovalTest, TheGateComesBeforeAnApproval) {
  ASSERT_EQ(run({"approve", "m"}).exit_code, kDone);
  client_->exec("INSERT INTO users VALUES (1000, 'late')");
  auto const refused = run({"complete", "m"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("the gate of m is closed"));
  EXPECT_EQ(columns(), "id name note display");
}

TEST_F(ApprovalTest, ThereHasToBeSomethingToApprove) {
  write("plain.yaml", "name: plain\ntable: users\nbackfill:\n  set: {note: \"'x'\"}\n");
  auto const refused = run({"approve", "plain.yaml"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("no contract steps"));
}

}  // namespace
}  // namespace pgbackfill::tests
