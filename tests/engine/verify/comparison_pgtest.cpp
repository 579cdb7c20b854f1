// `agrees` on a real server: compared page by page, throttled, cut short and taken up again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int kRows = 3'000;

class ComparisonTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, display text); INSERT INTO users SELECT g, 'name ' "
        "|| g, 'NAME ' || g FROM generate_series(1, " +
        std::to_string(kRows) + ") g; ANALYZE users");
    ASSERT_EQ(run_program({PGBACKFILL_PROGRAM, "init", "--dsn", dsn()}).exit_code, kDone);
  }

  void write_file(std::string const& more = "") const {
    write("m.yaml", "name: m\ntable: users\nverify:\n  - agrees: {set: {display: upper(name)}}\n" + more);
  }
  Program start(std::vector<std::string> words = {"verify", "m.yaml"}) const {
    ProgramOptions options;
    options.working_dir = dir();
    words.insert(words.begin(), PGBACKFILL_PROGRAM);
    words.insert(words.end(), {"--dsn", dsn()});
    return Program(words, options);
  }
  std::int64_t compared() const {
    return std::stoll(client_->value("SELECT coalesce(sum(rows_compared), 0) FROM pgbackfill.comparisons"));
  }
  // A page or so, of many.
  bool is_under_way() const {
    return poll_until([&] { return compared() > 0; });
  }
};

// One page a second and less: there is time to look at it.
constexpr char kSlow[] = "throttle: {max_rows_per_second: 300}\n";

TEST_F(ComparisonTest, ShowsTheFirstKeysThatDisagreeWithOldAndNew) {
  client_->exec("UPDATE users SET display = NULL WHERE id = 7; UPDATE users SET display = 'it''s' WHERE id > 2980");
  write_file();
  auto const result = run({"verify", "m.yaml"});
  EXPECT_EQ(result.exit_code, kGateClosed) << result.err;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("FAILED agrees: users (display): 21 of 3000 row(s) do not agree, for example "
                              "row 7 of \"public\".\"users\": display is NULL and should be 'NAME 7'\n"),
                    HasSubstr("row 2981 of \"public\".\"users\": display is 'it''s' and should be 'NAME 2981'\n"),
                    HasSubstr("row 2989 of"), Not(HasSubstr("row 2990 of"))));
  auto const document = boost::json::parse(run({"verify", "m.yaml", "--format", "json"}).out).as_object();
  auto const& check = document.at("checks").as_array().at(0).as_object();
  EXPECT_EQ(check.at("rows_compared"), kRows);
  auto const& rows = check.at("differing").as_array();
  ASSERT_EQ(rows.size(), 10U);
  auto const& first = rows[0].as_object();
  EXPECT_EQ(first.at("key"), boost::json::parse(R"(["7"])"));
  EXPECT_EQ(first.at("values"), boost::json::parse(R"([{"column": "display", "found": null, "expected": "NAME 7"}])"));
}

