// where: changed, dedupe and move_to: each is what one plain statement would have done, beside writers too.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class NaturalForms : public DatabaseTest {
 protected:
  ProgramResult start(std::string const& table, std::string const& backfill, std::vector<std::string> options = {}) {
    write("m.yaml", "name: m\ntable: " + table + "\nbackfill: " + backfill + "\n");
    options.insert(options.begin(), {"run", "m.yaml"});
    return run(options);
  }
  std::string value(std::string const& sql) { return client_->value(sql); }
  // Rows that are in one of two queries and not in the other.
  std::string difference(std::string const& one, std::string const& other) {
    return value("SELECT count(*) FROM ((" + one + " EXCEPT ALL " + other + ") UNION ALL (" + other + " EXCEPT ALL " +
                 one + ")) d");
  }
  std::unique_ptr<Program> begin() {
    ProgramOptions options;
    options.working_dir = dir();
    return std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"},
                                     options);
  }
};

// --- where: changed --------------------------------------------------------------------------------------------------

class WhereChanged : public NaturalForms {
 protected:
  void SetUp() override {
    NaturalForms::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, a numeric, name text, share numeric(10,2), doc json, writes int NOT NULL "
        "DEFAULT 0); CREATE FUNCTION count_writes() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.writes := "
        "OLD.writes + 1; RETURN NEW; END$$; INSERT INTO t (id, a, name, doc) SELECT g, g, CASE WHEN g % 3 = 0 THEN "
        "'row' ELSE ' row ' END, '{}' FROM generate_series(1, 3000) g; CREATE TRIGGER w BEFORE UPDATE ON t FOR EACH "
        "ROW EXECUTE FUNCTION count_writes(); ANALYZE t");
  }
  // Sets the column to s, of which one value is longer than it takes.
  void run_with_one_too_long(std::string const& column) const {
    write("m.yaml", "name: m_" + column + "\ntable: t\nbackfill:\n  set: {" + column +
                        ": s}\n  where: changed\n  on_bad_row: {quarantine: 1}\nverify:\n  - agrees: {set: {" + column +
                        ": s}}\n");
    auto const ran = run({"run", "m.yaml"});
    EXPECT_THAT(ran.out + ran.err, HasSubstr("too long")) << column;
  }
};

TEST_F(WhereChanged, WritesOnlyRowsThatWouldGetAnotherValue) {
  auto const result = start("t", "{set: {name: trim(name)}, where: changed}");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2,000 rows changed"));
  EXPECT_EQ(value("SELECT sum(writes) || ' ' || count(*) FILTER (WHERE name <> 'row') FROM t"), "2000 0");
  auto const gate = run({"gate", "m"});
  EXPECT_EQ(gate.exit_code, kDone);
  EXPECT_THAT(gate.out, Not(HasSubstr("record"))) << "it is counted";
  client_->exec("UPDATE t SET name = ' late ' WHERE id = 5");
  EXPECT_THAT(run({"gate", "m"}).out, HasSubstr("1 row(s) still satisfy `where`"));
}

TEST_F(WhereChanged, ComparesWhatIsStoredAndTypesWithoutEquality) {
  auto const result = start("t", "{set: {share: a / 3, doc: \"json_build_object('n', a)\"}, where: changed}");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE share IS DISTINCT FROM (a / 3)::numeric(10,2) OR doc::text <> "
                  "json_build_object('n', a)::text"),
            "0");
  EXPECT_EQ(value("SELECT string_agg(DISTINCT writes::text, ',') FROM t"), "1") << "rounded values are not others";
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
}

// A cast would cut what an assignment refuses, so that the row would count as right.
TEST_F(WhereChanged, AValueThatIsTooLongIsABadRowAndNotRight) {
  client_->exec(
      "DROP TABLE t; CREATE DOMAIN code AS varchar(3); CREATE DOMAIN inner_code AS code; CREATE TABLE t (id int "
      "PRIMARY KEY, s text, "
      "v varchar(3), c char(3), d inner_code, b bit(3), vb bit varying(3)); INSERT INTO t SELECT g, CASE g WHEN 50 "
      "THEN "
      "'abcd' WHEN 60 THEN 'abc  ' WHEN 70 THEN 'ab' ELSE 'abc' END, 'abc', 'abc', 'abc', B'101', B'101' FROM "
      "generate_series(1, 100) g");
  for (std::string const column : {"v", "c", "d"}) {
    run_with_one_too_long(column);
    EXPECT_EQ(
        client_->value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE (" + column + ")::text <> rtrim(s)"),
        "50")
        << column;
    auto const verified = run({"verify", "m.yaml"});
    EXPECT_NE(verified.exit_code, kDone) << column;
    EXPECT_THAT(verified.out, HasSubstr("1 of 100 row(s) do not agree")) << column << verified.err;
  }
  for (std::string const column : {"b", "vb"}) {
    write("m.yaml", "name: m_" + column + "\ntable: t\nbackfill:\n  set: {" + column +
                        ": \"CASE WHEN id = 50 THEN B'1010' ELSE B'101' END\"}\n  where: changed\n");
    EXPECT_NE(run({"run", "m.yaml"}).exit_code, kDone) << column;
  }
}

