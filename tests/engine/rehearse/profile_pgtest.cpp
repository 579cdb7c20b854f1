// What `profile` takes of a production database, and what it leaves there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <variant>

#include "engine/rehearse/profile_file.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kFile[] = R"yaml(name: users_display_name
table: public.users
expand:
  - add_column: {name: display_name, type: text}
backfill:
  set: {display_name: "upper(name)"}
)yaml";

class ProfileTest : public DatabaseTest {
 protected:
  void SetUp() override {
    if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
    DatabaseTest::SetUp();
    write("users.yaml", kFile);
  }

  // Names and numbers that nothing but a row could bring into a text.
  void make_tables() const {
    client_->exec(
        "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE teams (id int PRIMARY KEY, title text NOT NULL); "
        "INSERT "
        "INTO teams VALUES (1, 'Quetzalcoatl'), (2, 'Quetzalcoatl two'); CREATE TABLE users (id bigint PRIMARY KEY, "
        "name text NOT NULL, team_id int REFERENCES teams, feeling mood, born date, salary numeric(12, 2), visits int, "
        "mail varchar(60), doc jsonb); INSERT INTO users SELECT 77770000 + g, 'Popocatepetl ' || g % 40, 1 + g % 2, "
        "'sad', date '1987-06-05' + g % 50, 98765.43 + g, 31415926 + g % 90, 'xochimilco' || g || '@example.org', "
        "jsonb_build_object('tenochtitlan', g) FROM generate_series(1, 5000) g; CREATE TABLE visits (user_id bigint "
        "REFERENCES users, place text); INSERT INTO visits SELECT 77770001, 'Teotihuacan'; ANALYZE");
  }

  std::string profile(std::vector<std::string> const& options) const {
    std::vector<std::string> words = {PGBACKFILL_PROGRAM, "profile",     "users.yaml", "--dsn", dsn(),
                                      "--output",         "profile.json"};
    words.insert(words.end(), options.begin(), options.end());
    ProgramOptions program;
    program.working_dir = dir();
    // Nothing of its own environment says where to connect.
    program.environment = {{"DATABASE_URL", ""}, {"PGHOST", "/nowhere"}};
    auto const result = run_program(words, std::chrono::seconds(300), program);
    EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
    std::ifstream file(dir() / "profile.json");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  static engine::Profile read(std::string const& text) {
    auto profile = engine::read_profile_text(text);
    EXPECT_TRUE(std::holds_alternative<engine::Profile>(profile)) << text;
    return std::get<engine::Profile>(std::move(profile));
  }
};

constexpr char const* kOfRows[] = {"Quetzalcoatl", "Popocatepetl", "1987-06",      "1987-07",
                                   "98765",        "10376",        "314159",       "31416",
                                   "7777",         "xochimilco",   "tenochtitlan", "Teotihuacan"};

TEST_F(ProfileTest, HasNoStringOfTheRowsUnlessItIsAskedFor) {
  make_tables();
  auto const without = profile({});
  for (char const* text : kOfRows) EXPECT_THAT(without, Not(HasSubstr(text)));
  auto const with = profile({"--values", "statistics"});
  EXPECT_THAT(with, AllOf(HasSubstr("Popocatepetl"), HasSubstr("1987-06"), HasSubstr("314159")));
}

TEST_F(ProfileTest, HasTheSchemaOfWhatTheMigrationTouchesAndItsNeighbours) {
  make_tables();
  client_->exec("CREATE TABLE elsewhere (id int)");
  auto const taken = read(profile({}));
  std::vector<std::string> names;
  for (auto const& table : taken.tables) names.push_back(table.table.name);
  EXPECT_THAT(names, ElementsAre("teams", "users", "visits"));
  EXPECT_THAT(taken.schema.objects, HasSubstr("CREATE TYPE public.mood AS ENUM"));
  EXPECT_THAT(taken.schema.tables, AllOf(HasSubstr("CREATE TABLE public.users"), Not(HasSubstr("elsewhere"))));
  EXPECT_THAT(taken.schema.rest, HasSubstr("FOREIGN KEY (team_id) REFERENCES public.teams(id)"));
}

TEST_F(ProfileTest, HasTheStatisticsOfEachColumn) {
  make_tables();
  auto const taken = read(profile({}));
  auto const& users = taken.tables.at(1);
  EXPECT_TRUE(users.is_touched);
  EXPECT_EQ(users.rows, 5'000);
  EXPECT_THAT(users.unique_keys, ElementsAre(ElementsAre("id")));
  auto const& name = users.columns.at(1);
  EXPECT_EQ(name.distinct, 40);
  EXPECT_EQ(name.widths.size(), planner::kWidthTenths);
  EXPECT_EQ(name.widths.front(), 14);
  auto const& mail = users.columns.at(7);
  EXPECT_EQ(mail.plain, "varchar");
  EXPECT_EQ(mail.max_length, 60);
  EXPECT_EQ(users.columns.at(3).labels, (std::vector<std::string>{"sad", "glad"}));
  EXPECT_EQ(users.columns.at(5).max_digits, 10);
  EXPECT_EQ(users.foreign_keys.at(0).parent.name, "teams");
  EXPECT_EQ(taken.work_rows, 5'000);
  EXPECT_FALSE(taken.batch);
  EXPECT_GT(taken.commit_milliseconds, 0);
}

TEST_F(ProfileTest, MeasuresABatchWhereItIsAskedToAndChangesNothing) {
  make_tables();
  auto const before = dump_of_schema(dsn());
  auto const taken = read(profile({"--sample"}));
  ASSERT_TRUE(taken.batch);
  EXPECT_GT(taken.batch->rows, 0);
  EXPECT_EQ(dump_of_schema(dsn()), before);
}

TEST_F(ProfileTest, KeepsNoPasswordOfForeignServers) {
  make_tables();
  client_->exec(
      "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER remote FOREIGN DATA WRAPPER far; CREATE USER MAPPING FOR "
      "postgres "
      "SERVER remote OPTIONS (password 'Huitzilopochtli')");
  EXPECT_THAT(profile({}), Not(HasSubstr("Huitzilopochtli")));
}

TEST_F(ProfileTest, SaysWhatTheRoleMayNotDo) {
  make_tables();
  client_->exec("CREATE ROLE profiler LOGIN");
  auto const result = run_program({PGBACKFILL_PROGRAM, "profile", (dir() / "users.yaml").string(), "--dsn",
                                   dsn("profiler"), "--output", (dir() / "p.json").string()},
                                  std::chrono::seconds(300));
  client_->exec("DROP ROLE profiler");
  // Whoever may not even lock the tables for pg_dump is told so.
  EXPECT_EQ(result.exit_code, kFailed) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("pg_dump"), HasSubstr("permission denied")));
}

TEST_F(ProfileTest, RefusesAMigrationWhoseTablesAreNotThere) {
  auto const result = run({"profile", "users.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("none of its tables is in this database"));
}

}  // namespace
}  // namespace pgbackfill::tests