TEST_F(ComparisonTest, ARoundedValueAgreesWithWhatWasAssigned) {
  client_->exec(
      "CREATE TABLE prices (a int, b text, net float8, gross numeric(10,2), small real, short varchar(3), at "
      "timestamptz, day date, PRIMARY KEY (b, a)); INSERT INTO prices SELECT g % 7, 'k' || g, g / 3.0, g / 3.0 * 1.19, "
      "g / 3.0, left('k' || g, 3), now(), now() FROM generate_series(1, 300) g");
  write(
      "m.yaml",
      "name: m\ntable: prices\nverify:\n  - agrees: {set: {gross: net * 1.19, small: net, short: \"left(b, 3)\", day: "
      "at}}\n");
  auto const result = run({"verify", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  client_->exec("UPDATE prices SET gross = gross + 0.01 WHERE b = 'k5'");
  EXPECT_THAT(run({"verify", "m.yaml"}).out, HasSubstr("row (k5, 5) of \"public\".\"prices\": gross is "));
}

TEST_F(ComparisonTest, GoesOverAllPartitionsAndTablesWithoutKeys) {
  client_->exec(
      "CREATE TABLE parts (id int, v int, w int) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR "
      "VALUES FROM (0) TO (50); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (1000); CREATE TABLE "
      "parts_3 PARTITION OF parts FOR VALUES FROM (1000) TO (2000); ALTER TABLE parts_1 ADD PRIMARY KEY (id); INSERT "
      "INTO parts SELECT g, g, g FROM generate_series(1, 999) g");
  write("m.yaml", "name: m\ntable: parts\nverify:\n  - agrees: {set: {w: v}}\n");
  auto const held = run({"verify", "m.yaml"});
  EXPECT_EQ(held.exit_code, kDone) << held.err;
  EXPECT_THAT(held.out, HasSubstr("999 row(s) agree"));
  client_->exec("UPDATE parts SET w = 0 WHERE id IN (49, 50, 998)");
  EXPECT_THAT(run({"verify", "m.yaml"}).out,
              AllOf(HasSubstr("3 of 999 row(s) do not agree"), HasSubstr("row 49 of \"public\".\"parts_1\""),
                    HasSubstr(") of \"public\".\"parts_2\"")));
}

TEST_F(ComparisonTest, ATableWithoutAKeyIsReadToItsLastBlock) {
  client_->exec("CREATE TABLE heap AS SELECT g AS v, g AS w, repeat('x', 500) AS pad FROM generate_series(1, 2000) g");
  write("m.yaml", "name: m\ntable: heap\nverify:\n  - agrees: {set: {w: v}, where: v > 10}\n");
  auto const held = run({"verify", "m.yaml"});
  EXPECT_EQ(held.exit_code, kDone) << held.err;
  EXPECT_THAT(held.out, HasSubstr("1990 row(s) agree"));
  client_->exec("UPDATE heap SET w = 0 WHERE v IN (1, 11, 2000)");
  EXPECT_THAT(run({"verify", "m.yaml"}).out, HasSubstr("2 of 1990 row(s) do not agree, for example row ("));
}

TEST_F(ComparisonTest, ARowWhoseExpressionFailsIsAFailureWithItsPlace) {
  write("m.yaml", "name: m\ntable: users\nverify:\n  - agrees: {set: {id: 1000 / (id - 2900)}, where: id > 2000}\n");
  auto const result = run({"verify", "m.yaml"});
  EXPECT_EQ(result.exit_code, kGateClosed) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("after key "), HasSubstr("division by zero (22012)")));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.comparisons"), "0");
}

TEST_F(ComparisonTest, ACompleteThatIsInterruptedMeanwhileIsResumable) {
  write_file(std::string(kSlow) + "contract:\n  - set_not_null: display\n");
  auto program = start({"complete", "m.yaml"});
  ASSERT_TRUE(poll_until([&] {
    return client_->value(
               "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND query LIKE "
               "'%upper(name)%'") != "0";
  }));
  program.signal(SIGINT);
  auto const cut_short = program.wait();
  EXPECT_EQ(cut_short.exit_code, kResumable) << cut_short.err;
  EXPECT_THAT(cut_short.err, HasSubstr("and the same command begins with the first one again"));
  EXPECT_EQ(client_->value("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = "
                           "'display'"),
            "f");
}

