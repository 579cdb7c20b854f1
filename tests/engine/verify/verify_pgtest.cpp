// `verify:` on a real server: each check where it holds and where it does not, and the gate that asks for them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>
#include <utility>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kHead[] = "name: m\ntable: users\n";

class VerifyTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, display text, boss int); INSERT INTO users SELECT g, "
        "'name ' || g, 'NAME ' || g, nullif(g - 1, 0) FROM generate_series(1, 50) g");
    ASSERT_EQ(run_program({PGBACKFILL_PROGRAM, "init", "--dsn", dsn()}).exit_code, kDone);
  }
  ProgramResult verify(std::string const& checks) const {
    write("m.yaml", kHead + ("verify:\n  - " + checks + "\n"));
    return run({"verify", "m.yaml"});
  }
  void expect_holds(std::string const& check) const {
    auto const result = verify(check);
    EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
    EXPECT_THAT(result.out, AllOf(HasSubstr("ok     "), HasSubstr("m: 1 of 1 check(s) hold"))) << check;
  }
  void expect_fails(std::string const& check, std::string const& text) const {
    auto const result = verify(check);
    EXPECT_EQ(result.exit_code, kGateClosed) << result.out << result.err;
    EXPECT_THAT(result.out, AllOf(HasSubstr("FAILED "), HasSubstr(text), HasSubstr("m: 0 of 1 check(s) hold")))
        << check;
  }
};

TEST_F(VerifyTest, ZeroHoldsOnlyAtZero) {
  expect_holds("zero: SELECT count(*) FROM users WHERE display IS NULL");
  client_->exec("UPDATE users SET display = NULL WHERE id IN (3, 4)");
  expect_fails("zero: SELECT count(*) FROM users WHERE display IS NULL", "2 instead of 0");
}

TEST_F(VerifyTest, WhatCannotBeAnsweredIsAFailure) {
  std::pair<char const*, char const*> const checks[] = {
      {"zero: SELECT count(*) FROM nobody", "(42P01)"},
      {"zero: SELEKT 0", "(42601)"},
      {"zero: SELECT 0 WHERE false", "0 rows instead of one"},
      {"zero: SELECT id FROM users", "50 rows instead of one"},
      {"zero: SELECT 0, 0", "2 columns instead of one"},
      {"zero: SELECT NULL", "NULL"},
      {"zero: SELECT 'none'", "no number"},
      {"zero: SELECT 0; SELECT 0", "(42601)"},
      {"zero: SELECT 1 / 0", "(22012)"},
      {"row_count: nobody", "(42P01)"},
      {"constraints_valid: nobody", "(42P01)"},
      {"no_orphans: {columns: [boss], references: nobody, to: [id]}", "(42P01)"},
      {"no_duplicates: {columns: [nothing]}", "(42703)"},
      {"agrees: {set: {display: upper(nothing)}}", "nothing"}};
  for (auto const& [check, text] : checks) expect_fails(check, text);
}

TEST_F(VerifyTest, NothingCanBeWritten) {
  client_->exec(
      "CREATE FUNCTION empties() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM users; RETURN 0; END $$; CREATE "
      "PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; DELETE FROM users; END $$");
  expect_fails("zero: SELECT empties()", "(25006)");
  expect_fails("zero: CALL commits()", "(2D000)");
  expect_fails("zero: \"SELECT set_config('transaction_read_only', 'off', true)\"", "read-write");
  expect_fails("zero: DELETE FROM users", "(25006)");
  EXPECT_EQ(verify("zero: COMMIT").exit_code, kGateClosed);
  EXPECT_EQ(client_->value("SELECT count(*) FROM users"), "50");
}

