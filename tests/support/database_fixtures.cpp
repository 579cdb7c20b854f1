#include "tests/support/database_fixtures.h"

#include <fstream>

namespace pgbackfill::tests {

namespace {

using engine::LocalCluster;
using engine::LocalClusterOptions;

std::unique_ptr<LocalCluster> started_cluster(LocalClusterOptions options) {
  options.is_fsync_on = false;
  auto cluster = std::make_unique<LocalCluster>(std::move(options));
  cluster->start();
  return cluster;
}

}  // namespace

// --- a database a test -----------------------------------------------------------------------------------------------

std::unique_ptr<LocalCluster> DatabaseTest::cluster_;

void DatabaseTest::SetUpTestSuite() {
  cluster_ = started_cluster({});
}

void DatabaseTest::TearDownTestSuite() {
  cluster_.reset();
}

void DatabaseTest::SetUp() {
  database_ = "db_" + name_of_test().substr(0, 55);
  PgClient(cluster_->dsn()).exec("CREATE DATABASE " + database_);
  client_ = std::make_unique<PgClient>(dsn());
  std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  dir_ = dir;
}

void DatabaseTest::TearDown() {
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

std::string DatabaseTest::dsn(std::string const& user) const {
  return cluster_->dsn() + " dbname=" + database_ + " user=" + user;
}

void DatabaseTest::write(std::string const& name, std::string const& text) const {
  std::ofstream(dir_ / name) << text;
}

ProgramResult DatabaseTest::run(std::vector<std::string> words, bool is_connected) const {
  std::vector<std::string> command;
  command.emplace_back(PGBACKFILL_PROGRAM);
  for (auto& word : words) command.push_back(std::move(word));
  if (is_connected) command.insert(command.end(), {"--dsn", dsn()});
  ProgramOptions options;
  options.working_dir = dir_;
  options.environment = {{"DATABASE_URL", ""}, {"PGHOST", "/nowhere"}};
  return run_program(command, std::chrono::seconds(60), options);
}

// --- a counted table a test ------------------------------------------------------------------------------------------

std::unique_ptr<LocalCluster> CountedTableTest::cluster_;

void CountedTableTest::start_cluster(std::string const& name) {
  LocalClusterOptions options;
  options.name = name;
  cluster_ = started_cluster(std::move(options));
}

void CountedTableTest::make_table(std::int64_t rows) {
  client_ = std::make_unique<PgClient>(cluster_->dsn());
  table_ = make_counted_table(*client_, rows);
  rows_ = rows;
}

std::unique_ptr<MigrationRun> CountedTableTest::migration_from(std::string const& dsn, CountUp options) const {
  options.table = table_;
  return std::make_unique<MigrationRun>(table_, dsn, count_up(options));
}

}  // namespace pgbackfill::tests
