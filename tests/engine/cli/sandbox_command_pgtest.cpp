// The sandbox starts, serves, runs commands, hears signals, and leaves nothing behind.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

ProgramResult sandbox(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {PGBACKFILL_PROGRAM, "sandbox"});
  return run_program(arguments, 60s);
}

bool contains(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

TEST(SandboxCommand, ServesAPrimaryAndAReplicaWithATableUntilInterrupted) {
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--rows", "60000", "--format", "json"});
  ASSERT_TRUE(program.wait_for_output("}\n", 60s)) << program.err();
  auto const ready = boost::json::parse(program.out()).as_object();
  EXPECT_EQ(ready.at("pid").to_number<pid_t>(), program.pid());
  std::string const replica(ready.at("replica_dsns").as_array().at(0).as_string());
  std::string const folder(ready.at("dir").as_string());
  PgClient primary(std::string(ready.at("dsn").as_string()));
  EXPECT_EQ(primary.value("SELECT count(*) FROM public.users WHERE n = 0 AND display_name IS NULL"), "60000");
  EXPECT_EQ(PgClient(replica).value("SELECT count(*) FROM public.users"), "60000");
  auto const row_bytes = std::stoi(primary.value("SELECT pg_relation_size('users') / 60000"));
  EXPECT_GT(row_bytes, 150);
  EXPECT_LT(row_bytes, 260);
  EXPECT_TRUE(std::filesystem::exists(folder));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(60s).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_FALSE(primary.try_exec("SELECT 1") == "00000");
}

TEST(SandboxCommand, TellsPeopleWhatToTry) {
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--replicas", "0"});
  ASSERT_TRUE(program.wait_for_output("^C stops the servers", 60s)) << program.err();
  EXPECT_TRUE(contains(program.out(), "export DATABASE_URL=postgresql://")) << program.out();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(60s).exit_code, 0);
}

// All of it at once, as somebody pastes it: nothing of it may read the lines that come after it.
TEST(SandboxCommand, WhatItSaysToTryCanBePastedAsItStands) {
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--replicas", "0", "--rows", "1000"});
  ASSERT_TRUE(program.wait_for_output("^C stops the servers", 60s)) << program.err();
  auto const out = program.out();
  auto const line_with = [&](std::string const& words) {
    auto const at = out.find(words);
    return out.substr(at, out.find('\n', at) - at + 1);
  };
  auto const begin = out.find("cat > users.yaml");
  ASSERT_NE(begin, std::string::npos) << out;
  auto const pasted = line_with("export DATABASE_URL=") + out.substr(begin, out.find("\n\n", begin) - begin) +
                      "\necho nothing was swallowed\n";
  auto const folder = std::filesystem::temp_directory_path() / ("pgbackfill-pasted-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "pasted") << pasted;
  ProgramOptions options;
  options.working_dir = folder;
  std::string const path = std::filesystem::path(PGBACKFILL_PROGRAM).parent_path().string();
  options.environment = {{"PATH", path + ":" + std::getenv("PATH")}, {"PAGER", "cat"}};
  auto const result = run_program({"sh", "-c", "sh < pasted"}, 60s, options);
  std::filesystem::remove_all(folder);
  program.signal(SIGINT);
  program.wait(60s);
  EXPECT_TRUE(contains(result.out, "| USER ") && contains(result.out, "(3 rows)")) << result.out << result.err;
  EXPECT_TRUE(result.out.ends_with("nothing was swallowed\n")) << result.out << result.err;
}

TEST(SandboxCommand, RunsACommandAndReturnsItsExitCode) {
  auto const result = sandbox(
      {"--", "sh", "-c", "echo \"$DATABASE_URL|$PGBACKFILL_SANDBOX_REPLICA_URL|$PGBACKFILL_SANDBOX_DIR\"; exit 7"});
  EXPECT_EQ(result.exit_code, 7) << result.err;
  EXPECT_EQ(result.out.rfind("postgresql://", 0), 0U) << "nothing else on standard output: " << result.out;
  EXPECT_TRUE(contains(result.out, "|postgresql://")) << result.out;
  auto const folder = result.out.substr(result.out.rfind('|') + 1);
  EXPECT_FALSE(std::filesystem::exists(folder.substr(0, folder.find('\n'))));
}

TEST(SandboxCommand, HasAPasswordThatOnlyItsUserCanRead) {
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--format", "json"});
  ASSERT_TRUE(program.wait_for_output("}\n", 60s)) << program.err();
  auto const ready = boost::json::parse(program.out()).as_object();
  std::string const dsn(ready.at("dsn").as_string());
  std::filesystem::path const passfile(std::string_view(ready.at("passfile").as_string()));
  namespace fs = std::filesystem;
  EXPECT_EQ(fs::status(passfile).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(PgClient(dsn).value("SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'"), "0");
  for (auto const* name : {"dsn", "replica_dsns"}) {
    auto const& value = ready.at(name);
    std::string const one(value.is_array() ? value.as_array().at(0).as_string() : value.as_string());
    EXPECT_THROW(PgClient(one.substr(0, one.find('?')) + "?passfile=/dev/null"), PgClientError);
  }
  EXPECT_EQ(fs::status(passfile.parent_path() / "socket").permissions(), fs::perms::owner_all);
  program.signal(SIGINT);
  program.wait(60s);
}

TEST(SandboxCommand, PassesASignalOnToTheCommandOnce) {
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--replicas", "0", "--", "sh", "-c",
                   "n=0; trap 'n=$((n+1)); echo heard $n' TERM; echo ready; while [ $n -eq 0 ]; do sleep 0.05; done; "
                   "sleep 0.3; exit $((n+40))"});
  ASSERT_TRUE(program.wait_for_output("ready\n", 60s)) << program.err();
  program.signal(SIGTERM);
  auto const result = program.wait(60s);
  EXPECT_EQ(result.exit_code, 41) << result.out << result.err;
}

TEST(SandboxCommand, LeavesTheTerminalsInterruptToTheCommand) {
  ProgramOptions terminal;
  terminal.terminal_columns = 80;
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--replicas", "0", "--", "sh", "-c",
                   "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n -eq 0 ]; do sleep 0.05; done; sleep 0.3; exit "
                   "$((n+40))"},
                  terminal);
  ASSERT_TRUE(program.wait_for_output("ready\r\n", 60s)) << program.out();
  program.type("\x03");
  EXPECT_EQ(program.wait(60s).exit_code, 41) << program.out();
}

TEST(SandboxCommand, SaysWhatIsMissing) {
  auto const nowhere = sandbox({"--pg-bin", "/nowhere"});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_TRUE(contains(nowhere.err, "/nowhere")) << nowhere.err;
  auto const command = sandbox({"--replicas", "0", "--", "no-such-program"});
  EXPECT_EQ(command.exit_code, 127);
  EXPECT_TRUE(contains(command.err, "no-such-program")) << command.err;
}

TEST(SandboxCommand, StopsItsServersWhenItIsKilled) {
  Program program({PGBACKFILL_PROGRAM, "sandbox", "--replicas", "0", "--format", "json"});
  ASSERT_TRUE(program.wait_for_output("}\n", 60s)) << program.err();
  std::string const dsn(boost::json::parse(program.out()).at("dsn").as_string());
  EXPECT_EQ(PgClient(dsn).value("SELECT 1"), "1");
  program.signal(SIGKILL);
  program.wait(60s);
  EXPECT_TRUE(poll_until(
      [&] {
        try {
          PgClient still(dsn);
          return false;
        } catch (PgClientError const&) {
          return true;
        }
      },
      10s, 100ms));
}

}  // namespace
}  // namespace pgbackfill::tests