TEST_F(ComparisonTest, InterruptedOrKilledItGoesOnWhereItWas) {
  for (int const signal : {SIGINT, SIGKILL}) {
    write_file(kSlow);
    auto program = start();
    ASSERT_TRUE(is_under_way());
    program.signal(signal);
    auto const cut_short = program.wait();
    auto const before = compared();
    EXPECT_GT(before, 0);
    EXPECT_LT(before, kRows);
    if (signal == SIGINT) {
      EXPECT_EQ(cut_short.exit_code, 4) << cut_short.err;
      EXPECT_THAT(cut_short.err, HasSubstr("interrupted; " + std::to_string(before) +
                                           " row(s) were compared, and `pgbackfill verify m` goes on there"));
    }
    // What is compared is not looked at again.
    client_->exec("UPDATE users SET display = 'x' WHERE id = 1");
    write_file();
    auto const rest = run({"verify", "m.yaml"});
    EXPECT_EQ(rest.exit_code, kDone) << rest.out << rest.err;
    EXPECT_THAT(rest.err, HasSubstr("goes on after " + std::to_string(before) + " row(s)"));
    EXPECT_THAT(rest.out, HasSubstr("3000 row(s) agree, begun 20"));
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.comparisons"), "0");
    auto const anew = run({"verify", "m.yaml"});
    EXPECT_EQ(anew.exit_code, kGateClosed);
    EXPECT_THAT(anew.out, HasSubstr("1 of 3000 row(s) do not agree, for example"));
    client_->exec("UPDATE users SET display = upper(name)");
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.events WHERE kind = 'verified'"), "4");
}

TEST_F(ComparisonTest, ALostConnectionIsMadeAnewAndThePageReadAgain) {
  write_file(kSlow);
  auto program = start();
  ASSERT_TRUE(is_under_way());
  // Both that read rows and that keep the place, three times over.
  for (int time = 0; time < 3; ++time) {
    auto const before = compared();
    ASSERT_NE(client_->value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = "
                             "'pgbackfill' AND datname = current_database()"),
              "0");
    ASSERT_TRUE(poll_until([&] { return compared() > before; }));
  }
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("the connection was lost, and is there again"));
  EXPECT_THAT(result.out, HasSubstr("3000 row(s) agree\n"));
}

TEST_F(ComparisonTest, GoesOnWhenTheServerWasRestarted) {
  client_->exec("UPDATE users SET display = 'x' WHERE id = 2999");
  write_file(kSlow);
  auto program = start();
  ASSERT_TRUE(is_under_way());
  cluster_->restart_primary();
  client_ = std::make_unique<PgClient>(dsn());
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kGateClosed) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("the connection was lost"));
  EXPECT_THAT(result.out, HasSubstr("1 of 3000 row(s) do not agree, for example row 2999"));
}

TEST_F(ComparisonTest, GivesUpWithItsPlaceWhenTheServerDoesNotComeBack) {
  write_file(kSlow);
  auto program = start({"verify", "m.yaml", "--wait-for-server", "200ms"});
  ASSERT_TRUE(is_under_way());
  auto const before = compared();
  cluster_->stop_primary();
  auto const result = program.wait();
  cluster_->start_primary();
  client_ = std::make_unique<PgClient>(dsn());
  EXPECT_EQ(result.exit_code, 4) << result.out << result.err;
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("agrees: users (display): after key "), HasSubstr(" of \"public\".\"users\""),
                    HasSubstr("the connection was lost, and did not come back within 200ms: cannot connect"),
                    HasSubstr("`pgbackfill verify m` goes on where it was kept last")));
  EXPECT_GE(compared(), before);
  write_file();
  auto const rest = run({"verify", "m.yaml"});
  EXPECT_EQ(rest.exit_code, kDone) << rest.err;
  EXPECT_THAT(rest.out, HasSubstr("3000 row(s) agree, begun 20"));
}

TEST_F(ComparisonTest, ACheckOfOneStatementIsAskedAgain) {
  write("m.yaml", "name: m\ntable: users\nverify:\n  - zero: SELECT 0 FROM pg_advisory_xact_lock_shared(7)\n");
  PgClient holder(dsn());
  holder.exec("SELECT pg_advisory_lock(7)");
  auto const waiting =
      "FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND datname = current_database() "
      "AND wait_event = 'advisory'";
  auto program = start();
  ASSERT_TRUE(poll_until([&] { return client_->value(std::string("SELECT count(*) ") + waiting) == "1"; }));
  client_->exec(std::string("SELECT pg_terminate_backend(pid) ") + waiting);
  ASSERT_TRUE(poll_until([&] { return client_->value(std::string("SELECT count(*) ") + waiting) == "1"; }));
  holder.exec("SELECT pg_advisory_unlock(7)");
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
}

