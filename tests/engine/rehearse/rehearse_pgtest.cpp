// A migration is rehearsed from a profile alone: what is built, what is said, and what is refused before it begins.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr char kFile[] = R"yaml(name: users_display_name
table: public.users
expand:
  - add_column: {name: display_name, type: text}
sync:
  set: {display_name: "upper(name)"}
backfill:
  set: {display_name: "upper(name)"}
  where: "display_name IS NULL"
verify:
  - zero: "SELECT count(*) FROM users WHERE display_name IS NULL"
contract:
  - set_not_null: display_name
)yaml";

class RehearseTest : public DatabaseTest {
 protected:
  void SetUp() override {
    if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
    DatabaseTest::SetUp();
    write("users.yaml", kFile);
    empty_ = database_ + "_empty";
    client_->exec("CREATE DATABASE " + empty_);
  }
  void TearDown() override {
    if (client_) client_->exec("DROP DATABASE IF EXISTS " + empty_ + " WITH (FORCE)");
    DatabaseTest::TearDown();
  }

  void make_tables() const {
    client_->exec(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad'); CREATE DOMAIN positive AS int CHECK (value > 0); CREATE TABLE "
        "teams (id int PRIMARY KEY, title text NOT NULL); INSERT INTO teams SELECT g, 'team ' || g FROM "
        "generate_series(1, 50) g; CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, team_id int NOT NULL "
        "REFERENCES teams, feeling mood, age smallint CHECK (age >= 0 AND age < 150), amount positive, created_at "
        "timestamptz NOT NULL, born date, price numeric(10, 2), ok bool, uid uuid NOT NULL UNIQUE, mail varchar(40) "
        "UNIQUE, doc jsonb, raw bytea, tags text[], state text NOT NULL CHECK (state IN ('new', 'paid')), about text); "
        "INSERT INTO users SELECT g, 'user ' || g, 1 + g % 50, (ARRAY['sad', 'ok', 'glad'])[1 + g % 3]::mood, CASE "
        "WHEN g "
        "% 4 = 0 THEN NULL ELSE g % 100 END, 1 + g % 1000, now() - g * interval '1 min', current_date - g % 9000, g * "
        "0.37, g % 4 = 0, gen_random_uuid(), 'u' || g || '@example.org', jsonb_build_object('a', g), "
        "decode(md5(g::text), "
        "'hex'), ARRAY['x', 'y'], CASE WHEN g % 10 = 0 THEN 'paid' ELSE 'new' END, repeat('about ', g % 50) FROM "
        "generate_series(1, 20000) g; CREATE TABLE lines (user_id bigint REFERENCES users, line int, PRIMARY KEY "
        "(user_id, line)); INSERT INTO lines SELECT 1 + g / 3, g % 3 FROM generate_series(0, 29999) g; ANALYZE");
  }

  // It runs pg_dump three times, which a busy machine takes its time for.
  void take_profile(std::vector<std::string> const& options = {}) const {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM, "profile",     "users.yaml", "--dsn", dsn(),
                                      "--output",         "profile.json"};
    words.insert(words.end(), options.begin(), options.end());
    ProgramOptions program;
    program.working_dir = dir();
    auto const result = run_program(words, 300s, program);
    ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  }

  ProgramResult rehearse(std::vector<std::string> const& options) const {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM, "rehearse", "users.yaml", "--profile", "profile.json"};
    words.insert(words.end(), options.begin(), options.end());
    ProgramOptions program;
    program.working_dir = dir();
    return run_program(words, 300s, program);
  }

  std::string empty_dsn() const { return dsn() + " dbname=" + empty_; }

  std::string empty_;
};

