#include "tests/simulation/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/run/worker_pool.h"
#include "tests/simulation/checkers.h"
#include "tests/simulation/sim_database.h"

namespace pgbackfill::tests {

namespace {

using engine::JobStatus;
using engine::PoolEnd;
using namespace std::chrono_literals;

constexpr auto kControlInterval = 200ms;
constexpr auto kControlAgeMax = 2'000ms;
constexpr auto kOperatorInterval = 300ms;
constexpr auto kWriterInterval = 15ms;
constexpr auto kMostTimeWhenQuiet = 300'000ms;
constexpr std::int64_t kMostSteps = 400'000;
constexpr Key kKeySpacing = 3;  // leaves room for rows that come between

class Sink : public engine::EventSink {
 public:
  Sink(SimWorld& world, std::string name) : world_(world), name_(std::move(name)) {}
  void emit(engine::Event event) override {
    if (!world_.is_traced()) return;
    if (auto const* line = std::get_if<engine::LogLine>(&event)) world_.trace(name_ + ": " + line->text);
  }

 private:
  SimWorld& world_;
  std::string name_;
};

// One life of a process. Its coroutines must be gone before it is.
struct Process {
  SimGroup group;
  std::unique_ptr<SimDatabase> database;
  std::unique_ptr<Sink> sink;
  std::unique_ptr<engine::WorkerPool> pool;
  std::optional<engine::PoolOutcome> outcome;
};

class Scenario {
 public:
  explicit Scenario(ScenarioOptions const& options);
  ~Scenario();
  ScenarioResult run();

 private:
  SimState initial_state();
  void make_job();
  void start(std::size_t slot);
  void stop(std::size_t slot);
  static asio::awaitable<void> run_pool(Process& process);
  FaultKind next_fault(std::string const& call);
  void watch_batch(int worker);
  void note_workers();

  void operate();
  void tend(std::size_t slot);
  void judge(engine::PoolOutcome const& outcome);
  void resume_jobs();
  void break_processes();
  void command();
  void write();
  void insert_row();
  void delete_row();
  void move_row();
  void update_row();
  std::optional<Key> any_free_row();
  bool is_quiet() const { return world_.now() >= quiet_at_; }
  bool is_over() const;
  void change(std::string const& what, std::function<void(SimState&)> change);

