// Rollback takes back what the steps did and nothing else, told by the objects themselves and not by their names; and
// it looks at all of them before it begins.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class RollbackTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    make_tables();
  }
  void make_tables() {
    client_->exec(
        "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE t "
        "(id "
        "int PRIMARY KEY, a int, b text); INSERT INTO t SELECT g, g, 'b' FROM generate_series(1, 10) g");
  }
  void run_steps(std::vector<std::string> const& steps) {
    std::string text = "name: m\ntable: t\nexpand:\n";
    for (auto const& step : steps) text += "  - " + step + "\n";
    write("m.yaml", text);
    auto const ran = run({"run", "m.yaml"});
    ASSERT_EQ(ran.exit_code, kDone) << text << ran.err;
  }
  // Before the first step, by name, and the same in --dry-run.
  void expect_refused(std::string const& what, std::string const& why) {
    auto const dry = run({"rollback", "m", "--dry-run"});
    EXPECT_EQ(dry.exit_code, kFailed) << what << dry.out;
    EXPECT_THAT(dry.out, HasSubstr(why)) << what;
    auto const back = run({"rollback", "m", "--yes"});
    EXPECT_EQ(back.exit_code, kFailed) << what << back.out;
    EXPECT_THAT(back.err, AllOf(HasSubstr("was not begun"), HasSubstr(why))) << what;
  }
  std::string tables() const {
    return client_->value(
        "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (SELECT attrelid::regclass || '.' || attname || ' ' || "
        "attnotnull || ' ' || coalesce((SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid "
        "AND "
        "adnum = attnum), '') AS line FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relkind IN "
        "('r', 'p') "
        "AND "
        "relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped UNION ALL SELECT "
        "pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = "
        "'public'::regnamespace UNION ALL SELECT conrelid::regclass || ' ' || conname || pg_get_constraintdef(oid) "
        "FROM "
        "pg_constraint WHERE connamespace = 'public'::regnamespace) l");
  }
};

struct Change {
  std::string before;  // beside the tables
  std::string step;
  std::string sql;  // what somebody does
  std::string query;
  std::string value;
  std::string why;
};

TEST_F(RollbackTest, WhatSomebodyMadeUnderTheNameOfAStepStays) {
  std::vector<Change> const changes = {
      {"", "create_table: {table: n, columns: id int PRIMARY KEY}",
       "ALTER TABLE n RENAME TO n_old; CREATE TABLE n (mine int); INSERT INTO n VALUES (42)", "SELECT mine FROM n",
       "42", "another name now: table public.n_old"},
      {"", "create_table: {table: n, columns: id int PRIMARY KEY}",
       "DROP TABLE n; CREATE TABLE n (mine int); INSERT INTO n VALUES (42)", "SELECT mine FROM n", "42",
       "table public.n has the name"},
      {"", "add_column: {name: c, type: int}", "ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD c text DEFAULT 'mine'",
       "SELECT count(*) FROM t WHERE c = 'mine'", "10", "table column public.t.c has the name"},
      {"", "add_column: {name: c, type: int}", "ALTER TABLE t RENAME c TO c_old; ALTER TABLE t ADD c int DEFAULT 7",
       "SELECT count(*) FROM t WHERE c = 7", "10", "another name now: table column public.t.c_old"},
      {"", "create_index: {name: ia, columns: [a]}", "DROP INDEX ia; CREATE INDEX ia ON t (b)",
       "SELECT pg_get_indexdef('ia'::regclass)", "CREATE INDEX ia ON public.t USING btree (b)",
       "index public.ia has the name"},
      {"", "add_check: {name: k, check: a > 0}",
       "ALTER TABLE t DROP CONSTRAINT k; ALTER TABLE t ADD CONSTRAINT k CHECK (a > 7) NOT VALID",
       "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'k'", "CHECK ((a > 7)) NOT VALID",
       "table constraint k on public.t has the name"},
      {"", "add_unique: {name: u, columns: [a]}", "ALTER TABLE t DROP CONSTRAINT u; CREATE INDEX u ON t (b)",
       "SELECT to_regclass('u')", "u", "index public.u has the name"},
      {"CREATE TABLE p (x int PRIMARY KEY)", "add_foreign_key: {name: f, columns: [a], references: p}",
       "ALTER TABLE t DROP CONSTRAINT f, ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES p NOT VALID",
       "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'f'",
       "FOREIGN KEY (id) REFERENCES p(x) NOT VALID", "table constraint f on public.t has the name"},
      {"", "set_default: {column: a, value: \"5\"}", "ALTER TABLE t ALTER a SET DEFAULT 7",
       "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 't'::regclass", "7",
       "default value for public.t.a has the name"}};
  for (auto const& change : changes) {
    make_tables();
    // Rows of the table have no parent here.
    if (!change.before.empty()) client_->exec(change.before + "; TRUNCATE t");
    run_steps({change.step, "create_index: {name: later, columns: [b]}"});
    client_->exec(change.sql);
    expect_refused(change.step, "expand step 1: ");
    expect_refused(change.step, change.why);
    EXPECT_EQ(client_->value(change.query), change.value) << change.step;
    EXPECT_EQ(client_->value("SELECT to_regclass('later')"), "later") << "it did not end half-way";
  }
}

