// What lint finds in texts, rule by rule; that it is right about locks and work is held on a server (lint_pgtest.cpp).
#include "planner/lint/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "planner/lint/lint_rules.h"

// libpg_query 15-4.0.0 loses an empty text each time it cannot read a PL/pgSQL block. Only sanitizers look for this
// name.
extern "C" char const* __lsan_default_suppressions();
extern "C" char const* __lsan_default_suppressions() {
  return "leak:pg_query_raw_parse\n";
}

namespace pgbackfill::planner::lint {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr char kSchema[] = R"(
CREATE TABLE users (id bigint PRIMARY KEY, name varchar(20) NOT NULL, age int, price numeric(10,2), born timestamp,
                    code char(4), note text CHECK (note <> ''), net cidr);
CREATE INDEX users_age ON users (age);
CREATE INDEX users_lower ON users (lower(name));
CREATE UNIQUE INDEX users_age_key ON users (age);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint REFERENCES users, total numeric);
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN plain AS int;
CREATE FUNCTION steady() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION shaky() RETURNS int LANGUAGE sql AS 'SELECT 1';
)";

// Under a lock_timeout, so that tests see the rule that they are about.
std::vector<Finding> findings_in(std::string const& sql, LintOptions options = {}) {
  Linter linter(options);
  linter.learn(kSchema);
  auto linted = linter.lint_sql("SET lock_timeout = '1s';" + sql, "a.sql");
  EXPECT_THAT(linted.problems, IsEmpty());
  return linted.findings;
}

std::vector<std::string> rules_in(std::string const& sql, LintOptions options = {}) {
  std::vector<std::string> rules;
  for (auto const& finding : findings_in(sql, options)) rules.emplace_back(finding.rule);
  return rules;
}

Finding only_finding_in(std::string const& sql, LintOptions options = {}) {
  auto const findings = findings_in(sql, options);
  EXPECT_EQ(findings.size(), 1U) << sql;
  return findings.empty() ? Finding{} : findings.front();
}

struct RuleCase {
  std::string sql;
  std::string rule;  // empty: nothing is found

  friend void PrintTo(RuleCase const& self, std::ostream* out) { *out << self.sql; }
};

class LintRules : public testing::TestWithParam<RuleCase> {};

TEST_P(LintRules, FindsWhatTheFormDoes) {
  auto const& [sql, rule] = GetParam();
  if (rule.empty()) {
    EXPECT_THAT(rules_in(sql), IsEmpty()) << sql;
  } else {
    EXPECT_THAT(rules_in(sql), ElementsAre(rule)) << sql;
  }
}

