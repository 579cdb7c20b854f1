// A folder of migrations: their order, where a run of it ends, what is refused before anything is touched, and the way
// back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <string>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class SequenceTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, 'n' || g FROM "
        "generate_series(1, 20) g");
    std::filesystem::create_directory(dir() / "db");
    write("db/notes.txt", "not a migration");
    write("db/9_a.yaml",
          "name: a\ntable: users\nexpand:\n  - add_column: {name: a, type: text}\nbackfill:\n  set: {a: "
          "upper(name)}\n  where: a IS NULL\n");
    write("db/10_b.yaml",
          "name: b\ntable: users\nexpand:\n  - add_column: {name: b, type: text}\nbackfill:\n  set: {b: "
          "upper(a)}\n  where: b IS NULL\ncontract:\n  - set_not_null: b\n  - drop_column: a\n");
    write("db/11_c.yaml", "name: c\ntable: users\nexpand:\n  - add_column: {name: c, type: text}\n");
  }
  std::string columns() const {
    return client_->value(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'users'::regclass AND "
        "attnum > 0 AND NOT attisdropped");
  }
  std::string stages() const {
    auto const result = run({"status", "db", "--format", "json"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    std::string text;
    auto const document = boost::json::parse(result.out);
    for (auto const& one : document.at("migrations").as_array()) {
      text += std::string(one.at("migration").as_string()) + " " + std::string(one.at("stage").as_string()) + "; ";
    }
    return text;
  }
};

TEST_F(SequenceTest, RunsInOrderAndStopsWhereSomebodyHasToComplete) {
  EXPECT_EQ(stages(), "a pending; b pending; c pending; ");
  EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t") << "to look makes nothing";
  auto const first = run({"run", "db"});
  EXPECT_EQ(first.exit_code, kDone) << first.err;
  EXPECT_THAT(first.out, HasSubstr("b waits for `pgbackfill complete b`; 1 file after it is not touched until then\n"));
  EXPECT_EQ(stages(), "a complete; b waits for complete; c pending; ");
  EXPECT_EQ(columns(), "id name a b");
  EXPECT_THAT(run({"status", "db"}).out, AllOf(HasSubstr("9_a.yaml"), HasSubstr("next: `pgbackfill complete b`")));
  auto const again = run({"run", "db"});
  EXPECT_EQ(again.exit_code, kDone);
  EXPECT_THAT(again.out, AllOf(HasSubstr("a is complete already"), HasSubstr("b waits for")));
  EXPECT_EQ(columns(), "id name a b");
  ASSERT_EQ(run({"complete", "b", "--yes"}).exit_code, kDone);
  auto const rest = run({"run", "db"});
  EXPECT_EQ(rest.exit_code, kDone) << rest.err;
  EXPECT_THAT(rest.out, HasSubstr("all 3 migrations of db are complete"));
  EXPECT_EQ(columns(), "id name b c");
  EXPECT_EQ(stages(), "a complete; b complete; c complete; ");
  EXPECT_THAT(run({"status", "db"}).out, HasSubstr("all are complete"));
}

TEST_F(SequenceTest, TellsTheEndToPrograms) {
  auto const result = run({"run", "db", "--format", "json"});
  EXPECT_EQ(result.exit_code, kDone);
  auto const last = result.out.substr(result.out.rfind('\n', result.out.size() - 2) + 1);
  auto const document = boost::json::parse(last).as_object();
  EXPECT_EQ(document.at("stopped_at").as_string(), "b");
  EXPECT_EQ(document.at("because").as_string(), "waits for complete");
  EXPECT_EQ(document.at("complete"), 1);
  EXPECT_EQ(document.at("left"), 2);
}

TEST_F(SequenceTest, StopsWhereOneFailsAndGoesOnThere) {
  client_->exec("ALTER TABLE users ADD CHECK (id <> 7 OR name = 'n7')");
  write("db/9_a.yaml", "name: a\ntable: users\nbackfill:\n  set: {name: \"name || 'x'\"}\n");
  auto const failed = run({"run", "db"});
  EXPECT_EQ(failed.exit_code, kFailed) << failed.err;
  EXPECT_THAT(failed.out, HasSubstr("stopped at a (db/9_a.yaml); 2 files after it were not touched"));
  EXPECT_EQ(columns(), "id name");
  EXPECT_EQ(stages(), "a begun; b pending; c pending; ");
  client_->exec("ALTER TABLE users DROP CONSTRAINT users_check");
  write("db/10_b.yaml", "name: b\ntable: users\nexpand:\n  - add_column: {name: b, type: text}\n");
  EXPECT_EQ(run({"run", "db"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id name b c");
}

TEST_F(SequenceTest, ReadsEveryFileBeforeItTouchesAnything) {
  struct {
    char const* text;
    char const* message;
  } const cases[] = {
      {"name: a\ntable: users\nexpand:\n  - add_column: {name: z, type: text}\n",
       "db/12_d.yaml: its name 'a' is that of db/9_a.yaml"},
      {"name: d\ntable: users\nexpnad: []\n", "db/12_d.yaml:3:1: unknown key 'expnad'"},
      {"name: d\ntable: users\nexpand:\n  - sql: ALTR TABLE users ADD x int\n", "db/12_d.yaml:4:"},
  };
  for (auto const& one : cases) {
    write("db/12_d.yaml", one.text);
    for (char const* command : {"run", "plan", "status"}) {
      auto const refused = run({command, "db"});
      EXPECT_EQ(refused.exit_code, kUsage) << command << one.text;
      EXPECT_THAT(refused.err, AllOf(HasSubstr(one.message), HasSubstr("nothing was touched"))) << command;
    }
  }
  EXPECT_EQ(columns(), "id name");
  EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  std::filesystem::create_directory(dir() / "empty");
  EXPECT_THAT(run({"run", "empty"}).err, HasSubstr("empty: there are no .yaml files in it"));
}

TEST_F(SequenceTest, PlansWhatCanBePlanned) {
  auto const text = run({"plan", "db"});
  EXPECT_EQ(text.exit_code, kDone) << text.err;
  EXPECT_LT(text.out.find("migration a (db/9_a.yaml)"), text.out.find("migration b (db/10_b.yaml)"));
  EXPECT_THAT(text.out, HasSubstr("migration c (db/11_c.yaml)"));
  auto const json = run({"plan", "db", "--format", "json"});
  EXPECT_EQ(boost::json::parse(json.out).as_object().at("plans").as_array().size(), 3U);
  EXPECT_THAT(run({"plan", "db", "--format", "markdown"}).out, HasSubstr("### pgbackfill plan of c"));
  EXPECT_EQ(columns(), "id name");
}

TEST_F(SequenceTest, RollsBackInReverseToTheOneThatStays) {
  write("db/10_b.yaml", "name: b\ntable: users\nexpand:\n  - add_column: {name: b, type: text}\n");
  ASSERT_EQ(run({"run", "db"}).exit_code, kDone);
  ASSERT_EQ(columns(), "id name a b c");
  EXPECT_EQ(run({"rollback", "db", "--yes"}).exit_code, kUsage) << "how far has to be said";
  EXPECT_THAT(run({"rollback", "db", "--to", "aa", "--yes"}).err,
              HasSubstr("no migration of the folder is called 'aa'"));
  auto const dry = run({"rollback", "db", "--to", "a", "--dry-run"});
  EXPECT_EQ(dry.exit_code, kDone) << dry.err;
  EXPECT_LT(dry.out.find("DROP COLUMN \"c\""), dry.out.find("DROP COLUMN \"b\""));
  EXPECT_THAT(dry.out, Not(HasSubstr("DROP COLUMN \"a\"")));
  auto const unconfirmed = run({"rollback", "db", "--to", "a"});
  EXPECT_EQ(unconfirmed.exit_code, kGateClosed);
  EXPECT_THAT(unconfirmed.err, HasSubstr("take back c, b, in this order"));
  EXPECT_EQ(columns(), "id name a b c") << "nothing was done so far";
  EXPECT_EQ(run({"rollback", "db", "--to", "a", "--yes"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id name a");
  EXPECT_EQ(stages(), "a complete; b pending; c pending; ");
  EXPECT_THAT(run({"rollback", "db", "--to", "c", "--yes"}).out, HasSubstr("there is nothing to take back"));
}

TEST_F(SequenceTest, RefusesARollbackPastComplete) {
  ASSERT_EQ(run({"run", "db"}).exit_code, kDone);
  ASSERT_EQ(run({"complete", "b", "--yes"}).exit_code, kDone);
  ASSERT_EQ(run({"run", "db"}).exit_code, kDone);
  for (char const* how : {"--yes", "--dry-run"}) {
    auto const refused = run({"rollback", "db", "--to", "a", how});
    EXPECT_EQ(refused.exit_code, kFailed);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("b has begun `complete`"), HasSubstr("cannot come back:"),
                                   HasSubstr("contract step 2: drop_column: {name: a, table: users}: "),
                                   HasSubstr("could be taken back by hand, in this order:"),
                                   // From 18 on NOT NULL is a constraint with a name.
                                   AnyOf(HasSubstr("ALTER COLUMN \"b\" DROP NOT NULL"),
                                         HasSubstr("DROP CONSTRAINT \"users_b_not_null\"")),
                                   HasSubstr("nothing was touched")));
  }
  EXPECT_EQ(columns(), "id name b c");
}

TEST_F(SequenceTest, ADryRunSaysWhatARollbackThenDoes) {
  client_->exec("ALTER TABLE users ADD COLUMN was_there text");
  write("m.yaml",
        "name: m\ntable: users\nexpand:\n  - add_column: {name: fresh, type: text}\n  - add_column: {name: was_there, "
        "type: text}\n  - sql: CREATE TABLE extra (id int)\n  - {sql: CREATE TABLE more (id int), down: DROP TABLE "
        "more}\nbackfill:\n  set: {fresh: upper(name)}\n  where: fresh IS NULL\n");
  EXPECT_THAT(run({"rollback", "m.yaml", "--dry-run"}).err, HasSubstr("no schema pgbackfill yet"));
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const dry = run({"rollback", "m", "--dry-run"});
  EXPECT_EQ(dry.exit_code, kDone) << dry.err;
  EXPECT_THAT(dry.out, AllOf(HasSubstr("nothing was done:\n  expand step 4: "), HasSubstr("    DROP TABLE more\n"),
                             HasSubstr("    stays: it has no `down:`\n"),
                             HasSubstr("    stays: it was so before this migration\n"),
                             HasSubstr("    ALTER TABLE \"public\".\"users\" DROP COLUMN \"fresh\"\n"),
                             HasSubstr("the backfill is forgotten")));
  EXPECT_EQ(columns(), "id name was_there fresh");
  EXPECT_EQ(client_->value("SELECT status FROM pgbackfill.jobs"), "complete");
  ASSERT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(columns(), "id name was_there");
  EXPECT_EQ(client_->value("SELECT to_regclass('more') IS NULL AND to_regclass('extra') IS NOT NULL"), "t");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.jobs"), "0");
}

}  // namespace
}  // namespace pgbackfill::tests
