// One simulated run: processes that work on a job, a server, writers, an operator, and what goes wrong.
//
// Everything follows from the options, which follow from a seed. Until `quiet_after` things go wrong; afterwards the
// job has to become complete, or the run has failed.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "tests/simulation/sim_server.h"

namespace pgbackfill::tests {

struct ScriptedFault {
  std::int64_t call = 0;  // counted from 1 over all sessions
  FaultKind kind = FaultKind::kNone;
};

struct ScenarioOptions {
  std::uint64_t seed = 0;
  bool is_traced = false;
  int rows = 60;
  int processes = 1;
  int workers = 2;
  std::int64_t min_rows = 2;
  std::int64_t max_rows = 8;
  milliseconds batch_target{20};
  ServerOptions server;
  milliseconds quiet_after{0};
  double fault_rate = 0;  // of calls
  std::vector<FaultKind> faults;
  int poison_rows = 0;
  int slow_rows = 0;
  double writes = 0;  // chance that a writer does something, every few milliseconds
  bool moves_keys = false;
  double updates = 0;  // the same, of what a program is given
  double holds = 0;
  double table_locks = 0;
  double kills = 0;  // a second and process
  double freezes = 0;
  double commands = 0;  // a second
  bool may_fail = true;
  std::optional<ScriptedFault> scripted_fault;
  std::optional<std::int64_t> kill_at_wake;  // of the first process
};

struct ScenarioResult {
  std::optional<std::string> violation;
  std::int64_t calls = 0;
  std::int64_t wakes = 0;  // of the first process, until it ended or died
  std::int64_t steps = 0;
  milliseconds elapsed{0};
  std::deque<std::string> traces;
};

ScenarioOptions options_of_seed(std::uint64_t seed);
ScenarioResult run_scenario(ScenarioOptions const& options);
std::string to_string(ScenarioOptions const& options);

}  // namespace pgbackfill::tests