TEST_F(VerifyTest, ATypeWithoutEqualityIsComparedAsText) {
  client_->exec(
      "CREATE DOMAIN spot AS point; CREATE TYPE pair AS (a int, j json); ALTER TABLE users ADD j json, ADD p point, "
      "ADD "
      "s spot[], ADD c pair, ADD b box, ADD x xml; UPDATE users SET j = '{\"a\": 1}', p = '(1,2)', s = "
      "ARRAY['(1,2)'::spot], c = ROW(1, '[]'), b = '((1,1),(0,0))', x = '<a/>'");
  std::pair<char const*, char const*> const checks[] = {{"agrees: {set: {j: \"'{\\\"a\\\": 1}'\"}}", "j (json)"},
                                                        {"agrees: {set: {p: \"'(1,2)'\"}}", "p (point)"},
                                                        {"agrees: {set: {s: \"ARRAY['(1,2)']\"}}", "s (public.spot[])"},
                                                        {"agrees: {set: {c: \"ROW(1, '[]')\"}}",
                                                         "c "
                                                         "(public.pair)"},
                                                        {"agrees: {set: {x: \"'<a/>'\"}}", "x (xml)"}};
  for (auto const& [check, column] : checks) {
    expect_holds(check);
    EXPECT_THAT(run({"verify", "m.yaml"}).out, HasSubstr("because the type has no equality: " + std::string(column)));
  }
  // Of the same area.
  expect_fails("agrees: {set: {b: \"'((2,1),(1,0))'\"}}", "50 of 50 row(s) do not agree");
  expect_fails("agrees: {set: {j: \"'{}'\"}}", "compared as text, because the type has no equality: j (json)");
  expect_holds("agrees: {set: {name: \"'name ' || id\"}}");
  EXPECT_THAT(run({"verify", "m.yaml"}).out, Not(HasSubstr("as text")));
}

// Up to 17 the server leaves a row of its own, not validated, for each partition that is referred to.
TEST_F(VerifyTest, AForeignKeyToAPartitionedTableIsValidOnceItIsValidated) {
  client_->exec(
      "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) "
      "TO (100); INSERT INTO p SELECT generate_series(0, 60); ALTER TABLE users ADD CONSTRAINT users_p FOREIGN KEY "
      "(id) "
      "REFERENCES p NOT VALID");
  expect_fails("constraints_valid: users", "1 constraint(s) or index(es) are not valid, for example users_p");
  client_->exec("ALTER TABLE users VALIDATE CONSTRAINT users_p");
  expect_holds("constraints_valid: users");
}

TEST_F(VerifyTest, AQueryIsCutShortAtItsTimeout) {
  expect_fails("zero: SELECT 0 FROM pg_sleep(600)\n    timeout: 100ms", "its timeout is 100ms");
  // The session is of use for the next check.
  auto const both = verify("zero: SELECT 0 FROM pg_sleep(600)\n    timeout: 100ms\n  - zero: SELECT 0");
  EXPECT_EQ(both.exit_code, kGateClosed);
  EXPECT_THAT(both.out, HasSubstr("m: 1 of 2 check(s) hold"));
}

TEST_F(VerifyTest, RowCountComparesTwoTables) {
  client_->exec("CREATE TABLE v2 AS SELECT * FROM users");
  expect_holds("row_count: v2");
  client_->exec("DELETE FROM v2 WHERE id > 40");
  expect_fails("row_count: v2", "50 row(s) against 40");
  expect_holds("row_count: {same_as: v2, where: id <= 40}");
}

TEST_F(VerifyTest, NoOrphansFindsRowsThatReferToNothing) {
  expect_holds("no_orphans: {columns: [boss], references: users, to: [id]}");
  client_->exec("UPDATE users SET boss = 777 WHERE id = 9");
  expect_fails("no_orphans: {columns: [boss], references: users, to: [id]}",
               "1 row(s) refer to nothing, for example 777");
}

TEST_F(VerifyTest, NoOrphansComparesAsAForeignKeyWould) {
  auto const found = client_->value("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'");
  if (found == "0") GTEST_SKIP() << "citext is not installed";
  client_->exec(
      "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE codes (code ext.citext PRIMARY KEY, big "
      "bigint UNIQUE); INSERT INTO codes VALUES ('NAME 1', 1); ALTER TABLE users ADD COLUMN code ext.citext; UPDATE "
      "users SET code = name, boss = id WHERE id = 1");
  expect_holds("no_orphans: {columns: [code], references: codes, to: [code]}");
  client_->exec("UPDATE users SET boss = NULL WHERE id > 1");
  expect_holds("no_orphans: {columns: [code, boss], references: codes, to: [code, big]}");
  client_->exec("UPDATE users SET code = 'x' WHERE id = 2");
  expect_fails("no_orphans: {columns: [code], references: codes, to: [code]}", "for example x");
}

