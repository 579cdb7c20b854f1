// The command line by itself: what it explains, what it refuses and in which words, and the variables of its options.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine/process/command_context.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using Variables = std::vector<std::pair<std::string, std::string>>;
using Words = std::vector<std::string>;

ProgramResult run(Words words, Variables variables = {}) {
  words.insert(words.begin(), PGBACKFILL_PROGRAM);
  ProgramOptions options;
  // Whatever gets as far as that finds no server.
  options.environment = {{"DATABASE_URL", ""}, {"PGBACKFILL_DATABASE_URL", ""}, {"PGHOST", "/nowhere"}};
  for (auto& variable : variables) options.environment.push_back(std::move(variable));
  return run_program(words, 60s, options);
}

void expect_refused(Words const& words, std::string const& text, Variables const& variables = {}) {
  auto const result = run(words, variables);
  EXPECT_EQ(result.exit_code, engine::kExitUsage) << testing::PrintToString(words);
  EXPECT_EQ(result.err, text + "\n") << testing::PrintToString(words);
  EXPECT_THAT(result.out, IsEmpty());
}

std::size_t widest_line(std::string const& text) {
  std::istringstream lines(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, line.size());
  return widest;
}

TEST(Cli, HelpAndVersionAreCommandsAsWell) {
  auto const help = run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (Words const& words : {Words{}, Words{"help"}, Words{"-h"}}) {
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out, help.out);
    EXPECT_THAT(result.err, IsEmpty());
  }
  EXPECT_THAT(help.out, HasSubstr("\n  help "));
  EXPECT_EQ(run({"help", "run"}).out, run({"run", "--help"}).out);
  EXPECT_EQ(run({"version"}).out, run({"--version"}).out);
  EXPECT_EQ(run({"version"}).exit_code, 0);
  expect_refused({"help", "statsu"},
                 "there is no command 'statsu' (did you mean 'status'?); `pgbackfill --help` lists them");
}

TEST(Cli, HelpOfACommandShowsTheOptionsOfAllAndTheirVariables) {
  auto const text = run({"run", "--help"}).out;
  EXPECT_THAT(text, HasSubstr("[PGBACKFILL_WAIT_FOR_SERVER]"));
  EXPECT_THAT(text, HasSubstr("[PGBACKFILL_WORKERS]"));
  EXPECT_THAT(text, HasSubstr("\nOptions of all commands:\n"));
  for (std::string const option : {"--dsn", "--format", "--log-format", "--log-level", "--no-progress", "--trust-owner",
                                   "[PGBACKFILL_DATABASE_URL]", "[PGBACKFILL_FORMAT]", "[PGBACKFILL_NO_PROGRESS]"}) {
    EXPECT_THAT(text, HasSubstr(option));
    EXPECT_THAT(run({"--help"}).out, HasSubstr(option));
  }
  auto const lint = run({"lint", "--help"}).out;
  EXPECT_THAT(lint, HasSubstr("[PGBACKFILL_LINT_FORMAT]"));
  EXPECT_THAT(lint, Not(HasSubstr("[PGBACKFILL_FORMAT]")));
  EXPECT_THAT(run({"sandbox", "--help"}).out, HasSubstr("[PGBACKFILL_PG_BIN]"));
}

TEST(Cli, WhatAgreesOrEndsSomethingHasNoVariable) {
  for (std::string const command : {"run", "complete", "rollback", "stamp", "verify", "locks", "resume", "init"}) {
    auto const text = run({command, "--help"}).out;
    EXPECT_LE(widest_line(text), 80U) << text;
    for (std::string const name : {"YES", "ACCEPT", "TERMINATE", "RELEASE", "SUBSCRIBERS", "SKIP", "REPAIR", "RESTART",
                                   "RETRY", "TO]", "PHASE", "HELP"}) {
      EXPECT_THAT(text, Not(HasSubstr("PGBACKFILL_" + name))) << command;
    }
  }
}

TEST(Cli, ProposesWhatWasMeant) {
  expect_refused({"statsu"}, "there is no command 'statsu' (did you mean 'status'?); `pgbackfill --help` lists them");
  expect_refused({"statsu", "--help"},
                 "there is no command 'statsu' (did you mean 'status'?); `pgbackfill --help` lists them");
  expect_refused({"frobnicate"}, "there is no command 'frobnicate'; `pgbackfill --help` lists them");
  expect_refused({"run", "t.yaml", "--wokers", "3"},
                 "pgbackfill run has no option '--wokers' (did you mean '--workers'?); `pgbackfill run --help` lists "
                 "them");
  expect_refused({"run", "--wokers=3"},
                 "pgbackfill run has no option '--wokers' (did you mean '--workers'?); `pgbackfill run --help` lists "
                 "them");
  expect_refused({"--frmat", "json"},
                 "pgbackfill has no option '--frmat' (did you mean '--format'?); `pgbackfill --help` lists them");
  expect_refused({"status", "--dns=postgresql://u:hidden@db/app"},
                 "pgbackfill status has no option '--dns' (did you mean '--dsn'?); `pgbackfill status --help` lists "
                 "them");
  expect_refused({"run", "t.yaml", "--format", "jsno"},
                 "--format: 'jsno' is none of json, text (did you mean 'json'?)");
}

