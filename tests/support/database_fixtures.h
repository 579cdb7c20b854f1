// Fixtures of tests on a real server: one server a suite, one database or one counted table a test.
//
// The server goes with the suite, the folder of files with the test. Belongs to one thread.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {

inline constexpr int kUsage = 2;

// Each test has a database of its own, and a folder for its files.
class DatabaseTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  std::string dsn(std::string const& user = "postgres") const;
  void write(std::string const& name, std::string const& text) const;
  std::filesystem::path const& dir() const { return dir_; }

  // In the folder of the files, so that messages say their plain names. Not connected: no --dsn, and nowhere to go
  // without it.
  ProgramResult run(std::vector<std::string> words, bool is_connected = true) const;

  static std::unique_ptr<engine::LocalCluster> cluster_;
  std::string database_;
  std::unique_ptr<PgClient> client_;

 private:
  std::filesystem::path dir_;
};

// Each test has a table of its name whose rows are to be counted up; all tests share one database.
class CountedTableTest : public testing::Test {
 protected:
  static void start_cluster(std::string const& name);
  static void TearDownTestSuite() { cluster_.reset(); }

  void make_table(std::int64_t rows);
  // Counts the table up, from `dsn`.
  std::unique_ptr<MigrationRun> migration_from(std::string const& dsn, CountUp options) const;
  std::string counts_now() const { return counts(cluster_->dsn(), table_); }
  std::string all_once() const { return "1: " + std::to_string(rows_); }

  static std::unique_ptr<engine::LocalCluster> cluster_;
  std::unique_ptr<PgClient> client_;
  std::string table_;

 private:
  std::int64_t rows_ = 0;
};

}  // namespace pgbackfill::tests
