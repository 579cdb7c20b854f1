// What the server will answer to steps is asked before the first of them: names, rights, definitions and what depends
// on
// what would be dropped. Nothing is half done, and nothing goes along unnamed.
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

class StepCheckTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, legacy text, n int, CONSTRAINT t_legacy_check CHECK (legacy <> '')); "
        "CREATE INDEX t_legacy ON t (legacy); INSERT INTO t SELECT g, 'x', g FROM generate_series(1, 50) g");
  }
  void write_steps(std::string const& phase, std::vector<std::string> const& steps, std::string const& more = "") {
    std::string text = "name: m\ntable: public.t\n" + more + phase + ":\n";
    for (auto const& step : steps) text += "  - " + step + "\n";
    write("m.yaml", text);
  }
  std::string columns() const {
    return client_->value(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND "
        "attnum > 0 AND NOT attisdropped");
  }
};

TEST_F(StepCheckTest, AMisspeltNameIsRefusedAndNeverTakenForDone) {
  client_->exec(
      "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9); "
      "CREATE TABLE alone (id int); CREATE TYPE mood AS ENUM ('good')");
  std::pair<std::string, std::string> const cases[] = {
      {"drop_column: legcy", "there is no column legcy in public.t (did you mean 'legacy'?)"},
      {"drop_constraint: t_legcy_check",
       "there is no constraint t_legcy_check of public.t (did you mean 't_legacy_check'?)"},
      {"drop_index: t_legcy", "there is no index t_legcy of public.t (did you mean 't_legacy'?)"},
      {"drop_table: {table: public.tt}", "there is no table public.tt"},
      {"rename_column: {name: legcy, to: id}", "there is no column legcy in public.t"},
      {"detach_partition: {table: public.p, partition: public.alone}", "public.alone is no partition of public.p"},
      {"add_enum_value: {type: mood, value: bad, after: godo}", "there is no value godo in"}};
  for (auto const* phase : {"expand", "contract"}) {
    for (auto const& [step, message] : cases) {
      write_steps(phase, {step});
      auto const plan = run({"plan", "m.yaml"});
      EXPECT_EQ(plan.exit_code, kUsage) << step << plan.err;
      EXPECT_THAT(plan.err, AllOf(HasSubstr(message), HasSubstr("m.yaml:4:5: "), HasSubstr(" step 1: "))) << step;
      EXPECT_EQ(run({"doctor", "m.yaml"}).exit_code, kGateClosed) << step;
      EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kUsage) << step;
      EXPECT_EQ(client_->value("SELECT to_regclass('pgbackfill.steps') IS NULL"), "t") << "nothing was touched";
    }
  }
}

TEST_F(StepCheckTest, ColumnsThatAreThoseOfSomethingElseAreNotTouched) {
  client_->exec(
      "CREATE TYPE kind AS (a varchar(4), b varchar(4)); CREATE TABLE typed OF kind; CREATE TABLE parent (a int NOT "
      "NULL); CREATE TABLE heir () INHERITS (parent)");
  std::vector<std::string> steps = {"add_column: {table: public.typed, name: c, type: int}",
                                    "drop_column: {table: public.typed, name: a}",
                                    "rename_column: {table: public.typed, name: a, to: c}",
                                    "change_type: {table: public.typed, column: a, type: varchar(9)}",
                                    "swap_column: {table: public.typed, column: a, with: b}"};
  // Until 17 a child may do without the NOT NULL of its parent.
  if (cluster_->major_version() >= 18) steps.emplace_back("drop_not_null: {table: public.heir, column: a}");
  for (auto const& step : steps) {
    write_steps("expand", {step});
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << step << plan.out;
    EXPECT_THAT(plan.err, testing::AnyOf(HasSubstr("m.yaml:4:5: expand step 1: " + step.substr(0, 4)),
                                         HasSubstr("public.heir is NOT NULL in a table that this inherits from")))
        << step;
  }
}

