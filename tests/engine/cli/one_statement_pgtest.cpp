// What a batch does is what one plain statement would have done, or it is refused by name before anything is touched.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class OneStatement : public DatabaseTest {
 protected:
  ProgramResult start(std::string const& sections) {
    write("m.yaml", "name: m\n" + sections);
    return run({"run", "m.yaml"});
  }
  void is_done(std::string const& sections) {
    auto const result = start(sections);
    EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  }
  void is_refused(std::string const& sections, std::string const& text) {
    auto const result = start(sections);
    EXPECT_EQ(result.exit_code, kUsage) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr(text));
  }
  ProgramResult gate() { return run({"gate", "m"}); }
  std::string value(std::string const& sql) { return client_->value(sql); }
};

// --- copies ----------------------------------------------------------------------------------------------------------

class Copies : public OneStatement {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, 'v' || g FROM "
        "generate_series(1, 1000) g");
  }
};

TEST_F(Copies, ARowThatCollidesElsewhereIsAnError) {
  client_->exec("UPDATE a SET v = 'V1' WHERE id = 2; CREATE TABLE b (id int PRIMARY KEY, v text UNIQUE)");
  auto const result = start("table: a\nbackfill: {copy_to: b, columns: {id: id, v: lower(v)}}\n");
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("at key 2")) << "as one statement would have failed";
}

TEST_F(Copies, ARowThatCollidesElsewhereClosesTheGateWhereTheFileCounts) {
  client_->exec("UPDATE a SET v = 'V1' WHERE id IN (2, 900); CREATE TABLE b (id int PRIMARY KEY, v text UNIQUE)");
  auto const result = start("table: a\nbackfill: {copy_to: b, columns: {id: id, v: lower(v)}, on_conflict: count}\n");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.out + result.err, HasSubstr("2 row(s) are not in the copy"));
  EXPECT_EQ(value("SELECT count(*) FROM b"), "998");
  auto const closed = gate();
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, HasSubstr("2 row(s) are not in the copy"));
  client_->exec("INSERT INTO b VALUES (2, 'by hand'), (900, 'too')");
  EXPECT_EQ(gate().exit_code, kDone);
}