TEST_F(RollbackTest, WhatCannotBeFoundUnderItsNameIsNamedAndNotTakenForUndone) {
  std::vector<Change> const changes = {
      {"", "add_column: {name: c, type: int}", "ALTER TABLE t RENAME TO t9", "", "", "table column public.t9.c"},
      {"", "add_column: {name: c, type: int}", "CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s", "", "", "s.t.c"},
      {"", "add_column: {name: c, type: int}", "ALTER TABLE t RENAME c TO cc", "", "", "table column public.t.cc"},
      {"", "create_index: {name: ia, columns: [a]}", "ALTER INDEX ia RENAME TO ib", "", "", "index public.ib"},
      {"", "add_check: {name: k, check: a > 0}", "ALTER TABLE t RENAME CONSTRAINT k TO kk", "", "",
       "table constraint kk on public.t"},
      {"", "set_not_null: a", "ALTER TABLE t RENAME a TO aa", "", "", "table column public.t.aa"},
      {"", "set_default: {column: a, value: \"5\"}", "ALTER TABLE t RENAME a TO aa", "", "", "public.t.aa"},
      {"", "rename_column: {name: a, to: aa}", "ALTER TABLE t RENAME aa TO a3", "", "", "table column public.t.a3"},
      {"", "rename_table: {to: tt}", "ALTER TABLE tt RENAME TO t3", "", "", "table public.t3"},
      {"CREATE INDEX ia ON t (a)", "drop_index: ia", "ALTER TABLE t RENAME TO t9", "", "", "table public.t9"},
      {"CREATE INDEX ia ON t (a)", "drop_index: ia", "CREATE INDEX ia ON t (b)", "", "", "the name ia is taken"},
      {"CREATE INDEX ia ON t (a)", "drop_index: ia", "CREATE TABLE ia (x int)", "", "", "the name ia is taken"},
      {"ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)", "drop_constraint: k",
       "ALTER TABLE t ADD CONSTRAINT k CHECK (b <> 'z')", "", "", "the name k is taken"},
      {"", "rename_column: {name: a, to: aa}", "ALTER TABLE t ADD a int", "", "", "column public.t.a"}};
  for (auto const& change : changes) {
    make_tables();
    if (!change.before.empty()) client_->exec(change.before);
    run_steps({change.step});
    client_->exec(change.sql);
    auto const before = tables();
    expect_refused(change.sql, change.why);
    EXPECT_EQ(tables(), before) << change.step;
  }
}

