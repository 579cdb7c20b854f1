// What PostgreSQL refuses a step for is said before the first step, by its place in the file, and what it allows is not
// refused. Each case has the plain statement too: the server itself says that it refuses it.
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

struct Case {
  std::string setup;
  std::string step;
  std::string plain;  // what somebody would write by hand
  std::string said;
  int since = 13;
};

class ServerRulesTest : public DatabaseTest {
 protected:
  void make(std::string const& setup) const {
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP SCHEMA public CASCADE; "
        "CREATE "
        "SCHEMA public; " +
        setup);
  }
  void write_step(std::string const& step) const {
    write("m.yaml", "name: m\ntable: public.t\nexpand:\n  - " + step + "\n");
  }
  // In a transaction of its own, which ends before the error is told.
  std::string error_of(std::string const& plain) const {
    try {
      client_->exec("BEGIN; " + plain + "; ROLLBACK");
    } catch (std::exception const& error) {
      client_->exec("ROLLBACK");
      return error.what();
    }
    return "";
  }
  void expect_refused(std::vector<Case> const& cases) {
    for (auto const& one : cases) {
      if (cluster_->major_version() < one.since) continue;
      make(one.setup);
      EXPECT_NE(error_of(one.plain), "") << one.plain;
      write_step(one.step);
      auto const plan = run({"plan", "m.yaml"});
      EXPECT_EQ(plan.exit_code, kUsage) << one.setup << "\n" << one.step << "\n" << plan.out << plan.err;
      EXPECT_THAT(plan.err, AllOf(HasSubstr("m.yaml:4:5: expand step 1: "), HasSubstr(one.said))) << one.step;
      auto const ran = run({"run", "m.yaml"});
      EXPECT_EQ(ran.exit_code, kUsage) << one.step << ran.err;
      EXPECT_EQ(client_->value("SELECT to_regclass('pgbackfill.steps') IS NULL"), "t") << one.step;
    }
  }
  void expect_done(std::vector<Case> const& cases) {
    for (auto const& one : cases) {
      if (cluster_->major_version() < one.since) continue;
      make(one.setup);
      write_step(one.step);
      auto const plan = run({"plan", "m.yaml"});
      EXPECT_EQ(plan.exit_code, kDone) << one.setup << "\n" << one.step << "\n" << plan.err;
      auto const ran = run({"run", "m.yaml"});
      EXPECT_EQ(ran.exit_code, kDone) << one.step << ran.err;
    }
  }
};

std::string const kTable =
    "CREATE TABLE t (id int PRIMARY KEY, a int, b text); INSERT INTO t SELECT g, g, 'b' || g FROM generate_series(1, "
    "10) "
    "g; ";

TEST_F(ServerRulesTest, RowsOfTheTableWithinOtherTablesKeepItsColumns) {
  std::vector<std::string> const uses = {
      "CREATE TABLE h (x t)",
      "CREATE TABLE h (x t[])",
      "CREATE DOMAIN d AS t; CREATE TABLE h (x d)",
      "CREATE TYPE c AS (z t); CREATE TABLE h (x c)",
      "CREATE TYPE c AS (z t[]); CREATE DOMAIN d AS c; CREATE TABLE h (x d[])",
      "CREATE VIEW v AS SELECT t AS whole FROM t; CREATE TABLE h (x v)",
      "CREATE TYPE c AS (z t); CREATE MATERIALIZED VIEW h AS SELECT ROW(t)::c AS x FROM t",
  };
  std::vector<Case> cases;
  for (auto const& use : uses) {
    cases.push_back({kTable + use, "add_column: {name: c, type: int, default: \"5\"}",
                     "ALTER TABLE t ADD c int DEFAULT 5", "public.h.x"});
    bool const is_view = use.find("VIEW") != std::string::npos;
    if (!is_view) {
      cases.push_back({kTable + use, "change_type: {column: b, type: varchar}", "ALTER TABLE t ALTER b TYPE varchar",
                       "public.h.x"});
    }
  }
  expect_refused(cases);
  expect_done({{kTable + uses[3], "add_column: {name: c, type: int}", "", ""},
               {"CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE TABLE h (x t)",
                "add_column: {name: c, type: int, default: \"5\"}", "", ""},
               {kTable + "CREATE TYPE c AS (z t)", "add_column: {name: c, type: int, default: \"5\"}", "", ""},
               {kTable + "CREATE DOMAIN d AS t", "change_type: {column: b, type: varchar}", "", ""}});
}

