// Each exit code, as README's table has it: one way to get it, and none that the table does not know.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::HasSubstr;

class ExitCodesTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec("CREATE TABLE users (id int PRIMARY KEY, name text, display text)");
    client_->exec("INSERT INTO users SELECT g, 'name ' || g FROM generate_series(1, 20) g");
  }
  void write_migration(std::string const& name, std::string const& more = "") const {
    write(name + ".yaml", "name: " + name + "\ntable: users\nbackfill: {set: {display: \"upper(name)\"}}\n" + more);
  }
  // Runs the command, and keeps that its code was seen.
  void expect(int code, std::vector<std::string> words, std::string const& said) {
    auto const result = run(std::move(words));
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_THAT(result.out + result.err, HasSubstr(said));
    seen_.insert(result.exit_code);
  }

  std::set<int> seen_;
};

std::set<int> codes_of_readme() {
  std::ifstream readme(PGBACKFILL_SOURCE_DIR "/README.md");
  std::set<int> codes;
  std::regex const row("\\| ([0-9]) \\| .*");
  bool is_table = false;
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("| exit code |")) is_table = true;
    if (line.empty()) is_table = false;
    std::smatch found;
    if (is_table && std::regex_match(line, found, row)) codes.insert(std::stoi(found[1]));
  }
  return codes;
}

TEST_F(ExitCodesTest, EachIsWhatTheTableSays) {
  write_migration("done");
  expect(engine::kExitDone, {"run", "done.yaml"}, "done is complete");
  write_migration("failed");
  client_->exec("ALTER TABLE users ADD CONSTRAINT no_17 CHECK (display <> 'NAME 17') NOT VALID");
  expect(engine::kExitFailed, {"run", "failed.yaml"}, "no_17");
  client_->exec("ALTER TABLE users DROP CONSTRAINT no_17");
  expect(engine::kExitUsage, {"run", "failed.yaml", "--worker", "3"}, "--workers");
  write_migration("wrong", "windows: [sometimes]\n");
  expect(engine::kExitUsage, {"run", "wrong.yaml"}, "wrong.yaml:4:");
  expect(engine::kExitGateClosed, {"gate", "failed"}, "the backfill is failed");
  write_migration("open", "expand: [{add_column: {name: c, type: int}}]\n");
  expect(engine::kExitDone, {"run", "open.yaml"}, "open is complete");
  expect(engine::kExitGateClosed, {"rollback", "open"}, "--yes");
  write_migration("later", "blackout: [\"Mon-Sun 00:00-24:00 UTC\"]\n");
  expect(engine::kExitResumable, {"run", "later.yaml", "--exit-outside-window"}, "later stopped, resumable");
  expect(engine::kExitDone, {"cancel", "later", "--reason", "never mind"}, "");
  expect(engine::kExitHalted, {"run", "later.yaml"}, "never mind");
  EXPECT_EQ(seen_, codes_of_readme());
}

}  // namespace
}  // namespace pgbackfill::tests