TEST_F(RollbackTest, IsNotBegunWhereItWouldEndHalfWay) {
  std::vector<Change> const changes = {
      {"", "set_not_null: a", "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (a)", "", "",
       "column a of public.t is in the primary key"},
      {"", "set_not_null: a", "ALTER TABLE t ALTER a ADD GENERATED ALWAYS AS IDENTITY", "", "",
       "is an identity column"},
      {"", "add_column: {name: c, type: int}", "CREATE TABLE parent (c int); ALTER TABLE t INHERIT parent", "", "",
       "is inherited"},
      {"", "add_check: {name: k, check: a > 0}",
       "CREATE TABLE parent (a int, CONSTRAINT k CHECK (a > 0)); ALTER TABLE t INHERIT parent", "", "",
       "constraint k of public.t is inherited"},
      {"", "create_index: {name: ia, columns: [a], unique: true}",
       "ALTER TABLE t ADD CONSTRAINT ia UNIQUE USING INDEX ia", "", "", "belongs to a constraint"}};
  for (auto const& change : changes) {
    make_tables();
    run_steps({change.step, "create_index: {name: later, columns: [b]}"});
    client_->exec(change.sql);
    expect_refused(change.step, change.why);
    EXPECT_EQ(client_->value("SELECT to_regclass('later')"), "later") << change.step;
  }
  make_tables();
  run_steps({"rename_table: {to: tt}", "create_index: {table: tt, name: later, columns: [b]}"});
  client_->exec("CREATE TABLE t (x int)");
  expect_refused("rename_table", "table public.t has the name");
  EXPECT_EQ(client_->value("SELECT to_regclass('later')"), "later");
  client_->exec("DROP TABLE t");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
}

// Each way back meets what the steps behind it left, and what an earlier rollback would have left.
struct Rows {
  std::string made;  // beside the tables
  std::string step;
  std::string forbidding;  // rows that come afterwards
  std::string gone;        // and how they go
  std::string why;
};

TEST_F(RollbackTest, AsksTheRowsBeforeItBegins) {
  std::string const unique = "CREATE UNIQUE INDEX t_u ON t ";
  std::vector<Rows> const cases = {
      {"ALTER TABLE t ALTER a SET NOT NULL", "drop_not_null: a", "UPDATE t SET a = NULL WHERE id < 4",
       "UPDATE t SET a = 1 WHERE a IS NULL", "column a of public.t is NOT NULL again, and rows with NULL: 3"},
      {"ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0 AND b <> ')')", "drop_constraint: c",
       "UPDATE t SET a = -1 WHERE id = 2", "UPDATE t SET a = 2 WHERE id = 2",
       "constraint c of public.t is there again, and rows that fail it: 1"},
      {"CREATE TABLE p (a int, b text, PRIMARY KEY (b, a)); INSERT INTO p SELECT a, b FROM t; ALTER TABLE t ADD "
       "CONSTRAINT f FOREIGN KEY (b, a) REFERENCES p (b, a)",
       "drop_constraint: f", "UPDATE t SET a = 77 WHERE id = 2; UPDATE t SET b = NULL, a = 99 WHERE id = 3",
       "UPDATE t SET a = 2 WHERE id = 2", "constraint f of public.t is there again, and 1 row(s) refer to nothing"},
      {unique + "(a)", "drop_index: t_u", "UPDATE t SET a = 1 WHERE id < 4; UPDATE t SET a = NULL WHERE id > 8",
       "UPDATE t SET a = id WHERE id < 4",
       "unique index t_u of public.t is there again, and values that appear more than once: 1"},
      {"UPDATE t SET b = b || id; " + unique + "(lower(b), (a % 2) DESC) WHERE b <> ' WHERE )'", "drop_index: t_u",
       "UPDATE t SET b = 'B1', a = 1 WHERE id = 3", "UPDATE t SET b = 'b3', a = 3 WHERE id = 3",
       "values that appear more than once: 1"},
      {unique + "(a, (b || ', ') COLLATE \"C\" text_pattern_ops)", "drop_index: t_u", "UPDATE t SET a = 1 WHERE id < 4",
       "UPDATE t SET a = id WHERE id < 4", "values that appear more than once: 1"},
      {"ALTER TABLE t ADD c int; UPDATE t SET c = id; CREATE UNIQUE INDEX t_c ON t (c); ALTER TABLE t ALTER c SET NOT "
       "NULL",
       "swap_primary_key: {name: t_c, columns: [c]}", "UPDATE t SET id = 1 WHERE id = 2",
       "UPDATE t SET id = c WHERE id = 1", "values that appear more than once: 1"},
  };
  for (auto const& one : cases) {
    make_tables();
    client_->exec(one.made);
    auto const before = tables();
    run_steps({one.step, "add_column: {name: later, type: int}"});
    client_->exec(one.forbidding);
    expect_refused(one.step + one.forbidding, one.why);
    EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attname = 'later'"), "1") << one.step;
    client_->exec(one.gone);
    auto const back = run({"rollback", "m", "--yes"});
    EXPECT_EQ(back.exit_code, kDone) << one.step << back.err;
    EXPECT_EQ(tables(), before) << one.step;
  }
}

