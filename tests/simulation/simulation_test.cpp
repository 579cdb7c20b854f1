// The engine against a simulated server, by the thousand: PGBACKFILL_SEEDS runs that many seeds, PGBACKFILL_SEED=N
// replays one with a trace of all that happens.

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "tests/simulation/scenario.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kSeeds = 4'000;
constexpr std::size_t kTracesShown = 120;

std::uint64_t number_from(char const* name, std::uint64_t otherwise) {
  char const* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

// A run is a function of its options, so a failure is told in full by running it once more.
std::string account_of(ScenarioOptions options, std::size_t lines) {
  options.is_traced = true;
  auto const result = run_scenario(options);
  std::string text = "seed " + std::to_string(options.seed) + ": " + to_string(options) + "\n";
  std::size_t const skipped = result.traces.size() > lines ? result.traces.size() - lines : 0;
  for (std::size_t at = skipped; at < result.traces.size(); ++at) text += result.traces[at] + "\n";
  return text + (result.violation ? "FAILED: " + *result.violation : "the job is complete");
}

// True if the run held.
bool holds(ScenarioOptions const& options) {
  auto const result = run_scenario(options);
  if (!result.violation) return true;
  ADD_FAILURE() << *result.violation << "\n"
                << account_of(options, kTracesShown) << "\nreplay: PGBACKFILL_SEED=" << options.seed;
  return false;
}

TEST(Simulation, CompletesExactlyOnceWhateverHappens) {
  if (std::getenv("PGBACKFILL_SEED") != nullptr) {
    auto const options = options_of_seed(number_from("PGBACKFILL_SEED", 0));
    std::cout << account_of(options, 1'000'000) << "\n";
    EXPECT_TRUE(holds(options));
    return;
  }
  std::uint64_t const first = number_from("PGBACKFILL_FIRST_SEED", 1);
  std::uint64_t const seeds = number_from("PGBACKFILL_SEEDS", kSeeds);
  int failures = 0;
  for (std::uint64_t seed = first; seed < first + seeds && failures < 3; ++seed) {
    if (!holds(options_of_seed(seed))) ++failures;
  }
}

TEST(Simulation, IsAFunctionOfItsSeed) {
  auto options = options_of_seed(7);
  options.is_traced = true;
  auto const once = run_scenario(options);
  auto const again = run_scenario(options);
  EXPECT_EQ(once.traces, again.traces);
  options.is_traced = false;
  EXPECT_EQ(run_scenario(options).steps, once.steps);
}

ScenarioOptions small_scenario(bool has_where) {
  ScenarioOptions options;
  options.seed = 11;
  options.rows = 24;
  options.server.has_where = has_where;
  options.server.lease_time = 700ms;
  options.server.replica_lag = 3;
  options.may_fail = false;
  return options;
}

class FailAtEveryStep : public testing::TestWithParam<bool> {};

TEST_P(FailAtEveryStep, AnyFaultAtAnyCallIsSurvived) {
  auto options = small_scenario(GetParam());
  std::int64_t const calls = run_scenario(options).calls;
  ASSERT_GT(calls, 20);
  for (std::int64_t call = 1; call <= calls; ++call) {
    for (int kind = 1; kind < kFaultKinds; ++kind) {
      options.scripted_fault = ScriptedFault{call, static_cast<FaultKind>(kind)};
      SCOPED_TRACE(to_string(options.scripted_fault->kind) + " at call " + std::to_string(call));
      if (!holds(options)) return;
    }
  }
}

TEST_P(FailAtEveryStep, AProcessMayDieAtAnyAwait) {
  auto options = small_scenario(GetParam());
  options.processes = 2;
  std::int64_t const wakes = run_scenario(options).wakes;
  ASSERT_GT(wakes, 20);
  for (std::int64_t wake = 1; wake <= wakes; ++wake) {
    options.kill_at_wake = wake;
    SCOPED_TRACE("killed at wake " + std::to_string(wake));
    if (!holds(options)) return;
  }
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutWhere, FailAtEveryStep, testing::Bool());

TEST(Simulation, QuarantinesTheBadRowsAndNoOthers) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    ScenarioOptions options;
    options.seed = seed;
    options.poison_rows = 3;
    options.server.quarantine_budget = 3;
    options.server.has_where = seed % 2 == 0;
    options.may_fail = false;
    if (!holds(options)) return;
  }
}