TEST_F(StepCheckTest, RollbackGivesConstraintsBackWithAllThatWasSaidOfThem) {
  if (cluster_->major_version() < 18) GTEST_SKIP() << "no NOT ENFORCED and no comment on NOT NULL before 18";
  client_->exec(
      "ALTER TABLE t ADD CONSTRAINT ideal CHECK (n > 1000) NOT ENFORCED, ADD CONSTRAINT other FOREIGN KEY (n) "
      "REFERENCES t NOT ENFORCED, ADD CONSTRAINT \"has n\" NOT NULL n; COMMENT ON CONSTRAINT ideal ON t IS 'a wish'; "
      "COMMENT ON CONSTRAINT \"has n\" ON t IS E'it''s\\nthere'");
  auto const constraints = [&] {
    return client_->value(
        "SELECT string_agg(concat_ws(' ', conname, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')), "
        "', ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 't'::regclass");
  };
  auto const before = constraints();
  write_steps("expand", {"drop_constraint: ideal", "drop_constraint: other", "drop_not_null: n"});
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_NE(constraints(), before);
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(constraints(), before);
}

TEST_F(StepCheckTest, CompleteAsksAllOfItsStepsBeforeTheFirst) {
  write_steps("contract", {"drop_column: n", "drop_column: legacy"});
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("CREATE VIEW report AS SELECT legacy FROM t");
  auto const refused = run({"complete", "m", "--yes"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("contract step 2: drop_column legacy of public.t"),
                                 HasSubstr("view public.report"), HasSubstr("no contract step was begun")));
  EXPECT_EQ(columns(), "id legacy n");
  client_->exec("DROP VIEW report");
  auto const done = run({"complete", "m", "--yes"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(columns(), "id");
}

// One of each kind of object that the server would not drop along.
TEST_F(StepCheckTest, PlanNamesWhatTheServerWouldRefuseAStepFor) {
  struct Case {
    std::string setup;
    std::string step;
    std::string named;
    std::string undo;
  };
  std::vector<Case> const cases = {
      {"CREATE VIEW v AS SELECT legacy FROM t", "drop_column: legacy", "view public.v", "DROP VIEW v"},
      {"CREATE MATERIALIZED VIEW v AS SELECT legacy FROM t", "drop_column: legacy", "materialized view public.v",
       "DROP MATERIALIZED VIEW v"},
      {"CREATE POLICY own ON t USING (legacy = 'x')", "drop_column: legacy", "policy own on public.t",
       "DROP POLICY own ON t"},
      {"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER g AFTER "
       "UPDATE "
       "OF legacy ON t FOR EACH ROW EXECUTE FUNCTION f()",
       "drop_column: legacy", "trigger g on public.t", "DROP TRIGGER g ON t; DROP FUNCTION f()"},
      {"CREATE TABLE child (t int REFERENCES t)", "drop_constraint: t_pkey",
       "table constraint child_t_fkey on public.child", "DROP TABLE child"},
      {"CREATE TABLE child (t int REFERENCES t)", "drop_table: {table: public.t}",
       "table constraint child_t_fkey on public.child", "DROP TABLE child"},
      {"CREATE TABLE other (one t)", "drop_table: {table: public.t}", "table column public.other.one",
       "DROP TABLE other"},
      {"CREATE FUNCTION rows_of_t() RETURNS SETOF t LANGUAGE sql AS 'SELECT * FROM t'", "drop_table: {table: public.t}",
       "function public.rows_of_t()", "DROP FUNCTION rows_of_t()"},
      {"CREATE VIEW v AS SELECT legacy FROM t", "change_type: {column: legacy, type: varchar}", "view public.v",
       "DROP VIEW v"},
      {"CREATE TABLE other (many t[])", "change_type: {column: legacy, type: varchar}",
       "table column "
       "public.other.many",
       "DROP TABLE other"},
      {"CREATE INDEX ON t (n); ALTER TABLE t ADD double int GENERATED ALWAYS AS (n * 2) STORED",
       "change_type: {column: n, type: bigint}", "", "ALTER TABLE t DROP double"},
  };
  client_->exec("ALTER TABLE t DROP CONSTRAINT t_legacy_check");
  for (auto const& one : cases) {
    client_->exec("SET client_min_messages = warning; " + one.setup);
    write_steps("contract", {one.step});
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << one.setup << plan.out;
    EXPECT_THAT(plan.err, AllOf(HasSubstr("m.yaml:4:5: contract step 1: "), HasSubstr(one.named))) << one.setup;
    client_->exec(one.undo);
  }
}

TEST_F(StepCheckTest, PlanNamesWhatGoesWithAColumnAndWhatReadsIt) {
  client_->exec(
      "CREATE STATISTICS pair_of ON legacy, n FROM t; CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ "
      "BEGIN "
      "PERFORM to_jsonb(NEW); RETURN NEW; END $$; CREATE TRIGGER audit AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION "
      "audit(); CREATE FUNCTION rows_of_t() RETURNS SETOF t LANGUAGE sql AS 'SELECT id, legacy, n FROM t'");
  write_steps("contract", {"drop_column: legacy"});
  auto const plan = run({"plan", "m.yaml", "--format", "json"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  for (char const* text : {"public.pair_of", "t_legacy_check on public.t", "audit on public.t", "public.rows_of_t()"}) {
    EXPECT_THAT(plan.out, HasSubstr(text));
  }
}

TEST_F(StepCheckTest, WhatAnEarlierStepMakesOrTakesAwayIsNoRefusal) {
  client_->exec(
      "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE t ADD m mood; CREATE VIEW report AS SELECT legacy FROM t");
  write("m.yaml",
        "name: m\ntable: public.t\nexpand:\n  - add_enum_value: {type: mood, value: new}\n"
        "  - set_default: {column: m, value: \"'new'\"}\n  - add_check: {name: ok, check: \"m = 'new' OR m IS NULL\"}\n"
        "  - add_column: {name: extra, type: int}\n"
        "  - create_index: {name: t_extra, keys: \"(extra + 1)\"}\n"
        "contract:\n  - drop_index: t_extra\n  - drop_constraint: ok\n  - sql: DROP VIEW report\n"
        "  - drop_column: legacy\n  - drop_column: extra\n");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  auto const ran = run({"run", "m.yaml"});
  EXPECT_EQ(ran.exit_code, kDone) << ran.err;
  auto const done = run({"complete", "m", "--yes"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(columns(), "id n m");
}

TEST_F(StepCheckTest, RightsAreAskedBeforeTheFirstStep) {
  std::string const role = "checked_" + database_;
  client_->exec("CREATE ROLE " + role +
                " LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT CREATE, TEMP ON "
                "DATABASE " +
                database_ + " TO " + role + "; ALTER TABLE t OWNER TO " + role +
                "; CREATE TABLE foreigners (id int PRIMARY KEY, n int); CREATE TYPE mood AS ENUM ('good')");
  std::pair<std::string, std::string> const cases[] = {
      {"create_index: {name: t_n, columns: [n]}", "permission denied for schema public: an index needs CREATE on it"},
      {"add_unique: {name: t_n, columns: [n]}", "permission denied for schema public"},
      {"rename_table: {to: tt}", "permission denied for schema public"},
      {"create_table: {table: public.made, columns: id int}", "permission denied for schema public"},
      {"drop_column: {table: public.foreigners, name: n}", "must be owner of public.foreigners"},
      {"add_foreign_key: {name: f, columns: [n], references: public.foreigners, to: [id]}", "needs REFERENCES on it"},
      {"add_enum_value: {type: public.mood, value: bad}", "must be owner of type public.mood"}};
  for (auto const& [step, message] : cases) {
    write_steps("contract", {"drop_constraint: t_legacy_check", step});
    auto const plan = run({"plan", "m.yaml", "--dsn", dsn(role)}, false);
    EXPECT_EQ(plan.exit_code, kUsage) << step << plan.err;
    EXPECT_THAT(plan.err, AllOf(HasSubstr("contract step 2: "), HasSubstr(message))) << step;
  }
  client_->exec("DROP OWNED BY " + role + " CASCADE; DROP ROLE " + role);
}

TEST_F(StepCheckTest, PlanRefusesWhatTheServerForbidsForTheColumn) {
  client_->exec(
      "CREATE TABLE p (id int NOT NULL, k int GENERATED ALWAYS AS IDENTITY) PARTITION BY RANGE (id); CREATE TABLE p1 "
      "PARTITION OF p FOR VALUES FROM (1) TO (9); CREATE TYPE mood AS ENUM ('good'); ALTER TABLE t ADD m mood; CREATE "
      "TABLE x (r int4range, EXCLUDE USING gist (r WITH &&))");
  std::pair<std::string, std::string> const cases[] = {
      {"drop_column: {table: public.p, name: id}", "is in the partition key"},
      {"drop_column: {table: public.p1, name: k}", "is inherited"},
      {"drop_not_null: {column: id}", "is in the primary key"},
      {"drop_not_null: {table: public.p, column: k}", "is an identity column"},
      {"set_default: {table: public.p, column: k, value: \"1\"}", "is an identity column"},
      {"set_default: {column: m, value: \"'bad'\"}", "invalid input value for enum"},
      {"add_check: {name: c, check: nn > 0}", "column \"nn\" does not exist"},
      {"add_column: {table: public.p1, name: a, type: int}", "is a partition"},
      {"reindex: {table: public.x, name: x_r_excl}", "belongs to an exclusion constraint"}};
  for (auto const& [step, message] : cases) {
    write_steps("expand", {step});
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << step << plan.out;
    EXPECT_THAT(plan.err, HasSubstr(message)) << step;
  }
}

TEST_F(StepCheckTest, APartitionThatIsReferredToIsNotDetached) {
  client_->exec(
      "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) "
      "TO (9); INSERT INTO p VALUES (5); CREATE TABLE child (p int CONSTRAINT child_p REFERENCES p); INSERT INTO child "
      "VALUES (5)");
  write_steps("contract", {"detach_partition: {table: public.p, partition: public.p1}"});
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kUsage);
  EXPECT_THAT(plan.err, HasSubstr("rows of public.child refer to rows of public.p1 by foreign key child_p"));
}

TEST_F(StepCheckTest, AttachPartitionSaysWhatIsInItsWay) {
  client_->exec(
      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE p (id int NOT "
      "NULL) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9); CREATE TRIGGER stamp "
      "BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION f(); CREATE TABLE part (id int NOT NULL); CREATE TRIGGER stamp "
      "BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION f()");
  write_steps("expand", {"attach_partition: {table: public.p, partition: public.part, for_values: FROM (9) TO (20)}"});
  auto const same_name = run({"plan", "m.yaml"});
  EXPECT_EQ(same_name.exit_code, kUsage);
  EXPECT_THAT(same_name.err, HasSubstr("drop or rename them first: stamp"));
  client_->exec("DROP TRIGGER stamp ON part");
  write_steps("expand", {"attach_partition: {table: public.p, partition: public.part, for_values: FROM (5) TO (20)}"});
  auto const overlap = run({"plan", "m.yaml"});
  EXPECT_EQ(overlap.exit_code, kUsage);
  EXPECT_THAT(overlap.err, HasSubstr("would overlap partition \"p1\""));
}

TEST_F(StepCheckTest, RollbackOfADetachLeavesItsTriggersAsTheyWere) {
  client_->exec(
      "CREATE EXTENSION citext; CREATE TABLE d (a int, b int, PRIMARY KEY (a, b)) PARTITION BY RANGE (a); CREATE TABLE "
      "d1 PARTITION OF d FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (b); CREATE TABLE d1a PARTITION OF d1 FOR "
      "VALUES FROM (0) TO (5); CREATE TABLE d1b PARTITION OF d1 FOR VALUES FROM (5) TO (9); CREATE TABLE child (a int, "
      "b int, CONSTRAINT child_d FOREIGN KEY (a, b) REFERENCES d); CREATE FUNCTION idle() RETURNS trigger LANGUAGE "
      "plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER one BEFORE INSERT ON d FOR EACH ROW EXECUTE FUNCTION idle(); "
      "CREATE TRIGGER \"Two!\" AFTER UPDATE ON d FOR EACH ROW EXECUTE FUNCTION idle(); ALTER TABLE ONLY d1a DISABLE "
      "TRIGGER ALL; ALTER TABLE ONLY d1b ENABLE ALWAYS TRIGGER \"Two!\"; ALTER TABLE ONLY d1 DISABLE TRIGGER \"Two!\"; "
      "COMMENT ON TRIGGER one ON d1b IS 'it''s of d1b'; ALTER TRIGGER one ON d1a DEPENDS ON EXTENSION citext");
  // Those of foreign keys have the number of their constraint in their name.
  std::string const states =
      "SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgfoid::regproc, CASE WHEN NOT tgisinternal THEN tgname "
      "END, tgenabled, obj_description(oid, 'pg_trigger'), (SELECT count(*) FROM pg_depend d WHERE d.objid = "
      "pg_trigger.oid AND d.deptype = 'x')), ', ' ORDER BY tgrelid::regclass::text, tgfoid::regproc::text, tgname) "
      "FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'd%'";
  auto const before = client_->value(states);
  write_steps("expand", {"detach_partition: {table: public.d, partition: public.d1}"});
  EXPECT_THAT(run({"plan", "m.yaml"}).out,
              HasSubstr("\"public\".\"d1b\" loses trigger \"Two!\", which it has from the table"));
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_NE(client_->value(states), before);
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(states), before);
}

TEST_F(StepCheckTest, PlanNamesPublicationsThatADetachedPartitionLeaves) {
  client_->exec(
      "CREATE TABLE d (a int) PARTITION BY RANGE (a); CREATE TABLE d1 PARTITION OF d FOR VALUES FROM (0) TO (9); "
      "CREATE PUBLICATION news FOR TABLE d");
  write_steps("contract", {"detach_partition: {table: public.d, partition: public.d1}"});
  EXPECT_THAT(run({"plan", "m.yaml"}).out,
              HasSubstr("\"public\".\"d1\" is no longer published by news, which has the table"));
}

// Whose triggers were not enabled, and what was said of those that others inherit.
TEST_F(StepCheckTest, RollbackGivesBackWhatAConstraintHadBesideItsDefinition) {
  client_->exec(
      "CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1); ALTER TABLE t ADD CONSTRAINT known "
      "FOREIGN KEY (n) REFERENCES people ON DELETE SET NULL NOT VALID; COMMENT ON CONSTRAINT known ON t IS 'known'; "
      "ALTER TABLE t DISABLE TRIGGER ALL; CREATE TABLE heir () INHERITS (t); COMMENT ON CONSTRAINT t_legacy_check ON "
      "heir IS 'it''s inherited'");
  std::string const looks =
      "SELECT string_agg(concat_ws(' ', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid), "
      "obj_description(k.oid, 'pg_constraint'), (SELECT string_agg(g.tgrelid::regclass || ' ' || g.tgfoid::regproc || "
      "' ' || g.tgenabled::text, ', ' ORDER BY g.tgfoid) FROM pg_trigger g WHERE g.tgconstraint = k.oid)), '; ' ORDER "
      "BY "
      "k.conrelid, k.conname) FROM pg_constraint k WHERE k.contype IN ('c', 'f') AND k.connamespace = "
      "'public'::regnamespace";
  auto const before = client_->value(looks);
  write_steps("expand", {"drop_constraint: known", "drop_constraint: t_legacy_check"});
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(looks), before);
}

TEST_F(StepCheckTest, PlanTriesForeignKeysAndTablesOnEmptyOnes) {
  client_->exec(
      "CREATE TABLE people (id int, name text UNIQUE); CREATE SCHEMA \"Else where\"; CREATE TABLE \"Else "
      "where\".\"P;\" (id int UNIQUE)");
  std::pair<std::string, std::string> const cases[] = {
      {"add_foreign_key: {name: f, columns: [n], references: people, to: [id]}",
       "there is no unique constraint matching given keys for referenced table \"people\""},
      {"add_foreign_key: {name: f, columns: [n], references: people, to: [name]}",
       "foreign key constraint \"pgbackfill_probe_n_fkey\" cannot be implemented"},
      {"create_table: {table: made, columns: 'id int, id text'}", "column \"id\" specified more than once"},
      {"create_table: {table: made, like: nobody}", "there is no table nobody to be like"},
  };
  for (auto const& [step, message] : cases) {
    write_steps("contract", {step});
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << step;
    EXPECT_THAT(plan.err, HasSubstr(message)) << step;
  }
  write_steps("expand", {"add_foreign_key: {name: f, columns: [n], references: '\"Else where\".\"P;\"', to: [id], "
                         "on_delete: set null, deferrable: true}",
                         "create_table: {table: made, columns: 'id int PRIMARY KEY, n int REFERENCES t (id)'}"});
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
}

TEST_F(StepCheckTest, ARuleIsNamedAsOne) {
  client_->exec("CREATE RULE quiet AS ON UPDATE TO t WHERE NEW.legacy = 'x' DO ALSO NOTHING");
  write_steps("contract", {"drop_column: legacy"});
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kUsage);
  EXPECT_THAT(plan.err, HasSubstr("what depends on it: rule quiet on public.t"));
}

// A constraint from 18 on.
TEST_F(StepCheckTest, RollbackOfDropNotNullMakesItAsItWas) {
  if (cluster_->major_version() < 18) GTEST_SKIP();
  client_->exec(
      "CREATE TABLE d (a int, b int, c int); INSERT INTO d (b) VALUES (NULL); ALTER TABLE d ADD CONSTRAINT \"A\" NOT "
      "NULL "
      "c NO INHERIT NOT VALID, ADD CONSTRAINT \"B\" NOT NULL b NOT VALID; COMMENT ON CONSTRAINT \"B\" ON d IS 'why'; "
      "UPDATE d SET c = 1, b = 2");
  std::string const constraints =
      "SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid) || coalesce(' ' || obj_description(oid), ''), ', "
      "' "
      "ORDER BY conname) FROM pg_constraint WHERE conrelid = 'd'::regclass";
  auto const before = client_->value(constraints);
  write_steps("expand", {"drop_not_null: {table: public.d, column: b}", "drop_not_null: {table: public.d, column: c}"});
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(constraints), before);
}

TEST_F(StepCheckTest, RollbackNamesWhatGoesAlongAndIsNotBegunWhereAViewStopsIt) {
  write_steps("expand", {"add_column: {name: a, type: int}", "add_column: {name: b, type: int}"});
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("CREATE VIEW v AS SELECT a FROM t; CREATE INDEX others ON t (b)");
  auto const dry = run({"rollback", "m", "--dry-run"});
  EXPECT_EQ(dry.exit_code, kFailed);
  EXPECT_THAT(dry.out, AllOf(HasSubstr("goes with it: index public.others"), HasSubstr("view public.v")));
  auto const refused = run({"rollback", "m", "--yes"});
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("view public.v"), HasSubstr("was not begun")));
  EXPECT_EQ(columns(), "id legacy n a b");
  client_->exec("DROP VIEW v");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(columns(), "id legacy n");
}