TEST_F(RollbackTest, AsksTheRowsOfAPartitionThatIsAttachedAgain) {
  client_->exec(
      "CREATE TABLE p (id int, \"K d\" text) PARTITION BY LIST (\"K d\"); CREATE TABLE p_1 PARTITION OF p FOR VALUES "
      "IN "
      "('a / b', E'c\n d'); CREATE TABLE p_2 PARTITION OF p DEFAULT; INSERT INTO p VALUES (1, 'a / b'), (2, E'c\n d'), "
      "(3, 'e')");
  auto const before = tables();
  run_steps({"detach_partition: {partition: p_1, table: p}", "add_column: {name: later, type: int}"});
  client_->exec("INSERT INTO p_1 VALUES (4, 'f'), (5, NULL)");
  expect_refused("moved",
                 "partition p_1 is attached to public.p again, and rows of it that its bounds do not "
                 "allow any more: 2");
  client_->exec("DELETE FROM p_1 WHERE id > 3; INSERT INTO p VALUES (6, 'a / b')");
  expect_refused("elsewhere", "rows of other partitions that belong in it: 1");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attname = 'later'"), "1");
  client_->exec("DELETE FROM p WHERE id = 6");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(tables(), before);
  EXPECT_EQ(client_->value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM p"), "1 2 3");
}

// What a constraint that was not validated let in, the way back lets in as well.
TEST_F(RollbackTest, AsksNoRowsOfWhatWasNotValidated) {
  client_->exec("UPDATE t SET a = -1 WHERE id = 1; ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID");
  run_steps({"drop_constraint: c"});
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT convalidated FROM pg_constraint WHERE conname = 'c'"), "f");
}

TEST_F(RollbackTest, GoesThroughWhatTheStepsThemselvesRenamedAndReplaced) {
  client_->exec("CREATE INDEX ia ON t (a); ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)");
  auto const before = tables();
  run_steps({"add_column: {name: c, type: int}", "set_default: {column: c, value: \"5\"}",
             "set_default: {column: c, value: \"7\"}", "rename_column: {name: c, to: d}",
             "create_index: {name: u, columns: [id, a], unique: true}", "add_unique: {name: u, columns: [id, a]}",
             "drop_index: ia", "create_index: {name: ia, columns: [b]}", "drop_constraint: k",
             "add_check: {name: k, check: a > -5}",
             "sql: ALTER TABLE t RENAME b TO bb\n    down: ALTER TABLE t RENAME "
             "bb TO b",
             "rename_table: {to: tt}", "create_table: {table: t, columns: x int}",
             "add_column: {table: tt, name: e, type: int}"});
  EXPECT_NE(tables(), before);
  auto const dry = run({"rollback", "m", "--dry-run"});
  EXPECT_EQ(dry.exit_code, kDone) << dry.out;
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(tables(), before);
}

TEST_F(RollbackTest, AnIndexThatWasBuiltAnewIsStillThatOfTheStep) {
  auto const before = tables();
  run_steps({"create_index: {name: ia, columns: [a]}", "add_unique: {name: u, columns: [id, a]}"});
  client_->exec("REINDEX INDEX CONCURRENTLY ia");
  client_->exec("REINDEX INDEX CONCURRENTLY u");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(tables(), before);
}

TEST_F(RollbackTest, WhatIsGoneOrIsAsItWasBeforeNeedsNoUndoing) {
  run_steps({"add_column: {name: c, type: int}", "set_default: {column: a, value: \"5\"}",
             "create_index: {name: ia, columns: [a]}"});
  client_->exec(
      "ALTER TABLE t DROP COLUMN c; ALTER TABLE t ALTER a DROP DEFAULT; DROP INDEX ia; CREATE TABLE u (x int); CREATE "
      "INDEX ia ON u (x)");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT to_regclass('ia')"), "ia") << "of another table";
  make_tables();
  client_->exec("CREATE INDEX ib ON t (b)");
  run_steps({"drop_index: ib", "set_default: {column: a, value: \"5\"}"});
  client_->exec("DROP TABLE t");
  auto const gone = run({"rollback", "m", "--yes"});
  EXPECT_EQ(gone.exit_code, kDone) << gone.err;
  EXPECT_THAT(gone.err, HasSubstr("nothing of it is there any more"));
}

TEST_F(RollbackTest, ATableIsNotDroppedWithTheRowsThatWereMovedIntoIt) {
  for (std::string const work :
       {"{move_to: arch, where: id > 5}",
        "{sql: 'WITH gone AS (DELETE FROM t WHERE id > 5 AND {batch:t} RETURNING *) INSERT INTO arch SELECT * FROM "
        "gone'}"}) {
    make_tables();
    write("m.yaml",
          "name: m\ntable: t\nexpand:\n  - create_table: {table: arch, columns: \"id int PRIMARY KEY, a int, b "
          "text\"}\nbackfill: " +
              work + "\n");
    auto const ran = run({"run", "m.yaml"});
    ASSERT_EQ(ran.exit_code, kDone) << ran.err;
    expect_refused(work, "has rows that were moved into it");
    EXPECT_EQ(client_->value("SELECT count(*) FROM arch"), "5") << work;
    client_->exec("INSERT INTO t SELECT * FROM arch; TRUNCATE arch");
    auto const back = run({"rollback", "m", "--yes"});
    EXPECT_EQ(back.exit_code, kDone) << back.err;
    EXPECT_EQ(client_->value("SELECT count(*) FROM t"), "10") << work;
  }
}

TEST_F(RollbackTest, ADryRunNamesTheMigrationThatNeedsWhatWouldGo) {
  run_steps({"add_column: {name: c, type: int}", "sql: CREATE TABLE z (id int)\n    down: DROP TABLE z"});
  write("other.yaml",
        "name: other\ntable: t\nexpand:\n  - add_column: {name: e, type: int}\ncontract:\n  - set_not_null: "
        "c\n  - set_not_null: {table: z, column: id}\n");
  auto const other = run({"run", "other.yaml"});
  ASSERT_EQ(other.exit_code, kDone) << other.err;
  auto const dry = run({"rollback", "m", "--dry-run"});
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kGateClosed) << back.err;
  EXPECT_EQ(dry.exit_code, back.exit_code);
  EXPECT_THAT(dry.err, AllOf(HasSubstr("expand step 1, undone"), HasSubstr("expand step 2, undone"),
                             HasSubstr("migration other needs")));
}