TEST_F(RehearseTest, FromAProfileAloneSaysWhatToExpect) {
  make_tables();
  take_profile({"--sample"});
  auto const result = rehearse({"--rows", "5000", "--format", "json"});
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  auto const report = boost::json::parse(result.out);
  EXPECT_EQ(report.at("migration").as_string(), "users_display_name");
  EXPECT_EQ(report.at("rows_here").as_int64(), 5'000);
  EXPECT_EQ(report.at("rows_there").as_int64(), 20'000);
  EXPECT_EQ(report.at("rows_changed").as_int64(), 5'000);
  EXPECT_TRUE(report.at("is_complete").as_bool());
  EXPECT_FALSE(report.at("hardware_ratio").is_null());
  EXPECT_GT(report.at("wal_bytes_here").to_number<double>(), 5'000 * 20);
  EXPECT_GT(report.at("wal_bytes_there").to_number<double>(), report.at("wal_bytes_here").to_number<double>());
  std::vector<std::string> phases;
  for (auto const& phase : report.at("phases").as_array()) phases.emplace_back(phase.at("phase").as_string());
  EXPECT_THAT(phases, testing::ElementsAre("expand, sync", "backfill", "gate, verify", "contract"));
  auto const& total = report.at("total_ms");
  EXPECT_LT(total.at("low").to_number<double>(), total.at("expected").to_number<double>());
  EXPECT_LT(total.at("expected").to_number<double>(), total.at("high").to_number<double>());
  // Production is as it was.
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attname = 'display_name' AND attnum > 0"), "0");
}

TEST_F(RehearseTest, BuildsRowsThatAreLikeThoseOfProduction) {
  make_tables();
  take_profile();
  auto const result = rehearse({"--on", empty_dsn(), "--scale", "0.5"});
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  PgClient made(empty_dsn());
  EXPECT_EQ(made.value("SELECT count(*) FROM users"), "10000");
  EXPECT_EQ(made.value("SELECT count(*) FROM teams"), "25");
  EXPECT_EQ(made.value("SELECT count(*) FROM lines"), "15000");
  // All constraints are there, and hold.
  EXPECT_EQ(made.value("SELECT count(*) FROM pg_constraint WHERE contype IN ('f', 'c', 'p', 'u') AND convalidated AND "
                       "conrelid IN ('users'::regclass, 'lines'::regclass, 'teams'::regclass) AND conname NOT LIKE "
                       "'%display_name%'"),
            client_->value("SELECT count(*) FROM pg_constraint WHERE contype IN ('f', 'c', 'p', 'u') AND conrelid IN "
                           "('users'::regclass, 'lines'::regclass, 'teams'::regclass)"));
  EXPECT_EQ(made.value("SELECT count(DISTINCT user_id) BETWEEN 4500 AND 5500 FROM lines"), "t");
  EXPECT_EQ(made.value("SELECT count(*) FILTER (WHERE age IS NULL) BETWEEN 2200 AND 2800 FROM users"), "t");
  EXPECT_EQ(made.value("SELECT count(*) FILTER (WHERE ok) BETWEEN 2200 AND 2800 FROM users"), "t");
  EXPECT_EQ(made.value("SELECT count(DISTINCT feeling) FROM users"), "3");
  EXPECT_EQ(made.value("SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM users"), "new paid");
  EXPECT_EQ(made.value("SELECT corr(id, extract(epoch FROM created_at)) < -0.9 FROM users"), "t");
  EXPECT_EQ(made.value("SELECT abs(avg(length(about)) - 147) < 30 FROM users"), "t");
  EXPECT_EQ(made.value("SELECT max(created_at) <= now() FROM users"), "t");
}

TEST_F(RehearseTest, KeepsCommonValuesWhereTheProfileHasThem) {
  make_tables();
  take_profile({"--values", "statistics"});
  auto const result = rehearse({"--on", empty_dsn(), "--scale", "0.5"});
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  PgClient made(empty_dsn());
  EXPECT_EQ(made.value("SELECT count(*) FILTER (WHERE state = 'paid') BETWEEN 850 AND 1150 FROM users"), "t");
  EXPECT_EQ(made.value("SELECT count(*) FILTER (WHERE tags = '{x,y}') FROM users"), "10000");
}

TEST_F(RehearseTest, RunsBesideApplicationsThatWriteAsOftenAsThoseOfProduction) {
  make_tables();
  std::atomic<bool> is_over = false;
  std::thread application([&] {
    PgClient client(dsn());
    for (int number = 1; !is_over; ++number) {
      client.exec("UPDATE users SET age = 7 WHERE id = " + std::to_string(1 + number % 20'000));
      std::this_thread::sleep_for(5ms);
    }
  });
  take_profile();
  is_over = true;
  application.join();
  auto const result = rehearse({"--rows", "5000", "--traffic", "auto", "--format", "json"});
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  auto const report = boost::json::parse(result.out);
  std::vector<std::string> parts;
  for (auto const& part : report.at("traffic").as_array()) {
    parts.emplace_back(part.at("part").as_string());
    EXPECT_GT(part.at("statements").as_int64(), 0);
    EXPECT_EQ(part.at("failed").as_int64(), 0);
    EXPECT_GE(part.at("p99_ms").to_number<double>(), part.at("p50_ms").to_number<double>());
  }
  EXPECT_THAT(parts, testing::ElementsAre("before", "during", "after"));
}

TEST_F(RehearseTest, HasNoTrafficWhereTheProfileSawNone) {
  make_tables();
  take_profile();
  auto const result = rehearse({"--rows", "1000", "--traffic", "auto"});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("no traffic: the profile saw no writes"));
}

TEST_F(RehearseTest, LeavesAsMuchFreeSpaceAsThereIsInProduction) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, 'user ' || g FROM "
      "generate_series(1, 40000) g; DELETE FROM users WHERE id % 2 = 0");
  client_->exec("VACUUM ANALYZE users");
  take_profile();
  auto const result = rehearse({"--on", empty_dsn(), "--scale", "1"});
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  PgClient made(empty_dsn());
  EXPECT_EQ(made.value("SELECT reloptions = '{fillfactor=100}' FROM pg_class WHERE relname = 'users'"), "t");
  auto const there = std::stod(client_->value("SELECT pg_relation_size('users')"));
  auto const here = std::stod(made.value("SELECT pg_relation_size('users')"));
  // The backfill has used the space, instead of growing the table to twice its size.
  EXPECT_LT(std::abs(here - there), there * 0.4);
}

TEST_F(RehearseTest, LeavesOutAndNotesWhatMadeUpRowsDoNotSatisfy) {
  client_->exec(
      "CREATE DOMAIN email AS text CHECK (value LIKE '%@%'); CREATE TABLE users (id int PRIMARY KEY, name text CHECK "
      "(name LIKE 'user %'), mail email); INSERT INTO users SELECT g, 'user ' || g, g || '@example.org' FROM "
      "generate_series(1, 2000) g; ANALYZE users");
  take_profile();
  auto const result = rehearse({});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("made-up rows do not satisfy check users_name_check, which is left out here"),
                                HasSubstr("made-up rows do not satisfy check email_check, which is left out here")));
}

TEST_F(RehearseTest, FillsEveryPartition) {
  client_->exec(
      "CREATE TABLE users (id int, day date NOT NULL, name text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); "
      "CREATE "
      "TABLE users_1 PARTITION OF users FOR VALUES FROM ('2024-01-01') TO ('2024-07-01'); CREATE TABLE users_2 "
      "PARTITION "
      "OF users FOR VALUES FROM ('2024-07-01') TO ('2025-01-01') PARTITION BY HASH (id); CREATE TABLE users_2a "
      "PARTITION "
      "OF users_2 FOR VALUES WITH (modulus 2, remainder 0); CREATE TABLE users_2b PARTITION OF users_2 FOR VALUES WITH "
      "(modulus 2, remainder 1); INSERT INTO users SELECT g, date '2024-01-01' + g % 366, 'user ' || g FROM "
      "generate_series(1, 8000) g; ANALYZE");
  take_profile();
  auto const result = rehearse({"--on", empty_dsn(), "--scale", "0.5"});
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  PgClient made(empty_dsn());
  EXPECT_EQ(made.value("SELECT count(*) BETWEEN 1900 AND 2100 FROM users_1"), "t");
  EXPECT_EQ(made.value("SELECT count(*) BETWEEN 800 AND 1200 FROM users_2a"), "t");
  EXPECT_EQ(made.value("SELECT count(*) BETWEEN 800 AND 1200 FROM users_2b"), "t");
}

// A function that somebody planted in production must not reach the machine of whoever rehearses.
TEST_F(RehearseTest, RunsWhatTheSchemaBringsAlongWithoutTheRightsOfASuperuser) {
  client_->exec(
      "CREATE EXTENSION pg_trgm; CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT "
      "g, "
      "'user ' || g FROM generate_series(1, 2000) g; CREATE INDEX ON users USING gin (name gin_trgm_ops); CREATE "
      "FUNCTION "
      "plant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = "
      "session_user) THEN RAISE 'a superuser: %', session_user; END IF; RETURN NEW; END $$; CREATE TRIGGER plant "
      "BEFORE "
      "UPDATE ON users FOR EACH ROW EXECUTE FUNCTION plant(); ANALYZE users");
  take_profile();
  auto const result = rehearse({});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  EXPECT_THAT(result.out, testing::Not(HasSubstr("not made here")));
}

TEST_F(RehearseTest, RefusesAServerThatHasTheTables) {
  make_tables();
  take_profile();
  auto const before = dump_of_schema(dsn());
  auto const result = rehearse({"--on", dsn()});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("is on that server already, and a rehearsal would destroy it"));
  EXPECT_EQ(dump_of_schema(dsn()), before);
  EXPECT_EQ(client_->value("SELECT count(*) FROM users"), "20000");
}