TEST_F(ServerRulesTest, TablesThatInheritHaveToTakeTheChangeToo) {
  std::string const parent = "CREATE TABLE t (id int PRIMARY KEY, a int, b text); ";
  std::vector<Case> cases = {
      {parent + "CREATE TABLE c (z text) INHERITS (t)", "add_column: {name: z, type: int}", "ALTER TABLE t ADD z int",
       "public.c, which inherits from public.t, has a column z"},
      {parent + "CREATE TABLE c (z text COLLATE \"C\") INHERITS (t)", "add_column: {name: z, type: text}",
       "ALTER TABLE t ADD z text", "public.c, which inherits"},
      {parent +
           "CREATE TABLE c () INHERITS (t); CREATE TABLE d (z int) INHERITS (c); ALTER TABLE d ALTER z TYPE bigint",
       "add_column: {name: z, type: int}", "ALTER TABLE t ADD z int", "public.d, which inherits"},
      {parent + "CREATE TABLE c (CONSTRAINT k CHECK (a < 0)) INHERITS (t)", "add_check: {name: k, check: 'a > 0'}",
       "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID", "a constraint k is on public.c already"},
      {parent + "CREATE TABLE c (CONSTRAINT k CHECK (a > 0) NO INHERIT) INHERITS (t)",
       "add_check: {name: k, check: 'a > 0'}", "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID",
       "a constraint k is on public.c already"},
      {parent + "CREATE TABLE c (new int) INHERITS (t)", "rename_column: {name: a, to: new}",
       "ALTER TABLE t RENAME a TO new", "public.c, which inherits from public.t, has a column new already"},
      {parent + "CREATE TABLE o (a int, b text); CREATE TABLE c () INHERITS (t, o)",
       "rename_column: {name: a, to: new}", "ALTER TABLE t RENAME a TO new",
       "public.c inherits column a from another table as well"},
      {parent + "CREATE TABLE o (a int, b text); CREATE TABLE c () INHERITS (t, o)",
       "change_type: {column: b, type: varchar}", "ALTER TABLE t ALTER b TYPE varchar",
       "public.c inherits column b from another table as well"},
      {parent + "CREATE TABLE c () INHERITS (t); ALTER TABLE c ALTER a SET NOT NULL, ALTER a ADD GENERATED ALWAYS AS "
                "IDENTITY",
       "set_default: {column: a, value: \"5\"}", "ALTER TABLE t ALTER a SET DEFAULT 5",
       "column a of public.c, which inherits from public.t, is an identity"},
      {"CREATE TABLE t (id int, a int) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO "
       "(9) "
       "PARTITION BY LIST (a)",
       "drop_column: a", "ALTER TABLE t DROP a", "column a is in the partition key of public.p"},
      {"CREATE TABLE t (id int, b varchar(5)) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t FOR VALUES FROM "
       "(1) "
       "TO (9) PARTITION BY LIST (lower(b))",
       "change_type: {column: b, type: varchar(9)}", "ALTER TABLE t ALTER b TYPE varchar(9)",
       "column b is in the partition key of public.p"},
  };
  if (cluster_->major_version() < 18) {
    cases.push_back({parent + "ALTER TABLE t ALTER a SET NOT NULL; CREATE TABLE c (PRIMARY KEY (a)) INHERITS (t)",
                     "drop_not_null: a", "ALTER TABLE t ALTER a DROP NOT NULL",
                     "column a of public.c, which inherits"});
    cases.push_back({parent + "CREATE TABLE c (CONSTRAINT t_a_not_null CHECK (a > 0)) INHERITS (t)", "set_not_null: a",
                     "ALTER TABLE t ADD CONSTRAINT t_a_not_null CHECK (a IS NOT NULL) NOT VALID",
                     "a constraint t_a_not_null is on public.c already"});
  } else {
    cases.push_back({parent + "CREATE TABLE c (CONSTRAINT t_a_not_null CHECK (a > 0)) INHERITS (t)", "set_not_null: a",
                     "ALTER TABLE t ADD CONSTRAINT t_a_not_null NOT NULL a NOT VALID",
                     "a constraint t_a_not_null is on public.c already"});
    cases.push_back({parent + "CREATE TABLE c () INHERITS (t); ALTER TABLE c ADD NOT NULL a NO INHERIT",
                     "set_not_null: a", "ALTER TABLE t ADD NOT NULL a NOT VALID", "is NOT NULL with NO INHERIT"});
  }
  expect_refused(cases);
  expect_done(
      {{parent + "CREATE TABLE c (z int) INHERITS (t)", "add_column: {name: z, type: int}", "", ""},
       {parent + "CREATE TABLE c (CONSTRAINT k CHECK (a > 0)) INHERITS (t)", "add_check: {name: k, check: 'a > 0'}", "",
        ""},
       {parent + "CREATE TABLE c () INHERITS (t)", "rename_column: {name: a, to: new}", "", ""},
       {parent + "CREATE TABLE c (CONSTRAINT \"own\" CHECK (a IS NOT NULL)) INHERITS (t)", "set_not_null: a", "", ""}});
}

