// Triggers for each row that have a say in what becomes of it: they skip it, change it, or put rows beside it. What one
// statement fires once is fired once, or it is said by name.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class RowTriggers : public DatabaseTest {
 protected:
  // FUNCTION(), as the body of a trigger of `table`.
  void add_trigger(std::string const& table, std::string const& when, std::string const& body) {
    client_->exec(
        fmt::format("CREATE FUNCTION {0}_f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {2} END$$; CREATE "
                    "TRIGGER {0}_x {1} ON {0} FOR EACH ROW EXECUTE FUNCTION {0}_f()",
                    table, when, body));
  }
  std::string rows_of(std::string const& table) { return client_->value("SELECT count(*) FROM " + table); }
  ProgramResult run_file(std::string const& table, std::string const& backfill) {
    write(table + ".yaml", fmt::format("name: {0}\ntable: {0}\nbackfill: {1}\n", table, backfill));
    return run({"run", table + ".yaml"});
  }
};

class CopyTriggers : public RowTriggers {
 protected:
  void SetUp() override {
    RowTriggers::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g; "
        "CREATE TABLE c (id int PRIMARY KEY, v text); CREATE TABLE beside (id int)");
  }
  ProgramResult copy(std::string const& more = "") {
    return run_file("t", "{copy_to: c, columns: {id: id, v: v}" + more + "}");
  }
  static constexpr char kTold[] = "trigger \"c_x\" of \"public\".\"c\" may change a row that is copied, or keep it out";
};

TEST_F(CopyTriggers, ThatGiveTheKeyGetEachRowOnce) {
  client_->exec("CREATE SEQUENCE s START 100000");
  add_trigger("c", "BEFORE INSERT", "NEW.id := nextval('s'); RETURN NEW;");
  auto const done = copy();
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_THAT(done.err, HasSubstr(kTold));
  EXPECT_EQ(rows_of("c"), "500");
}

TEST_F(CopyTriggers, ThatSendRowsElsewhereGetEachRowOnce) {
  add_trigger("c", "BEFORE INSERT", "INSERT INTO beside VALUES (NEW.id); RETURN NULL;");
  auto const done = copy();
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(rows_of("beside"), "500");
  EXPECT_EQ(run({"gate", "t"}).exit_code, kDone);
}

TEST_F(CopyTriggers, OfAPartitionAreTheCopysOwn) {
  client_->exec(
      "DROP TABLE c; CREATE TABLE c (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE c1 PARTITION OF "
      "c DEFAULT");
  add_trigger("c1", "BEFORE INSERT", "INSERT INTO beside VALUES (NEW.id); RETURN NEW;");
  ASSERT_EQ(copy().exit_code, kDone);
  EXPECT_EQ(rows_of("beside"), "500");
}

TEST_F(CopyTriggers, RulesThatSendRowsElsewhereDoSoOnce) {
  client_->exec(
      "CREATE TABLE d (id int, v text); CREATE RULE r AS ON INSERT TO c DO INSTEAD INSERT INTO d VALUES (NEW.id, "
      "NEW.v) "
      "RETURNING id, v");
  auto const done = copy();
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_THAT(done.err, HasSubstr("a rule of \"public\".\"c\" may change a row"));
  EXPECT_EQ(rows_of("c") + " " + rows_of("d"), "0 500");
}

TEST_F(CopyTriggers, ThatDoNotFireAreNoneOfIt) {
  add_trigger("c", "BEFORE INSERT", "INSERT INTO beside VALUES (NEW.id); RETURN NEW;");
  auto const skipped = copy(", triggers: skip");
  EXPECT_THAT(skipped.err, Not(HasSubstr(kTold)));
  EXPECT_EQ(rows_of("c") + " " + rows_of("beside"), "500 0");
}

