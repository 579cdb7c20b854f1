#include "tests/support/hostile_database.h"

#include <gmock/gmock.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/planted_names.h"

namespace pgbackfill::tests {
namespace {

using testing::IsEmpty;
using testing::Ne;

// Each is a matter of a second; what was planted may keep one from ending.
constexpr std::chrono::seconds kLongestCommand{60};

// By the superuser, in a schema of its own.
constexpr char const* kTables = R"sql(
CREATE SCHEMA app;
CREATE TABLE app.owners (id int PRIMARY KEY);
INSERT INTO app.owners SELECT g FROM generate_series(1, 10) g;
CREATE TABLE app.accounts (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL, n int NOT NULL DEFAULT 0,
  owner_id int NOT NULL, spare text);
INSERT INTO app.accounts (id, name, email, owner_id) SELECT g, 'name ' || g, 'e' || g, g % 10 + 1 FROM
  generate_series(1, 300) g;
CREATE TABLE app.twin (LIKE app.accounts INCLUDING ALL);
INSERT INTO app.twin SELECT * FROM app.accounts;
CREATE TABLE app.codes (tenant int, code text, day timestamptz, n int, PRIMARY KEY (tenant, code, day));
INSERT INTO app.codes SELECT g % 3, 'c' || g, '2024-01-01'::timestamptz + g * interval '1 hour', g % 50 FROM
  generate_series(1, 300) g;
CREATE UNIQUE INDEX codes_mixed ON app.codes (tenant, code DESC, day);
CREATE TABLE app.copied (LIKE app.codes INCLUDING ALL);
CREATE TABLE app.parts (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE app.parts_a PARTITION OF app.parts FOR VALUES IN ('a');
CREATE TABLE app.parts_b PARTITION OF app.parts FOR VALUES IN ('b');
INSERT INTO app.parts SELECT g, CASE WHEN g % 2 = 0 THEN 'a' ELSE 'b' END, g FROM generate_series(1, 200) g;
CREATE TABLE app.keyless (n int, done boolean NOT NULL DEFAULT false);
INSERT INTO app.keyless SELECT g FROM generate_series(1, 200) g;
CREATE TABLE app.old (id uuid PRIMARY KEY, day date);
INSERT INTO app.old SELECT md5(g::text)::uuid, '2024-01-01'::date + g FROM generate_series(1, 200) g;
ANALYZE;
)sql";

std::string text_of(std::vector<std::string> const& words) {
  std::string text = "pgbackfill";
  for (auto const& word : words) text += " " + word;
  return text;
}

}  // namespace

void HostileDatabase::SetUp() {
  engine::LocalClusterOptions options;
  options.name = "hostile";
  options.is_fsync_on = false;
  options.primary_settings = {"autovacuum = off", "log_min_messages = log", "max_locks_per_transaction = 1024"};
  cluster_ = std::make_unique<engine::LocalCluster>(options);
  cluster_->start();
  PgClient admin(cluster_->dsn());
  admin.exec("CREATE ROLE mallory LOGIN");
  admin.exec("CREATE DATABASE shop OWNER mallory");
  std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  dir_ = dir;
  PgClient(dsn()).exec(kTables);
}

void HostileDatabase::TearDown() {
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

std::string HostileDatabase::dsn(std::string const& user) const {
  return cluster_->dsn() + " dbname=shop user=" + user;
}

void HostileDatabase::write_file(std::string const& name, std::string const& text) const {
  std::ofstream(dir_ / (name + ".yaml")) << text;
}

std::vector<std::string> HostileDatabase::command_of(std::vector<std::string> words, std::string const& user) const {
  words.insert(words.begin(), PGBACKFILL_PROGRAM);
  words.insert(words.end(), {"--dsn", dsn(user), "--no-progress"});
  return words;
}

ProgramOptions HostileDatabase::in_folder() const {
  ProgramOptions options;
  options.working_dir = dir_;
  return options;
}

ProgramResult HostileDatabase::run(std::vector<std::string> const& words, std::string const& user) const {
  return run_program(command_of(words, user), kLongestCommand, in_folder());
}

void HostileDatabase::expect(int exit_code, std::vector<std::string> const& words) const {
  auto const before = std::filesystem::file_size(log_file());
  auto const result = run(words);
  EXPECT_EQ(result.exit_code, exit_code) << text_of(words) << "\n" << result.out << result.err;
  expect_nothing_called(text_of(words), before);
}

void HostileDatabase::expect_refused(std::vector<std::string> const& words) const {
  auto const before = std::filesystem::file_size(log_file());
  auto const result = run(words);
  EXPECT_THAT(result.exit_code, testing::AllOf(Ne(kDone), testing::Lt(128))) << text_of(words) << "\n"
                                                                             << result.out << result.err;
  EXPECT_FALSE(result.is_timed_out) << text_of(words);
  EXPECT_THAT(result.out + result.err, testing::HasSubstr("mallory")) << text_of(words);
  expect_nothing_called(text_of(words), before);
}

void HostileDatabase::expect_nothing_called(std::string const& what, std::uintmax_t before) const {
  std::ifstream log(log_file());
  log.seekg(static_cast<std::streamoff>(before));
  EXPECT_THAT(planted_calls(std::string(std::istreambuf_iterator<char>(log), {})), IsEmpty()) << what;
  EXPECT_EQ(
      PgClient(dsn()).value("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) 'mallory'"),
      "f")
      << what;
}

}  // namespace pgbackfill::tests