// The server would take it, but the rows of the child would have other values than those of the table.
TEST_F(ServerRulesTest, AChildsColumnDoesNotPassForOneWithADefault) {
  make("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE c (z int) INHERITS (t); INSERT INTO c VALUES (1, NULL)");
  write_step("add_column: {name: z, type: int, default: \"5\"}");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kUsage);
  EXPECT_THAT(plan.err, HasSubstr("whose rows would keep what they have"));
}

TEST_F(ServerRulesTest, AForeignKeyFitsBothTables) {
  std::string const generated =
      "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED); CREATE TABLE p (x int "
      "PRIMARY KEY); ";
  std::string const of_generated = "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (g) REFERENCES p ";
  std::vector<Case> cases = {
      {kTable + "CREATE UNLOGGED TABLE p (x int PRIMARY KEY)",
       "add_foreign_key: {name: f, columns: [a], references: p, to: [x]}",
       "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p NOT VALID", "public.t is LOGGED and p is not"},
      {kTable + "CREATE VIEW p AS SELECT 1 AS x", "add_foreign_key: {name: f, columns: [a], references: p, to: [x]}",
       "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (x) NOT VALID", "referenced table \"p\""},
      {kTable + "CREATE TABLE p (x int PRIMARY KEY)",
       "add_foreign_key: {name: f, columns: [aa], references: p, to: [x]}",
       "ALTER TABLE t ADD FOREIGN KEY (aa) REFERENCES p (x) NOT VALID", "aa"},
      {kTable + "CREATE TABLE p (x int UNIQUE DEFERRABLE)",
       "add_foreign_key: {name: f, columns: [a], references: p, to: [x]}",
       "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (x) NOT VALID", "deferrable unique constraint"}};
  for (auto const* action : {"on_delete: set null", "on_delete: set default", "on_update: cascade",
                             "on_update: set null", "on_update: set default"}) {
    std::string words = action;
    words.erase(words.find(':'), 1).replace(words.find('_'), 1, " ");
    cases.push_back({generated,
                     std::string("add_foreign_key: {name: f, columns: [g], references: p, to: [x], ") + action + "}",
                     of_generated + words, "column g of public.t is a generated column"});
  }
  cases.push_back(
      {"CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) VIRTUAL); CREATE TABLE p "
       "(x int PRIMARY KEY)",
       "add_foreign_key: {name: f, columns: [g], references: p, to: [x]}", of_generated, "is generated and not STORED",
       18});
  cases.push_back({kTable + "CREATE TABLE p (x int PRIMARY KEY); ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) "
                            "REFERENCES p NOT ENFORCED",
                   "add_foreign_key: {name: f, columns: [a], references: p, to: [x]}",
                   "ALTER TABLE t VALIDATE CONSTRAINT f", "with another definition", 18});
  expect_refused(cases);
  expect_done(
      {{generated, "add_foreign_key: {name: f, columns: [g], references: p, to: [x], on_delete: cascade}", "", ""},
       {"CREATE UNLOGGED TABLE t (id int PRIMARY KEY, a int); CREATE TABLE p (x int PRIMARY KEY)",
        "add_foreign_key: {name: f, columns: [a], references: p, to: [x]}", "", ""}});
}