TEST_F(Copies, RowsThatGetAFreshKeyAreCopiedOnce) {
  client_->exec(
      "CREATE TABLE b (uid uuid PRIMARY KEY, v text); CREATE SEQUENCE s; CREATE TABLE c (id bigint PRIMARY KEY, "
      "v text); CREATE TABLE d (n int UNIQUE, v text)");
  is_done("table: a\nbackfill: {copy_to: b, columns: {uid: gen_random_uuid(), v: v}}\n");
  EXPECT_EQ(value("SELECT count(*) FROM b"), "1000");
  write("n.yaml", "name: n\ntable: a\nbackfill: {copy_to: c, columns: {id: \"nextval('s')\", v: v}}\n");
  EXPECT_EQ(run({"run", "n.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) FROM c"), "1000");
  write("o.yaml", "name: o\ntable: a\nbackfill: {copy_to: d, columns: {n: \"NULLIF(id, 7)\", v: v}}\n");
  EXPECT_EQ(run({"run", "o.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) FROM d"), "1000") << "NULL does not collide with NULL";
}

// Two keys that are one in the copy collide: the second row is not "there already".
TEST_F(Copies, KeysThatTheCopyMakesOneOfCollide) {
  client_->exec(
      "CREATE TABLE f (id float8 PRIMARY KEY, c text UNIQUE NOT NULL, d timestamptz UNIQUE NOT NULL, p numeric UNIQUE "
      "NOT NULL); INSERT INTO f SELECT g / 10.0, CASE WHEN g % 2 = 0 THEN 'k' ELSE 'K' END || g / 2, '2024-01-01 "
      "UTC'::timestamptz + g * interval '1 hour', g / 1000.0 FROM generate_series(1, 100) g; CREATE COLLATION nocase "
      "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
  for (auto const& [type, column] :
       {std::pair{"int", "id"}, {"text COLLATE nocase", "c"}, {"date", "d"}, {"numeric(9,2)", "p"}}) {
    std::string const name = column;
    client_->exec(fmt::format(
        "DROP TABLE IF EXISTS g, h; CREATE TABLE g (k {1} PRIMARY KEY); CREATE TABLE h AS SELECT {0} AS id FROM f; "
        "ALTER TABLE h ADD PRIMARY KEY (id)",
        name, type));
    write(name + ".yaml", fmt::format("name: {0}\ntable: h\nbackfill: {{copy_to: g, columns: {{k: id}}}}\n", name));
    auto const result = run({"run", name + ".yaml"});
    EXPECT_EQ(result.exit_code, kFailed) << type << '\n' << result.err;
    EXPECT_THAT(result.err, HasSubstr("duplicate key")) << type;
  }
  client_->exec("CREATE TABLE w (id text PRIMARY KEY, v text); INSERT INTO w VALUES ('5', 'was there')");
  is_done("table: a\nbackfill: {copy_to: w, columns: {id: id, v: v}}\n");
  EXPECT_EQ(value("SELECT count(*) FROM w"), "1000") << "texts of integers stay apart";
}

TEST_F(Copies, OntoItselfIsRefusedUnderAnyName) {
  is_refused("table: a\nbackfill: {copy_to: a, columns: {id: id + 5000, v: v}}\n", "is the table itself");
  is_refused("table: a\nbackfill: {copy_to: public.a, columns: {id: id + 5000, v: v}}\n", "is the table itself");
  client_->exec("CREATE VIEW w AS SELECT * FROM a");
  is_refused("table: a\nbackfill: {copy_to: w, columns: {id: id + 5000, v: v}}\n", "met again");
  client_->exec(
      "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES "
      "FROM (0) TO (1000); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (9000)");
  is_refused("table: p1\nbackfill: {copy_to: p, columns: {id: id + 5000}}\n", "partitions in common");
  is_refused("table: p\nbackfill: {copy_to: p2, columns: {id: id + 5000}}\n", "partitions in common");
  EXPECT_EQ(value("SELECT count(*) FROM a"), "1000");
}

TEST_F(Copies, SequencesGoPastWhatWasCopied) {
  client_->exec(
      "CREATE TABLE b (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text); CREATE SEQUENCE "
      "falling INCREMENT -5 START -3; CREATE TABLE c (id int PRIMARY KEY DEFAULT nextval('falling'), v text); "
      "CREATE SEQUENCE odd INCREMENT 2; CREATE TABLE d (id int PRIMARY KEY DEFAULT nextval('odd'), v text); "
      "CREATE SEQUENCE far START 1000000; CREATE TABLE e (id int PRIMARY KEY DEFAULT nextval('far'), v text)");
  is_done("table: a\nbackfill: {copy_to: b, columns: {id: id, v: v}}\n");
  EXPECT_EQ(value("INSERT INTO b (v) VALUES ('new') RETURNING id"), "1001");
  auto const copy = [&](std::string const& to, std::string const& id) {
    write(to + ".yaml",
          fmt::format("name: {0}\ntable: a\nbackfill: {{copy_to: {0}, columns: {{id: \"{1}\", v: v}}}}\n", to, id));
    auto const result = run({"run", to + ".yaml"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    return value(fmt::format("INSERT INTO {} (v) VALUES ('new') RETURNING id", to));
  };
  EXPECT_EQ(copy("c", "-id"), "-1003") << "below all, in its own steps";
  EXPECT_EQ(copy("d", "id"), "1001") << "odd numbers stay odd";
  EXPECT_EQ(copy("e", "id"), "1000000") << "never back";
}

TEST_F(Copies, SequencesThatMayNotBeSetAreNamed) {
  client_->exec(
      "CREATE TABLE b (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text); DROP ROLE IF EXISTS "
      "copier; CREATE ROLE copier LOGIN; GRANT SELECT ON a, b TO copier; GRANT INSERT ON b TO copier");
  write("m.yaml", "name: m\ntable: a\nbackfill: {copy_to: b, columns: {id: id, v: v}}\n");
  auto const result = run({"plan", "m.yaml", "--dsn", dsn("copier")}, false);
  EXPECT_EQ(result.exit_code, kUsage) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("GRANT SELECT, UPDATE ON SEQUENCE public.b_id_seq"));
}

// --- keys that would change ------------------------------------------------------------------------------------------

TEST_F(OneStatement, KeysThatTheServerComputesFromWhatIsSetAreRefused) {
  client_->exec(
      "CREATE TABLE t (n int NOT NULL, id int GENERATED ALWAYS AS (n) STORED PRIMARY KEY); INSERT INTO t SELECT g "
      "FROM generate_series(1, 100) g");
  is_refused("table: t\nbackfill: {set: {n: n + 5}}\n", "'id', which is generated from 'n', is part of the key");
  is_refused("table: t\nbackfill: {sql: \"UPDATE t SET n = n + 5 WHERE {batch}\"}\n", "which is generated from 'n'");
}

TEST_F(OneStatement, SqlThatMovesRowsIsRefused) {
  client_->exec(
      "CREATE TABLE p (id int, region text, n int DEFAULT 0, PRIMARY KEY (id, region)) PARTITION BY LIST "
      "(region); CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a'); CREATE TABLE p_b PARTITION OF p FOR VALUES "
      "IN ('b'); INSERT INTO p SELECT g, 'a' FROM generate_series(1, 100) g");
  is_refused("table: p\nbackfill: {sql: \"UPDATE p SET region = 'b' WHERE {batch}\"}\n", "'region' is part of the key");
  client_->exec(
      "CREATE TABLE e (id int, at date, n int) PARTITION BY RANGE (date_part('year', at), (n + 1)); CREATE TABLE "
      "e1 PARTITION OF e DEFAULT; CREATE UNIQUE INDEX ON e1 (id); ALTER TABLE e1 ALTER id SET NOT NULL");
  is_refused("table: e\nbackfill: {set: {n: \"1\"}}\n", "'n' decides the partition");
  is_refused("table: e\nbackfill: {sql: \"UPDATE e SET at = at + 1 WHERE {batch}\"}\n", "'at' decides the partition");
}

TEST_F(OneStatement, ATriggerThatMovesKeysStopsTheBatch) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO t SELECT g * 10 FROM generate_series(1, 3000) "
      "g; "
      "CREATE FUNCTION derive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + 20001; RETURN NEW; END "
      "$$; "
      "CREATE TRIGGER derive BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION derive()");
  auto const result = start("table: t\nbackfill: {set: {n: n + 1}, workers: 1, batch: {max_rows: 100}}\n");
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("{20011}"));
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE n <> 0 OR id % 10 <> 0"), "0") << "nothing of that batch is there";
  client_->exec(
      "CREATE OR REPLACE FUNCTION derive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id; RETURN "
      "NEW; END $$");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE n = 1"), "3000");
}

TEST_F(OneStatement, BatchesOfATableThatIsNotJoinedAreRefusedOrStopped) {
  client_->exec(
      "CREATE TABLE c (id int PRIMARY KEY, k int); INSERT INTO c SELECT g, g % 2 FROM generate_series(1, 2000) g; "
      "CREATE TABLE o (id int PRIMARY KEY, c int, k int DEFAULT 0, n int DEFAULT 0); INSERT INTO o SELECT g, g % "
      "2000 + 1 FROM generate_series(1, 20000) g");
  is_refused("table: c\nbackfill: {sql: \"UPDATE o SET n = o.n + 1 FROM c WHERE {batch:c} AND o.k = 0\"}\n",
             "nothing joins \"o\" to \"c\"");
  auto const result =
      start("table: c\nbackfill: {sql: \"UPDATE o SET n = c.id FROM c WHERE {batch:c} AND c.id > o.k\"}\n");
  EXPECT_EQ(result.exit_code, kFailed) << result.err;
  EXPECT_THAT(result.err, HasSubstr("rows_per_key"));
  EXPECT_EQ(value("SELECT count(*) FROM o WHERE n <> 0"), "0");
  write("n.yaml",
        "name: n\ntable: c\nbackfill: {sql: \"UPDATE o SET n = n + 1 FROM c WHERE {batch:c} AND o.c = c.id\"}\n");
  EXPECT_EQ(run({"run", "n.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) FROM o WHERE n = 1"), "20000");
}

// A batch ends where the throttle says, so that a sum over its rows would be another each time.
TEST_F(OneStatement, WhatIsComputedOverSeveralRowsOfABatchIsRefused) {
  client_->exec(
      "CREATE TABLE c (id int PRIMARY KEY, total bigint); INSERT INTO c SELECT g FROM generate_series(1, 50) g; CREATE "
      "TABLE o (id int PRIMARY KEY, c int, n int); INSERT INTO o SELECT g, g % 50 + 1, g FROM generate_series(1, 3000) "
      "g; CREATE TABLE copy (id int PRIMARY KEY, n bigint); CREATE AGGREGATE add_up (int) (SFUNC = int4_sum, STYPE = "
      "bigint)");
  auto const sql = [](std::string const& statement) { return "table: o\nbackfill: {sql: \"" + statement + "\"}\n"; };
  is_refused(
      sql("UPDATE c SET total = s.n FROM (SELECT c, sum(n) AS n FROM o WHERE {batch:o} GROUP BY c) s WHERE s.c = "
          "c.id"),
      "GROUP BY would see only the rows of \"o\" that are in one batch");
  is_refused(sql("WITH s AS MATERIALIZED (SELECT add_up(n) AS n FROM o WHERE {batch}) UPDATE c SET total = s.n FROM s "
                 "WHERE s.n > c.id"),
             "add_up() would see only");
  is_refused(sql("WITH s AS (SELECT *, row_number() OVER (ORDER BY id) AS place FROM o WHERE {batch}) UPDATE o SET n = "
                 "s.place FROM s WHERE s.id = o.id"),
             "row_number() OVER would see only");
  is_refused(sql("DELETE FROM c WHERE id IN (SELECT o.c FROM o WHERE {batch:o} ORDER BY n LIMIT 3)"),
             "LIMIT or OFFSET");
  for (std::string const expression : {"row_number() OVER (ORDER BY id)", "count(*)", "add_up(n)"}) {
    is_refused("table: o\nbackfill: {copy_to: copy, columns: {id: id, n: " + expression + "}}\n",
               "would be computed over the rows of each batch");
  }
  EXPECT_EQ(value("SELECT count(*) FROM c WHERE total IS NOT NULL"), "0");
  EXPECT_EQ(value("SELECT count(*) FROM copy"), "0");
  is_done(
      "table: c\nbackfill: {sql: \"UPDATE c SET total = s.n FROM (SELECT o.c, sum(n) AS n FROM o JOIN c x ON x.id = "
      "o.c "
      "WHERE {batch:x} GROUP BY o.c) s WHERE s.c = c.id\"}\n");
  EXPECT_EQ(value("SELECT count(*) FROM c WHERE total = (SELECT sum(n) FROM o WHERE o.c = c.id)"), "50");
}

TEST_F(OneStatement, ARowThatSeveralBatchesWouldJoinIsNotChangedAgain) {
  client_->exec(
      "CREATE TABLE c (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO c SELECT g FROM generate_series(1, "
      "50) "
      "g; CREATE TABLE o (id int PRIMARY KEY, cid int, kind int, UNIQUE (cid, kind)); INSERT INTO o SELECT g, g % 50 + "
      "1, g / 50 FROM generate_series(1, 3000) g");
  auto const sql = [](std::string const& condition) {
    return "table: o\nbackfill: {sql: \"UPDATE c SET n = n + 1 FROM o WHERE o.cid = c.id AND " + condition +
           "{batch:o}\", batch: {max_rows: 50}}\n";
  };
  is_refused(sql(""), "column \"n\" is computed from itself, and several rows of \"o\" may join one row");
  EXPECT_EQ(value("SELECT sum(n) FROM c"), "0");
  is_done(sql("o.kind = 7 AND "));
  EXPECT_EQ(value("SELECT count(*) || ' ' || sum(n) FROM c WHERE n = 1"), "50 50");
}

TEST_F(OneStatement, ConstraintsThatLookAtAllRowsTogetherAreToldOf) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t, pos int UNIQUE DEFERRABLE, n int); INSERT INTO t "
      "SELECT g, nullif(g - 1, 0), g FROM generate_series(1, 100) g");
  for (auto const& [work, text] :
       {std::pair{"{delete: true, where: n IS NULL}", "refer to each other (\"t_parent_fkey\")"},
        std::pair{"{set: {pos: pos + 1}}", "constraint \"t_pos_key\" can be deferred"}}) {
    write("m.yaml", std::string("name: m\ntable: t\nbackfill: ") + work + "\n");
    auto const result = run({"plan", "m.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_THAT(result.out + result.err, HasSubstr(text));
  }
  write("m.yaml", "name: m\ntable: t\nbackfill: {set: {n: pos}, where: n IS NULL}\n");
  EXPECT_THAT(run({"run", "m.yaml"}).err, Not(HasSubstr("can be deferred")));
}

// --- rows that would not get another value ---------------------------------------------------------------------------

TEST_F(OneStatement, OneRowWithoutAValueLeavesTheLastPassOn) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, name text, display text, region text); CREATE TABLE places (name text "
      "PRIMARY KEY, region text); CREATE TABLE log (id int); INSERT INTO places SELECT 'n' || g, 'r' FROM "
      "generate_series(1, "
      "9999) g; INSERT INTO t SELECT g * 10, 'n' || g FROM generate_series(1, 4000) g; UPDATE t SET name = NULL "
      "WHERE id = 10; CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES "
      "(NEW.id); IF NEW.id = 30000 THEN INSERT INTO t VALUES (5, 'n5'), (15, NULL); END IF; RETURN NULL; END $$; "
      "CREATE TRIGGER late AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION late()");
  is_done(
      "table: t\nbackfill:\n  set: {display: upper(name), region: (SELECT region FROM places p WHERE p.name = "
      "t.name)}\n"
      "  where: display IS NULL\n  workers: 1\n");
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE display IS NULL AND name IS NOT NULL"), "0");
  EXPECT_EQ(value("SELECT count(*) FROM log WHERE id = 10"), "1") << "once, though where still holds";
  EXPECT_EQ(gate().exit_code, kDone);
  client_->exec("INSERT INTO t VALUES (25, 'n25')");
  auto const closed = gate();
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, HasSubstr("1 row(s) still satisfy"));
}

