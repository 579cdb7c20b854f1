// Connection strings as other tools have them, where a server answers: what they mean to a session, and who wins.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class DsnTest : public DatabaseTest {
 protected:
  std::string server() const { return "127.0.0.1:" + std::to_string(cluster_->port()) + "/" + database_; }

  ProgramResult run_with(std::vector<std::pair<std::string, std::string>> environment, std::vector<std::string> words) {
    ProgramOptions options;
    options.environment = std::move(environment);
    options.working_dir = dir();
    words.insert(words.begin(), PGBACKFILL_PROGRAM);
    return run_program(words, 60s, options);
  }
};

TEST_F(DsnTest, UrlsOfOtherToolsWorkForDoctorAndRun) {
  client_->exec("CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)");
  client_->exec("INSERT INTO app.t SELECT g FROM generate_series(1, 10) g");
  std::pair<std::string, std::string> const urls[] = {
      {"postgresql+asyncpg://postgres:unused@" + server() + "?prepared_statement_cache_size=0",
       "DATABASE_URL: read postgresql+asyncpg as postgresql; left out prepared_statement_cache_size\n"},
      {"postgres://postgres:unused@" + server() + "?schema=app&connection_limit=5&pool_timeout=2&sslmode=disable",
       "DATABASE_URL: schema became search_path; left out connection_limit, pool_timeout\n"},
      {"jdbc:postgresql://" + server() + "?user=postgres&password=unused&currentSchema=app&ApplicationName=web",
       "DATABASE_URL: read jdbc:postgresql as postgresql; currentSchema became search_path; ApplicationName became "
       "application_name\n"}};
  int done = 0;
  for (auto const& [url, note] : urls) {
    auto const doctor = run_with({{"DATABASE_URL", url}}, {"doctor"});
    EXPECT_NE(doctor.exit_code, kUsage) << doctor.err;
    EXPECT_EQ(doctor.err, note);
    EXPECT_THAT(doctor.out, HasSubstr("connection"));
    bool const has_path = url.find("chema=") != std::string::npos;
    std::string const name = "m" + std::to_string(++done);
    write("m.yaml",
          "name: " + name + "\ntable: " + (has_path ? "t" : "app.t") + "\nbackfill:\n  set: {n: \"n + 1\"}\n");
    auto const run = run_with({{"DATABASE_URL", url}}, {"run", "m.yaml"});
    EXPECT_EQ(run.exit_code, kDone) << run.err;
    EXPECT_THAT(run.err, HasSubstr(note));
    EXPECT_THAT(run.err + run.out, Not(HasSubstr("unused")));
    EXPECT_EQ(client_->value("SELECT string_agg(DISTINCT n::text, ',') FROM app.t"), std::to_string(done));
  }
}

TEST_F(DsnTest, OwnVariableWinsAndTheOptionWinsOverBoth) {
  std::string const good = "postgresql+psycopg://postgres@" + server();
  std::string const bad = "postgresql://postgres@" + server() + "?nonsense=hidden";
  auto const own = run_with({{"DATABASE_URL", bad}, {"PGBACKFILL_DATABASE_URL", good}}, {"init"});
  EXPECT_EQ(own.exit_code, kDone) << own.err;
  EXPECT_EQ(own.err, "PGBACKFILL_DATABASE_URL: read postgresql+psycopg as postgresql\n");
  auto const option = run_with({{"PGBACKFILL_DATABASE_URL", bad}}, {"init", "--dsn", good});
  EXPECT_EQ(option.exit_code, kDone) << option.err;
  EXPECT_THAT(option.err, HasSubstr("--dsn: read postgresql+psycopg"));
  for (auto const& [name, words] : {std::pair<std::string, std::vector<std::string>>{"DATABASE_URL", {"status"}},
                                    {"PGBACKFILL_DATABASE_URL", {"doctor"}}}) {
    auto const refused = run_with({{name, bad}}, words);
    EXPECT_EQ(refused.exit_code, kUsage);
    EXPECT_THAT(refused.err, HasSubstr(name + ": unknown parameter 'nonsense'"));
    EXPECT_THAT(refused.err, Not(HasSubstr("hidden")));
  }
  auto const refused = run_with({}, {"status", "--dsn", bad});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("--dsn: unknown parameter 'nonsense'"));
}

TEST_F(DsnTest, NoteIsALogLineWhereLinesAreJson) {
  auto const result =
      run_with({{"DATABASE_URL", "postgres://postgres@" + server() + "?pool=5"}}, {"init", "--log-format", "json"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("\"message\":\"DATABASE_URL: left out pool\""));
  auto const quiet =
      run_with({{"DATABASE_URL", "postgres://postgres@" + server() + "?pool=5"}}, {"init", "--log-level", "warning"});
  EXPECT_THAT(quiet.err, IsEmpty());
}

// A primary is refused as a replica, after its connection string was read.
TEST_F(DsnTest, NotesOfOtherConnectionStringsAreToldInTheSameWay) {
  client_->exec("CREATE TABLE t (id int PRIMARY KEY, n int)");
  write("m.yaml", "name: m\ntable: t\nverify:\n  - zero: SELECT count(*) FROM t WHERE n < 0\n");
  std::vector<std::pair<std::string, std::string>> const environment = {
      {"DATABASE_URL", "postgresql://postgres@" + server()}};
  ASSERT_EQ(run_with(environment, {"init"}).exit_code, kDone);
  auto const verify = [&](std::vector<std::string> const& options) {
    std::vector<std::string> words = {"verify", "m.yaml", "--replica", "postgres://postgres@" + server() + "?pool=5"};
    words.insert(words.end(), options.begin(), options.end());
    return run_with(environment, words).err;
  };
  EXPECT_THAT(verify({}), HasSubstr("--replica: left out pool\n"));
  EXPECT_THAT(verify({"--log-format", "json"}), HasSubstr("\"message\":\"--replica: left out pool\""));
  EXPECT_THAT(verify({"--log-level", "warning"}), Not(HasSubstr("left out")));
}

TEST_F(DsnTest, CommandsWithoutAServerDoNotReadIt) {
  write("a.sql", "SELECT 1;\n");
  auto const result = run_with({{"DATABASE_URL", "mysql://db/app"}}, {"lint", "a.sql"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("DATABASE_URL")));
}

}  // namespace
}  // namespace pgbackfill::tests