TEST_F(ServerRulesTest, AKeyIsMadeOfAnIndexThatSortsAsTheColumnsDo) {
  std::string const of_b = "ALTER TABLE t ADD CONSTRAINT k UNIQUE USING INDEX k";
  std::string const primary = "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT k PRIMARY KEY USING INDEX k";
  std::vector<Case> cases;
  for (auto const* keys :
       {"b COLLATE \"C\"", "b text_pattern_ops", "b bpchar_ops", "b DESC", "b NULLS FIRST", "lower(b)"}) {
    cases.push_back({kTable + "CREATE UNIQUE INDEX k ON t (" + keys + ")", "add_unique: {name: k, columns: [b]}", of_b,
                     "the name k is taken by something"});
  }
  cases.push_back({kTable + "CREATE UNIQUE INDEX k ON t (b) WHERE a > 0", "add_unique: {name: k, columns: [b]}", of_b,
                   "the name k is taken by something"});
  cases.push_back({kTable + "CREATE UNIQUE INDEX k ON t (b COLLATE \"C\", id)",
                   "swap_primary_key: {name: k, columns: [b, id]}", primary, "the name k is taken by something"});
  cases.push_back({kTable + "CREATE UNIQUE INDEX k ON t (a) NULLS NOT DISTINCT",
                   "swap_primary_key: {name: k, columns: [a]}", primary, "the name k is taken by something", 16});
  cases.push_back({"CREATE TABLE t (id int PRIMARY KEY, j json)", "add_unique: {name: k, columns: [j]}",
                   "ALTER TABLE t ADD UNIQUE (j)", "data type json has no default operator class"});
  std::string const with_virtual =
      "CREATE TABLE t (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a + 1) VIRTUAL)";
  cases.push_back({with_virtual, "add_unique: {name: k, columns: [g]}", "ALTER TABLE t ADD UNIQUE (g)", "virtual", 18});
  cases.push_back({with_virtual, "create_index: {name: k, columns: [g]}", "CREATE INDEX ON t (g)", "virtual", 18});
  cases.push_back({with_virtual, "create_index: {name: k, columns: [a], where: g > 1}",
                   "CREATE INDEX ON t (a) WHERE g > 1", "virtual", 18});
  expect_refused(cases);
  expect_done({{kTable + "CREATE UNIQUE INDEX k ON t (b, a) INCLUDE (id) WITH (fillfactor = 70)",
                "add_unique: {name: k, columns: [b, a]}", "", ""},
               {"CREATE TABLE t (id int, b varchar COLLATE \"C\"); CREATE UNIQUE INDEX k ON t (b COLLATE \"C\")",
                "add_primary_key: {name: k, columns: [b]}", "", ""},
               {kTable + "CREATE UNIQUE INDEX k ON t (a) NULLS NOT DISTINCT", "add_unique: {name: k, columns: [a]}", "",
                "", 15}});
}

TEST_F(ServerRulesTest, AColumnOrDefaultIsOneThatTheServerTakes) {
  std::string const identity = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, ";
  expect_refused({
      {kTable, "add_column: {name: c, type: int, default: \"NULL\", not_null: true}",
       "ALTER TABLE t ADD c int DEFAULT NULL NOT NULL", "its default is NULL"},
      {kTable, "add_column: {name: c, type: text, default: \"nullif('x', 'x')\", not_null: true}",
       "ALTER TABLE t ADD c text DEFAULT nullif('x', 'x') NOT NULL", "its default is NULL"},
      {kTable, "add_column: {name: xmin, type: int}", "ALTER TABLE t ADD xmin int", "is the name of a system column"},
      {kTable, "rename_column: {name: a, to: xmin}", "ALTER TABLE t RENAME a TO xmin", "system column"},
      {identity + "b int)", "drop_default: id", "ALTER TABLE t ALTER id DROP DEFAULT", "is an identity column"},
      {identity + "g int GENERATED ALWAYS AS (a * 2) STORED)", "drop_default: g", "ALTER TABLE t ALTER g DROP DEFAULT",
       "generated column"},
      {"CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (5) STORED)",
       "set_default: {column: g, value: \"5\"}", "ALTER TABLE t ALTER g SET DEFAULT 5", "is a generated column"},
  });
}