RuleCase const kCases[] = {
    {"ALTER TABLE users ADD COLUMN a text", ""},
    {"ALTER TABLE users ADD COLUMN a text NOT NULL DEFAULT 'x'", ""},
    {"ALTER TABLE users ADD COLUMN a timestamptz DEFAULT now()", ""},
    {"ALTER TABLE users ADD COLUMN a int DEFAULT steady()", ""},
    {"ALTER TABLE users ADD COLUMN a plain", ""},
    {"ALTER TABLE users ADD COLUMN a int DEFAULT shaky()", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a int DEFAULT nobody_knows()", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a uuid DEFAULT gen_random_uuid()", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a bigserial", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS IDENTITY", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (id + 1) STORED", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a positive", "add-column-rewrite"},
    {"ALTER TABLE users ADD COLUMN a int NOT NULL", "add-column-not-null"},
    {"ALTER TABLE users ADD COLUMN a int CHECK (a > 0)", "add-column-check"},
    {"ALTER TABLE users ADD COLUMN a int UNIQUE", "add-column-unique"},
    {"ALTER TABLE users ADD COLUMN a int REFERENCES orders", ""},
    {"ALTER TABLE users ADD COLUMN a int DEFAULT 1 REFERENCES orders", "add-column-foreign-key"},
    {"ALTER TABLE users DROP COLUMN age", "drop-column"},
    {"ALTER TABLE users ALTER age SET NOT NULL", "set-not-null"},
    {"ALTER TABLE users ALTER name SET NOT NULL", ""},
    {"ALTER TABLE users ALTER age DROP NOT NULL", ""},
    {"ALTER TABLE users ALTER age SET DEFAULT 0", ""},
    {"ALTER TABLE users ALTER name TYPE varchar(30)", "change-type"},  // users_lower is built anew
    {"ALTER TABLE users ALTER name TYPE varchar(10)", "change-type"},
    {"ALTER TABLE users ALTER price TYPE numeric(12,2)", ""},
    {"ALTER TABLE users ALTER price TYPE numeric", ""},
    {"ALTER TABLE users ALTER price TYPE numeric(12,3)", "change-type"},
    {"ALTER TABLE users ALTER net TYPE inet", ""},
    {"ALTER TABLE users ALTER age TYPE bigint", "change-type"},
    {"ALTER TABLE users ALTER age TYPE int USING age", ""},
    {"ALTER TABLE users ALTER age TYPE int USING age + 1", "change-type"},
    {"ALTER TABLE users ALTER born TYPE timestamptz", "change-type"},
    {"ALTER TABLE users ALTER code TYPE text", "change-type"},
    {"ALTER TABLE users ALTER note TYPE varchar", "change-type"},  // its CHECK is made for each row
    {"ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0)", "add-check"},
    {"ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID", ""},
    {"ALTER TABLE users VALIDATE CONSTRAINT c", ""},
    {"ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users", "add-foreign-key"},
    {"ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID", ""},
    {"ALTER TABLE users ADD UNIQUE (age)", "add-unique"},
    {"ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX users_age_key", ""},
    {"ALTER TABLE users ADD PRIMARY KEY (age)", "add-primary-key"},
    {"ALTER TABLE users ADD CONSTRAINT p PRIMARY KEY USING INDEX users_age_key", "add-primary-key"},
    {"ALTER TABLE users ADD EXCLUDE USING gist (age WITH =)", "add-exclusion"},
    {"ALTER TABLE users DROP CONSTRAINT c", "drop-constraint"},
    {"ALTER DOMAIN positive ADD CHECK (value < 9)", ""},  // no table has it
    {"ALTER DOMAIN unknown ADD CHECK (value < 9)", "alter-domain"},
    {"ALTER DOMAIN unknown ADD CHECK (value < 9) NOT VALID", ""},
    {"CREATE INDEX ON users (age)", "create-index"},
    {"CREATE INDEX CONCURRENTLY ON orders (total)", "concurrent-lock-timeout"},
    {"SET lock_timeout = 0; CREATE INDEX CONCURRENTLY ON orders (total)", ""},
    {"CREATE INDEX ON ONLY parts (id)", ""},
    {"DROP INDEX users_age", "drop-index"},
    {"DROP INDEX CONCURRENTLY users_age", ""},
    {"REINDEX TABLE users", "reindex"},
    {"REINDEX INDEX CONCURRENTLY users_age", "concurrent-lock-timeout"},
    {"ALTER TABLE days ATTACH PARTITION orders DEFAULT", "attach-partition"},
    {"ALTER TABLE parts DETACH PARTITION parts_rest", "detach-partition"},
    {"ALTER TABLE parts DETACH PARTITION parts_rest CONCURRENTLY", ""},
    {"CLUSTER users USING users_age", "cluster"},
    {"VACUUM FULL users", "vacuum-full"},
    {"VACUUM (FULL false) users", ""},
    {"VACUUM users", ""},
    {"LOCK TABLE users", "lock-table"},
    {"LOCK TABLE users IN ACCESS SHARE MODE", ""},
    {"TRUNCATE users", "truncate"},
    {"DROP TABLE users", "drop-table"},
    {"DROP VIEW v", "drop-object"},
    {"DROP TRIGGER t ON users", "drop-object"},
    {"DROP SCHEMA s", "drop-schema"},
    {"DROP DATABASE d", "drop-schema"},
    {"REFRESH MATERIALIZED VIEW v", "refresh-materialized-view"},
    {"REFRESH MATERIALIZED VIEW CONCURRENTLY v", ""},
    {"ALTER TABLE users RENAME TO people", "rename"},
    {"ALTER TABLE users RENAME COLUMN age TO years", "rename"},
    {"ALTER TABLE users RENAME CONSTRAINT c TO d", ""},
    {"ALTER INDEX users_age RENAME TO i", ""},
    {"ALTER TABLE users SET SCHEMA old", "rename"},
    {"ALTER TABLE users REPLICA IDENTITY FULL", "replica-identity-full"},
    {"ALTER TABLE users SET UNLOGGED", "rewrite-table"},
    {"ALTER TABLE users SET TABLESPACE fast", "rewrite-table"},
    {"ALTER INDEX users_age SET TABLESPACE fast", "rewrite-table"},
    {"ALTER TABLE users ENABLE ROW LEVEL SECURITY", "row-security"},
    {"ALTER TABLE users SET (fillfactor = 80)", ""},
    {"CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f()", "create-trigger"},
    {"CREATE POLICY p ON users", "create-trigger"},
    {"ALTER TABLE users DISABLE TRIGGER ALL", "disable-trigger"},
    {"ALTER TABLE users ENABLE TRIGGER ALL", ""},
    {"SET session_replication_role = replica", "disable-trigger"},
    {"ALTER TYPE mood ADD VALUE 'fine'", "enum-add-value"},
    {"ALTER TYPE mood RENAME VALUE 'fine' TO 'good'", "rename"},
    {"UPDATE users SET age = 1", "update-all-rows"},
    {"UPDATE users SET age = 1 WHERE true", "update-all-rows"},
    {"UPDATE users SET age = 1 WHERE age IS NULL", "update-all-rows"},
    {"UPDATE users SET age = 1 WHERE id = 7", ""},
    {"UPDATE users SET age = 1 WHERE id IN (1, 2) AND age IS NULL", ""},
    {"UPDATE users SET age = 1 WHERE (id, age) = (7, 8)", ""},
    {"UPDATE users SET age = 1 WHERE id BETWEEN 1 AND 500", ""},
    {"UPDATE users SET age = 1 WHERE id BETWEEN 1 AND 500000", "bulk-write"},
    {"UPDATE users SET age = 1 WHERE id = age", "bulk-write"},
    {"UPDATE users SET note = 'new' WHERE note = 'old'", "bulk-write"},  // a state, of nobody knows how many
    {"UPDATE users SET note = 'new' WHERE note IN ('old', 'older')", "bulk-write"},
    {"UPDATE users SET note = 'new' WHERE note = 'old' AND id = 7", ""},
    {"UPDATE users SET id = 8 WHERE id = 7", ""},
    {"UPDATE users SET age = 1 WHERE note = 'old'", ""},
    {"UPDATE users SET age = 1 WHERE is_old = true", "update-all-rows"},
    {"UPDATE users SET age = 1 WHERE id < 1000", "bulk-write"},
    {"UPDATE orders SET total = 0 FROM users WHERE users.id = user_id", "bulk-write"},
    {"DELETE FROM users", "delete-all-rows"},
    {"DELETE FROM users WHERE id = 7", ""},
    {"WITH gone AS (DELETE FROM users RETURNING *) SELECT count(*) FROM gone", "delete-all-rows"},
    {"INSERT INTO orders (id) SELECT id FROM users", "bulk-write"},
    {"INSERT INTO orders (id) VALUES (1), (2)", ""},
    {"MERGE INTO users u USING orders o ON u.id = o.user_id WHEN MATCHED THEN DELETE", "bulk-write"},
    {"CREATE VIEW v AS SELECT 1", ""},
    {"GRANT SELECT ON users TO PUBLIC", ""},
    {"ANALYZE users", ""},
    {"COMMENT ON TABLE users IS 'x'", ""},
};