TEST_F(StepCheckTest, ADroppedIndexAndConstraintComeBackWithAllThatTheyHad) {
  std::string const looks =
      "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (SELECT pg_get_indexdef(indexrelid) || indisclustered || "
      "indisreplident || coalesce(obj_description(indexrelid, 'pg_class'), '') || coalesce((SELECT "
      "string_agg(attstattarget::text, ',') FROM pg_attribute WHERE attrelid = indexrelid AND attstattarget >= 0), '') "
      "|| (SELECT count(*) FROM pg_depend WHERE objid = indexrelid AND deptype = 'x') AS line FROM pg_index WHERE "
      "indrelid = 't'::regclass UNION ALL SELECT pg_get_constraintdef(oid) || convalidated "
      "|| coalesce(obj_description(oid, 'pg_constraint'), '') FROM pg_constraint WHERE conrelid = 't'::regclass) l";
  client_->exec(
      "CREATE INDEX t_x ON t ((n + 1)) WITH (fillfactor = 70) WHERE n > 0; COMMENT ON INDEX t_x IS 'nightly''s "
      "report'; CREATE EXTENSION citext; ALTER INDEX t_x DEPENDS ON EXTENSION citext; "
      "ALTER INDEX t_x ALTER COLUMN 1 SET STATISTICS 500; ALTER TABLE t CLUSTER ON t_legacy; COMMENT ON CONSTRAINT "
      "t_legacy_check ON t IS 'why'");
  auto const before = client_->value(looks);
  write_steps("expand", {"drop_index: t_x", "drop_index: t_legacy", "drop_constraint: t_legacy_check"});
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  EXPECT_NE(client_->value(looks), before);
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(looks), before);
}

