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

}  // namespace
}  // namespace pgbackfill::tests