INSTANTIATE_TEST_SUITE_P(Forms, LintRules, testing::ValuesIn(kCases));

// ---- what statements before have said

TEST(Lint, TellsNothingOfTablesThatTheFileMakesItself) {
  EXPECT_THAT(rules_in("CREATE TABLE t (a int, b int); CREATE INDEX ON t (a); ALTER TABLE t ALTER b SET NOT NULL;"
                       "ALTER TABLE t ADD UNIQUE (b); UPDATE t SET a = 1; TRUNCATE t; DROP TABLE t"),
              IsEmpty());
  EXPECT_THAT(rules_in("CREATE TABLE t (a int); ALTER TABLE t RENAME TO u; CREATE INDEX ON u (a)"), IsEmpty());
}

TEST(Lint, TakesTablesOfEarlierFilesForTablesInUse) {
  Linter linter({});
  EXPECT_THAT(linter.lint_sql("CREATE TABLE t (a int)", "1.sql").findings, IsEmpty());
  auto const second = linter.lint_sql("CREATE TABLE IF NOT EXISTS t (a int); CREATE INDEX ON t (a)", "2.sql");
  ASSERT_FALSE(second.findings.empty());
  EXPECT_EQ(second.findings.front().rule, "create-index");
}

TEST(Lint, KnowsThatAValidCheckProvesNotNull) {
  std::string const add = "ALTER TABLE users ADD CONSTRAINT c CHECK (age IS NOT NULL AND age > 0) NOT VALID;";
  std::string const validate = "ALTER TABLE users VALIDATE CONSTRAINT c;";
  std::string const set = "ALTER TABLE users ALTER age SET NOT NULL";
  EXPECT_THAT(rules_in(add + validate + set), IsEmpty());
  EXPECT_THAT(rules_in(add + set), ElementsAre("set-not-null"));
  // The drop comes first within one ALTER, and the proof is gone.
  EXPECT_THAT(rules_in(add + validate + set + ", DROP CONSTRAINT c"), Contains("set-not-null"));
}

TEST(Lint, KnowsThatAnIndexOnNotNullColumnsMakesAPrimaryKeyAtOnce) {
  EXPECT_THAT(rules_in("SET lock_timeout = 0; CREATE UNIQUE INDEX CONCURRENTLY k ON users (name);"
                       "SET lock_timeout = '1s'; ALTER TABLE users ADD PRIMARY KEY USING INDEX k"),
              IsEmpty());
}

// ---- transactions

TEST(Lint, FindsLongWorkUnderALockFromBefore) {
  EXPECT_THAT(rules_in("BEGIN; ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID;"
                       "ALTER TABLE users VALIDATE CONSTRAINT c; COMMIT"),
              ElementsAre("work-under-lock"));
  EXPECT_THAT(rules_in("ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID;"
                       "ALTER TABLE users VALIDATE CONSTRAINT c"),
              IsEmpty());
}

TEST(Lint, FindsConcurrentBuildsInATransaction) {
  EXPECT_THAT(rules_in("SET lock_timeout = 0; BEGIN; CREATE INDEX CONCURRENTLY i ON users (age); COMMIT"),
              Contains("concurrently-in-transaction"));
  std::string const build = "SET lock_timeout = 0; CREATE INDEX CONCURRENTLY i ON users (age)";
  EXPECT_THAT(rules_in(build), IsEmpty());
  EXPECT_THAT(rules_in(build, {15, true}), ElementsAre("concurrently-in-transaction"));
  EXPECT_THAT(rules_in("-- pgbackfill: one transaction\n" + build), ElementsAre("concurrently-in-transaction"));
  EXPECT_THAT(rules_in("-- pgbackfill: no transaction\n" + build, {15, true}), IsEmpty());
}

TEST(Lint, FindsLocksOnSeveralTablesInOneTransaction) {
  EXPECT_THAT(rules_in("BEGIN; ALTER TABLE users ADD a int; ALTER TABLE orders ADD a int; COMMIT"),
              ElementsAre("many-locks"));
}