// Before 18 it goes from partition to partition.
TEST_F(StepCheckTest, AForeignKeyOfAPartitionedTableComesAndGoesAndComesBack) {
  client_->exec(
      "CREATE TABLE p (id int, n int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO "
      "(30); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (30) TO (99) PARTITION BY RANGE (id); CREATE TABLE p21 "
      "PARTITION OF p2 FOR VALUES FROM (30) TO (99); INSERT INTO p SELECT g, g FROM generate_series(1, 50) g");
  std::string const keys =
      "SELECT string_agg(conrelid::regclass::text || convalidated, ' ' ORDER BY conrelid::regclass::text) FROM "
      "pg_constraint WHERE contype = 'f' AND conname = 'p_n'";
  write_steps("expand", {"add_foreign_key: {table: public.p, name: p_n, columns: [n], references: public.t, to: "
                         "[id]}"});
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  EXPECT_EQ(client_->value(keys), "ptrue p1true p2true p21true");
  write("drop.yaml", "name: d\ntable: public.p\nexpand:\n  - drop_constraint: p_n\n");
  ASSERT_EQ(run({"run", "drop.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value(keys), "NULL");
  auto const back = run({"rollback", "d", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(keys), "ptrue p1true p2true p21true");
  EXPECT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(client_->value(keys), "NULL");
}

TEST_F(StepCheckTest, AMaterializedViewGetsAnIndexAndLosesItAgain) {
  client_->exec("CREATE MATERIALIZED VIEW mv AS SELECT id FROM t");
  write_steps("expand", {"create_index: {table: public.mv, name: mv_id, columns: [id], unique: true}"});
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  client_->exec("REFRESH MATERIALIZED VIEW CONCURRENTLY mv");
  EXPECT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT to_regclass('mv_id') IS NULL"), "t");
}

// LOCK TABLE takes no materialized view.
TEST_F(StepCheckTest, AMaterializedViewGetsItsIndexBackAndStatisticsOfExpressions) {
  client_->exec(
      "CREATE MATERIALIZED VIEW mv AS SELECT * FROM t; CREATE UNIQUE INDEX mv_id ON mv (id); COMMENT ON INDEX mv_id IS "
      "'for REFRESH'");
  write_steps("expand", {"drop_index: {table: public.mv, name: mv_id}",
                         "create_index: {table: public.mv, name: mv_n, keys: (n % 7)}"});
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_statistic WHERE starelid = 'mv_n'::regclass"), "1");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT obj_description('mv_id'::regclass, 'pg_class')"), "for REFRESH");
}

}  // namespace
}  // namespace pgbackfill::tests