TEST_F(VerifyTest, NoDuplicatesFindsValuesThatAppearTwice) {
  expect_holds("no_duplicates: {columns: [name]}");
  client_->exec("UPDATE users SET name = 'same' WHERE id IN (1, 2, 3)");
  expect_fails("no_duplicates: {columns: [name]}", "1 value(s) appear more than once, for example same");
  expect_holds("no_duplicates: {columns: [name, display]}");
  expect_holds("no_duplicates: {columns: [name], where: id > 2}");
  client_->exec("UPDATE users SET name = NULL WHERE id < 10");
  expect_holds("no_duplicates: {columns: [name]}");
}

TEST_F(VerifyTest, ConstraintsValidFindsConstraintsAndIndexes) {
  expect_holds("constraints_valid: users");
  client_->exec("ALTER TABLE users ADD CONSTRAINT positive CHECK (id > 0) NOT VALID");
  expect_fails("constraints_valid: users", "not valid, for example positive");
  client_->exec("ALTER TABLE users VALIDATE CONSTRAINT positive");
  expect_holds("constraints_valid: users");
  client_->exec("UPDATE users SET name = 'same'");
  EXPECT_EQ(client_->try_exec("CREATE UNIQUE INDEX CONCURRENTLY one_name ON users (name)"), "23505");
  expect_fails("constraints_valid: {}", "for example one_name");
}

TEST_F(VerifyTest, ConstraintsOfPartitionsCountAsWell) {
  client_->exec(
      "CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM "
      "(0) TO (10); ALTER TABLE parts_1 ADD CONSTRAINT small CHECK (id < 9) NOT VALID");
  expect_fails("constraints_valid: parts", "for example small");
}

TEST_F(VerifyTest, AgreesComparesWithTheExpression) {
  expect_holds("agrees: {set: {display: upper(name)}}");
  client_->exec("UPDATE users SET display = NULL WHERE id = 5; UPDATE users SET display = 'x' WHERE id = 6");
  expect_fails("agrees: {set: {display: upper(name)}}", "2 of 50 row(s) do not agree");
  expect_holds("agrees: {set: {display: upper(name)}, where: id > 6}");
  client_->exec("UPDATE users SET display = NULL, name = NULL");
  expect_holds("agrees: {set: {display: upper(name)}}");
}

TEST_F(VerifyTest, AgreesByTheTypeAndTheCollationOfTheColumn) {
  client_->exec("ALTER TABLE users ADD COLUMN low text COLLATE \"C\"; UPDATE users SET low = lower(name)");
  expect_holds("agrees: {set: {low: lower(name)}}");
  client_->exec("UPDATE users SET low = NULL WHERE id = 3");
  expect_fails("agrees: {set: {low: lower(name)}}", "low is NULL and should be 'name 3'");
  client_->exec("ALTER TABLE users ADD COLUMN document json");
  expect_fails("agrees: {set: {document: to_json(name)}}", "compared as text");
}

// Each pair is equal to its type.
TEST_F(VerifyTest, AgreesOnlyWhereAnApplicationReadsTheSame) {
  client_->exec(
      "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false); ALTER TABLE "
      "users "
      "ADD n numeric, ADD f float8, ADD fs float8[], ADD c bpchar, ADD w text COLLATE any_case, ADD span interval; "
      "UPDATE users SET n = 1.0, f = '-0', fs = '{-0}', c = 'a', w = 'a', span = '1 day'");
  std::pair<char const*, char const*> const checks[] = {
      {"n: '1.00'", "n is '1.0' and should be '1.00'"},
      {"f: '0.0'", "f is '-0' and should be '0'"},
      {"fs: \"'{0}'\"", "fs is '{-0}' and should be '{0}'"},
      {"c: \"'a  '\"", "c is 'a' and should be 'a  '"},
      {"w: \"'A'\"", "w is 'a' and should be 'A'"},
      {"span: \"'24 hours'\"", "span is '1 day' and should be '24:00:00'"},
  };
  for (auto const& [set, text] : checks) expect_fails(std::string("agrees: {set: {") + set + "}}", text);
  // Other bytes, and the same to everybody: the server computes a NaN with a sign, and an array that keeps room for a
  // NULL that it no longer has.
  client_->exec(
      "UPDATE users SET f = 'NaN', fs = '{1,2}'; DO $$ DECLARE a float8[] := '{1,NULL}'; BEGIN a[2] := 2; UPDATE users "
      "SET fs = a; END $$");
  expect_holds("agrees: {set: {f: \"'Infinity'::float8 - 'Infinity'\"}}");
  expect_holds("agrees: {set: {fs: \"'{1,2}'\"}}");
}