// Of a state that an older version wrote.
TEST_F(RollbackTest, AStepOfWhichNoObjectIsRecordedGoesByItsName) {
  auto const before = tables();
  run_steps({"add_column: {name: c, type: int}", "create_index: {name: ia, columns: [a]}"});
  client_->exec("UPDATE pgbackfill.steps SET proof = ''");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(tables(), before);
}

TEST_F(RollbackTest, AnIndexThatIsBuiltAgainIsAnalyzed) {
  client_->exec("CREATE INDEX ie ON t (lower(b)); ALTER TABLE t SET (autovacuum_enabled = off)");
  run_steps({"drop_index: ie"});
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_stats WHERE tablename = 'ie'"), "1");
}

// --- what tables below have of their own
// ------------------------------------------------------------------------------

class HeirsTest : public RollbackTest {
 protected:
  void make(std::string const& sql) const {
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP SCHEMA public CASCADE; "
        "CREATE SCHEMA public; " +
        sql);
  }
  // And back, after which all is as it was.
  void expect_back(std::string const& sql, std::string const& table, std::string const& step) {
    make(sql);
    auto const before = tables();
    write("m.yaml", "name: m\ntable: " + table + "\nexpand:\n  - " + step + "\n");
    auto const ran = run({"run", "m.yaml"});
    ASSERT_EQ(ran.exit_code, kDone) << step << ran.err;
    EXPECT_NE(tables(), before) << step;
    auto const back = run({"rollback", "m", "--yes"});
    EXPECT_EQ(back.exit_code, kDone) << step << back.err;
    EXPECT_EQ(tables(), before) << step;
  }
};

constexpr char kParted[] =
    "CREATE TABLE o (id int, a int DEFAULT 1, b int) PARTITION BY RANGE (id); CREATE TABLE o1 PARTITION OF o FOR "
    "VALUES "
    "FROM (0) TO (10); CREATE TABLE o2 PARTITION OF o FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id); CREATE "
    "TABLE o21 PARTITION OF o2 FOR VALUES FROM (10) TO (20); CREATE TABLE o22 PARTITION OF o2 FOR VALUES FROM (20) TO "
    "(30); INSERT INTO o SELECT g, g, g FROM generate_series(1, 29) g; ";