TEST_F(WhereChanged, AnElementThatIsTooLongIsABadRowAndNotRight) {
  client_->exec(
      "DROP TABLE t; CREATE DOMAIN codes AS varchar(3)[]; CREATE TABLE t (id int PRIMARY KEY, s text[], v "
      "varchar(3)[], "
      "c char(3)[], d codes, b bit(3)[]); INSERT INTO t SELECT g, CASE g WHEN 50 THEN '{x,abcd}' WHEN 60 THEN "
      "'[0:1]={NULL,\"abc  \"}' WHEN 70 THEN '{{ab},{b}}' WHEN 80 THEN '{}' WHEN 90 THEN NULL ELSE '{abc,d}' "
      "END::text[], "
      "'{x,abc}', '{x,abc}', '{x,abc}', '{101}' FROM generate_series(1, 100) g");
  for (std::string const column : {"v", "c", "d"}) {
    run_with_one_too_long(column);
    std::string const type = column == "c" ? "char(3)[]" : "varchar(3)[]";
    EXPECT_EQ(client_->value("SELECT count(*) FROM t WHERE id <> 50 AND " + column + "::" + type +
                             " IS DISTINCT FROM s::" + type),
              "0")
        << column;
    EXPECT_THAT(run({"verify", "m.yaml"}).out, HasSubstr("1 of 100 row(s) do not agree")) << column;
  }
  write("m.yaml",
        "name: m_b\ntable: t\nbackfill:\n  set: {b: \"ARRAY[CASE WHEN id = 50 THEN B'1010' ELSE B'101' END]\"}\n  "
        "where: changed\n");
  EXPECT_NE(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(WhereChanged, TheLastPassFindsRowsThatCameMeanwhile) {
  write("m.yaml",
        "name: m\ntable: t\nbackfill: {set: {share: a * 2}, where: changed, batch: {max_rows: 50}}\nthrottle: "
        "{max_rows_per_second: 1500}\n");
  auto const program = begin();
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(share) > 500 FROM t") == "t"; }, 60s));
  client_->exec("INSERT INTO t (id, a) VALUES (-1, 5); UPDATE t SET a = 1000 WHERE id = 1");
  EXPECT_EQ(program->wait(90s).exit_code, kDone) << program->err();
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE share IS DISTINCT FROM a * 2"), "0");
}

TEST_F(WhereChanged, AValueThatDiffersEachTimeIsRefused) {
  client_->exec(
      "CREATE TABLE c (id int PRIMARY KEY, changed boolean, n int); CREATE FUNCTION f() RETURNS float8 "
      "LANGUAGE sql AS 'SELECT 1.0::float8'");
  for (auto const& [set, text] : std::vector<std::pair<std::string, std::string>>{
           {"{a: random()}", "m.yaml:3:21: the value of 'a' reads pg_catalog.random()"},
           {"{name: now()::text}", "reads pg_catalog.now()"},
           {"{a: f()}", "reads public.f()"}}) {
    auto const result = start("t", "{set: " + set + ", where: changed}");
    EXPECT_EQ(result.exit_code, kUsage) << set << result.err;
    EXPECT_THAT(result.err, HasSubstr(text)) << set;
  }
  auto const column = start("c", "{set: {n: \"1\"}, where: changed}");
  EXPECT_EQ(column.exit_code, kUsage);
  EXPECT_THAT(column.err, HasSubstr("the table has a column changed"));
  EXPECT_EQ(value("SELECT sum(writes) FROM t"), "0");
}

TEST_F(WhereChanged, ReadsColumnsThatExpandMakes) {
  write("m.yaml",
        "name: m\ntable: t\nexpand: [{add_column: {name: upper_name, type: text}}]\nbackfill: {set: {upper_name: "
        "upper(name)}, where: changed}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM t WHERE upper_name IS DISTINCT FROM upper(name)"), "0");
}

// --- dedupe ----------------------------------------------------------------------------------------------------------

class Dedupe : public NaturalForms {
 protected:
  void make_table(std::string const& type = "text", std::string const& key = "id int PRIMARY KEY") {
    client_->exec("CREATE TABLE s (" + key + ", email " + type +
                  ", area int, at int, note text); CREATE INDEX ON s (email, at DESC, id)");
  }
  static constexpr char kByEmail[] = "dedupe: {by: [email], keep: \"ORDER BY at DESC\"}";
  // What one statement leaves.
  static std::string kept(std::string const& from, std::string const& by, std::string const& order) {
    return "(SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY " + by + " ORDER BY " + order + ") AS n FROM " +
           from + ") r WHERE n = 1)";
  }
};

TEST_F(Dedupe, KeepsTheRowsThatOneStatementWouldKeep) {
  make_table();
  client_->exec(
      "INSERT INTO s SELECT g, CASE WHEN g % 40 = 0 THEN NULL ELSE 'e' || g % 700 END, g % 3, (g * 7919) % 13, 'n' || "
      "g FROM generate_series(1, 8000) g; CREATE TABLE before AS TABLE s; ANALYZE s");
  auto const result = start("s", std::string("{") + kByEmail + ", batch: {max_rows: 300}, workers: 4}");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(difference("(SELECT id FROM s)", kept("before", "email", "at DESC, id")), "0");
  EXPECT_EQ(value("SELECT count(*) FROM s WHERE email IS NULL"), "1") << "NULL is like NULL, as in GROUP BY";
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  client_->exec("INSERT INTO s (id, email, at) SELECT -id, email, -1 FROM s LIMIT 1");
  EXPECT_THAT(run({"gate", "m"}).out, HasSubstr("1 row(s) still satisfy `where`"));
}

TEST_F(Dedupe, KeepsToWhereAndSeveralColumns) {
  make_table();
  client_->exec(
      "CREATE INDEX ON s (area, email); INSERT INTO s SELECT g, nullif('e' || g % 50, 'e3'), nullif(g % 5, 2), g % 3, "
      "CASE WHEN g % 4 = 0 THEN 'dead' END FROM generate_series(1, 4000) g; CREATE TABLE before AS TABLE s; ANALYZE s");
  auto const result = start("s",
                            "{dedupe: {by: [email, area], keep: \"ORDER BY s.at NULLS FIRST, note DESC -- last\\n\"}, "
                            "where: note IS NULL}");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(difference("(SELECT id FROM s WHERE note IS NULL)",
                       kept("before WHERE note IS NULL", "email, area", "at NULLS FIRST, note DESC, id")),
            "0");
  EXPECT_EQ(value("SELECT count(*) FROM s WHERE note = 'dead'"), "1000");
}

TEST_F(Dedupe, ComparesAsTheTypeDoes) {
  client_->exec("CREATE SCHEMA other; CREATE EXTENSION citext SCHEMA other");
  make_table("other.citext", "id bigint PRIMARY KEY");
  client_->exec("INSERT INTO s VALUES (1, 'Ada', 0, 1), (2, 'ADA', 0, 3), (3, 'ada', 0, 2), (4, 'Bob', 0, 1)");
  auto const result = start("s", std::string("{") + kByEmail + "}");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT string_agg(id::text, ',' ORDER BY id) FROM s"), "2,4");
}

TEST_F(Dedupe, ComparesAsADomainAndACollationDo) {
  client_->exec("CREATE EXTENSION citext; CREATE DOMAIN mail AS citext CHECK (value <> '')");
  make_table("mail");
  client_->exec(
      "INSERT INTO s VALUES (1, 'Ada', 0, 1), (2, 'ADA', 0, 3), (3, 'ada', 0, 2), (4, 'Bob', 0, 1), (5, NULL, "
      "0, 9), (6, NULL, 0, 8)");
  auto const result = start("s", std::string("{") + kByEmail + "}");
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT string_agg(id::text, ',' ORDER BY id) FROM s"), "2,4,5");
  if (value("SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'") != "t") return;
  client_->exec(
      "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE "
      "TABLE c (id int PRIMARY KEY, name text COLLATE caseless); CREATE INDEX ON c (name, id); INSERT INTO c "
      "VALUES (1, 'Ada'), (2, 'ADA'), (3, 'bob'), (4, 'Ada '), (5, 'BOB')");
  write("n.yaml", "name: n\ntable: c\nbackfill: {dedupe: {by: [name], keep: ORDER BY id DESC}}\n");
  auto const caseless = run({"run", "n.yaml"});
  EXPECT_EQ(caseless.exit_code, kDone) << caseless.err;
  EXPECT_EQ(value("SELECT string_agg(id::text, ',' ORDER BY id) FROM c"), "2,4,5");
}

TEST_F(Dedupe, AKilledProcessLosesNoGroup) {
  make_table();
  client_->exec(
      "INSERT INTO s SELECT g, CASE WHEN g % 50 > 0 THEN 'e' || g % 300 END, g % 3, (g * 7919) % 13, 'n' || g FROM "
      "generate_series(1, 6000) g; CREATE TABLE before AS TABLE s; ANALYZE s");
  write("m.yaml", std::string("name: m\ntable: s\nbackfill: {") + kByEmail +
                      ", batch: {max_rows: 60}, workers: 3}\nthrottle: {max_rows_per_second: 1500}\n");
  for (int strike = 1; strike <= 3; ++strike) {
    auto const program = begin();
    std::string const wanted = std::to_string(strike * 900);
    ASSERT_TRUE(poll_until(
        [&] {
          return client_->try_exec("SELECT 1 / (sum(rows_done) > " + wanted + ")::int FROM pgbackfill.ranges") ==
                 "00000";
        },
        60s))
        << program->err();
    program->signal(9);
    program->wait();
  }
  auto const last = run({"run", "m.yaml"});
  EXPECT_EQ(last.exit_code, kDone) << last.err;
  EXPECT_EQ(difference("(SELECT id FROM s)", kept("before", "email", "at DESC, id")), "0");
}

TEST_F(Dedupe, ASurvivorThatIsBeingDeletedIsWaitedFor) {
  make_table();
  client_->exec("INSERT INTO s VALUES (1, 'a', 0, 1), (2, 'a', 0, 2), (3, 'b', 0, 1), (4, 'b', 0, 2)");
  PgClient holder(dsn());
  // 2 is to stay; whoever deletes it, knows 1.
  holder.exec("BEGIN; DELETE FROM s WHERE id = 2");
  write("m.yaml", std::string("name: m\ntable: s\nbackfill: {") + kByEmail + "}\n");
  auto const program = begin();
  ASSERT_TRUE(poll_until([&] { return value("SELECT count(*) FROM s WHERE email = 'b'") == "1"; }, 60s))
      << program->err();
  EXPECT_EQ(value("SELECT string_agg(id::text, ',' ORDER BY id) FROM s"), "1,2,4") << "of that group none goes";
  holder.exec("COMMIT");
  EXPECT_EQ(program->wait(60s).exit_code, kDone) << program->err();
  EXPECT_EQ(value("SELECT string_agg(id::text, ',' ORDER BY id) FROM s"), "1,4");
}

TEST_F(Dedupe, ASurvivorThatLeavesItsGroupIsNoSurvivor) {
  make_table();
  client_->exec("INSERT INTO s VALUES (1, 'a', 0, 1), (2, 'a', 0, 2), (3, 'a', 0, 0)");
  PgClient holder(dsn());
  holder.exec("BEGIN; UPDATE s SET email = 'z' WHERE id = 2");
  write("m.yaml", std::string("name: m\ntable: s\nbackfill: {") + kByEmail + "}\n");
  auto const program = begin();
  ASSERT_TRUE(
      poll_until([&] { return client_->try_exec("SELECT 1 / count(*) FROM pgbackfill.deferred") == "00000"; }, 60s))
      << program->err();
  EXPECT_EQ(value("SELECT count(*) FROM s"), "3");
  holder.exec("COMMIT");
  EXPECT_EQ(program->wait(60s).exit_code, kDone) << program->err();
  EXPECT_EQ(value("SELECT string_agg(id || email, ',' ORDER BY id) FROM s"), "1a,2z");
}

// Writers that never delete the last row of a group, as they see it under a lock of it, and never move one away.
TEST_F(Dedupe, NoGroupIsLostBesideWriters) {
  make_table();
  client_->exec(
      "INSERT INTO s SELECT g, 'e' || g % 60, 0, (g * 7919) % 101 FROM generate_series(1, 6000) g; CREATE SEQUENCE ids "
      "START 100000; CREATE TABLE groups AS SELECT DISTINCT email FROM s; ANALYZE s");
  std::atomic<bool> is_over{false};
  auto const write_rows = [&](unsigned seed) {
    PgClient client(dsn());
    std::mt19937 random(seed);
    while (!is_over) {
      std::string const email = "'e" + std::to_string(random() % 60) + "'";
      switch (random() % 3) {
        case 0:
          client.try_exec("INSERT INTO s VALUES (nextval('ids'), " + email + ", 0, " + std::to_string(random() % 200) +
                          ")");
          break;
        case 1:
          client.try_exec("UPDATE s SET at = " + std::to_string(random() % 200) +
                          " WHERE id = (SELECT id FROM s WHERE email = " + email + " LIMIT 1)");
          break;
        default:
          // Its own rule: two rows are there, both locked, and one of them goes.
          client.try_exec(
              "WITH two AS (SELECT id FROM s WHERE email = " + email +
              " ORDER BY at DESC LIMIT 2 FOR UPDATE) DELETE FROM s WHERE id = (SELECT min(id) FROM two) AND "
              "(SELECT count(*) FROM two) = 2");
      }
    }
  };
  std::vector<std::thread> writers;
  for (unsigned seed = 1; seed <= 3; ++seed) writers.emplace_back(write_rows, seed);
  write("m.yaml", std::string("name: m\ntable: s\nbackfill: {") + kByEmail +
                      ", batch: {max_rows: 60, min_rows: 10}, workers: 4}\nthrottle: {mode: off}\n");
  auto const program = begin();
  auto const ended = program->wait(120s);
  is_over = true;
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_EQ(value("SELECT count(*) FROM groups g WHERE NOT EXISTS (SELECT FROM s WHERE s.email = g.email)"), "0");
  // What writers have made since is a job of another name.
  write("n.yaml", std::string("name: n\ntable: s\nbackfill: {") + kByEmail + "}\n");
  EXPECT_EQ(run({"run", "n.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) || ' ' || count(DISTINCT email) FROM s"), "60 60");
}

TEST_F(Dedupe, ARowThatCannotGoIsSetAside) {
  make_table();
  client_->exec(
      "INSERT INTO s SELECT g, 'e' || g % 10, 0, g FROM generate_series(1, 100) g; CREATE TABLE r (s_id int REFERENCES "
      "s); INSERT INTO r VALUES (50)");
  auto const result = start("s", std::string("{") + kByEmail + ", on_bad_row: {quarantine: 1}}");
  EXPECT_EQ(value("SELECT string_agg(key[1] || ' ' || sqlstate, ',') FROM pgbackfill.quarantine"), "50 23503")
      << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM s"), "11");
}

TEST_F(Dedupe, WhatItCannotBeDoneOnIsRefused) {
  make_table();
  client_->exec(
      "CREATE TABLE bare (email text); CREATE INDEX ON bare (email); CREATE TABLE p (id int PRIMARY KEY, email text) "
      "PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT; CREATE TABLE u (id int PRIMARY KEY, email "
      "text); CREATE INDEX ON u (lower(email)); CREATE INDEX ON u (email) WHERE id > 5");
  for (auto const& [table, work, text] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"s", "{dedupe: {by: [mail], keep: ORDER BY at}}", "no column 'mail' (did you mean 'email'?)"},
           {"s", "{dedupe: {by: [area], keep: ORDER BY at}}", "no index of \"public\".\"s\" begins with (\"area\")"},
           {"u", "{dedupe: {by: [email], keep: ORDER BY id}}", "CREATE INDEX CONCURRENTLY ON \"public\".\"u\""},
           {"s", "{dedupe: {by: [email], keep: ORDER BY when}}", "m.yaml:3:40: "},
           {"s", "{dedupe: {by: [email], keep: ORDER BY at LIMIT 1}}", "m.yaml:3:40: "},
           {"s", "{dedupe: {by: [email], keep: ORDER BY 1}}", "m.yaml:3:40: "},
           {"s", "{dedupe: {by: [email], keep: ORDER BY random()}}", "'keep' reads pg_catalog.random()"},
           {"bare", "{dedupe: {by: [email], keep: ORDER BY email}}", "has no key by which equal rows"},
           {"p", "{dedupe: {by: [email], keep: ORDER BY id}}", "\"public\".\"p\" is partitioned"}}) {
    auto const result = start(table, work);
    EXPECT_EQ(result.exit_code, kUsage) << work << result.err;
    EXPECT_THAT(result.err, HasSubstr(text)) << work;
  }
  client_->exec("CREATE ROLE weak_" + database_ + " LOGIN; GRANT SELECT, DELETE ON s TO weak_" + database_ +
                "; GRANT CREATE ON DATABASE " + database_ + " TO weak_" + database_);
  write("m.yaml", std::string("name: m\ntable: s\nbackfill: {") + kByEmail + "}\n");
  auto const weak =
      run_program({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn("weak_" + database_)});
  EXPECT_EQ(weak.exit_code, kUsage) << weak.err;
  EXPECT_THAT(weak.err, HasSubstr("GRANT UPDATE ON \"public\".\"s\""));
  client_->exec("DROP OWNED BY weak_" + database_ + "; DROP ROLE weak_" + database_);
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
}