// The empty copy that it would be tried on is a temporary table, which nobody asked about.
TEST_F(ServerRulesTest, AMessageSpeaksOfTheStepAndNotOfTheTrial) {
  make(kTable + "CREATE SCHEMA IF NOT EXISTS elsewhere; CREATE TABLE IF NOT EXISTS elsewhere.far (id int)");
  std::pair<std::string, std::string> const cases[] = {
      {"add_column: {name: c, type: int REFERENCES t (id)}", "the type brings a foreign key along"},
      {"add_column: {table: far, name: c, type: int}", "another schema has one, so write it with its schema"}};
  for (auto const& [step, said] : cases) {
    write_step(step);
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << step;
    EXPECT_THAT(plan.err, AllOf(HasSubstr(said), Not(HasSubstr("temporary")), Not(HasSubstr("did you mean")))) << step;
  }
}

TEST_F(ServerRulesTest, TablesAndPartitionsHaveTheirRules) {
  std::string const parted = "CREATE TABLE t (id int, a int) PARTITION BY RANGE (id); ";
  std::string const attach = "ALTER TABLE t ATTACH PARTITION p FOR VALUES FROM (1) TO (9)";
  std::string const step = "attach_partition: {partition: p, for_values: FROM (1) TO (9)}";
  std::vector<Case> cases = {
      {kTable + "CREATE TYPE made AS (x int)", "create_table: {table: public.made, columns: id int}",
       "CREATE TABLE made (id int)", "public.made is there already"},
      {kTable + "CREATE DOMAIN made AS int", "create_table: {table: public.made, like: public.t}",
       "CREATE TABLE made (LIKE t)", "a type made is in the schema already"},
      {kTable + "CREATE TYPE made AS ENUM ('x')", "rename_table: {to: made}", "ALTER TABLE t RENAME TO made",
       "a type made is in the schema already"},
      {kTable, "create_table: {table: nowhere.made, columns: id int}", "CREATE TABLE nowhere.made (id int)",
       "there is no schema nowhere"},
      {kTable + "CREATE TABLE taken (id int)",
       "create_table: {table: public.made, columns: 'id int CONSTRAINT taken PRIMARY KEY'}",
       "CREATE TABLE made (id int CONSTRAINT taken PRIMARY KEY)", "relation \"taken\" already exists"},
      {"CREATE TABLE t (id int, a int, g int GENERATED ALWAYS AS (a + 1) STORED) PARTITION BY RANGE (id); CREATE TABLE "
       "p "
       "(id int, a int, g int)",
       step, attach, "column \"g\" in child table must be a generated column"},
      {"CREATE TYPE kind AS (id int, a int); " + parted + "CREATE TABLE p OF kind", step, attach,
       "p has its columns by a type"},
      {parted + "CREATE TABLE p (id int, a int); CREATE TABLE c () INHERITS (p)", step, attach,
       "other tables inherit from p"},
      {"CREATE TABLE p (id int, a int) PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF p FOR VALUES FROM (1) TO "
       "(9) "
       "PARTITION BY RANGE (id)",
       step, attach, "public.t is a partition of p"},
      {"CREATE TABLE t (id int, a int, CONSTRAINT k CHECK (a > 0)) PARTITION BY RANGE (id); CREATE TABLE p (id int, a "
       "int); ALTER TABLE p ADD CONSTRAINT k CHECK (a > 0) NOT VALID",
       step, attach, "check k of p is NOT VALID"},
      {parted + "CREATE TABLE p (id int, a int NOT NULL GENERATED ALWAYS AS IDENTITY)", step, attach, "identity column",
       17},
      {"CREATE TABLE t (id int, a int NOT NULL) PARTITION BY RANGE (id); CREATE TABLE p (id int, a int); ALTER TABLE p "
       "ADD "
       "CONSTRAINT mine NOT NULL a NOT VALID",
       step, attach, "NOT NULL of column a of p is NOT VALID", 18},
      {kTable + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE CONSTRAINT "
                "TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
       "drop_constraint: g", "ALTER TABLE t DROP CONSTRAINT g", "constraint trigger"},
      {"CREATE TABLE t (id int CONSTRAINT filled NOT NULL, PRIMARY KEY (id))", "drop_constraint: filled",
       "ALTER TABLE t DROP CONSTRAINT filled", "take no NULL", 18},
  };
  expect_refused(cases);
  expect_done(
      {{"CREATE TABLE t (id int, a int, g int GENERATED ALWAYS AS (a + 1) STORED) PARTITION BY RANGE (id); CREATE "
        "TABLE p (id int, a int, g int GENERATED ALWAYS AS (a + 1) STORED)",
        step, "", ""},
       {kTable, "create_table: {table: public.made, columns: 'id int CONSTRAINT made_pkey PRIMARY KEY'}", "", ""},
       {kTable, "create_table: {table: public._t, columns: id int}", "", ""}});
}