TEST_F(VerifyTest, RowsThatAPolicyHidesAreNotTakenForNone) {
  client_->exec(
      "DROP ROLE IF EXISTS half_blind; CREATE ROLE half_blind LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO half_blind; "
      "GRANT SELECT ON ALL TABLES IN SCHEMA pgbackfill TO half_blind; GRANT SELECT ON users TO half_blind; ALTER TABLE "
      "users ENABLE ROW LEVEL SECURITY; UPDATE users SET display = NULL");
  write("m.yaml", kHead + std::string("verify:\n  - zero: SELECT count(*) FROM users WHERE display IS NULL\n"));
  auto const result =
      run_program({PGBACKFILL_PROGRAM, "verify", (dir() / "m.yaml").string(), "--dsn", dsn("half_blind")});
  EXPECT_EQ(result.exit_code, kGateClosed) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("row-level security"));
  client_->exec("DROP OWNED BY half_blind; DROP ROLE half_blind");
}

TEST_F(VerifyTest, TheGateAndCompleteAskForTheChecks) {
  write("m.yaml", std::string(kHead) +
                      "backfill:\n  set: {display: upper(name)}\nverify:\n  - zero: SELECT count(*) FROM users WHERE "
                      "boss = 777\n  - no_duplicates: {columns: [name]}\ncontract:\n  - set_not_null: display\n");
  auto const before = boost::json::parse(run({"gate", "m.yaml", "--format", "json"}).out).as_object();
  EXPECT_TRUE(before.at("checks").as_array().empty()) << "the backfill has not even begun";
  EXPECT_FALSE(before.at("open").as_bool());
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  client_->exec("UPDATE users SET boss = 777 WHERE id = 9");
  auto const closed = run({"gate", "m"});
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, AllOf(HasSubstr("the check zero: SELECT count(*)"), HasSubstr("1 instead of 0"),
                                Not(HasSubstr("no_duplicates"))));
  auto const document = boost::json::parse(run({"gate", "m", "--format", "json"}).out).as_object();
  EXPECT_EQ(document.at("checks").as_array().size(), 2U);
  auto const refused = run({"complete", "m", "--yes"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("does not hold"));
  client_->exec("UPDATE users SET boss = NULL WHERE id = 9");
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone);
}

TEST_F(VerifyTest, RunRefusesAWrongCheckBeforeAnythingIsTouched) {
  std::string const expand = "expand:\n  - add_column: {name: fresh, type: text}\n";
  std::string const backfill = "backfill:\n  set: {display: lower(name)}\n";
  std::pair<std::string, char const*> const wrong[] = {
      {backfill + "verify:\n  - zero: SELECT count(*) FROM nobody\n",
       "m.yaml:6:5: the server refuses the check zero: SELECT count(*) FROM nobody: relation \"nobody\" does not "
       "exist"},
      {expand + backfill + "verify:\n  - zero: SELEKT 0\n", "m.yaml:8:5: the server refuses the check zero: SELEKT 0:"},
      {expand + backfill + "verify:\n  - agrees: {set: {display: upper(name) 1}}\n", "m.yaml:8:29: syntax error"},
      {backfill + "verify:\n  - agrees: {set: {dsplay: upper(name)}}\n",
       "m.yaml:6:28: table \"public\".\"users\" has no column 'dsplay' (did you mean 'display'?)"},
      {backfill + "verify:\n  - agrees: {set: {boss: now()}}\n", "m.yaml:6:26: cannot cast type"},
      {backfill + "verify:\n  - agrees: {set: {boss: id}, where: \"true) OR (true\"}\n", "m.yaml:6:38: syntax error"},
  };
  for (auto const& [text, message] : wrong) {
    write("m.yaml", kHead + text);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << text << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << text;
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.migrations"), "0") << text;
    EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attname = 'fresh'"), "0") << text;
    EXPECT_EQ(client_->value("SELECT count(*) FROM users WHERE display <> upper(name)"), "0") << text;
  }
}