TEST_F(CopyTriggers, LeaveNothingToCountBy) {
  add_trigger("c", "BEFORE INSERT", "RETURN NEW;");
  auto const refused = copy(", on_conflict: count");
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("neither a rule nor a BEFORE INSERT trigger of the copy"));
  EXPECT_EQ(rows_of("c"), "0");
}

// A row that a trigger kept as it is satisfies `where` still.
TEST_F(RowTriggers, ThatKeepRowsAsTheyAreFireOnceForEach) {
  struct Case {
    std::string name;
    std::string event;
    std::string backfill;
    std::string rows;
  };
  client_->exec("CREATE TABLE attic (id int, n int, g int)");
  for (auto const& [name, event, backfill, rows] :
       std::vector<Case>{{"gone", "DELETE", "{delete: true, where: id % 3 = 0}", "300"},
                         {"kept", "UPDATE", "{set: {n: 1}, where: n = 0}", "900"},
                         {"twice", "DELETE", "{dedupe: {by: [g], keep: ORDER BY id}}", "890"},
                         {"moved", "DELETE", "{move_to: attic, where: g = 1}", "90"}}) {
    client_->exec(fmt::format(
        "CREATE TABLE {0} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, g int); CREATE INDEX ON {0} (g, id); INSERT "
        "INTO {0} SELECT i, 0, i % 10 FROM generate_series(1, 900) i; CREATE TABLE {0}_audit (id int)",
        name));
    add_trigger(name, "BEFORE " + event, fmt::format("INSERT INTO {}_audit VALUES (OLD.id); RETURN NULL;", name));
    auto const result = run_file(name, backfill);
    EXPECT_NE(result.exit_code, kFailed) << name << result.err;
    EXPECT_EQ(rows_of(name + "_audit"), rows) << name;
    EXPECT_THAT(result.err, HasSubstr("may keep rows of \"public\".\"" + name + "\" as they are")) << name;
  }
}

TEST_F(RowTriggers, ThatKeepRowsAsTheyAreNeedAKey) {
  client_->exec("CREATE TABLE b (id int, n int NOT NULL DEFAULT 0); INSERT INTO b SELECT generate_series(1, 900)");
  add_trigger("b", "BEFORE UPDATE", "RETURN NULL;");
  auto const refused = run_file("b", "{set: {n: 1}, where: n = 0}");
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("trigger \"b_x\" may keep rows"), HasSubstr("Give it a primary key")));
}

TEST_F(RowTriggers, ThatPutRowsIntoTheTableAreRefusedWhereThoseWouldBeChangedToo) {
  client_->exec(
      "CREATE TABLE h (id bigserial PRIMARY KEY, n int NOT NULL DEFAULT 0, old_of bigint); INSERT INTO h (n) SELECT 0 "
      "FROM generate_series(1, 500); CREATE TABLE b (id int, n int NOT NULL DEFAULT 0); INSERT INTO b SELECT "
      "generate_series(1, 500)");
  add_trigger("h", "AFTER UPDATE", "INSERT INTO h (n, old_of) VALUES (OLD.n, OLD.id); RETURN NULL;");
  add_trigger("b", "AFTER UPDATE", "INSERT INTO b VALUES (OLD.id, OLD.n); RETURN NULL;");
  auto const all = run_file("h", "{set: {n: n + 1}}");
  EXPECT_EQ(all.exit_code, kUsage);
  EXPECT_THAT(all.err, AllOf(HasSubstr("trigger \"h_x\" inserts rows into \"public\".\"h\" itself"),
                             HasSubstr("Write a `where` that leaves them out")));
  EXPECT_EQ(rows_of("h"), "500");
  auto const by_block = run_file("b", "{set: {n: 1}, where: n = 0}");
  EXPECT_EQ(by_block.exit_code, kUsage);
  EXPECT_THAT(by_block.err, HasSubstr("trigger \"b_x\" inserts rows into \"public\".\"b\" itself, which has no key"));
  auto const some = run_file("h", "{set: {n: n + 1}, where: old_of IS NULL AND n = 0}");
  EXPECT_EQ(some.exit_code, kDone) << some.err;
  EXPECT_THAT(some.err, HasSubstr("trigger \"h_x\" inserts rows into \"public\".\"h\" itself"));
  EXPECT_EQ(client_->value("SELECT string_agg(n || ':' || c, ' ' ORDER BY n) FROM (SELECT n, count(*) c FROM h GROUP "
                           "BY n) x"),
            "0:500 1:500");
}