// What the server makes anew it makes without what was said of it beside its definition.
TEST_F(ServerRulesTest, AChangeOfTypeForgetsNothing) {
  make(
      "CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE t (id int, a numeric(5,2), b varchar(5)) PARTITION BY RANGE "
      "(id); CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000); INSERT INTO t SELECT g, g, 'b' FROM "
      "generate_series(1, 50) g; ALTER TABLE t ALTER b SET STORAGE EXTERNAL; ALTER TABLE ONLY t1 ALTER b SET STORAGE "
      "MAIN; CREATE STATISTICS \"Some\" ON b, a, id FROM t1; ALTER STATISTICS \"Some\" SET STATISTICS 17; COMMENT ON "
      "STATISTICS \"Some\" IS 'why'; CREATE INDEX \"of b\" ON t1 ((b || 'x'), b); ALTER INDEX \"of b\" ALTER COLUMN 1 "
      "SET STATISTICS 500; ALTER INDEX \"of b\" DEPENDS ON EXTENSION citext; COMMENT ON INDEX \"of b\" IS 'what'; "
      "ALTER "
      "TABLE t1 ALTER b SET STATISTICS 7");
  std::string const role = "keeper_" + database_;
  client_->exec("CREATE ROLE " + role + "; GRANT CREATE ON SCHEMA public TO " + role +
                "; ALTER STATISTICS \"Some\" OWNER TO " + role);
  std::string const looks =
      "SELECT concat_ws(' ', (SELECT string_agg(attrelid::regclass || ' ' || attname || ' ' || attstorage::text || ' ' "
      "|| "
      "coalesce(attstattarget, -1), ', ' ORDER BY attrelid, attname) FROM pg_attribute WHERE attrelid IN "
      "('t'::regclass, 't1'::regclass, '\"of b\"'::regclass) AND attnum > 0), (SELECT concat_ws(' ', stxstattarget, "
      "stxowner::regrole, obj_description(oid, 'pg_statistic_ext')) FROM pg_statistic_ext), (SELECT count(*) FROM "
      "pg_depend WHERE objid = '\"of b\"'::regclass AND deptype = 'x'), obj_description('\"of b\"'::regclass, "
      "'pg_class'))";
  auto const before = client_->value(looks);
  write_step("change_type: {column: b, type: varchar(9)}");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_THAT(plan.out, HasSubstr("ALTER STATISTICS public.\"Some\" SET STATISTICS 17"));
  auto const ran = run({"run", "m.yaml"});
  EXPECT_EQ(ran.exit_code, kDone) << ran.err;
  EXPECT_EQ(
      client_->value("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't1'::regclass AND "
                     "attname = 'b'"),
      "character varying(9)");
  EXPECT_EQ(client_->value(looks), before);
  client_->exec("DROP TABLE t; DROP OWNED BY " + role + "; DROP ROLE " + role);
}

