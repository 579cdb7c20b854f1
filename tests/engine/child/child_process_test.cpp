// Real processes of this host, no server.
#include "engine/child/child_process.h"
#include "engine/base/command_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "engine/pg/local_process.h"

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

ChildResult run_shell(std::string command, ChildTerms terms = {}) {
  terms.arguments = {"/bin/sh", "-c", std::move(command)};
  asio::io_context io;
  std::optional<Result<ChildResult>> result;
  asio::co_spawn(io, run_child(std::move(terms)), [&](std::exception_ptr error, Result<ChildResult> outcome) {
    if (error) std::rethrow_exception(error);
    result = std::move(outcome);
  });
  io.run();
  return result->value();
}

TEST(ChildProcess, GivesExitCodeAndBothStreams) {
  auto const child = run_shell("echo out; echo err >&2; exit 7");
  EXPECT_EQ(child.end, ChildEnd::kExited);
  EXPECT_EQ(child.code, 7);
  EXPECT_EQ(child.output, "out\n");
  EXPECT_EQ(child.errors, "err\n");
}

TEST(ChildProcess, KeepsTheEndOfALongOutput) {
  auto const child = run_shell("seq 1 200000; echo last");
  EXPECT_LE(child.output.size(), kMostChildOutput);
  EXPECT_TRUE(child.output.ends_with("200000\nlast\n"));
}

TEST(ChildProcess, AddsToTheEnvironmentAndReadsNothing) {
  ChildTerms terms;
  terms.environment = {{"PGBACKFILL_X", "a b"}};
  EXPECT_EQ(run_shell("echo \"$PGBACKFILL_X\"; cat; test -n \"$PATH\" && echo path", terms).output, "a b\npath\n");
}

TEST(ChildProcess, EndsWhatTakesTooLongWithAllItsChildren) {
  ChildTerms terms;
  terms.timeout = 100ms;
  auto const child = run_shell("sleep 1000 & echo $!; wait", terms);
  EXPECT_EQ(child.end, ChildEnd::kTimedOut);
  EXPECT_EQ(child.code, SIGTERM);
  // A zombie until somebody reaps it, at most.
  pid_t const grandchild = std::stoi(child.output);
  EXPECT_EQ(run_shell("ps -o stat= -p " + std::to_string(grandchild) + " | grep -v '^Z' || true").output, "");
}

TEST(ChildProcess, StopsWhenAskedAndKillsWhatDoesNotListen) {
  ChildTerms terms;
  int looks = 0;
  terms.is_stopping = [&] { return ++looks > 2; };
  terms.is_urgent = [&] { return looks > 2; };
  auto const child = run_shell("trap '' TERM; while :; do sleep 0.05; done", terms);
  EXPECT_EQ(child.end, ChildEnd::kStopped);
  EXPECT_EQ(child.code, SIGKILL);
}

TEST(ChildProcess, TellsASignalOfSomebodyElse) {
  auto const child = run_shell("kill -USR1 $$");
  EXPECT_EQ(child.end, ChildEnd::kSignalled);
  EXPECT_EQ(child.code, SIGUSR1);
}

TEST(ChildProcess, DoesNotWaitForWhatItLeavesBehind) {
  auto const child = run_shell("echo begun; sleep 30 & exit 0");
  EXPECT_EQ(child.end, ChildEnd::kExited);
  EXPECT_EQ(child.output, "begun\n");
}

TEST(ChildProcess, EndsWhatHasLeftTheGroup) {
  auto const ready = std::filesystem::temp_directory_path() / ("child-process-test-" + std::to_string(getpid()));
  ChildTerms terms;
  terms.is_stopping = [&] { return std::filesystem::exists(ready); };
  auto const child = run_shell("setsid sleep 1000 & echo $!; : >" + ready.string() + "; wait", terms);
  std::filesystem::remove(ready);
  EXPECT_EQ(child.end, ChildEnd::kStopped);
  EXPECT_FALSE(has_process(std::stoi(child.output)));
}

TEST(ChildProcess, WritesItsOutputToAFile) {
  std::unique_ptr<FILE, int (*)(FILE*)> const file(std::tmpfile(), &std::fclose);
  ChildTerms terms;
  terms.output_file = fileno(file.get());
  auto const child = run_shell("echo kept; echo said >&2", terms);
  EXPECT_EQ(child.output, "");
  EXPECT_EQ(child.errors, "said\n");
  std::rewind(file.get());
  std::array<char, 16> text{};
  EXPECT_STREQ(std::fgets(text.data(), text.size(), file.get()), "kept\n");
}

TEST(ChildProcess, SaysThatAProgramIsNotThere) {
  auto const child = run_shell("exec /no/such/program");
  EXPECT_EQ(child.code, 127);
  EXPECT_THAT(child.errors, HasSubstr("/no/such/program"));
}

}  // namespace
}  // namespace pgbackfill::engine