TEST(Simulation, QuarantinesBadRowsThatWereHeldWhenTheirBatchRan) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    ScenarioOptions options;
    options.seed = seed;
    options.rows = 30;
    options.poison_rows = 8;
    options.server.quarantine_budget = 8;
    options.server.lease_time = 1'000ms;
    options.holds = 0.9;
    options.processes = 3;
    options.quiet_after = 3'000ms;
    options.fault_rate = 0.02;
    options.faults = {FaultKind::kDeadlock, FaultKind::kSlow, FaultKind::kLostAfter};
    options.may_fail = false;
    if (!holds(options)) return;
  }
}

TEST(Simulation, LosesNothingWhenABadRowEndsTheRun) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    ScenarioOptions options;
    options.seed = seed;
    options.poison_rows = 2;
    if (!holds(options)) return;
  }
}

TEST(Simulation, ChangesHeldRowsOnceTheyAreFree) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    ScenarioOptions options;
    options.seed = seed;
    options.holds = 0.4;
    options.quiet_after = 2'000ms;
    options.processes = 2;
    options.may_fail = false;
    if (!holds(options)) return;
  }
}

TEST(Simulation, ObeysWhatWasAskedHoweverSlowTheAnswersAre) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    ScenarioOptions options;
    options.seed = seed;
    options.rows = 300;
    options.max_rows = 3;
    options.workers = 4;
    options.quiet_after = 15'000ms;
    options.commands = 0.7;
    options.freezes = 0.2;
    options.fault_rate = 0.25;
    options.faults = {FaultKind::kSlow};
    if (!holds(options)) return;
  }
}

ScenarioOptions computed_scenario(std::uint64_t seed) {
  ScenarioOptions options;
  options.seed = seed;
  options.processes = 2;
  options.workers = 3;
  options.server.computes = true;
  options.server.has_where = seed % 2 == 0;
  options.server.lease_time = 1'000ms;
  options.writes = 0.2;
  options.updates = 0.5;
  options.holds = 0.1;
  options.quiet_after = 2'000ms;
  options.fault_rate = 0.03;
  options.faults = {FaultKind::kDeadlock, FaultKind::kSlow, FaultKind::kLostAfter, FaultKind::kLostLate,
                    FaultKind::kCrashRunning};
  options.kills = 0.2;
  return options;
}

TEST(Simulation, WritesWhatAProgramComputesToRowsThatAreStillAsTheyWereGiven) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    if (!holds(computed_scenario(seed))) return;
  }
}

// The simulation is worth what it finds.
class PlantedMistake : public testing::TestWithParam<Planted> {};

TEST_P(PlantedMistake, IsFound) {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    auto options = computed_scenario(seed);
    options.server.planted = GetParam();
    if (GetParam() == Planted::kVisitsSettleChangedRows) {
      // Visits come last: a small table is there while others still write.
      options.rows = 12;
      options.updates = 0.9;
      options.holds = 0.3;
      options.quiet_after = 10'000ms;
    }
    if (run_scenario(options).violation) ++found;
  }
  EXPECT_GE(found, 10) << "of 60 seeds";
}

INSTANTIATE_TEST_SUITE_P(OfEachKind, PlantedMistake,
                         testing::Values(Planted::kWritesWithoutComparing, Planted::kPassesOverChangedRows,
                                         Planted::kVisitsSettleChangedRows));

}  // namespace
}  // namespace pgbackfill::tests
