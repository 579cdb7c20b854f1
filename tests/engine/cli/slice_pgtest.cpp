// A first slice of the work: tried and rolled back, or so many rows, from which a later run goes on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Slice : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL, n int NOT NULL DEFAULT 0, upper_name text); INSERT "
        "INTO t (id, name) SELECT g, 'row ' || g FROM generate_series(1, 20000) g; ANALYZE t");
  }
  ProgramResult start(std::string const& sections, std::vector<std::string> const& options) {
    write("m.yaml", "name: m\ntable: t\n" + sections);
    std::vector<std::string> words = {"run", "m.yaml"};
    words.insert(words.end(), options.begin(), options.end());
    return run(words);
  }
  std::string value(std::string const& sql) { return client_->value(sql); }
  std::string counted() {
    return value("SELECT string_agg(n || ': ' || c, ', ' ORDER BY n) FROM (SELECT n, count(*) c FROM t GROUP BY n) x");
  }
};

// --- --dry-run -------------------------------------------------------------------------------------------------------

using DryRun = Slice;

TEST_F(DryRun, ShowsRowsBeforeAndBehindAndLeavesThemAsTheyWere) {
  auto const result = start("backfill: {set: {upper_name: upper(name)}, where: upper_name IS NULL}\n", {"--dry-run"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("20,000 rows satisfy `where`, counted"), HasSubstr("1,000 changed in"),
                                HasSubstr("row      1: upper_name: null -> \"ROW 1\""), HasSubstr("row      5: "),
                                Not(HasSubstr("row      6: ")), HasSubstr("not      the other rows")));
  EXPECT_EQ(value("SELECT count(upper_name) FROM t"), "0");
  EXPECT_EQ(value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t") << "it makes no state";
}

TEST_F(DryRun, IsOfEveryKindOfWork) {
  client_->exec("CREATE TABLE c (id bigint PRIMARY KEY, label text); CREATE TABLE a (LIKE t)");
  for (auto const& [work, text] : std::vector<std::pair<std::string, std::string>>{
           {"{delete: true, where: id > 15000}", "row      15001: goes: {\"n\":0"},
           {"{copy_to: c, columns: {id: id, label: upper(name)}}", "row      1: id: 1, label: \"ROW 1\""},
           {"{sql: \"UPDATE t SET n = t.n + 1 FROM c RIGHT JOIN (VALUES (1)) v (x) ON c.id = x WHERE {batch:t}\"}",
            "row      1: n: 0 -> 1"},
           {"{sql: \"WITH gone AS (DELETE FROM t WHERE id % 2 = 0 AND {batch:t} RETURNING *) INSERT INTO a SELECT * "
            "FROM "
            "gone\"}",
            "row      2: goes: "},
           {"{compute: {read: {name: name}, write: [upper_name], command: [sh, -c, \"exit 3\"]}}", "answer   "}}) {
    auto const result = start("backfill: " + work + "\n", {"--dry-run"});
    EXPECT_EQ(result.exit_code, kDone) << work << result.out << result.err;
    EXPECT_THAT(result.out, HasSubstr(text)) << work;
  }
  EXPECT_EQ(value("SELECT count(*) FROM t") + value("SELECT count(*) FROM c") + value("SELECT count(*) FROM a"),
            "2000000");
  EXPECT_EQ(counted(), "0: 20000");
}

TEST_F(DryRun, SaysWhatTheServerSaysOfTheRows) {
  auto const failed = start("backfill: {set: {n: 10 / (id - 700)}}\n", {"--dry-run"});
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_THAT(failed.out, HasSubstr("failed: division by zero (22012)"));
  auto const refused = start("backfill: {set: {missing: \"1\"}}\n", {"--dry-run"});
  EXPECT_EQ(refused.exit_code, kUsage);
  auto const later =
      start("expand: [{add_column: {name: missing, type: int}}]\nbackfill: {set: {missing: \"1\"}}\n", {"--dry-run"});
  EXPECT_EQ(later.exit_code, kGateClosed);
  EXPECT_THAT(later.err, HasSubstr("steps of expand may make it"));
  auto const none = start("backfill: {set: {n: n + 1}, where: id < 0}\n", {"--dry-run"});
  EXPECT_EQ(none.exit_code, kDone);
  EXPECT_THAT(none.out, HasSubstr("no row to be changed was found"));
}

TEST_F(DryRun, IsAlsoForPrograms) {
  auto const result =
      start("backfill: {set: {n: n + 1}, where: n = 0}\n", {"--dry-run", "--limit", "10", "--format", "json"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  auto const document = boost::json::parse(result.out).as_object();
  auto const& tried = document.at("tried").as_object();
  EXPECT_EQ(document.at("rows_left").to_number<int>(), 20000);
  EXPECT_EQ(tried.at("rows").to_number<int>(), 10);
  EXPECT_EQ(tried.at("changed").to_number<int>(), 10);
  EXPECT_EQ(boost::json::parse(R"({"key":"1","before":{"n":0},"after":{"n":1}})"),
            tried.at("rows_shown").as_array().at(0));
}

// --- --limit ---------------------------------------------------------------------------------------------------------

using Limit = Slice;

constexpr char kCountUp[] = "backfill: {set: {n: n + 1}, workers: 3}\n";

TEST_F(Limit, ChangesSoManyRowsAndALaterRunTheOthersOnce) {
  auto const first = start(kCountUp, {"--limit", "1234"});
  EXPECT_EQ(first.exit_code, kResumable) << first.err;
  EXPECT_THAT(first.err, AllOf(HasSubstr("1234 row(s) are changed, as many as --limit allows"), HasSubstr("to go on")));
  EXPECT_EQ(counted(), "0: 18766, 1: 1234");
  auto const second = start(kCountUp, {"--limit", "1"});
  EXPECT_EQ(second.exit_code, kResumable);
  EXPECT_EQ(counted(), "0: 18765, 1: 1235");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kGateClosed);
  auto const rest = start(kCountUp, {});
  EXPECT_EQ(rest.exit_code, kDone) << rest.err;
  EXPECT_EQ(counted(), "1: 20000");
}

TEST_F(Limit, CountsRowsThatAreChangedNotThoseThatArePassed) {
  std::string const sections = "backfill: {set: {n: n + 1}, where: \"id % 10 = 0 AND n = 0\"}\n";
  EXPECT_EQ(start(sections, {"--limit", "300"}).exit_code, kResumable);
  EXPECT_EQ(value("SELECT sum(n) FROM t"), "300");
  EXPECT_EQ(start(sections, {"--limit", "1701"}).exit_code, kDone) << "there are 1,700 more";
  EXPECT_EQ(value("SELECT sum(n) FROM t"), "2000");
}

TEST_F(Limit, HoldsForEveryKindOfWork) {
  client_->exec("CREATE TABLE c (id bigint PRIMARY KEY)");
  for (auto const& [name, work, count] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"copies", "{copy_to: c, columns: {id: id}}", "SELECT count(*) FROM c"},
           {"joins", "{sql: \"UPDATE t SET n = 1 WHERE {batch:t}\"}", "SELECT sum(n) FROM t"},
           {"deletes", "{delete: true, where: n = 0}", "SELECT 20000 - count(*) FROM t"}}) {
    write(name + ".yaml", "name: " + name + "\ntable: t\nbackfill: " + work + "\n");
    auto const result = run({"run", name + ".yaml", "--limit", "77"});
    EXPECT_EQ(result.exit_code, kResumable) << name << result.err;
    EXPECT_EQ(value(count), "77") << name;
  }
}

TEST_F(Limit, AKilledRunLosesNothingOfIt) {
  write("m.yaml", std::string("name: m\ntable: t\n") +
                      "backfill: {set: {n: n + 1}, batch: {max_rows: 50}}\nthrottle: {max_rows_per_second: 2000}\n");
  Program killed({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn(), "--limit", "19000"});
  killed.wait_for_output("rows/s");
  killed.signal(9);
  killed.wait();
  EXPECT_EQ(start(kCountUp, {"--limit", "100"}).exit_code, kResumable);
  EXPECT_EQ(start(kCountUp, {}).exit_code, kDone);
  EXPECT_EQ(counted(), "1: 20000");
}

}  // namespace
}  // namespace pgbackfill::tests