TEST_F(OneStatement, ValuesThatAreOthersEachTimeAreSetOnce) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0, at timestamptz); INSERT INTO t SELECT g FROM "
      "generate_series(1, 3000) g; CREATE TABLE log (id int); CREATE FUNCTION note() RETURNS trigger LANGUAGE "
      "plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$; CREATE TRIGGER note AFTER UPDATE "
      "ON t FOR EACH ROW EXECUTE FUNCTION note()");
  is_done("table: t\nbackfill: {set: {n: n + 1, at: now()}, where: n >= 0}\n");
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE n = 1"), "3000");
  EXPECT_EQ(value("SELECT count(*) FROM log"), "3000");
}

// --- partitions and children -----------------------------------------------------------------------------------------

class Partitions : public OneStatement {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE p (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE p1 "
        "PARTITION "
        "OF p FOR VALUES FROM (0) TO (1000); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (9000); INSERT "
        "INTO "
        "p SELECT g FROM generate_series(1, 2000) g");
  }
};

TEST_F(Partitions, StatementTriggersOfTheParentSeeEachRow) {
  client_->exec(
      "CREATE TABLE audit (id int, n int); CREATE TABLE leaf_audit (x int); CREATE FUNCTION audit() RETURNS trigger "
      "LANGUAGE "
      "plpgsql AS $$ BEGIN INSERT INTO audit SELECT n.id, n.n FROM new_rows n; RETURN NULL; END $$; CREATE FUNCTION "
      "leaf_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO leaf_audit VALUES (1); RETURN NULL; END "
      "$$; "
      "CREATE TRIGGER audit AFTER UPDATE ON p REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "
      "audit(); CREATE TRIGGER leaf_audit AFTER UPDATE ON p1 FOR EACH STATEMENT EXECUTE FUNCTION leaf_audit()");
  is_done("table: p\nbackfill: {set: {n: n + 1}}\n");
  EXPECT_EQ(value("SELECT count(*) FROM p WHERE n = 1"), "2000");
  EXPECT_EQ(value("SELECT count(*) FROM audit WHERE n = 1"), "2000");
  EXPECT_EQ(value("SELECT count(*) FROM leaf_audit"), "0") << "as UPDATE p";
}