TEST(Lint, TellsOfSeveralLocksOnceATransaction) {
  std::string const three =
      "BEGIN; ALTER TABLE users ADD a int; ALTER TABLE orders ADD a int; ALTER TABLE parts ADD a int; COMMIT;";
  EXPECT_THAT(rules_in(three), ElementsAre("many-locks"));
  EXPECT_THAT(rules_in(three + three), ElementsAre("many-locks", "many-locks"));
  EXPECT_THAT(rules_in("BEGIN; ALTER TABLE users ADD a int; -- pgbackfill: allow many-locks because x\n"
                       "ALTER TABLE orders ADD a int; ALTER TABLE parts ADD a int; COMMIT"),
              ElementsAre("many-locks"));
  EXPECT_THAT(rules_in("BEGIN; ALTER TABLE users ADD a int; DROP INDEX nobody_knows_of_what; COMMIT"),
              ElementsAre("drop-index"))
      << "it may be of users";
}

TEST(Lint, TakesAConstraintThatIsMadeAnewForChanged) {
  EXPECT_THAT(rules_in("ALTER TABLE orders DROP CONSTRAINT f, ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users "
                       "ON DELETE CASCADE NOT VALID"),
              IsEmpty());
  EXPECT_THAT(rules_in("ALTER TABLE users DROP CONSTRAINT c, ADD CONSTRAINT d CHECK (age > 0) NOT VALID"),
              ElementsAre("drop-constraint"));
}

TEST(Lint, HearsOfALockTimeoutInWhateverForm) {
  for (char const* set :
       {"SET lock_timeout = 1000", "SET lock_timeout TO '1s'", "SELECT set_config('lock_timeout', '1s', false)",
        "SELECT pg_catalog.set_config('lock_timeout', '1s', false)"}) {
    EXPECT_THAT(Linter({}).lint_sql(std::string(set) + "; ALTER TABLE a ADD b int", "a.sql").findings, IsEmpty())
        << set;
  }
  for (char const* set :
       {"SET lock_timeout = 0", "RESET lock_timeout", "SET lock_timeout TO DEFAULT", "SET lock_timeout = '0s'",
        "SELECT set_config('lock_timeout', '0', false)", "SET statement_timeout = '1s'"}) {
    EXPECT_THAT(Linter({})
                    .lint_sql("SET lock_timeout = 5; " + std::string(set) + "; ALTER TABLE a ADD b int", "a.sql")
                    .findings,
                testing::SizeIs(std::string(set).starts_with("SET statement") ? 0 : 1))
        << set;
  }
}

TEST(Lint, MissesALockTimeoutOnce) {
  Linter linter({});
  auto const found = linter.lint_sql("ALTER TABLE a ADD b int; ALTER TABLE a ADD c int", "a.sql").findings;
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().rule, "missing-lock-timeout");
  EXPECT_THAT(linter.lint_sql("SET LOCAL lock_timeout = '1s'; ALTER TABLE a ADD d int", "b.sql").findings,
              Not(IsEmpty()))
      << "SET LOCAL outside a transaction has no effect";
  EXPECT_THAT(
      linter.lint_sql("BEGIN; SET LOCAL lock_timeout = '1s'; ALTER TABLE a ADD d int; COMMIT", "c.sql").findings,
      IsEmpty());
}

// ---- code inside

TEST(Lint, ReadsCodeWithCollations) {
  EXPECT_THAT(rules_in("DO $$ DECLARE a text COLLATE \"C\" := NULL; b text collate pg_catalog.\"C\"; collated int;\n"
                       "BEGIN DROP TABLE users; END $$"),
              ElementsAre("drop-table"));
}

TEST(Lint, LooksIntoDoBlocks) {
  auto const found = only_finding_in("DO $$\nBEGIN\n  IF true THEN\n    DROP TABLE users;\n  END IF;\nEND $$");
  EXPECT_EQ(found.rule, "drop-table");
  EXPECT_EQ(found.position.line, 4);
  EXPECT_EQ(found.position.column, 5);
}

TEST(Lint, ReadsTextsThatExecutePutsTogether) {
  EXPECT_THAT(rules_in("DO $$ BEGIN EXECUTE format('DROP TABLE %I', x); END $$"), ElementsAre("drop-table"));
  EXPECT_THAT(rules_in("DO $$ BEGIN EXECUTE 'TRUNCATE ' || quote_ident(x); END $$"), ElementsAre("truncate"));
  EXPECT_THAT(rules_in("DO $$ BEGIN EXECUTE x; END $$"), ElementsAre("dynamic-sql"));
  EXPECT_THAT(rules_in("DO $$ BEGIN EXECUTE 'DROP ' || what || ' x y'; END $$"), ElementsAre("dynamic-sql"));
}

TEST(Lint, SaysOfFunctionsWhatACallWouldDo) {
  auto const found = only_finding_in(
      "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM users; EXECUTE x; END $$");
  EXPECT_EQ(found.rule, "delete-all-rows");
  EXPECT_EQ(found.risk, Risk::kMedium);
  EXPECT_THAT(found.why, HasSubstr("when f() is called"));
  EXPECT_THAT(rules_in("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'TRUNCATE users'"), ElementsAre("truncate"));
}