constexpr char kInherited[] =
    "CREATE TABLE o (id int, a int DEFAULT 1, b int); CREATE TABLE ch (c int) INHERITS (o); CREATE TABLE grand () "
    "INHERITS (ch); INSERT INTO ch SELECT g, g, g FROM generate_series(1, 29) g; ";

TEST_F(HeirsTest, KeepTheirOwnDefaults) {
  std::string const own = "ALTER TABLE o1 ALTER a SET DEFAULT 7; ALTER TABLE o21 ALTER a DROP DEFAULT";
  for (char const* step : {"set_default: {column: a, value: \"3\"}", "drop_default: a"}) {
    expect_back(kParted + own, "o", step);
    expect_back(
        std::string(kInherited) + "ALTER TABLE ch ALTER a SET DEFAULT 7; ALTER TABLE grand ALTER a SET DEFAULT 8", "o",
        step);
  }
  make(kParted + own);
  write("m.yaml", "name: m\ntable: public.o\nexpand:\n  - set_default: {column: a, value: \"7\"}\n");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out,
              AllOf(HasSubstr("public.o21.a (none) is a default that goes with it"), Not(HasSubstr("public.o1.a"))))
      << "o1 has that default already";
}

TEST_F(HeirsTest, ADefaultThatCameSinceIsNotLost) {
  make(kParted);
  write("m.yaml", "name: m\ntable: o\nexpand:\n  - set_default: {column: a, value: \"3\"}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("ALTER TABLE o22 ALTER a SET DEFAULT 9");
  expect_refused("set_default",
                 "column a of public.o22, which inherits from public.o, has got a default of its own since");
  client_->exec("ALTER TABLE o22 ALTER a SET DEFAULT 3");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
}

TEST_F(HeirsTest, KeepTheirOwnNotNull) {
  expect_back(std::string(kParted) + "ALTER TABLE o1 ALTER b SET NOT NULL; ALTER TABLE o2 ALTER b SET NOT NULL", "o",
              "set_not_null: b");
  expect_back(std::string(kParted) + "ALTER TABLE o21 ALTER b SET NOT NULL", "o", "set_not_null: b");
  expect_back(std::string(kInherited) + "ALTER TABLE ch ALTER b SET NOT NULL", "o", "set_not_null: b");
  std::string const key = "ALTER TABLE ch ADD PRIMARY KEY (b)";
  expect_back(kInherited + key, "o", "set_not_null: b");
  expect_back(kInherited + key, "o", "add_primary_key: {name: o_pkey, columns: [b]}");
}

TEST_F(HeirsTest, ANullableOneStaysSo) {
  expect_back(
      "CREATE TABLE o (id int, a int NOT NULL); CREATE TABLE own () INHERITS (o); INSERT INTO own VALUES (1, 1)", "o",
      "drop_not_null: a");
  if (cluster_->major_version() >= 18) return;  // there is no such child any more
  std::string const nullable =
      "CREATE TABLE o (id int, a int NOT NULL); CREATE TABLE own () INHERITS (o); CREATE TABLE ch () INHERITS (o); "
      "ALTER TABLE ch ALTER a DROP NOT NULL; INSERT INTO ch VALUES (1, NULL)";
  expect_back(nullable, "o", "drop_not_null: a");
  make(nullable);
  write("m.yaml", "name: m\ntable: o\nexpand:\n  - drop_not_null: a\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("INSERT INTO own VALUES (2, NULL)");
  expect_refused("drop_not_null", "rows with NULL: 1");
}

TEST_F(HeirsTest, APartitionWhoseKeyTakesNoNullForbidsTheWayBack) {
  if (cluster_->major_version() >= 18) return;
  make(std::string(kParted) + "ALTER TABLE o1 ADD PRIMARY KEY (b)");
  write("m.yaml", "name: m\ntable: o\nexpand:\n  - set_not_null: b\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  expect_refused("set_not_null", "column b of public.o1, which inherits from public.o, is in its primary key");
}

}  // namespace
}  // namespace pgbackfill::tests