TEST_F(VerifyTest, ACheckMayNameWhatExpandMakes) {
  std::string const head = std::string(kHead) +
                           "expand:\n  - add_column: {name: fresh, type: text}\nbackfill:\n  set: {fresh: "
                           "lower(name)}\nverify:\n  - agrees: {set: {fresh: lower(name)}}\n";
  write("m.yaml", head + "  - zero: SELECT count(*) FROM users WHERE frish IS NULL\n");
  auto const wrong = run({"run", "m.yaml"});
  EXPECT_EQ(wrong.exit_code, kUsage) << wrong.err;
  EXPECT_THAT(wrong.err, HasSubstr("m.yaml:9:5: the server refuses the check zero: SELECT count(*) FROM users WHERE "
                                   "frish IS NULL: column \"frish\" does not exist"));
  EXPECT_EQ(client_->value("SELECT count(fresh) FROM users"), "0") << "the backfill did not begin";
  write("m.yaml", head + "  - zero: SELECT count(*) FROM users WHERE fresh IS NULL\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"verify", "m"}).exit_code, kDone);
}

TEST_F(VerifyTest, AfterContractItIsNoMistakeThatAColumnIsGone) {
  write("m.yaml", std::string(kHead) +
                      "backfill:\n  set: {display: upper(name)}\nverify:\n  - zero: SELECT count(*) FROM users WHERE "
                      "boss = 777\ncontract:\n  - drop_column: boss\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  auto const again = run({"run", "m.yaml"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
}

TEST_F(VerifyTest, AContractThatDroppedWhatAChecksNamesGoesOn) {
  write("m.yaml",
        std::string(kHead) +
            "backfill:\n  set: {display: upper(name)}\nverify:\n  - agrees: {set: {display: upper(name)}}\n  - "
            "zero: SELECT count(*) FROM users WHERE name IS NULL\n  - zero: SELECT count(*) FROM users WHERE "
            "display IS NULL\ncontract:\n  - drop_column: name\n  - drop_column: boss\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  // As if it had ended before its last step.
  client_->exec(
      "DELETE FROM pgbackfill.steps WHERE phase = 'contract' AND position = (SELECT max(position) FROM "
      "pgbackfill.steps WHERE phase = 'contract'); ALTER TABLE users ADD COLUMN boss int; UPDATE users SET display = "
      "NULL WHERE id = 5");
  auto const closed = run({"complete", "m", "--yes"});
  EXPECT_EQ(closed.exit_code, kGateClosed) << "what can still be asked counts";
  EXPECT_THAT(closed.err, AllOf(HasSubstr("display IS NULL does not hold: 1 instead of 0"), Not(HasSubstr("name"))));
  client_->exec("UPDATE users SET display = 'NAME 5' WHERE id = 5");
  auto const again = run({"complete", "m", "--yes"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'boss'"),
            "0");
}

TEST_F(VerifyTest, AMigrationWithoutChecksHasNoneThatHold) {
  write("m.yaml", std::string(kHead) + "backfill:\n  set: {display: upper(name)}\n");
  auto const result = run({"verify", "m.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("no section `verify:`"));
}

TEST_F(VerifyTest, ProgramsReadEachCheck) {
  write("m.yaml", std::string(kHead) + "verify:\n  - zero: SELECT 0\n  - zero: SELECT 3\n");
  auto const result = run({"verify", "m.yaml", "--format", "json"});
  EXPECT_EQ(result.exit_code, kGateClosed);
  auto const document = boost::json::parse(result.out).as_object();
  EXPECT_FALSE(document.at("holds").as_bool());
  auto const& checks = document.at("checks").as_array();
  ASSERT_EQ(checks.size(), 2U);
  EXPECT_TRUE(checks[0].as_object().at("holds").as_bool());
  EXPECT_FALSE(checks[1].as_object().at("holds").as_bool());
  EXPECT_EQ(checks[1].as_object().at("text"), "3 instead of 0");
}

}  // namespace
}  // namespace pgbackfill::tests