// It decides what = and ORDER BY answer.
TEST_F(ServerRulesTest, AChangeOfTypeKeepsTheCollation) {
  struct Change {
    char const* type;
    char const* collation;
  };
  constexpr Change kChanges[] = {{"varchar(20)", "nocase"}, {"text", "nocase"}, {"text COLLATE \"POSIX\"", "POSIX"}};
  std::string const table =
      "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE t (id "
      "int, b varchar(10) COLLATE nocase); CREATE TABLE t1 () INHERITS (t)";
  for (auto const& change : kChanges) {
    make(table);
    write_step("change_type: {column: b, type: '" + std::string(change.type) + "'}");
    auto const ran = run({"run", "m.yaml"});
    EXPECT_EQ(ran.exit_code, kDone) << change.type << ran.err;
    EXPECT_EQ(client_->value("SELECT string_agg(collname, ' ') FROM pg_attribute JOIN pg_collation c ON c.oid = "
                             "attcollation WHERE attrelid IN ('t'::regclass, 't1'::regclass) AND attname = 'b'"),
              std::string(change.collation) + " " + change.collation)
        << change.type;
  }
  make(table);
  write_step("change_type: {column: b, type: 'text USING b'}");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kUsage) << plan.out;
  EXPECT_THAT(plan.err, HasSubstr("column b has COLLATE public.nocase, which it would lose"));
}

TEST_F(ServerRulesTest, AForeignTableAsAPartitionTakesNoForeignKeyAndIsAttachedAgain) {
  std::string const parted =
      "DROP FOREIGN DATA WRAPPER IF EXISTS w CASCADE; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA "
      "WRAPPER "
      "w; CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE fo PARTITION OF t FOR VALUES FROM (0) "
      "TO "
      "(10) SERVER s; CREATE TABLE p (id int PRIMARY KEY)";
  expect_refused({{parted, "add_foreign_key: {name: fk, columns: [id], references: public.p}",
                   "ALTER TABLE t ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES p",
                   "public.fo, a partition of public.t, is a foreign table, which takes no foreign key"}});
  make(parted);
  write_step("detach_partition: {partition: public.fo}");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT relispartition FROM pg_class WHERE relname = 'fo'"), "t");
}

class LesserRoleTest : public ServerRulesTest {
 protected:
  void SetUp() override {
    ServerRulesTest::SetUp();
    role_ = "lesser_" + database_;
    client_->exec("CREATE ROLE " + role_ + " LOGIN; GRANT CREATE, TEMP ON DATABASE " + database_ + " TO " + role_ +
                  "; CREATE SCHEMA s AUTHORIZATION " + role_);
  }
  void TearDown() override {
    client_->exec("DROP SCHEMA s CASCADE; DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP OWNED BY " + role_ +
                  " CASCADE; DROP ROLE " + role_);
    ServerRulesTest::TearDown();
  }
  void make_as_role(std::string const& setup, std::string const& more) const {
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP SCHEMA IF EXISTS z "
        "CASCADE; DROP SCHEMA s CASCADE; CREATE SCHEMA s AUTHORIZATION " +
        role_ + "; SET ROLE " + role_ + "; " + setup + "; RESET ROLE; " + more);
  }
  void write_step_of_s(std::string const& step) const {
    write("m.yaml", "name: m\ntable: s.t\nexpand:\n  - " + step + "\n");
  }
  ProgramResult run_as_role(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--dsn", dsn(role_)});
    return run(std::move(arguments), false);
  }

  std::string role_;
};