TEST_F(ComparisonTest, AnotherComparisonBeginsAnew) {
  write_file(kSlow);
  auto program = start();
  ASSERT_TRUE(is_under_way());
  program.signal(SIGINT);
  ASSERT_EQ(program.wait().exit_code, 4);
  client_->exec("UPDATE users SET display = lower(name)");
  write("m.yaml", "name: m\ntable: users\nverify:\n  - agrees: {set: {display: lower(name)}}\n");
  auto const result = run({"verify", "m.yaml"});
  EXPECT_THAT(result.out, HasSubstr("3000 row(s) agree\n"));
  EXPECT_THAT(result.err, Not(HasSubstr("goes on")));
}

TEST_F(ComparisonTest, RestartForgetsWhereItWas) {
  write_file(kSlow);
  auto program = start();
  ASSERT_TRUE(is_under_way());
  program.signal(SIGINT);
  ASSERT_EQ(program.wait().exit_code, 4);
  client_->exec("UPDATE users SET display = 'x' WHERE id = 1");
  write_file();
  auto const result = run({"verify", "m.yaml", "--restart"});
  EXPECT_EQ(result.exit_code, kGateClosed);
  EXPECT_THAT(result.out, HasSubstr("1 of 3000 row(s) do not agree, for example"));
}

TEST_F(ComparisonTest, WhoComesSecondTakesOver) {
  write_file(kSlow);
  auto first = start();
  ASSERT_TRUE(is_under_way());
  write_file();
  auto const second = run({"verify", "m.yaml"});
  EXPECT_EQ(second.exit_code, kDone) << second.err;
  auto const gone = first.wait();
  EXPECT_EQ(gone.exit_code, 4) << gone.err;
  EXPECT_THAT(gone.err, HasSubstr("another `pgbackfill verify m` has taken this one's place"));
}

TEST_F(ComparisonTest, WaitsWhileAGuardSaysStopAndSaysSo) {
  client_->exec("CREATE TABLE stop (n int); INSERT INTO stop VALUES (1)");
  write_file("probes:\n  - {name: stop, sql: SELECT n FROM stop, max: 0, interval: 200ms, timeout: 200ms}\n");
  auto program = start();
  EXPECT_TRUE(program.wait_for_output("0 row(s) compared, 0 differ; held back:"));
  EXPECT_EQ(compared(), 0);
  EXPECT_TRUE(program.is_running());
  client_->exec("UPDATE stop SET n = 0");
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
}

TEST_F(ComparisonTest, HearsWhatIsSetLive) {
  std::string const backfill = "backfill: {set: {display: upper(name)}}\n";
  write_file(backfill);
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  write_file(backfill + "throttle: {max_rows_per_second: 1}\n");
  auto program = start();
  ASSERT_TRUE(is_under_way());
  ASSERT_EQ(run({"set", "m", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("3000 row(s) agree"));
}

TEST_F(ComparisonTest, NoSnapshotLastsLongerThanAPage) {
  // Each row takes 2 ms: one statement over the table would take six seconds.
  client_->exec(
      "CREATE FUNCTION slowly(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) FROM pg_sleep(0.002) $$");
  write("m.yaml", "name: m\ntable: users\nverify:\n  - agrees: {set: {display: slowly(name)}}\n");
  auto program = start();
  std::string last;
  int pages = 0;
  while (program.is_running()) {
    auto const page = client_->value(
        "SELECT coalesce(max(query_start::text), '') FROM pg_stat_activity WHERE datname = current_database() AND "
        "query "
        "LIKE '%FILTER (WHERE%' AND pid <> pg_backend_pid()");
    if (page != last) ++pages;
    last = page;
  }
  EXPECT_EQ(program.wait().exit_code, kDone);
  EXPECT_GT(pages, 5);
}

TEST_F(ComparisonTest, TheGateComparesWithoutAPlaceToKeepIt) {
  write_file("backfill: {set: {display: upper(name)}}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("UPDATE users SET display = 'x' WHERE id = 12");
  auto const closed = run({"gate", "m"});
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out,
              HasSubstr("1 of 3000 row(s) do not agree, for example row 12 of \"public\".\"users\": display is 'x'"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.comparisons"), "0");
}

}  // namespace
}  // namespace pgbackfill::tests
