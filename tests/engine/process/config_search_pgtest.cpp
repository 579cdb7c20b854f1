// pgbackfill.yaml on real migrations: where it is found, what it changes, what wins over it, and whom it is not
// believed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

constexpr char kMigration[] = "name: m\ntable: users\nbackfill: {set: {display: \"upper(name)\"}}\n";

class ConfigTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, display text); INSERT INTO users SELECT g, 'name ' || g "
        "FROM generate_series(1, 100) g");
    fs::create_directory(dir() / "migrations");
    write("migrations/m.yaml", kMigration);
  }
  using Variables = std::vector<std::pair<std::string, std::string>>;

  // Without --dsn.
  ProgramResult run_with(Variables environment, std::vector<std::string> words, std::string const& folder = "") const {
    ProgramOptions options;
    options.working_dir = dir() / folder;
    for (auto const* name : {"DATABASE_URL", "PGBACKFILL_DATABASE_URL"}) {
      bool const is_given = std::any_of(environment.begin(), environment.end(),
                                        [&](auto const& variable) { return variable.first == name; });
      if (!is_given) environment.emplace_back(name, "");
    }
    environment.emplace_back("PGHOST", "/nowhere");
    options.environment = std::move(environment);
    words.insert(words.begin(), PGBACKFILL_PROGRAM);
    return run_program(words, 60s, options);
  }
  Variables here() const { return {{"SHOP_URL", dsn()}}; }
  void write_config(std::string const& text, std::string const& name = "pgbackfill.yaml") const {
    write(name, text);
    fs::permissions(dir() / name, fs::perms::owner_read | fs::perms::owner_write);
  }
  std::string file(std::string const& name) const {
    std::ifstream stream(dir() / name);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
};

TEST_F(ConfigTest, NamesTheVariableOfTheConnectionAndTheFolder) {
  write_config("database_url_variable: SHOP_URL\nfolder: migrations\n");
  auto const result = run_with(here(), {"run"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err + result.out, HasSubstr("migrations of migrations are complete"));
  EXPECT_EQ(client_->value("SELECT count(display) FROM users"), "100");
  EXPECT_EQ(run_with(here(), {"plan"}).exit_code, kDone);
  // PGBACKFILL_DATABASE_URL wins; the usual variable does not, for it may be another database.
  EXPECT_EQ(run_with({{"PGBACKFILL_DATABASE_URL", dsn()}}, {"status"}).exit_code, kDone);
  auto const missing = run_with({{"DATABASE_URL", dsn()}}, {"status"});
  EXPECT_EQ(missing.exit_code, kUsage);
  EXPECT_THAT(missing.err, HasSubstr("pgbackfill.yaml:1:24: SHOP_URL is not set"));
}

TEST_F(ConfigTest, IsFoundBesideTheMigrationFirst) {
  write_config("throttle: {replica_lag: 7s}\n");
  EXPECT_THAT(run({"plan", "migrations/m.yaml"}).out, HasSubstr("throttle.replica_lag: 7s, from pgbackfill.yaml:1"));
  write_config("\nthrottle: {replica_lag: 8s}\n", "migrations/pgbackfill.yml");
  for (auto const* what : {"migrations/m.yaml", "migrations"}) {
    EXPECT_THAT(run({"plan", what}).out, HasSubstr("throttle.replica_lag: 8s, from migrations/pgbackfill.yml:2"));
  }
  write_config("throttle: {replica_lag: 9s}\n", "other.yaml");
  EXPECT_THAT(run({"--config", "other.yaml", "plan", "migrations/m.yaml"}).out, HasSubstr("9s, from other.yaml:1"));
  EXPECT_THAT(
      run_with({{"PGBACKFILL_CONFIG", "other.yaml"}, {"PGBACKFILL_DATABASE_URL", dsn()}}, {"plan", "migrations/m.yaml"})
          .out,
      HasSubstr("9s, from other.yaml:1"));
  EXPECT_THAT(run({"--config", "nothing.yaml", "plan", "migrations/m.yaml"}).err, HasSubstr("nothing.yaml: cannot be"));
  write_config("", "migrations/pgbackfill.yaml");
  EXPECT_THAT(run({"plan", "migrations/m.yaml"}).err, HasSubstr("keep one of them"));
}

TEST_F(ConfigTest, AMigrationAndALiveSettingWinOverIt) {
  write_config("throttle: {max_rows_per_second: 7000, lock_wait: 20ms}\n");
  write("m.yaml", std::string(kMigration) + "throttle: {lock_wait: 30ms}\n");
  auto const doctor = run({"doctor", "m.yaml"});
  EXPECT_THAT(doctor.out,
              AllOf(HasSubstr("throttle.max_rows_per_second: 7000, from pgbackfill.yaml:1"), Not(HasSubstr("20ms"))));
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const listed = run({"set", "m"});
  EXPECT_THAT(listed.out, AllOf(HasSubstr("7000"), HasSubstr("30ms")));
}

TEST_F(ConfigTest, TellsAndRunsHooksForAllMigrations) {
  Receiver receiver("200");
  write_config("on: {done: [{webhook: {url: '" + receiver.url() +
               "'}}]}\nbefore: {backfill: [{command: 'echo common >> said'}]}\n");
  write("m.yaml", kMigration);
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(receiver.documents().size(), 1U);
  EXPECT_EQ(file("said"), "common\n");
}

TEST_F(ConfigTest, IsRefusedWhenItIsWrong) {
  write_config("throttle: {replica_lga: 7s}\n");
  auto const result = run({"run", "migrations/m.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("pgbackfill.yaml:1:12: unknown key 'replica_lga' (did you mean 'replica_lag'?)"));
  EXPECT_EQ(run({"help"}, false).exit_code, kDone) << "what needs none looks at none";
  write_config("folder: elsewhere\n");
  EXPECT_THAT(run({"run"}).err, HasSubstr("pgbackfill.yaml:1:9: there is no folder elsewhere"));
}

TEST_F(ConfigTest, OneThatOthersMayWriteIsRefused) {
  write_config("before: {backfill: [{command: 'echo evil >> said'}]}\n");
  for (auto const others : {fs::perms::group_write, fs::perms::others_write}) {
    fs::permissions(dir() / "pgbackfill.yaml", fs::perms::owner_read | fs::perms::owner_write | others);
    auto const result = run({"run", "migrations/m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage);
    EXPECT_THAT(result.err, HasSubstr("others may write to it, and it names commands that run as you; `chmod go-w "
                                      "pgbackfill.yaml`"));
  }
  write_config("");
  if (geteuid() == 0) {
    ASSERT_EQ(chown((dir() / "pgbackfill.yaml").c_str(), 12345, 12345), 0);
    EXPECT_THAT(run({"run", "migrations/m.yaml"}).err, HasSubstr("it belongs to user 12345"));
  }
  EXPECT_EQ(file("said"), "");
}

}  // namespace
}  // namespace pgbackfill::tests
