// A database that belongs to a lesser role, mallory, and what a superuser has in it: pgbackfill runs there as the
// superuser, and nothing that mallory has planted may be executed.
//
// A server of its own for each test, with all that it logs kept.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {

class HostileDatabase : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  std::string dsn(std::string const& user = "postgres") const;
  // A migration file, NAME.yaml, in the folder in which commands run.
  void write_file(std::string const& name, std::string const& text) const;

  std::vector<std::string> command_of(std::vector<std::string> words, std::string const& user = "postgres") const;
  ProgramOptions in_folder() const;
  ProgramResult run(std::vector<std::string> const& words, std::string const& user = "postgres") const;
  // Runs it as the superuser; nothing that was planted may be called by it.
  void expect(int exit_code, std::vector<std::string> const& words) const;
  // The same, of what has to be refused in the name of mallory.
  void expect_refused(std::vector<std::string> const& words) const;
  // Since the log had so many bytes.
  void expect_nothing_called(std::string const& what, std::uintmax_t before) const;
  std::filesystem::path log_file() const { return cluster_->dir() / "primary.log"; }

  std::unique_ptr<engine::LocalCluster> cluster_;
  std::filesystem::path dir_;
};

}  // namespace pgbackfill::tests