TEST_F(Dedupe, IsShownBeforehand) {
  make_table();
  client_->exec("INSERT INTO s SELECT g, 'e' || g % 10, 0, g FROM generate_series(1, 100) g; ANALYZE s");
  write("m.yaml", std::string("name: m\ntable: s\nbackfill: {") + kByEmail + "}\n");
  auto const plan = run({"plan", "m.yaml", "--sample"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(run({"plan", "m.yaml", "--format", "markdown"}).out,
              HasSubstr("delete all but one of the rows with the same email"));
  EXPECT_THAT(plan.out, AllOf(HasSubstr("rows without a value in \"email\" are alike"),
                              Not(HasSubstr("depends on the batches that ran before"))));
  auto const dry = run({"run", "m.yaml", "--dry-run"});
  EXPECT_EQ(dry.exit_code, kDone) << dry.err;
  EXPECT_THAT(dry.out,
              AllOf(HasSubstr("90 rows satisfy `where`"), HasSubstr("90 deleted"), HasSubstr("row      1: goes")));
  EXPECT_EQ(value("SELECT count(*) FROM s"), "100");
}

// --- move_to ---------------------------------------------------------------------------------------------------------

class MoveTo : public NaturalForms {
 protected:
  void SetUp() override {
    NaturalForms::SetUp();
    client_->exec(
        "CREATE TABLE orders (id int PRIMARY KEY, gone int, is_old boolean, note text, total numeric GENERATED ALWAYS "
        "AS (id * 2) STORED); ALTER TABLE orders DROP COLUMN gone; INSERT INTO orders (id, is_old, note) SELECT g, g % "
        "2 = 0, 'note ' || g FROM generate_series(1, 5000) g; CREATE TABLE before AS TABLE orders; CREATE TABLE "
        "archive (note text, moved_at timestamptz NOT NULL DEFAULT now(), total numeric, id bigint GENERATED ALWAYS AS "
        "IDENTITY PRIMARY KEY, is_old boolean); ANALYZE orders");
  }
  static constexpr char kMoving[] = "{move_to: archive, where: is_old, batch: {max_rows: 300}}";
  std::string lost() {
    std::string const columns = "id, is_old, note, total";
    return difference("(SELECT " + columns + " FROM archive UNION ALL SELECT " + columns + " FROM orders)",
                      "(SELECT " + columns + " FROM before)");
  }
};

TEST_F(MoveTo, MovesRowsByTheNamesOfTheirColumns) {
  auto const dry = start("orders", kMoving, {"--dry-run"});
  EXPECT_EQ(dry.exit_code, kDone) << dry.err;
  EXPECT_THAT(dry.out, AllOf(HasSubstr("500 moved"), HasSubstr("row      2: goes: ")));
  EXPECT_EQ(value("SELECT count(*) FROM archive"), "0");
  auto const plan = run({"plan", "m.yaml", "--sample"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("stand in the other one"), HasSubstr("column \"id\" is integer in")));
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2,500 rows changed"));
  EXPECT_EQ(lost() + value("SELECT ' ' || count(*) FROM orders WHERE is_old"), "0 0");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  client_->exec("UPDATE orders SET is_old = true WHERE id = 7");
  EXPECT_THAT(run({"gate", "m"}).out, HasSubstr("1 row(s) still satisfy `where`"));
}

TEST_F(MoveTo, AKillLosesAndRepeatsNoRow) {
  write("m.yaml",
        "name: m\ntable: orders\nbackfill: {move_to: archive, where: is_old, batch: {max_rows: 30}}\nthrottle: "
        "{max_rows_per_second: 2000}\n");
  auto const killed = begin();
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) > 300 FROM archive") == "t"; }, 60s));
  killed->signal(9);
  killed->wait();
  client_->exec("UPDATE orders SET note = 'late' WHERE id = 5000");
  client_->exec("UPDATE before SET note = 'late' WHERE id = 5000");
  auto const rest = begin();
  EXPECT_EQ(rest->wait(90s).exit_code, kDone) << rest->err();
  EXPECT_EQ(lost() + value("SELECT ' ' || count(*) FROM archive"), "0 2500");
}

TEST_F(MoveTo, ARowThatIsHeldOrBadIsLeftAndTheOthersMove) {
  client_->exec("ALTER TABLE archive ADD CHECK (id <> 300)");
  PgClient holder(dsn());
  holder.exec("BEGIN; UPDATE orders SET note = 'held' WHERE id = 100");
  client_->exec("UPDATE before SET note = 'held' WHERE id = 100");
  write("m.yaml", "name: m\ntable: orders\nbackfill: {move_to: archive, where: is_old, on_bad_row: {quarantine: 1}}\n");
  auto const program = begin();
  ASSERT_TRUE(poll_until([&] { return value("SELECT count(*) FROM archive") == "2498"; }, 60s)) << program->err();
  holder.exec("COMMIT");
  program->wait(60s);
  EXPECT_EQ(value("SELECT string_agg(key[1] || ' ' || sqlstate, ',') FROM pgbackfill.quarantine"), "300 23514");
  EXPECT_EQ(lost() + value("SELECT ' ' || count(*) FROM archive"), "0 2499");
}

TEST_F(MoveTo, WorksOnPartitionsAndTablesWithoutAKey) {
  client_->exec(
      "CREATE TABLE p (id int PRIMARY KEY, note text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR "
      "VALUES FROM (1) TO (500); CREATE TABLE p2 (note text, id int NOT NULL); ALTER TABLE p ATTACH PARTITION p2 FOR "
      "VALUES FROM (500) TO (2000); INSERT INTO p SELECT g, 'n' || g FROM generate_series(1, 1000) g; CREATE TABLE pa "
      "(note text, id int) PARTITION BY RANGE (id); CREATE TABLE pa1 PARTITION OF pa DEFAULT; CREATE TABLE bare (v "
      "int); INSERT INTO bare SELECT g FROM generate_series(1, 1000) g; CREATE TABLE ba (v int)");
  write("p.yaml", "name: p\ntable: p\nbackfill: {move_to: pa, where: id % 2 = 0}\n");
  write("b.yaml", "name: b\ntable: bare\nbackfill: {move_to: ba, where: v <= 400}\n");
  for (std::string const name : {"p.yaml", "b.yaml"}) {
    auto const result = run({"run", name});
    EXPECT_EQ(result.exit_code, kDone) << name << result.err;
  }
  EXPECT_EQ(value("SELECT count(*) || ' ' || count(*) FILTER (WHERE note = 'n' || id) FROM pa"), "500 500");
  EXPECT_EQ(value("SELECT (SELECT count(*) FROM p) || ' ' || (SELECT count(*) FROM bare) || ' ' || count(DISTINCT v) "
                  "FROM ba"),
            "500 600 400");
}

TEST_F(MoveTo, ATargetThatWouldLoseSomethingIsRefused) {
  client_->exec(
      "CREATE TABLE narrow (id int, is_old boolean, total numeric); CREATE TABLE strict (id int, is_old boolean, note "
      "text, total numeric, why text NOT NULL); CREATE TABLE made (id int, is_old boolean, total numeric, note text "
      "GENERATED ALWAYS AS ('x') STORED); CREATE TABLE other (id int, is_old text[], note text, total numeric); CREATE "
      "VIEW v AS TABLE orders");
  for (auto const& [to, text] : std::vector<std::pair<std::string, std::string>>{
           {"narrow", "\"narrow\" (move_to) has no column \"note\", whose values would be lost"},
           {"strict", "column \"why\" of \"public\".\"strict\" (move_to) is NOT NULL without a default"},
           {"made", "column \"note\" of \"public\".\"made\" (move_to) is generated"},
           {"other", "is of type text[]"},
           {"missing", "table \"missing\" (move_to) does not exist"},
           {"v", "\"v\" (move_to) is no table"},
           {"orders", "\"orders\" (move_to) is the table itself"}}) {
    auto const result = start("orders", "{move_to: " + to + ", where: is_old}");
    EXPECT_EQ(result.exit_code, kUsage) << to << result.err;
    EXPECT_THAT(result.err, HasSubstr(text)) << to;
  }
  auto const skipped = start("orders", "{move_to: archive, where: is_old, triggers: skip}");
  EXPECT_EQ(skipped.exit_code, kUsage);
  EXPECT_EQ(value("SELECT count(*) FROM orders") + value("SELECT to_regnamespace('pgbackfill') IS NULL"), "5000t");
}

// --- functions that write --------------------------------------------------------------------------------------------

TEST_F(NaturalForms, PlanNamesFunctionsThatWriteWhereSeveralBatchesRun) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, tag text, tag_id int); CREATE TABLE tags (id serial PRIMARY KEY, name "
      "text); "
      "INSERT INTO t SELECT g, 'tag ' || g % 5 FROM generate_series(1, 100) g; CREATE FUNCTION tag_id(a_name text) "
      "RETURNS int LANGUAGE plpgsql AS $$DECLARE found int; BEGIN SELECT id INTO found FROM tags WHERE name = a_name; "
      "IF found IS NULL THEN INSERT INTO tags (name) VALUES (a_name) RETURNING id INTO found; END IF; RETURN found; "
      "END$$; CREATE FUNCTION only_reads(a_name text) RETURNS int LANGUAGE sql AS 'SELECT min(id) FROM tags'");
  auto const planned = [&](std::string const& backfill) {
    write("m.yaml", "name: m\ntable: t\nbackfill: " + backfill + "\n");
    auto const result = run({"plan", "m.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    return result.out;
  };
  EXPECT_THAT(planned("{set: {tag_id: tag_id(tag)}, where: tag_id IS NULL}"),
              AllOf(HasSubstr("the work calls public.tag_id(), which writes tags"), HasSubstr("up to 2 batches"),
                    HasSubstr("`workers: 1`")));
  EXPECT_THAT(planned("{set: {tag_id: tag_id(tag)}, where: tag_id IS NULL, workers: 1}"),
              Not(HasSubstr("the work calls")));
  EXPECT_THAT(planned("{set: {tag_id: only_reads(tag)}, where: tag_id IS NULL}"), Not(HasSubstr("the work calls")));
  EXPECT_THAT(planned("{sql: \"UPDATE t SET tag_id = tag_id(tag) WHERE {batch}\"}"),
              HasSubstr("public.tag_id(), which writes tags"));
}

TEST_F(NaturalForms, ARoleThatMayNotLockRowsIsRefusedBeforeAnythingIsTouched) {
  std::string const role = "sweeper";
  client_->exec(
      "CREATE TABLE r (id bigint PRIMARY KEY, n int); INSERT INTO r SELECT g, g FROM generate_series(1, 100) g; CREATE "
      "TABLE gone (LIKE r); CREATE TABLE o (id bigint); INSERT INTO o SELECT generate_series(1, 50); CREATE ROLE " +
      role + " LOGIN; GRANT SELECT, DELETE ON r TO " + role + "; GRANT SELECT ON o TO " + role +
      "; GRANT INSERT, SELECT ON gone TO " + role + "; GRANT CREATE ON DATABASE " + database_ + " TO " + role);
  auto const as_sweeper = [&](std::string const& work) {
    write("m.yaml", "name: m\ntable: r\nbackfill: " + work + "\n");
    return run_program({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn(role)});
  };
  for (char const* const work :
       {"{delete: true, where: \"id IN (SELECT id FROM o)\"}", "{delete: true, where: id < 10}",
        "{move_to: gone, where: id < 10}", "{sql: \"DELETE FROM r WHERE n IN (SELECT id FROM o) AND {batch}\"}"}) {
    auto const refused = as_sweeper(work);
    EXPECT_EQ(refused.exit_code, kUsage) << work << refused.err;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("may not lock rows of \"public\".\"r\", as batches do"),
                                   HasSubstr("GRANT UPDATE ON \"public\".\"r\" TO \"" + role)))
        << work;
  }
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  client_->exec("REVOKE DELETE ON r FROM " + role + "; GRANT UPDATE (n) ON r TO " + role);
  EXPECT_THAT(as_sweeper("{delete: true, where: id < 10}").err, HasSubstr("may not DELETE on"));
  client_->exec("GRANT DELETE ON r TO " + role);
  auto const done = as_sweeper("{delete: true, where: \"id IN (SELECT id FROM o)\"}");
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(value("SELECT count(*) FROM r"), "50");
  client_->exec("REASSIGN OWNED BY " + role + " TO postgres; DROP OWNED BY " + role + "; DROP ROLE " + role);
}

}  // namespace
}  // namespace pgbackfill::tests