  ScenarioOptions options_;
  SimWorld world_;
  Checkers checkers_;
  SimServer server_;
  engine::Job job_;
  TimePoint began_;
  TimePoint quiet_at_;
  std::vector<std::unique_ptr<Process>> processes_;
  int lives_ = 0;
  std::int64_t calls_ = 0;
  std::int64_t wakes_of_first_ = 0;
  bool may_fail_ = true;
  // How many workers were asked for, and since when.
  std::deque<std::pair<TimePoint, int>> asked_;
};

Scenario::Scenario(ScenarioOptions const& options)
    : options_(options),
      world_(options.seed),
      checkers_(world_, options.server),
      server_(world_, options.server, initial_state()),
      began_(world_.now()),
      quiet_at_(began_ + options.quiet_after),
      processes_(static_cast<std::size_t>(options.processes)),
      may_fail_(options.may_fail) {
  if (options.is_traced) world_.set_traced();
  server_.set_observer(checkers_);
  server_.make_first_ranges();
  make_job();
}

Scenario::~Scenario() {
  for (std::size_t slot = 0; slot < processes_.size(); ++slot) stop(slot);
  world_.kill(server_.group());
}

SimState Scenario::initial_state() {
  SimState state;
  for (int number = 1; number <= options_.rows; ++number) {
    Row row;
    row.id = ++state.last_row;
    state.rows[kKeySpacing * number] = row;
  }
  auto const any_row = [&]() -> Row& { return state.rows.at(kKeySpacing * world_.between(1, options_.rows)); };
  for (int number = 0; number < options_.poison_rows; ++number) {
    auto& row = any_row();
    row.is_poison = row.was_poison = true;
  }
  for (int number = 0; number < options_.slow_rows; ++number) any_row().cost = world_.between(50ms, 800ms);
  state.workers = options_.workers;
  state.batch_target = options_.batch_target;
  return state;
}

void Scenario::make_job() {
  job_.id = 1;
  job_.name = "simulated";
  job_.table = "t";
  job_.backfill.batch.target = options_.batch_target;
  job_.backfill.batch.min_rows = options_.min_rows;
  job_.backfill.batch.max_rows = options_.max_rows;
  job_.backfill.quarantine_budget = options_.server.quarantine_budget;
  if (options_.server.has_where) job_.backfill.where = "changed = 0";
  if (options_.server.computes) {
    auto& compute = job_.backfill.compute.emplace();
    compute.rows = std::max<std::int64_t>(options_.max_rows / 3, 1);
  }
  engine::LeafPlan leaf;
  leaf.relation = "t";
  leaf.key.columns.push_back({"id", "bigint", "", "", false, false});
  leaf.rows_estimated = options_.rows;
  job_.leaves.push_back(leaf);
}

// --- processes -------------------------------------------------------------------------------------------------------

asio::awaitable<void> Scenario::run_pool(Process& process) {
  auto outcome = co_await process.pool->run();
  process.outcome = std::move(outcome);
}

void Scenario::start(std::size_t slot) {
  if (processes_[slot]) return;
  auto process = std::make_unique<Process>();
  process->group.name = fmt::format("p{}.{}", slot, ++lives_);
  if (lives_ == 1) process->group.kill_at = options_.kill_at_wake;
  process->group.on_kill = [this, slot] {
    if (world_.is_traced()) world_.trace("KILLED " + processes_[slot]->group.name);
    stop(slot);
  };
  process->database = std::make_unique<SimDatabase>(world_, server_, process->group, process->group.name,
                                                    [this](std::string const& call) { return next_fault(call); });
  process->database->set_batch_watch([this](int worker) { watch_batch(worker); });
  process->sink = std::make_unique<Sink>(world_, process->group.name);
  engine::PoolOptions pool_options;
  pool_options.control_interval = kControlInterval;
  pool_options.control_age_max = kControlAgeMax;
  pool_options.reconnect_patience = 60'000ms;
  pool_options.deferred_patience = 5'000ms;
  pool_options.least_rows_of_a_half = server_.options().least_rows_of_a_half;
  pool_options.settings["lock_wait"] = "20ms";
  process->pool =
      std::make_unique<engine::WorkerPool>(*process->database, job_, std::move(pool_options), *process->sink);
  world_.spawn(run_pool(*process));
  processes_[slot] = std::move(process);
}

void Scenario::stop(std::size_t slot) {
  auto& process = processes_[slot];
  if (!process) return;
  if (process->group.name == "p0.1") wakes_of_first_ = process->group.wakes;
  world_.kill(process->group);
  process->pool.reset();
  process->database.reset();
  process.reset();
}

FaultKind Scenario::next_fault(std::string const& /*call*/) {
  ++calls_;
  if (options_.scripted_fault) {
    return options_.scripted_fault->call == calls_ ? options_.scripted_fault->kind : FaultKind::kNone;
  }
  if (is_quiet() || options_.faults.empty() || !world_.chance(options_.fault_rate)) return FaultKind::kNone;
  auto const last = static_cast<std::int64_t>(options_.faults.size()) - 1;
  return options_.faults[static_cast<std::size_t>(world_.between(0, last))];
}

void Scenario::note_workers() {
  auto const& state = server_.state();
  int const asked = state.status == JobStatus::kRunning ? state.workers : 0;
  if (asked_.empty() || asked_.back().second != asked) asked_.emplace_back(world_.now(), asked);
}

void Scenario::watch_batch(int worker) {
  note_workers();
  // A reading as old as allowed may still be obeyed.
  auto const oldest = world_.now() - kControlAgeMax;
  int most = 0;
  for (std::size_t at = 0; at < asked_.size(); ++at) {
    bool const is_past = at + 1 < asked_.size() && asked_[at + 1].first < oldest;
    if (!is_past) most = std::max(most, asked_[at].second);
  }
  // Batches that began before may still run: as many as were asked for then.
  if (worker >= most)
    checkers_.fail(fmt::format("worker {} starts a batch, but {} workers are asked for", worker, most));
}

// --- the operator ----------------------------------------------------------------------------------------------------

void Scenario::change(std::string const& what, std::function<void(SimState&)> change) {
  server_.commit(what, true, std::move(change));
  note_workers();
}

void Scenario::operate() {
  note_workers();
  if (is_quiet()) server_.release_rows();
  for (std::size_t slot = 0; slot < processes_.size(); ++slot) tend(slot);
  if (server_.is_up()) resume_jobs();
  if (!is_quiet()) {
    break_processes();
    command();
  }
  world_.after(kOperatorInterval, [this] { operate(); });
}

void Scenario::tend(std::size_t slot) {
  auto const& process = processes_[slot];
  if (process && !process->outcome) return;
  if (process) {
    judge(*process->outcome);
    stop(slot);
  }
  if (server_.state().status == JobStatus::kComplete) return;
  if (is_quiet() || world_.chance(0.3)) start(slot);
}

void Scenario::judge(engine::PoolOutcome const& outcome) {
  if (world_.is_traced()) world_.trace(fmt::format("a run ends {}: {}", static_cast<int>(outcome.end), outcome.reason));
  bool const is_complete = server_.state().status == JobStatus::kComplete;
  if (outcome.end == PoolEnd::kComplete && !is_complete && options_.server.replica_lag == 0) {
    checkers_.fail("a run says complete, the job is not");
  }
  if (outcome.end == PoolEnd::kFailed && !may_fail_) checkers_.fail("a run failed: " + outcome.reason);
}

// What an operator does about a job that stands still.
void Scenario::resume_jobs() {
  auto const status = server_.state().status;
  if (status == JobStatus::kRunning || status == JobStatus::kComplete) {
    if (is_quiet() && server_.state().workers < 1) {
      change("workers: 1", [](SimState& state) { state.workers = 1; });
    }
    return;
  }
  if (!is_quiet() && !world_.chance(0.2)) return;
  bool const has_bad_rows = status == JobStatus::kFailed && options_.server.quarantine_budget < options_.poison_rows;
  change("resumed", [has_bad_rows](SimState& state) {
    state.status = JobStatus::kRunning;
    state.reason.clear();
    if (!has_bad_rows) return;
    for (auto& [key, row] : state.rows) row.is_poison = false;
    for (auto const& [key, id] : std::exchange(state.quarantine, {})) {
      if (!state.is_deferred(key)) state.deferred[++state.last_deferred] = {key, std::nullopt};
    }
  });
}

void Scenario::break_processes() {
  double const seconds = static_cast<double>(kOperatorInterval.count()) / 1'000;
  for (auto const& process : processes_) {
    if (!process) continue;
    auto& group = process->group;
    if (world_.chance(options_.kills * seconds)) group.kill_at = group.wakes + world_.between(1, 60);
    if (world_.chance(options_.freezes * seconds)) {
      auto const duration = world_.between(500ms, options_.server.lease_time * 3);
      if (world_.is_traced()) world_.trace(fmt::format("FROZEN {} for {} ms", group.name, duration.count()));
      world_.freeze(group, duration);
    }
  }
}

void Scenario::command() {
  double const seconds = static_cast<double>(kOperatorInterval.count()) / 1'000;
  if (!server_.is_up() || server_.state().status == JobStatus::kComplete) return;
  if (!world_.chance(options_.commands * seconds)) return;
  switch (world_.between(0, 4)) {
    case 0:
      return change("paused", [](SimState& state) { state.status = JobStatus::kPaused; });
    case 1:
      return change("cancelled", [](SimState& state) { state.status = JobStatus::kCancelled; });
    case 2: {
      auto const workers = static_cast<int>(world_.between(0, 5));
      return change(fmt::format("workers: {}", workers), [workers](SimState& state) { state.workers = workers; });
    }
    case 3: {
      auto const target = world_.between(5ms, 80ms);
      return change(fmt::format("target: {} ms", target.count()),
                    [target](SimState& state) { state.batch_target = target; });
    }
    default: {
      auto const rows = world_.between(20, 400);
      bool const is_limited = world_.chance(0.5);
      return change("pace", [rows, is_limited](SimState& state) {
        state.max_rows_per_second.reset();
        if (is_limited) state.max_rows_per_second = rows;
      });
    }
  }
}

// --- writers ---------------------------------------------------------------------------------------------------------

std::optional<Key> Scenario::any_free_row() {
  auto const& rows = server_.state().rows;
  if (rows.empty()) return std::nullopt;
  auto const at = rows.lower_bound(world_.between(rows.begin()->first, rows.rbegin()->first));
  if (server_.is_in_batch(at->first)) return std::nullopt;
  return at->first;
}

void Scenario::insert_row() {
  Key const key = world_.between(1, kKeySpacing * options_.rows + 30);
  if (server_.state().rows.contains(key)) return;
  bool const is_synchronous = world_.chance(0.5);
  auto const insert = [key](SimState& state) {
    Row row;
    row.id = ++state.last_row;
    row.is_original = false;
    row.pass_when_placed = state.pass;
    state.rows[key] = row;
  };
  server_.commit(fmt::format("insert {}", key), is_synchronous, insert);
}

void Scenario::delete_row() {
  auto const key = any_free_row();
  if (!key) return;
  server_.commit(fmt::format("delete {}", *key), world_.chance(0.5),
                 [key = *key](SimState& state) { state.rows.erase(key); });
}

void Scenario::move_row() {
  auto const from = any_free_row();
  Key const to = world_.between(1, kKeySpacing * options_.rows + 30);
  if (!from || server_.state().rows.contains(to) || server_.state().rows.at(*from).is_poison) return;
  auto const move = [from = *from, to](SimState& state) {
    Row row = state.rows.at(from);
    state.rows.erase(from);
    row.has_moved = true;
    row.is_original = false;
    row.pass_when_placed = state.pass;
    state.rows[to] = row;
  };
  server_.commit(fmt::format("move {} to {}", *from, to), world_.chance(0.5), move);
}

void Scenario::update_row() {
  auto const key = any_free_row();
  if (!key) return;
  server_.commit(fmt::format("update {}", *key), world_.chance(0.5),
                 [key = *key](SimState& state) { ++state.rows.at(key).source; });
}

void Scenario::write() {
  if (is_quiet()) return;
  world_.after(kWriterInterval, [this] { write(); });
  if (!server_.is_up()) return;
  if (world_.chance(options_.writes)) {
    auto const kind = world_.between(0, options_.moves_keys ? 3 : 2);
    if (kind <= 1) insert_row();
    if (kind == 2) delete_row();
    if (kind == 3) move_row();
  }
  if (world_.chance(options_.updates)) update_row();
  if (world_.chance(options_.holds)) {
    auto const key = any_free_row();
    bool const is_until_quiet = world_.chance(0.2);
    if (key) {
      server_.hold_row(server_.state().rows.at(*key).id,
                       is_until_quiet ? quiet_at_ : world_.now() + world_.between(5ms, 2'000ms));
    }
  }
  if (world_.chance(options_.table_locks)) server_.lock_table(world_.now() + world_.between(10ms, 600ms));
}

// --- the run ---------------------------------------------------------------------------------------------------------

bool Scenario::is_over() const {
  if (checkers_.violation()) return true;
  if (!is_quiet() || server_.state().status != JobStatus::kComplete) return false;
  return std::all_of(processes_.begin(), processes_.end(), [](auto const& process) { return !process; });
}

ScenarioResult Scenario::run() {
  for (std::size_t slot = 0; slot < processes_.size(); ++slot) start(slot);
  operate();
  write();
  auto const latest = quiet_at_ + kMostTimeWhenQuiet;
  while (!is_over()) {
    if (!world_.step() || world_.now() > latest || world_.steps() > kMostSteps) {
      checkers_.fail("the run does not end");
    }
  }
  // What was called complete survives the power cut that comes right after.
  if (!checkers_.violation()) {
    server_.crash();
    if (server_.state().status != JobStatus::kComplete) checkers_.fail("a crash takes the completion back");
    if (!checkers_.violation()) checkers_.before_completion(server_.state());
  }
  ScenarioResult result;
  result.violation = checkers_.violation();
  result.calls = calls_;
  result.wakes = wakes_of_first_;
  result.steps = world_.steps();
  result.elapsed = std::chrono::duration_cast<milliseconds>(world_.now() - began_);
  result.traces = world_.traces();
  return result;
}

}  // namespace

ScenarioOptions options_of_seed(std::uint64_t seed) {
  // Another stream than the run's own, so that a replay with changed options still sees similar events.
  SimWorld dice(seed ^ 0x5eedU);
  ScenarioOptions options;
  options.seed = seed;
  options.rows = static_cast<int>(dice.between(0, 10) == 0 ? dice.between(0, 3) : dice.between(10, 150));
  options.processes = static_cast<int>(dice.between(1, 3));
  options.workers = static_cast<int>(dice.between(1, 5));
  options.min_rows = dice.between(1, 4);
  options.max_rows = dice.between(options.min_rows, 30);
  options.batch_target = dice.between(8ms, 60ms);
  options.quiet_after = dice.between(500ms, 12'000ms);
  auto& server = options.server;
  server.has_where = dice.chance(0.5);
  server.commits_asynchronously = dice.chance(0.8);
  server.row_cost_us = dice.between(50, 2'000);
  server.ranges_wanted = dice.between(1, 6);
  server.least_rows_of_a_half = dice.between(1, 8);
  server.lease_time = dice.between(300ms, 5'000ms);
  server.restart_time = dice.between(50ms, 2'000ms);
  if (dice.chance(0.4)) server.replica_lag = dice.between(1, 12);
  if (dice.chance(0.4)) options.poison_rows = static_cast<int>(dice.between(1, 4));
  if (dice.chance(0.8)) server.quarantine_budget = dice.between(0, 5);
  if (dice.chance(0.2)) options.slow_rows = static_cast<int>(dice.between(1, 3));
  if (options.rows == 0) options.poison_rows = options.slow_rows = 0;
  if (dice.chance(0.6)) options.writes = dice.random() * 0.3;
  options.moves_keys = dice.chance(0.4);
  if (dice.chance(0.5)) options.holds = dice.random() * 0.2;
  if (dice.chance(0.2)) options.table_locks = dice.random() * 0.03;
  if (dice.chance(0.5)) options.kills = dice.random() * 0.6;
  if (dice.chance(0.4)) options.freezes = dice.random() * 0.4;
  if (dice.chance(0.4)) options.commands = dice.random();
  if (dice.chance(0.85)) options.fault_rate = dice.random() * 0.12;
  // Each seed has its own mix, so that rare kinds are not drowned by frequent ones.
  for (int kind = 1; kind < kFaultKinds; ++kind) {
    bool const needs_replica = static_cast<FaultKind>(kind) == FaultKind::kFailOver && server.replica_lag == 0;
    if (!needs_replica && dice.chance(0.5)) options.faults.push_back(static_cast<FaultKind>(kind));
  }
  server.computes = dice.chance(0.3);
  if (server.computes) options.updates = dice.random() * 0.5;
  return options;
}

ScenarioResult run_scenario(ScenarioOptions const& options) {
  Scenario scenario(options);
  return scenario.run();
}

std::string to_string(ScenarioOptions const& options) {
  std::string faults;
  for (auto const kind : options.faults) faults += (faults.empty() ? "" : ", ") + to_string(kind);
  return fmt::format(
      "{} rows, {} processes, {} workers, {}{}, lease {} ms, {} poison, budget {}, fault rate {:.3f} of ({}), writes "
      "{:.2f}{}, holds {:.2f}, table locks {:.2f}, kills {:.2f}, freezes {:.2f}, commands {:.2f}, replica lag {}",
      options.rows, options.processes, options.workers, options.server.has_where ? "where" : "no where",
      options.server.computes ? fmt::format(", computed, updates {:.2f}", options.updates) : "",
      options.server.lease_time.count(), options.poison_rows, options.server.quarantine_budget, options.fault_rate,
      faults, options.writes, options.moves_keys ? " with moves" : "", options.holds, options.table_locks,
      options.kills, options.freezes, options.commands, options.server.replica_lag);
}

}  // namespace pgbackfill::tests
