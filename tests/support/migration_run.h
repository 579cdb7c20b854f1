// One migration under test: its file, the processes that run it, what the database says of it, and what to print when
// a test fails: the seed and the ends of the outputs.
//
// The file lives in a folder of its own, which goes with the object; so do all processes. Belongs to one thread.
#pragma once

#include <gtest/gtest.h>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/pg_client.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kGateClosed = 3;
inline constexpr int kResumable = 4;
inline constexpr int kHalted = 5;

// PGBACKFILL_SEED, else one that the clock chose; printed when first asked for.
std::uint64_t seed_of_tests();
// The same numbers for the same seed and test.
std::mt19937_64 random_of_test();
std::int64_t between(std::mt19937_64& random, std::int64_t least, std::int64_t most);

// "SurvivesACrash" becomes "survives_a_crash": tables and migrations of a shared server are named after their test.
std::string name_of_test();

class MigrationRun {
 public:
  // `sections` follows the line of the name, as in "backfill:\n  set: ...\n".
  MigrationRun(std::string name, std::string dsn, std::string const& sections);
  ~MigrationRun();
  MigrationRun(MigrationRun const&) = delete;
  MigrationRun& operator=(MigrationRun const&) = delete;

  // `pgbackfill run FILE`; the reference stays good.
  Program& start(std::vector<std::string> const& options = {});
  // Whether the process ends in time with this code.
  testing::AssertionResult ends(Program& process, int exit_code,
                                std::chrono::milliseconds timeout = std::chrono::seconds(90));
  testing::AssertionResult runs(int exit_code, std::vector<std::string> const& options = {});
  // `pgbackfill WORDS... NAME ARGUMENTS...`, as in command("set", {"workers=4"}).
  ProgramResult command(std::string const& word, std::vector<std::string> const& arguments = {});
  // Sends SIGKILL and takes the process from the process table, as its shell would.
  void kill_process(Program& process);

  std::string const& name() const { return name_; }
  std::string const& dsn() const { return dsn_; }
  void set_dsn(std::string dsn) { dsn_ = std::move(dsn); }
  // Where its processes connect, if not where the test does.
  void set_process_dsn(std::string dsn) { process_dsn_ = std::move(dsn); }
  void add_program_option(std::string option) { common_options_.push_back(std::move(option)); }

  // Rows passed by now, by all processes; waits until there are that many, or false. A server that is away is waited
  // for.
  bool waits_for_rows(std::int64_t rows, std::chrono::milliseconds timeout = std::chrono::seconds(60)) const;
  // The only value of a statement in which {job} stands for the job's number.
  std::string state(std::string sql) const;
  std::string status() const { return state("SELECT status FROM pgbackfill.jobs WHERE id = {job}"); }
  std::string rows_done() const;

  // For the message of an assertion.
  std::string story() const;

 private:
  std::string name_;
  std::string dsn_;
  std::string process_dsn_;
  std::filesystem::path dir_;
  std::vector<std::string> common_options_;
  std::vector<std::unique_ptr<Program>> processes_;
};

// A table of the test's name with rows 3, 6, 9, ... and n = 0, analyzed.
std::string make_counted_table(PgClient& client, std::int64_t rows);
// "1: 200000" when n is 1 in all of 200000 rows; "0: 3, 1: 197, 2: 1" when not.
std::string counts(std::string const& dsn, std::string const& table);

// Sections of a migration that counts every row of the table up, in batches small enough that the run lasts a while.
struct CountUp {
  std::string table;
  std::string commit = "async";
  int workers = 2;
  int max_rows = 300;
  std::string more;                          // lines of the section backfill
  std::string throttling = "  mode: off\n";  // the section throttle
};
std::string count_up(CountUp const& options);

}  // namespace pgbackfill::tests