TEST(Lint, FollowsCallsOfFunctionsThatTheFileMakes) {
  std::string const procedure = "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN TRUNCATE users; CALL p(); END $$;\n";
  auto const found = findings_in(procedure + "CALL p()");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].risk, Risk::kMedium);
  EXPECT_EQ(found[1].risk, Risk::kDestructive);
  EXPECT_EQ(found[1].position.line, 2);
}

TEST(Lint, DoesNotPassCodeThatItCannotRead) {
  EXPECT_THAT(rules_in("DO LANGUAGE plpython3u $$ x $$"), ElementsAre("not-looked-into"));
  EXPECT_THAT(rules_in("DO $$ BEGIN nonsense $$"), Contains("unreadable"));
}

// ---- what cannot be read

TEST(Lint, DoesNotPassWhatItCannotReadAndGoesOnBehindIt) {
  EXPECT_THAT(rules_in("ALTER TABLE users ADD COLUM a b c; DROP TABLE users"), ElementsAre("unreadable", "drop-table"));
  auto const found = only_finding_in("\nALTER TABLE é users x");
  EXPECT_EQ(found.position.line, 2);
  EXPECT_EQ(found.risk, Risk::kHigh);
}

TEST(Lint, NamesTheVersionOfLaterSyntax) {
  std::string const sql = "ALTER TABLE users ADD a int GENERATED ALWAYS AS (id) VIRTUAL";
  EXPECT_EQ(only_finding_in(sql, {15, false}).rule, "not-in-version");
  auto const later = only_finding_in(sql, {18, false});
  EXPECT_EQ(later.rule, "unreadable");
  EXPECT_THAT(later.why, HasSubstr("PostgreSQL 18"));
}

TEST(Lint, KnowsFormsThatEarlierVersionsDoNotHave) {
  std::string const detach = "ALTER TABLE parts DETACH PARTITION parts_rest CONCURRENTLY";
  EXPECT_THAT(rules_in(detach, {13, false}), ElementsAre("not-in-version"));
  EXPECT_THAT(rules_in(detach, {14, false}), IsEmpty());
  EXPECT_THAT(rules_in("MERGE INTO users u USING orders o ON u.id = o.id WHEN MATCHED THEN DELETE", {14, false}),
              Contains("not-in-version"));
}