TEST_F(RehearseTest, EndsWithThreeWhereALimitOfTheFileIsBroken) {
  make_tables();
  write("users.yaml", std::string(kFile) + "rehearse: {max_time: 1ms, max_growth: 10000%}\n");
  take_profile();
  auto const result = rehearse({"--rows", "2000"});
  EXPECT_EQ(result.exit_code, kGateClosed) << result.out << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("max_time: broken: "), HasSubstr("max_growth: kept: ")));
}

TEST_F(RehearseTest, SaysThatTheDiskIsTooSmallBeforeItBegins) {
  make_tables();
  take_profile();
  auto const result = rehearse({"--rows", "1000000000000"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, AllOf(HasSubstr("the rehearsal may take"), HasSubstr("nothing was built")));
}

TEST_F(RehearseTest, RefusesAProfileThatIsNoneOrOfAnotherMigration) {
  make_tables();
  write("profile.json", "{}");
  EXPECT_THAT(rehearse({}).err, HasSubstr("profile.json: it is no profile"));
  take_profile();
  write("users.yaml", "name: other\ntable: public.users\nbackfill:\n  set: {name: \"upper(name)\"}\n");
  auto const result = rehearse({});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("the profile is of migration 'users_display_name'"));
}

TEST_F(RehearseTest, NamesWhatItCannotMakeUpAndTakesSqlForIt) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, name text, area polygon NOT NULL); INSERT INTO users SELECT g, 'n', "
      "'((0,0),(0,1),(1,1))' FROM generate_series(1, 1000) g; ANALYZE");
  take_profile();
  auto const refused = rehearse({});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("public.users.area: values of type polygon cannot be made up"),
                                 HasSubstr("nothing was built")));
  write("users.yaml",
        std::string(kFile) + "rehearse:\n  values: {public.users.area: \"polygon(circle(point(n, n), 1))\"}\n");
  auto const result = rehearse({});
  EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
}

}  // namespace
}  // namespace pgbackfill::tests