TEST_F(Partitions, RightsOnTheParentAloneSuffice) {
  client_->exec("DROP ROLE IF EXISTS keeper; CREATE ROLE keeper LOGIN");
  client_->exec(fmt::format("GRANT CREATE ON DATABASE {} TO keeper; GRANT SELECT, UPDATE ON p TO keeper", database_));
  write("m.yaml", "name: m\ntable: p\nbackfill: {set: {n: n + 1}, where: id <> 5}\n");
  auto const result = run({"run", "m.yaml", "--dsn", dsn("keeper")}, false);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM p WHERE n = 1"), "1999");
}

// Its values are asked for their texts before the first row.
TEST_F(Partitions, RightsOnTheParentAloneSufficeWithAKeyOfAnyType) {
  client_->exec(
      "CREATE TYPE pair AS (a int, b int); CREATE TABLE q (k pair NOT NULL, part int NOT NULL, n int NOT NULL DEFAULT "
      "0, PRIMARY KEY (k, part)) PARTITION BY LIST (part); CREATE TABLE q1 PARTITION OF q FOR VALUES IN (1); CREATE "
      "TABLE q2 PARTITION OF q DEFAULT; INSERT INTO q SELECT ROW(g, g)::pair, g % 2 FROM generate_series(1, 500) g; "
      "DROP ROLE IF EXISTS pair_keeper; CREATE ROLE pair_keeper LOGIN");
  client_->exec(
      fmt::format("GRANT CREATE ON DATABASE {} TO pair_keeper; GRANT SELECT, UPDATE ON q TO pair_keeper", database_));
  write("m.yaml", "name: m\ntable: q\nbackfill: {set: {n: n + 1}}\n");
  auto const result = run({"run", "m.yaml", "--dsn", dsn("pair_keeper")}, false);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM q WHERE n = 1"), "500");
}