TEST(Lint, RefusesWhatIsTooDeepForTheParser) {
  std::string sum = "SELECT 1";
  for (int term = 0; term < 20'000; ++term) sum += "+1";
  EXPECT_THAT(rules_in(sum), ElementsAre("too-complex"));
  EXPECT_THAT(rules_in("SELECT " + std::string(20'000, '(') + "1" + std::string(20'000, ')')),
              ElementsAre("too-complex"));
  std::string unions = "SELECT 1, 2";
  for (int term = 0; term < 20'000; ++term) unions += " UNION SELECT 1, 2";
  EXPECT_THAT(rules_in(unions), ElementsAre("too-complex"));
  // Much, but not deep.
  std::string rows = "INSERT INTO users VALUES (0, 'x')";
  for (int row = 0; row < 20'000; ++row) rows += ", (1, 'x' || 'y')";
  EXPECT_THAT(rules_in(rows), IsEmpty());
}

TEST(Lint, RefusesCodeThatIsTooDeep) {
  std::string sum = "1";
  for (int term = 0; term < 20'000; ++term) sum += "+1";
  EXPECT_THAT(rules_in("DO $$ BEGIN PERFORM " + sum + "; END $$"), ElementsAre("unreadable"));
  EXPECT_THAT(rules_in("DO $$ BEGIN EXECUTE 'SELECT " + sum + "'; END $$"), ElementsAre("dynamic-sql"));
  EXPECT_THAT(rules_in("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT " + sum + "'"),
              ElementsAre("too-complex"));
  for (int const depth : {1'000, 100'000}) {
    std::string loops;
    for (int level = 0; level < depth; ++level) loops += "LOOP x; ";
    findings_in("DO $$ BEGIN " + loops + " END $$");
    std::string closed;
    for (int level = 0; level < depth; ++level) closed += "END LOOP; ";
    findings_in("DO $$ BEGIN " + loops + closed + " END $$");
  }
}

// Whatever is in a file, it is told, and nothing ends the program. The seed is fixed: a failure can be repeated.
TEST(Lint, SurvivesTextsThatAreBroken) {
  std::string text;
  for (auto const& each : kCases) text += each.sql + ";\n";
  text +=
      "DO $$ BEGIN EXECUTE format('DROP TABLE %I', x); END $$;\n-- pgbackfill: allow drop-table because x\nSELECT $1, "
      "e'\\'';";
  std::mt19937 random(4711);
  std::string const letters = "$'\"();\\-/*,.%{}\n aE0\xC3\xFF[]:";
  for (int round = 0; round < 300; ++round) {
    auto const begin = random() % text.size();
    auto broken = text.substr(begin, 1 + random() % 600);
    for (int change = 0; change < 6; ++change) {
      auto const at = random() % broken.size();
      if (random() % 2 == 0)
        broken.insert(at, 1, letters[random() % letters.size()]);
      else
        broken.erase(at, 1 + random() % 4);
      if (broken.empty()) broken = ";";
    }
    Linter linter({});
    auto const linted = linter.lint_sql(broken, "a.sql");
    for (auto const& finding : linted.findings) EXPECT_GE(finding.position.line, 1) << broken;
    linter.lint_migration("name: m\nexpand:\n  - sql: |\n      " + broken, "m.yaml");
  }
}

TEST(Lint, KnowsATableThatTakesThePlaceOfAnother) {
  auto const found = findings_in("BEGIN; ALTER TABLE users RENAME TO old; ALTER TABLE orders RENAME TO users; COMMIT");
  for (auto const& finding : found) EXPECT_LE(finding.risk, Risk::kMedium) << finding.rule;
  EXPECT_EQ(findings_in("ALTER TABLE users RENAME TO old; ALTER TABLE orders RENAME TO users").front().risk,
            Risk::kHigh);
}

TEST(Lint, SurvivesTheDeepestThatItReads) {
  std::string sum = "SELECT 1";
  for (int term = 0; term < 1'990; ++term) sum += "+1";
  EXPECT_THAT(rules_in(sum), IsEmpty());
  std::string nots = "SELECT ";
  for (int word = 0; word < 3'900; ++word) nots += "NOT ";
  EXPECT_THAT(rules_in(nots + "true"), IsEmpty());
  EXPECT_THAT(rules_in("SELECT " + std::string(1'900, '(') + "1" + std::string(1'900, ')')), IsEmpty());
}

TEST(Lint, DoesNotPassPsqlCommandsThatBringInSql) {
  EXPECT_THAT(rules_in("\n\\i other.sql\n"), ElementsAre("not-looked-into"));
  EXPECT_THAT(rules_in("\n\\set ON_ERROR_STOP on\n"), IsEmpty());
  EXPECT_THAT(rules_in("COPY users FROM stdin;\n1\tDROP TABLE users;\n\\.\nTRUNCATE users;"), ElementsAre("truncate"));
}

TEST(Lint, RefusesAFileWithNul) {
  Linter linter({});
  auto const linted = linter.lint_sql(std::string("SELECT 1;\n\0", 11), "a.sql");
  ASSERT_EQ(linted.problems.size(), 1U);
  EXPECT_EQ(linted.problems.front().position.line, 2);
}

// ---- comments

TEST(Lint, IsSilentAboutOneRuleForTheNextStatementWhereAReasonIsGiven) {
  std::string const allow = "-- pgbackfill: allow drop-table because it is empty\n";
  EXPECT_THAT(rules_in(allow + "DROP TABLE users"), IsEmpty());
  EXPECT_THAT(rules_in(allow + "DROP TABLE users; DROP TABLE orders"), ElementsAre("drop-table"));
  EXPECT_THAT(rules_in(allow + "TRUNCATE users"), UnorderedElementsAre("unused-allow", "truncate"));
  EXPECT_THAT(rules_in("/* pgbackfill: allow drop-table because x */ DROP TABLE users"), IsEmpty());
}

TEST(Lint, TakesNoSilenceWithoutAReason) {
  EXPECT_THAT(rules_in("-- pgbackfill: allow drop-table\nDROP TABLE users"),
              UnorderedElementsAre("allow-without-reason", "drop-table"));
}

TEST(Lint, TellsOrdersThatItDoesNotUnderstand) {
  EXPECT_THAT(only_finding_in("-- pgbackfill: allow drop-tabel because x\nSELECT 1").why, HasSubstr("'drop-table'"));
  EXPECT_THAT(rules_in("-- pgbackfill: ignore everything\nSELECT 1"), ElementsAre("allow-unknown"));
}

TEST(Lint, HearsCommentsInsideOfCode) {
  EXPECT_THAT(rules_in("DO $$ BEGIN\n-- pgbackfill: allow truncate because x\nTRUNCATE users; TRUNCATE users; END $$"),
              ElementsAre("truncate"));
}

// ---- files of other tools

TEST(LintOfOtherTools, LooksAtTheWayForwardOnly) {
  std::string const forward = "ALTER TABLE users DROP COLUMN age;\n";
  std::string const back = "DROP TABLE users;\n";
  for (auto const& [up, down] : std::vector<std::pair<std::string, std::string>>{
           {"-- +goose Up\n-- +goose StatementBegin\n", "-- +goose StatementEnd\n-- +goose Down\n"},
           {"-- +migrate Up\n", "  -- +migrate Down\n"},
           {"--migrate:up\r\n", "--migrate:down\r\n"},
           {"-- Up Migration\n", "-- Down Migration\n"},
           {"", "---- create above / drop below ----\n"},
           {"", "--//@UNDO\n"}}) {
    Linter linter({});
    auto const text = "SET lock_timeout = '1s';\n" + up + forward + down + back;
    auto const found = linter.lint_sql(text, "a.sql").findings;
    ASSERT_EQ(found.size(), 1U) << text;
    EXPECT_EQ(found.front().rule, "drop-column");
    EXPECT_EQ(found.front().position.line, 2 + std::count(up.begin(), up.end(), '\n'));
    EXPECT_EQ(found.front().position.column, 1);
  }
}

TEST(LintOfOtherTools, FindsTheEndOfTheWayForwardWithoutASemicolon) {
  EXPECT_THAT(rules_in("\n-- migrate:up\nDROP INDEX users_age\n-- migrate:down\nCREATE INDEX i ON users (age)"),
              ElementsAre("drop-index"));
}

TEST(LintOfOtherTools, LeavesNothingOutBecauseOfWordsThatSoundLikeAMark) {
  std::string const drop = "DROP TABLE users";
  for (char const* comment : {"-- down migration of the servers, later", "SELECT 1; -- +goose Down",
                              "-- +goose Downwards", "/* +goose Down */", "-- migrate:down", "-- +goose Down"}) {
    Linter linter({});
    auto const found = linter.lint_sql(std::string(comment) + "\n" + drop, "a.sql").findings;
    EXPECT_FALSE(found.empty()) << comment << ": a file that is nothing but a way back was named to be looked at";
  }
  EXPECT_THAT(rules_in("\nSELECT '\n-- +goose Down\n'; " + drop), ElementsAre("drop-table"));
}

TEST(LintOfOtherTools, KnowsWhichRunAFileInATransaction) {
  std::string const build = "SET lock_timeout = 0; CREATE INDEX CONCURRENTLY i ON users (age);\n";
  for (char const* mark : {"-- +goose Up", "-- +migrate Up", "-- migrate:up", "-- Up Migration"}) {
    EXPECT_THAT(rules_in("\n" + std::string(mark) + "\n" + build), ElementsAre("concurrently-in-transaction")) << mark;
  }
  for (char const* mark :
       {"-- +goose NO TRANSACTION\n-- +goose Up", "-- +goose Up\n-- +goose NO TRANSACTION",
        "-- +migrate Up notransaction", "-- migrate:up transaction:false", "-- no-transaction",
        "-- postgres-migrations disable-transaction", "-- morph:nontransactional", "-- atlas:txmode none"}) {
    EXPECT_THAT(rules_in("\n" + std::string(mark) + "\n" + build, {15, true}), IsEmpty()) << mark;
  }
  EXPECT_THAT(rules_in("\n-- +goose Up\n-- pgbackfill: no transaction\n" + build), IsEmpty());
}

TEST(LintOfOtherTools, TakesPlaceholdersForNames) {
  auto const found =
      findings_in("\nDROP TABLE {{ index .Options \"Namespace\" }}.users;\nDROP TABLE ${schema}.orders;");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].rule, "drop-table");
  EXPECT_EQ(found[0].position.line, 2);
  EXPECT_EQ(found[1].rule, "drop-table");
  EXPECT_EQ(found[1].position.line, 3);
  EXPECT_THAT(rules_in("DO $$ BEGIN DROP TABLE {{ .Schema }}.users; END $$"), ElementsAre("drop-table"));
  EXPECT_THAT(rules_in("SELECT '{{1,2},{3,4}}'::int[][]"), IsEmpty());
  EXPECT_THAT(rules_in("{{ if .Wide }}\nDROP TABLE users;\n{{ end }}"), Contains("unreadable"));
}

TEST(LintOfOtherTools, FillsInTheVariablesOfPsql) {
  EXPECT_THAT(rules_in("\\set t users\nDROP TABLE :t"), ElementsAre("drop-table"));
  EXPECT_THAT(rules_in("DROP TABLE :\"schema\".users; DELETE FROM orders WHERE id = :id::bigint"),
              ElementsAre("drop-table"));
  EXPECT_THAT(rules_in("UPDATE users SET note = :'note' WHERE age > :age"), ElementsAre("bulk-write"));
  EXPECT_THAT(rules_in("SELECT ':x', \":y\", $$:z$$ /* :a */ -- :b\n FROM users WHERE id = :c"), IsEmpty());
  EXPECT_THAT(rules_in("DROP TABLE : users"), ElementsAre("unreadable"));
}

// ---- migration files

std::vector<Finding> findings_in_yaml(std::string const& yaml) {
  Linter linter({});
  linter.learn(kSchema);
  auto linted = linter.lint_migration(yaml, "m.yaml");
  EXPECT_THAT(linted.problems, IsEmpty());
  return linted.findings;
}

TEST(LintOfMigrations, MapsPlacesBackToTheFile) {
  auto const found = findings_in_yaml(
      "name: m\n"
      "expand:\n"
      "  - sql: CREATE INDEX ON users (age)\n"
      "  - sql: |\n"
      "      SELECT 1;\n"
      "      DROP TABLE users\n"
      "  - sql: \"SELECT 'a''\\\"b';  TRUNCATE users\"\n"
      "  - sql: >-\n"
      "      SELECT\n"
      "        1;\n"
      "        REINDEX TABLE users\n");
  std::vector<std::pair<int, int>> places;
  for (auto const& finding : found) places.emplace_back(finding.position.line, finding.position.column);
  EXPECT_THAT(places, ElementsAre(std::pair(3, 10), std::pair(6, 7), std::pair(7, 29), std::pair(11, 9)));
}

TEST(LintOfMigrations, NeedsNoLockTimeoutInSteps) {
  EXPECT_THAT(findings_in_yaml("name: m\nexpand:\n  - sql: ALTER TABLE users ADD a int\n"), IsEmpty());
}

TEST(LintOfMigrations, TakesAStepOfSeveralStatementsForATransaction) {
  auto const found = findings_in_yaml(
      "name: m\nexpand:\n  - sql: CREATE INDEX CONCURRENTLY i ON users (age); SELECT 1\n"
      "  - sql: CREATE INDEX CONCURRENTLY j ON users (age)\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().rule, "concurrently-in-transaction");
}

TEST(LintOfMigrations, CallsDestructionBehindTheGateMediumOnly) {
  auto const found = findings_in_yaml(
      "name: m\nexpand:\n  - sql: ALTER TABLE users DROP COLUMN age\n"
      "contract:\n  - sql: ALTER TABLE users DROP COLUMN net\n");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].risk, Risk::kDestructive);
  EXPECT_EQ(found[1].risk, Risk::kMedium);
}

TEST(LintOfMigrations, TellsWhatTypedStepsLoseAndKnowsWhatTheyMake) {
  auto const found = findings_in_yaml(
      "name: m\ntable: users\nexpand:\n  - set_not_null: age\n  - create_index: {name: i, columns: [age]}\n"
      "  - rename_column: {name: net, to: address}\n"
      "  - sql: ALTER TABLE users ALTER age SET NOT NULL\ncontract:\n  - drop_column: age\n");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].rule, "rename");
  EXPECT_EQ(found[0].position.line, 6);
  EXPECT_EQ(found[1].rule, "drop-column");
  EXPECT_EQ(found[1].risk, Risk::kMedium);
  EXPECT_EQ(found[1].position.line, 9);
  EXPECT_THAT(found[1].instead, HasSubstr("this is the place for it"));
}

TEST(LintOfMigrations, TellsWhatASwapIsAbout) {
  std::string const head = "name: m\ntable: users\n";
  std::string const tables = head +
                             "expand:\n  - create_table: {table: people, columns: \"id bigint PRIMARY KEY\"}\n"
                             "sync: {mirror: [id]}\nbackfill: {copy_to: people, columns: {id: id}}\n";
  auto const swap = findings_in_yaml(tables +
                                     "contract:\n  - swap: {with: people, keep_as: users_old}\n"
                                     "  - sql: CREATE INDEX ON users_old (age)\n");
  ASSERT_EQ(swap.size(), 2U);
  EXPECT_EQ(swap[0].rule, "rename");
  EXPECT_EQ(swap[0].risk, Risk::kMedium);
  EXPECT_EQ(swap[0].lock, LockMode::kAccessExclusive);
  EXPECT_EQ(swap[0].relation, "users");
  EXPECT_EQ(swap[0].position.line, 8);
  EXPECT_THAT(swap[0].why, testing::AllOf(HasSubstr("people takes the place of users"), HasSubstr("users_old")));
  EXPECT_EQ(swap[1].rule, "create-index") << "the old table is in use under its new name";

  auto const columns = findings_in_yaml(head + "contract:\n  - swap_column: {column: age, with: years}\n");
  ASSERT_EQ(columns.size(), 1U);
  EXPECT_EQ(columns[0].risk, Risk::kMedium);
  EXPECT_THAT(columns[0].why, testing::AllOf(HasSubstr("years takes the place of age"), HasSubstr("age_old")));
  EXPECT_THAT(findings_in_yaml(head + "contract:\n  # pgbackfill: allow rename because clients know both\n"
                                      "  - swap_column: {column: age, with: years}\n"),
              IsEmpty());
}

TEST(LintOfMigrations, HearsYamlComments) {
  std::string const step = "  - sql: TRUNCATE users\n";
  std::string const allow = "  # pgbackfill: allow truncate because it is a cache\n";
  EXPECT_THAT(findings_in_yaml("name: m\nexpand:\n" + allow + step), IsEmpty());
  auto const twice = findings_in_yaml("name: m\nexpand:\n" + allow + step + step);
  ASSERT_EQ(twice.size(), 1U);
  EXPECT_EQ(twice.front().position.line, 5);
  auto const late = findings_in_yaml("name: m\nexpand:\n" + step + allow);
  ASSERT_EQ(late.size(), 2U);
  EXPECT_EQ(late[1].rule, "unused-allow");
  EXPECT_EQ(late[1].position.line, 4);
}

TEST(LintOfMigrations, ReadsTheExpressionsOfABackfill) {
  auto const found =
      findings_in_yaml("name: m\ntable: users\nbackfill:\n  set: {note: \"upper(name\"}\n  where: \"note IS NULL\"\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().rule, "unreadable");
  EXPECT_EQ(found.front().position.line, 4);
  EXPECT_THAT(
      findings_in_yaml("name: m\ntable: orders\nbackfill:\n"
                       "  sql: UPDATE orders o SET total = 0 FROM users u WHERE u.id = o.user_id AND {batch:o}\n"),
      IsEmpty());
}

TEST(LintOfMigrations, ReadsTheExpressionsOfSync) {
  auto const found = findings_in_yaml("name: m\ntable: users\nsync:\n  set: {note: \"upper(name\"}\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.front().rule, "unreadable");
  EXPECT_EQ(found.front().position.line, 4);
}

TEST(LintOfMigrations, GivesProblemsOfAFileThatIsNoMigration) {
  Linter linter({});
  EXPECT_THAT(linter.lint_migration("name: m\nworkers: 4\n", "m.yaml").problems, Not(IsEmpty()));
}

// ---- the rules themselves

TEST(LintRulesTable, StandsInTheDocumentation) {
  std::ifstream file(PGBACKFILL_SOURCE_DIR "/docs/lint.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr(lint_rules_markdown())) << "the table as it should be:\n" << lint_rules_markdown();
}

}  // namespace
}  // namespace pgbackfill::planner::lint