TEST_F(LesserRoleTest, RightsOnEverythingThatTheStepReachesAreAskedFirst) {
  std::string const parted = "CREATE TABLE s.t (id int NOT NULL, a int) PARTITION BY RANGE (id)";
  std::string const partition = "CREATE TABLE s.p PARTITION OF s.t FOR VALUES FROM (1) TO (9)";
  std::string const plain = "CREATE TABLE s.t (id int PRIMARY KEY, a int, b varchar(5)); INSERT INTO s.t VALUES (1, 1)";
  struct OfRole {
    std::string setup;
    std::string more;
    std::string step;
    std::string said;
  };
  std::string const owner = "must be owner of s.p";
  std::vector<OfRole> const cases = {
      {parted, partition, "add_column: {name: c, type: int}", owner},
      {parted, partition, "drop_column: a", owner},
      {parted, partition, "set_default: {column: a, value: \"5\"}", owner},
      {parted, partition, "set_not_null: a", owner},
      {parted, partition, "drop_not_null: id", owner},
      {parted, partition, "change_type: {column: a, type: int4}", owner},
      {parted, partition, "add_check: {name: k, check: a > 0}", owner},
      {plain, "CREATE TABLE s.p () INHERITS (s.t)", "rename_column: {name: a, to: c}", owner},
      {parted + "; ALTER TABLE s.t ADD CONSTRAINT k CHECK (a > 0)", partition, "drop_constraint: k", owner},
      {plain,
       "CREATE SCHEMA z; GRANT USAGE ON SCHEMA z TO PUBLIC; CREATE FUNCTION z.f(int) RETURNS int LANGUAGE sql "
       "IMMUTABLE "
       "AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION z.f FROM PUBLIC",
       "create_index: {name: i, keys: z.f(a)}", "permission denied for function z.f(integer)"},
      {plain, "CREATE SCHEMA z; CREATE TABLE z.o (x int PRIMARY KEY)",
       "add_foreign_key: {name: f, columns: [a], references: z.o, to: [x]}", "permission denied for schema z"},
      {plain, "CREATE STATISTICS s.ss ON a, b FROM s.t", "change_type: {column: b, type: varchar(9)}",
       "statistics object s.ss belongs to"}};
  for (auto const& one : cases) {
    make_as_role(one.setup, one.more);
    write_step_of_s(one.step);
    auto const plan = run_as_role({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << one.step << plan.out << plan.err;
    EXPECT_THAT(plan.err, AllOf(HasSubstr("m.yaml:4:5: expand step 1: "), HasSubstr(one.said))) << one.step;
    EXPECT_EQ(run_as_role({"run", "m.yaml"}).exit_code, kUsage) << one.step;
  }
}

TEST_F(LesserRoleTest, AWayBackThatLacksRightsIsSaidBeforeTheStepIsDone) {
  struct WayBack {
    std::string setup;
    std::string more;
    std::string step;
    std::string said;
  };
  std::string const table = "CREATE TABLE s.t (id int PRIMARY KEY, a int)";
  std::vector<WayBack> const cases = {
      {table + "; CREATE INDEX i ON s.t (a)",
       "ALTER SCHEMA s OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA s TO " + role_, "drop_index: i",
       "permission denied for schema s: an index needs CREATE on it"},
      {table, "CREATE TABLE s.o (x int PRIMARY KEY); ALTER TABLE s.t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.o",
       "drop_constraint: f", "permission denied for table s.o: a foreign key to it needs REFERENCES on it"},
      {"CREATE TABLE s.t (id int PRIMARY KEY, a int) PARTITION BY RANGE (id)",
       "CREATE TABLE s.p PARTITION OF s.t FOR VALUES FROM (1) TO (20)", "detach_partition: {partition: s.p}",
       "must be owner of s.p"}};
  for (auto const& one : cases) {
    make_as_role(one.setup, one.more);
    write_step_of_s(one.step);
    auto const plan = run_as_role({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kDone) << one.step << plan.err;
    EXPECT_THAT(plan.out,
                AllOf(HasSubstr("no way back: the role lacks a right that rollback needs"), HasSubstr(one.said)))
        << one.step;
    auto const ran = run_as_role({"run", "m.yaml"});
    EXPECT_EQ(ran.exit_code, kDone) << one.step << ran.err;
    EXPECT_THAT(ran.err, AllOf(HasSubstr("rollback could not take it back"), HasSubstr(one.said))) << one.step;
  }
}

}  // namespace
}  // namespace pgbackfill::tests