TEST(Cli, SaysWhatIsWrongInItsOwnWords) {
  expect_refused({"--log-level", "info"}, "a command is missing; `pgbackfill --help` lists them");
  expect_refused({"run"}, "FILE is required: pgbackfill run FILE; `pgbackfill run --help` says more");
  expect_refused({"run", "a.yaml", "b.yaml"},
                 "'b.yaml' is one argument too many: pgbackfill run takes FILE and options; `pgbackfill run --help` "
                 "says more");
  for (std::string const value : {"0", "257", "many", "1.5", ""}) {
    expect_refused({"run", "t.yaml", "--workers", value},
                   "--workers: '" + value + "' is not a whole number from 1 to 256");
  }
  expect_refused({"run", "t.yaml", "--workers"}, "--workers needs a value: INT");
  expect_refused({"run", "t.yaml", "--workers", "1", "--workers", "2"}, "--workers is given more than once");
  expect_refused({"run", "t.yaml", "--lease", "30"}, "--lease: '30' is no duration with a unit, such as 30s or 500ms");
  expect_refused({"stamp", "t.yaml", "--phase", "done"}, "--phase: 'done' is none of backfilled, complete");
  expect_refused({"log", "m", "--limit", "0"}, "--limit: '0' is not a whole number from 1 to 2147483647");
  expect_refused({"sandbox", "--replicas", "5"}, "--replicas: '5' is not a whole number from 0 to 4");
  expect_refused({"lint", "a.sql", "--pg", "9"}, "--pg: '9' is not a whole number from 13 to 18");
  expect_refused({"locks", "m", "--release", "x"}, "--release: 'x' is not a whole number from 1 to 2147483647");
}

TEST(Cli, VariablesStandForOptionsAndAreNamedWhereTheyAreWrong) {
  expect_refused({"run", "t.yaml"}, "PGBACKFILL_WORKERS: '0' is not a whole number from 1 to 256",
                 {{"PGBACKFILL_WORKERS", "0"}});
  expect_refused({"run", "t.yaml"}, "PGBACKFILL_WAIT_FOR_SERVER: '5' is no duration with a unit, such as 30s or 500ms",
                 {{"PGBACKFILL_WAIT_FOR_SERVER", "5"}});
  expect_refused({"status"}, "PGBACKFILL_FORMAT: 'xml' is none of json, text", {{"PGBACKFILL_FORMAT", "xml"}});
  expect_refused({"status"}, "PGBACKFILL_WATCH: 'maybe' is neither true nor false", {{"PGBACKFILL_WATCH", "maybe"}});
  expect_refused({"run", "t.yaml"},
                 "PGBACKFILL_LISTEN: 'x' is no address to listen on: it ends with a port, 0 to 65535, such as 9187 or "
                 "127.0.0.1:9187",
                 {{"PGBACKFILL_LISTEN", "x"}});
}

TEST(Cli, OptionWinsOverItsVariable) {
  auto const given = run({"run", "missing.yaml", "--workers", "2"}, {{"PGBACKFILL_WORKERS", "0"}});
  EXPECT_THAT(given.err, StartsWith("missing.yaml: cannot be read"));
  expect_refused({"run", "t.yaml", "--workers=0"}, "--workers: '0' is not a whole number from 1 to 256",
                 {{"PGBACKFILL_WORKERS", "2"}});
}

TEST(Cli, OnlyTheChosenCommandReadsItsVariables) {
  auto const other = run({"version"}, {{"PGBACKFILL_WORKERS", "0"}, {"PGBACKFILL_ROWS", "x"}});
  EXPECT_EQ(other.exit_code, 0) << other.err;
  auto const empty = run({"run", "missing.yaml"}, {{"PGBACKFILL_WORKERS", ""}});
  EXPECT_THAT(empty.err, StartsWith("missing.yaml: cannot be read"));
  auto const confirmed = run({"complete", "m"}, {{"PGBACKFILL_YES", "nonsense"}});
  EXPECT_THAT(confirmed.err, Not(HasSubstr("PGBACKFILL_YES")));
}

TEST(Cli, VariableOfAFormatReachesTheReport) {
  auto const lint = run({"lint", PGBACKFILL_SOURCE_DIR "/examples"}, {{"PGBACKFILL_LINT_FORMAT", "sarif"}});
  EXPECT_THAT(lint.out, HasSubstr("\"$schema\"")) << lint.err;
  auto const json = run({"lint", PGBACKFILL_SOURCE_DIR "/examples"}, {{"PGBACKFILL_FORMAT", "json"}});
  EXPECT_THAT(json.out, StartsWith("{")) << json.err;
}

}  // namespace
}  // namespace pgbackfill::tests