TEST_F(RowTriggers, ARowInThePlaceOfADeletedOneStays) {
  client_->exec(
      "CREATE TABLE d (id int PRIMARY KEY, died int NOT NULL DEFAULT 0); INSERT INTO d SELECT generate_series(1, 900)");
  add_trigger("d", "AFTER DELETE", "INSERT INTO d VALUES (OLD.id, OLD.died + 1); RETURN NULL;");
  run_file("d", "{delete: true, where: id % 3 = 0}");
  EXPECT_EQ(
      client_->value("SELECT string_agg(died || ':' || c, ' ' ORDER BY died) FROM (SELECT died, count(*) c FROM d "
                     "GROUP BY died) x"),
      "0:600 1:300");
}

// The cursor would be another key: rows are changed twice, or never, or for ever.
class KeyTexts : public RowTriggers {
 protected:
  void SetUp() override {
    RowTriggers::SetUp();
    if (client_->value("SELECT count(*) FROM pg_available_extensions WHERE name = 'seg'") == "0") GTEST_SKIP();
    client_->exec("CREATE EXTENSION seg; CREATE DOMAIN part AS seg; CREATE TYPE pair AS (a int, s seg)");
  }
  void make(std::string const& type, std::string const& key) {
    client_->exec(
        fmt::format("DROP TABLE IF EXISTS k; CREATE TABLE k (id {} PRIMARY KEY, n int NOT NULL DEFAULT 0); "
                    "INSERT INTO k (id) SELECT {} FROM generate_series(1, 1500) g",
                    type, key));
  }
};

TEST_F(KeyTexts, OfSeveralKeysAreRefused) {
  for (auto const& [type, key] :
       std::vector<std::pair<std::string, std::string>>{{"seg", "((100000 + g * 0.125)::text)::seg"},
                                                        {"part", "((100000 + g * 0.125)::text)::seg"},
                                                        {"pair", "ROW(1, (100000 + g * 0.125)::text)::pair"},
                                                        {"seg[]", "ARRAY[((100000 + g * 0.125)::text)::seg]"}}) {
    make(type, key);
    for (char const* command : {"plan", "run"}) {
      write("k.yaml", "name: k\ntable: k\nbackfill: {set: {n: n + 1}}\n");
      auto const refused = run({command, "k.yaml"});
      EXPECT_EQ(refused.exit_code, kUsage) << type << refused.out << refused.err;
      EXPECT_THAT(refused.out + refused.err, HasSubstr("column \"id\" of the key is of type")) << type;
    }
  }
  EXPECT_EQ(client_->value("SELECT sum(n) FROM k"), "0");
}

TEST_F(KeyTexts, ThatTellKeysApartAreFine) {
  make("seg", "(g::text)::seg");
  auto const done = run_file("k", "{set: {n: n + 1}, batch: {min_rows: 20, max_rows: 20}}");
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT min(n) || ' ' || max(n) FROM k"), "1 1");
}

// Beyond what is looked at before a job begins.
TEST_F(KeyTexts, AreLookedAtWhereverAKeyIsWritten) {
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  EXPECT_EQ(client_->try_exec("SELECT pgbackfill.key_text('100000.125'::seg)"), "BF011");
  EXPECT_EQ(client_->try_exec("SELECT pgbackfill.key_text(ROW(1, '100000.125')::pair)"), "BF011");
  EXPECT_EQ(client_->value("SELECT pgbackfill.key_text('1.5'::part)"), "1.5");
}

}  // namespace
}  // namespace pgbackfill::tests
