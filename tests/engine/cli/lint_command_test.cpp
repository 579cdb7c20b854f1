// The command lint as it is called: files, folders and their order, options, exit codes. It needs no server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class LintCommand : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
  }
  void TearDown() override {
    std::error_code error;
    std::filesystem::remove_all(dir_, error);
  }

  void write(std::string const& name, std::string const& text) const {
    std::filesystem::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name) << text;
  }

  ProgramResult lint(std::vector<std::string> words, int terminal_columns = 0) const {
    words.insert(words.begin(), {PGBACKFILL_PROGRAM, "lint"});
    ProgramOptions options;
    options.working_dir = dir_;
    options.terminal_columns = terminal_columns;
    return run_program(words, std::chrono::seconds(60), options);
  }

  std::filesystem::path dir_;
};

TEST_F(LintCommand, ExitsByWhatItFinds) {
  write("good.sql", "SELECT 1;");
  write("bad.sql", "SET lock_timeout = '1s'; CREATE INDEX ON users (name);");
  EXPECT_EQ(lint({"good.sql"}).exit_code, 0);
  auto const bad = lint({"bad.sql"});
  EXPECT_EQ(bad.exit_code, 3);
  EXPECT_THAT(bad.out, HasSubstr("bad.sql:1:26: high create-index\n"));
  EXPECT_THAT(bad.err, IsEmpty());
  EXPECT_EQ(lint({"bad.sql", "--fail-on", "destructive"}).exit_code, 0);
  EXPECT_EQ(lint({"bad.sql", "--fail-on", "medium"}).exit_code, 3);
}

TEST_F(LintCommand, ReadsStandardInput) {
  std::string const program = PGBACKFILL_PROGRAM;
  auto const bad = run_program({"sh", "-c", "echo 'CREATE INDEX ON users (name);' | " + program + " lint -"});
  EXPECT_EQ(bad.exit_code, 3);
  EXPECT_THAT(bad.out, HasSubstr("stdin:1:1: high create-index\n"));
  EXPECT_EQ(run_program({"sh", "-c", "echo 'SELECT 1;' | " + program + " lint - --format json"}).exit_code, 0);
}

TEST_F(LintCommand, RefusesWhatItCannotUse) {
  write("good.sql", "SELECT 1;");
  write("notes.txt", "SELECT 1;");
  write("broken.yaml", "name: m\nworkers: 4\n");
  std::filesystem::create_directories(dir_ / "empty");
  for (auto const& words : std::vector<std::vector<std::string>>{{},
                                                                 {"nowhere.sql"},
                                                                 {"notes.txt"},
                                                                 {"empty"},
                                                                 {"broken.yaml"},
                                                                 {"good.sql", "--pg", "12"},
                                                                 {"good.sql", "--pg", "19"},
                                                                 {"good.sql", "--fail-on", "never"},
                                                                 {"good.sql", "--format", "xml"},
                                                                 {"good.sql", "--schema", "nowhere.sql"}}) {
    auto const result = lint(words);
    EXPECT_EQ(result.exit_code, 2) << testing::PrintToString(words) << result.err;
    EXPECT_THAT(result.err, Not(IsEmpty())) << testing::PrintToString(words);
  }
  EXPECT_THAT(lint({"broken.yaml"}).err, HasSubstr("broken.yaml:2:1: unknown key 'workers'"));
  write("bad.sql", "DROP TABLE t;");
  auto const both = lint({"bad.sql", "broken.yaml"});
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.out, HasSubstr("drop-table")) << "what can be said is said";
}

TEST_F(LintCommand, GoesThroughFoldersInTheOrderOfTheirNumbers) {
  write("m/10_second.sql", "SET lock_timeout = 1; ALTER TABLE t ALTER a TYPE varchar(20);");
  write("m/9_first.sql", "CREATE TABLE t (a varchar(10));");
  write("m/9_first.down.sql", "DROP TABLE t;");
  write("m/.hidden/x.sql", "DROP TABLE t;");
  write("m/deep/11.yaml", "name: m\nexpand:\n  - sql: CREATE INDEX ON t (a)\n");
  auto const result = lint({"m"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.out, HasSubstr("m/deep/11.yaml:3:10: high create-index"));
  EXPECT_THAT(result.out, HasSubstr("3 files, 4 statements: 1 high\n"))
      << "the growth of a varchar is known to be none";
}

TEST_F(LintCommand, LeavesTheWaysBackOfOtherToolsOut) {
  for (char const* name :
       {"1_a/down.sql", "1_a.down.sql", "1_a_down.sql", "1_a.undo.sql", "U1__a.sql", "U1.1__a.sql"}) {
    write("m/" + std::string(name), "DROP TABLE t;");
  }
  write("m/1_a/up.sql", "SELECT 1;");
  write("m/Users.sql", "SELECT 1;");
  EXPECT_THAT(lint({"m"}).out, HasSubstr("2 files, 2 statements: nothing found"));
  EXPECT_EQ(lint({"m/1_a/down.sql"}).exit_code, 3) << "one that is named is looked at";
}

TEST_F(LintCommand, LearnsFromASchemaWithoutJudgingIt) {
  write("schema.sql", "CREATE TABLE t (a varchar(10)); CREATE INDEX ON t (a); DROP TABLE other;");
  write("change.sql", "SET lock_timeout = '1s'; ALTER TABLE t ALTER a TYPE varchar(20);");
  EXPECT_EQ(lint({"change.sql"}).exit_code, 3);
  EXPECT_EQ(lint({"--schema", "schema.sql", "change.sql"}).exit_code, 0);
}

TEST_F(LintCommand, TakesFilesForOneTransactionWhenTold) {
  write("a.sql", "CREATE INDEX CONCURRENTLY i ON t (a);");
  EXPECT_EQ(lint({"a.sql"}).exit_code, 0);
  EXPECT_EQ(lint({"--in-transaction", "a.sql"}).exit_code, 3);
}

TEST_F(LintCommand, ReportsInFourForms) {
  write("a.sql", "DROP TABLE t;");
  EXPECT_THAT(lint({"a.sql", "--format", "json"}).out, HasSubstr(R"("rule":"drop-table")"));
  EXPECT_THAT(lint({"a.sql", "--format", "sarif"}).out, HasSubstr(R"("version":"2.1.0")"));
  EXPECT_THAT(lint({"a.sql", "--format", "markdown"}).out, HasSubstr("| `drop-table` |"));
  EXPECT_THAT(lint({"a.sql", "--format", "text"}).out, HasSubstr("a.sql:1:1: destructive drop-table"));
}

// People copy them. Some folders have no migrations.
TEST_F(LintCommand, PassesTheExamples) {
  std::vector<std::string> paths;
  for (auto const& entry : std::filesystem::directory_iterator(PGBACKFILL_SOURCE_DIR "/examples")) {
    std::string const name = entry.path().filename().string();
    bool const has_migrations =
        entry.is_directory() ? name != "ci" && name != "embed" && name != "compute" : name.ends_with(".yaml");
    if (has_migrations) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  auto const result = lint(paths);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

TEST_F(LintCommand, FitsTheTerminal) {
  write("a.sql", "CREATE INDEX ON t (a); ALTER TABLE t ALTER a SET NOT NULL;");
  auto const out = lint({"a.sql"}, 80).out;
  EXPECT_THAT(out, HasSubstr("create-index"));
  EXPECT_THAT(out, HasSubstr("\x1b["));
}

}  // namespace
}  // namespace pgbackfill::tests