TEST_F(Partitions, ColumnsMayBeNamedWithTheSchema) {
  is_done("table: p\nbackfill: {set: {n: public.p.n + 1}, where: public.p.id > 50}\n");
  EXPECT_EQ(value("SELECT count(*) FROM p WHERE n = 1"), "1950");
  client_->exec(
      "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO app.t SELECT g FROM "
      "generate_series(1, 100) g");
  write("n.yaml", "name: n\ntable: app.t\nbackfill: {set: {n: app.t.n + 1}, where: app.t.id > 50}\n");
  EXPECT_EQ(run({"run", "n.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT sum(n) FROM app.t"), "50");
}

TEST_F(OneStatement, ChildrenAreToldOfAndCloseTheGate) {
  client_->exec(
      "CREATE TABLE parent (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); CREATE TABLE child (PRIMARY KEY (id)) "
      "INHERITS (parent); INSERT INTO child SELECT g FROM generate_series(1, 100) g");
  is_refused("table: parent\nbackfill: {sql: \"UPDATE parent SET n = n + 1 WHERE {batch}\"}\n", "write ONLY");
  auto const result = start("table: parent\nbackfill: {set: {n: n + 1}, where: n = 0}\n");
  EXPECT_EQ(result.exit_code, kDone);
  EXPECT_THAT(result.err, HasSubstr("tables that inherit from this one are left alone (ONLY)"));
  EXPECT_THAT(run({"doctor", "m.yaml"}).out, HasSubstr("tables that inherit"));
  EXPECT_EQ(gate().exit_code, kGateClosed);
  client_->exec("UPDATE child SET n = 1");
  auto const open = gate();
  EXPECT_EQ(open.exit_code, kDone);
  EXPECT_THAT(open.out, HasSubstr("were left alone: public.child"));
}

// --- what is agreed to, and what comes later -------------------------------------------------------------------------

TEST_F(OneStatement, SkippedForeignKeysHaveToBeNamed) {
  client_->exec(
      "CREATE TABLE p (id int PRIMARY KEY, old boolean); INSERT INTO p SELECT g, g % 2 = 0 FROM generate_series(1, "
      "100) g; CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE); INSERT INTO c SELECT g, g "
      "FROM generate_series(1, 100) g");
  std::string const work = "table: p\nbackfill:\n  delete: true\n  where: old\n  triggers: skip\n";
  is_refused(work, "\"c_p_fkey\" of public.c, which refers to public.p ON DELETE CASCADE");
  EXPECT_EQ(value("SELECT count(*) FROM p"), "100");
  is_done(work + "  skip_foreign_keys: [c_p_fkey]\n");
  EXPECT_EQ(value("SELECT count(*) FROM p"), "50");
  write("n.yaml", "name: n\ntable: c\nbackfill: {set: {p: p + 0}, triggers: skip}\n");
  EXPECT_EQ(run({"run", "n.yaml"}).exit_code, kUsage);
  write("n.yaml", "name: n\ntable: p\nbackfill: {set: {old: false}, triggers: skip}\n");
  EXPECT_EQ(run({"run", "n.yaml"}).exit_code, kDone) << "no key is touched";
}

TEST_F(OneStatement, WhatExpandMakesIsCheckedAfterIt) {
  client_->exec(
      "CREATE TYPE state AS ENUM ('old'); CREATE TABLE t (id int PRIMARY KEY, s state NOT NULL DEFAULT 'old'); INSERT "
      "INTO t SELECT g FROM generate_series(1, 100) g; CREATE TABLE h (n int NOT NULL DEFAULT 0, k int NOT NULL); "
      "INSERT INTO h SELECT 0, g FROM generate_series(1, 100) g");
  is_done(
      "table: t\nexpand:\n  - add_enum_value: {type: state, value: archived}\nbackfill: {set: {s: \"'archived'\"}, "
      "where: "
      "\"s = 'old'\"}\n");
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE s = 'archived'"), "100");
  write("n.yaml",
        "name: n\ntable: h\nexpand:\n  - create_index: {name: h_k, columns: [k], unique: true}\nbackfill: {set: {n: n "
        "+ 1}}\n");
  auto const result = run({"run", "n.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM h WHERE n = 1"), "100");
  write("o.yaml", "name: o\ntable: h\nexpand:\n  - sql: SELECT 1\nbackfill: {set: {n: n +}}\n");
  EXPECT_EQ(run({"run", "o.yaml"}).exit_code, kUsage);
}

TEST_F(OneStatement, OtherRowsOfTheTableThatAreReadAreToldOf) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, "
      "g FROM generate_series(1, 100) g; CREATE FUNCTION peek(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN "
      "$1; END'");
  auto const plan = [&](std::string const& expression) {
    write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {v: \"" + expression + "\"}\n");
    auto const result = run({"plan", "m.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    return result.out;
  };
  EXPECT_THAT(plan("(SELECT sum(o.v) FROM t o WHERE o.id < t.id)"), HasSubstr("reads other rows of \"public\".\"t\""));
  EXPECT_THAT(plan("(SELECT u.v FROM u WHERE u.id = t.id)"), testing::Not(HasSubstr("reads other rows")));
  EXPECT_THAT(plan("v + 1"), testing::Not(HasSubstr("reads other rows")));
  auto const result = start("table: t\nbackfill: {set: {v: \"(SELECT max(o.v) FROM t o)\"}}\n");
  EXPECT_THAT(result.err, HasSubstr("reads other rows"));
}

}  // namespace
}  // namespace pgbackfill::tests
