// run, complete, rollback: the phases of a migration in order.

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "engine/approval.h"
#include "engine/commands.h"
#include "engine/effect_reader.h"
#include "engine/facts_keeper.h"
#include "engine/gate.h"
#include "engine/growth_text.h"
#include "engine/hook_runner.h"
#include "engine/interrupts.h"
#include "engine/job_setup.h"
#include "engine/limits.h"
#include "engine/monitor.h"
#include "engine/one_migration.h"
#include "engine/pg_database.h"
#include "engine/probes.h"
#include "engine/progress_view.h"
#include "engine/read_pace.h"
#include "engine/reading_recorder.h"
#include "engine/recorded_steps.h"
#include "engine/sequence.h"
#include "engine/step_runner.h"
#include "engine/sync_guard.h"
#include "engine/vacuum_keeper.h"
#include "engine/verify.h"
#include "engine/worker_pool.h"
#include "planner/migration_file.h"
#include "throttle/backoff.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// How often a run that ended looks whether its result was scraped.
constexpr auto kScrapeGlance = 50ms;

// Tells the monitor every second that the engine's thread is alive.
class Heart {
 public:
  Heart(asio::io_context& io, Monitor& monitor) : timer_(io), monitor_(monitor) { beat(); }

  void close() { timer_.cancel(); }

 private:
  void beat() {
    monitor_.beat();
    timer_.expires_after(1s);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) beat();
    });
  }

  asio::steady_timer timer_;
  Monitor& monitor_;
};

// One `run` of one migration.
class Run {
 public:
  Run(CommandContext& context, RunOptions options)
      : context_(context), options_(std::move(options)), teller_(context.teller_options()), interrupts_(context.io()) {}

  asio::awaitable<int> go();

 private:
  // Until the workers can begin: what has to be there is made, what is there is found. Safe to repeat at any point.
  // The exit code when there is nothing left for workers, else `pg_job_`.
  asio::awaitable<std::optional<int>> start();
  // The same, again and again while the server is away.
  asio::awaitable<std::optional<int>> start_patiently();
  // Whether it was slept through, not interrupted.
  asio::awaitable<bool> sleep(std::chrono::milliseconds duration);
  asio::awaitable<std::optional<int>> prepare_backfill();
  void listen();
  void record_readings();
  asio::awaitable<void> await_final_scrape();
  EventSink& sink();
  asio::awaitable<int> backfill();
  asio::awaitable<StoredJob> find_or_create_job();
  asio::awaitable<void> check(bool before_expand);
  // The checks of `verify:`, until contract may have changed what they read.
  asio::awaitable<void> check_verify(bool before_expand);
  asio::awaitable<bool> expand();
  // Says what of the tables somebody else has changed, and refuses what the work relies on.
  asio::awaitable<void> look_at_drift(bool is_complete, bool has_open_steps);
  asio::awaitable<bool> install_sync();
  asio::awaitable<void> check_sync_before(bool has_state);
  asio::awaitable<bool> run_phase(std::vector<planner::PlacedStep> steps, std::string phase);
  // Throws CommandError when one is not content: to be run again.
  asio::awaitable<void> run_hooks_at(planner::Boundary boundary);
  asio::awaitable<void> record(std::string kind, std::string detail);
  // What comes after a run that is through; empty if nothing does.
  asio::awaitable<std::vector<std::string>> what_is_next();
  int summarise(PoolOutcome const& outcome, WorkerPool const& pool, std::chrono::milliseconds elapsed,
                std::vector<std::string> const& after, std::string const& hook_trouble);
  // How the table's size changed since the job began; empty where that says nothing.
  asio::awaitable<std::string> growth_since_start(Job const& job, throttle::Limits limits);
  void tell(Severity severity, std::string text);
  void tell_phase(RunPhase phase);
  void tell_summary(Summary summary);
  void conclude(int exit_code, std::string headline, std::vector<std::string> notes);
  // The same for a job that is there, with the counts that it has.
  asio::awaitable<void> conclude_job(int exit_code, std::string headline, std::vector<std::string> notes);

  CommandContext& context_;
  RunOptions options_;
  Teller teller_;
  std::optional<Monitor> monitor_;
  std::optional<ReadingRecorder> recorder_;
  std::optional<Heart> heart_;
  Interrupts interrupts_;
  LoadedMigration loaded_;
  std::shared_ptr<PgConnection> connection_;
  // What was recorded when this run began.
  RecordedSteps recorded_;
  // What was read of the table, until an expand step may have changed it.
  std::optional<Preflight> preflight_;
  std::optional<PgJob> pg_job_;
  std::int64_t job_id_ = 0;
};

asio::awaitable<Result<std::shared_ptr<PgConnection>>> open_connection(CommandContext& context) {
  co_return co_await PgConnection::open(context.target(), context.blocking());
}

bool are_steps_open(RecordedSteps const& recorded, std::vector<planner::PlacedStep> const& steps) {
  return std::any_of(steps.begin(), steps.end(),
                     [&](planner::PlacedStep const& step) { return !is_recorded(recorded, step); });
}

StepTerms step_terms(CommandContext& context, planner::Migration const& migration, std::string phase,
                     LockOptions const& locks, Interrupts const& interrupts) {
  StepTerms terms;
  terms.migration = migration.name;
  terms.phase = std::move(phase);
  terms.owner = context.owner();
  terms.patience = locks.patience;
  terms.blockers.pids = locks.terminate_pids;
  if (locks.terminate_idle > 0ms) terms.blockers.idle_in_transaction = locks.terminate_idle;
  terms.is_stopping = [&interrupts] { return interrupts.is_asked(); };
  terms.is_aborting = [&interrupts] { return interrupts.is_urgent(); };
  auto random = std::make_shared<std::mt19937_64>(std::random_device{}());
  terms.random = [random] { return std::uniform_real_distribution<double>(0, 1)(*random); };
  terms.connect = [&context] { return open_connection(context); };
  return terms;
}

asio::awaitable<HooksOutcome> hooks_of(CommandContext& context, planner::Migration const& migration,
                                       planner::Boundary boundary, bool skip, Interrupts const& interrupts,
                                       EventSink& sink) {
  if (skip) co_return HooksOutcome{};
  HookTerms const terms{migration,
                        context.target(),
                        context.blocking(),
                        context.owner(),
                        [&interrupts] { return interrupts.is_asked(); },
                        [&interrupts] { return interrupts.is_urgent(); }};
  co_return co_await run_hooks(boundary, terms, sink);
}

void Run::tell(Severity severity, std::string text) {
  sink().emit(log_line(severity, std::move(text), {{"migration", loaded_.migration.name}}));
}

void Run::tell_phase(RunPhase phase) {
  Progress progress;
  progress.migration = loaded_.migration.name;
  progress.phase = phase;
  sink().emit(std::move(progress));
}

void Run::conclude(int exit_code, std::string headline, std::vector<std::string> notes) {
  Summary summary;
  summary.last.migration = loaded_.migration.name;
  summary.exit_code = exit_code;
  summary.complete = exit_code == kExitDone;
  summary.headline = std::move(headline);
  summary.notes = std::move(notes);
  tell_summary(std::move(summary));
}

asio::awaitable<void> Run::conclude_job(int exit_code, std::string headline, std::vector<std::string> notes) {
  auto const rows = value_or_throw(
      co_await connection_->query(state::control(job_id_, context_.owner().id), Deadlines()), "reading the job");
  Summary summary;
  summary.exit_code = exit_code;
  summary.complete = exit_code == kExitDone;
  summary.headline = std::move(headline);
  summary.notes = std::move(notes);
  summary.last.migration = loaded_.migration.name;
  if (!rows.rows.empty()) {
    auto const control = state::control_of(rows.rows.front());
    summary.batches = control.batches;
    summary.last.rows_done = control.rows_done;
    summary.last.rows_estimated = control.rows_estimated;
    summary.last.rows_changed = control.rows_changed;
    summary.last.ranges_open = control.ranges_open;
    summary.last.ranges_total = control.ranges_total;
    summary.last.deferred = control.deferred;
    summary.last.quarantined = control.quarantined;
    summary.last.batch_target = control.batch_target;
  }
  tell_summary(std::move(summary));
}

void Run::tell_summary(Summary summary) {
  if (context_.is_json()) context_.print(json_of(summary));
  sink().emit(std::move(summary));
}

asio::awaitable<void> Run::record(std::string kind, std::string detail) {
  std::optional<std::int64_t> const job = job_id_ == 0 ? std::nullopt : std::optional(job_id_);
  // The audit line is worth a try, not a failure.
  co_await connection_->query(state::record_event(job, loaded_.migration.name, kind, detail, context_.owner()),
                              Deadlines());
}

EventSink& Run::sink() {
  if (recorder_) return *recorder_;
  if (monitor_) return *monitor_;
  return teller_;
}

void Run::record_readings() {
  if (options_.record_readings.empty()) return;
  try {
    recorder_.emplace(options_.record_readings, sink());
  } catch (std::system_error const& error) {
    throw CommandError{kExitUsage, fmt::format("cannot write {}: {}; nothing was started", options_.record_readings,
                                               error.code().message())};
  }
}

// Before anything else: whoever asked to be told of the run would otherwise miss it.
void Run::listen() {
  if (!options_.listen) return;
  try {
    monitor_.emplace(*options_.listen, loaded_.migration.name, teller_);
  } catch (boost::system::system_error const& error) {
    throw CommandError{kExitUsage, fmt::format("cannot listen on {}: {}; nothing was started",
                                               to_string(*options_.listen), error.code().message())};
  }
  heart_.emplace(context_.io(), *monitor_);
  tell(Severity::kInfo, fmt::format("metrics and health are at http://{}/metrics", to_string(monitor_->address())));
}

// Prometheus comes when it likes; a process that left at once would take its result with it.
asio::awaitable<void> Run::await_final_scrape() {
  if (!monitor_) co_return;
  auto const give_up_at = std::chrono::steady_clock::now() + options_.final_scrape;
  bool goes_on = true;
  while (goes_on && !monitor_->has_shown_end() && std::chrono::steady_clock::now() < give_up_at) {
    goes_on = co_await sleep(kScrapeGlance);
  }
}

asio::awaitable<int> Run::go() {
  loaded_ = load_migration(options_.file);
  context_.owner().lease_time = options_.lease_time;
  listen();
  record_readings();
  auto code = co_await start_patiently();
  if (!code) code = co_await backfill();
  co_await await_final_scrape();
  if (heart_) heart_->close();
  interrupts_.close();
  co_return *code;
}

asio::awaitable<std::optional<int>> Run::start_patiently() {
  std::optional<std::chrono::steady_clock::time_point> away_since;
  std::mt19937_64 random{std::random_device{}()};
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int attempt = 0;; ++attempt) {
    CommandError failed;
    try {
      auto const code = co_await start();
      co_return code;
    } catch (CommandError const& error) {
      if (!error.is_passing) throw;
      failed = error;
    }
    auto const now = std::chrono::steady_clock::now();
    if (!away_since) away_since = now;
    bool const is_late = now - *away_since >= options_.reconnect_patience;
    if (is_late) throw failed;
    if (!connection_) {
      bool const is_hopeless = co_await refuses_for_good(context_.target(), context_.blocking());
      if (is_hopeless) throw failed;
    }
    tell(Severity::kWarning, failed.text + "; trying again");
    tell_phase(RunPhase::kStarting);
    throttle::BackoffOptions const backoff{100ms, 2'000ms};
    bool const slept = co_await sleep(throttle::backoff_delay(attempt, backoff, uniform(random)));
    if (slept) continue;
    conclude(kExitResumable, loaded_.migration.name + " was interrupted before it began", {failed.text});
    co_return kExitResumable;
  }
}

asio::awaitable<bool> Run::sleep(std::chrono::milliseconds duration) {
  auto const until = std::chrono::steady_clock::now() + duration;
  asio::steady_timer timer(context_.io());
  while (!interrupts_.is_asked() && std::chrono::steady_clock::now() < until) {
    timer.expires_after(50ms);
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return !interrupts_.is_asked();
}

asio::awaitable<std::optional<int>> Run::start() {
  auto const& migration = loaded_.migration;
  tell_phase(RunPhase::kStarting);
  connection_.reset();
  preflight_.reset();
  connection_ = co_await context_.connect();
  std::optional<StoredJob> known;
  auto there =
      value_or_throw(co_await connection_->query(state::has_version(), Deadlines()), "reading the state schema");
  if (there.at(0, 0) == "t") {
    co_await context_.ensure_state(*connection_);
    known = value_or_throw(co_await find_job(*connection_, migration.name), "looking for the job");
  }
  bool has_open_steps = true;
  recorded_.clear();
  if (there.at(0, 0) == "t") {
    recorded_ =
        value_or_throw(co_await read_recorded_steps(*connection_, migration.name), "reading the steps that are done");
    auto steps = planner::expand_steps(migration);
    for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
    has_open_steps = are_steps_open(recorded_, steps);
    co_await look_at_drift(known && known->status == JobStatus::kComplete, has_open_steps);
  }
  // Everything in the file meets the server before anything is touched.
  if (migration.backfill && !known) co_await check(true);
  auto const unreadable =
      value_or_throw(co_await check_step_syntax(*connection_, migration, recorded_), "checking the steps");
  if (!unreadable.empty()) throw CommandError{kExitUsage, planner::to_lines(unreadable)};
  if (migration.sync) co_await check_sync_before(there.at(0, 0) == "t");
  co_await check_verify(true);
  bool const made = co_await context_.ensure_state(*connection_);
  if (made) tell(Severity::kInfo, "schema pgbackfill is ready");
  value_or_throw(co_await connection_->query(state::remember_migration(migration.name, migration.file, loaded_.source),
                                             Deadlines()),
                 "recording the migration");
  bool const is_over = known && known->status == JobStatus::kComplete;
  if (!is_over) {
    co_await run_hooks_at(planner::Boundary::kBackup);
    co_await run_hooks_at(planner::Boundary::kBeforeExpand);
  }
  auto before =
      value_or_throw(co_await begin_steps(*connection_, migration, has_open_steps), "recording the table's facts");
  bool const expanded = co_await expand();
  if (!expanded) co_return kExitResumable;
  if (!migration.expand.empty()) co_await check_verify(false);
  // Before the backfill reads where the table ends: what comes later goes through the trigger.
  bool const is_synced = co_await install_sync();
  if (!is_synced) co_return kExitResumable;
  if (before) {
    value_or_throw(co_await settle_facts(*connection_, migration, std::move(*before)), "recording the table's facts");
  }
  if (!is_over) co_await run_hooks_at(planner::Boundary::kAfterExpand);
  if (migration.backfill) {
    auto const code = co_await prepare_backfill();
    co_return code;
  }
  auto next = co_await what_is_next();
  conclude(kExitDone,
           fmt::format("{} is done: {} expand step(s), no backfill", migration.name, migration.expand.size()),
           std::move(next));
  co_return kExitDone;
}

asio::awaitable<std::vector<std::string>> Run::what_is_next() {
  std::vector<std::string> notes;
  auto const& name = loaded_.migration.name;
  auto const steps = planner::contract_steps(loaded_.migration);
  std::size_t const count = loaded_.migration.contract.size();
  if (count == 0 || !connection_->is_usable()) co_return notes;
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(*connection_, name), "reading the steps that are done");
  if (are_steps_open(recorded, steps)) {
    notes.push_back(fmt::format(
        "next: `pgbackfill gate {0}`, then `pgbackfill complete {0}` for the {1} contract step(s)", name, count));
  }
  co_return notes;
}

asio::awaitable<void> Run::run_hooks_at(planner::Boundary boundary) {
  auto outcome = co_await hooks_of(context_, loaded_.migration, boundary, options_.skip_hooks, interrupts_, sink());
  if (outcome.is_content()) co_return;
  throw CommandError{kExitResumable, outcome.trouble + "\nnothing is lost: run the same command to go on",
                     outcome.is_server_away};
}

asio::awaitable<void> Run::look_at_drift(bool is_complete, bool has_open_steps) {
  auto const& migration = loaded_.migration;
  auto const drift = value_or_throw(co_await read_drift(*connection_, migration), "comparing the table with its facts");
  if (drift.all.empty()) co_return;
  if (options_.accept_drift) {
    value_or_throw(co_await accept_drift(*connection_, migration, drift, context_.owner()), "recording the drift");
    auto const told = drift.critical.size() + drift.harmless.size();
    tell(Severity::kInfo, fmt::format("{} difference(s) are accepted and recorded", told));
    co_return;
  }
  bool const has_work = has_open_steps || (migration.backfill && !is_complete);
  auto told = drift.harmless;
  if (!has_work) told.insert(told.end(), drift.critical.begin(), drift.critical.end());
  for (auto const& text : told) tell(Severity::kWarning, "changed by somebody else: " + text);
  if (drift.critical.empty() || !has_work) co_return;
  std::string text = migration.name + " relies on what was changed by somebody else:";
  for (auto const& one : drift.critical) text += "\n  " + one;
  text += fmt::format(
      "\nnothing was started; see whether the migration is still right, then `pgbackfill run {} --accept-drift` "
      "records what is there now and goes on",
      migration.file);
  throw CommandError{kExitGateClosed, text};
}

asio::awaitable<void> Run::check(bool before_expand) {
  tell_phase(RunPhase::kPlanning);
  auto preflight =
      value_or_throw(co_await check_backfill(*connection_, *loaded_.migration.backfill), "checking the file");
  bool const is_settled = !before_expand || loaded_.migration.expand.empty();
  if (is_settled) {
    auto probes = value_or_throw(co_await check_probes(*connection_, loaded_.migration.probes), "checking the probes");
    for (auto& problem : probes) preflight.problems.push_back(std::move(problem));
  }
  bool const may_come = before_expand && may_come_with_expand(preflight, loaded_.migration);
  if (!preflight.problems.empty() && !may_come) throw CommandError{kExitUsage, planner::to_lines(preflight.problems)};
  if (preflight.problems.empty()) preflight_ = std::move(preflight);
}

asio::awaitable<void> Run::check_verify(bool before_expand) {
  auto const& migration = loaded_.migration;
  if (migration.verify.empty()) co_return;
  auto const contract = planner::contract_steps(migration);
  bool const has_begun = std::any_of(contract.begin(), contract.end(),
                                     [&](planner::PlacedStep const& placed) { return is_recorded(recorded_, placed); });
  if (has_begun) co_return;
  bool const names_may_come = before_expand && !migration.expand.empty();
  auto const problems = value_or_throw(co_await check_checks(*connection_, migration.verify, names_may_come),
                                       "checking the checks of verify");
  if (!problems.empty()) throw CommandError{kExitUsage, planner::to_lines(problems)};
}

asio::awaitable<bool> Run::expand() {
  auto steps = planner::expand_steps(loaded_.migration);
  co_return co_await run_phase(std::move(steps), "expand");
}

asio::awaitable<bool> Run::install_sync() {
  auto const& migration = loaded_.migration;
  auto const guard = value_or_throw(co_await read_sync_guard(*connection_, migration), "looking for the sync trigger");
  if (guard == SyncGuard::kChanged) {
    throw CommandError{kExitFailed, fmt::format("{}; `pgbackfill rollback {} --yes`, then run again, to go over all "
                                                "rows once more",
                                                kSyncChanged, migration.name)};
  }
  if (guard == SyncGuard::kEnded) co_return true;
  auto steps = planner::sync_steps(migration);
  co_return co_await run_phase(std::move(steps), planner::kSyncPhase);
}

asio::awaitable<void> Run::check_sync_before(bool has_state) {
  auto const& migration = loaded_.migration;
  if (has_state) {
    auto const guard =
        value_or_throw(co_await read_sync_guard(*connection_, migration), "looking for the sync trigger");
    if (guard != SyncGuard::kMissing) co_return;
  }
  auto const problem = value_or_throw(co_await check_sync(*connection_, migration), "checking the file");
  if (!problem.empty()) throw CommandError{kExitUsage, problem};
}

asio::awaitable<bool> Run::run_phase(std::vector<planner::PlacedStep> steps, std::string phase) {
  auto const& migration = loaded_.migration;
  if (steps.empty()) co_return true;
  tell_phase(RunPhase::kExpanding);
  auto const terms = step_terms(context_, migration, std::move(phase), options_.locks, interrupts_);
  auto const outcome = co_await run_steps(steps, terms, sink());
  // The catalog says what a lost connection has left, so that it is safe to begin with the first step again.
  if (outcome.end == StepsEnd::kFailed) {
    throw CommandError{kExitFailed, outcome.reason, outcome.is_lost || !connection_->is_usable()};
  }
  if (outcome.ran > 0) preflight_.reset();
  if (outcome.end == StepsEnd::kDone) co_return true;
  conclude(kExitResumable, fmt::format("{} stopped: {}", migration.name, outcome.reason),
           {"run the same command to go on"});
  co_return false;
}

asio::awaitable<StoredJob> Run::find_or_create_job() {
  auto& migration = loaded_.migration;
  auto known = value_or_throw(co_await find_job(*connection_, migration.name), "looking for the job");
  if (!known) {
    if (options_.workers) migration.backfill->workers = *options_.workers;
    if (!preflight_) co_await check(false);
    if (planner::sync_guards_backfill(migration)) preflight_->sweeps = false;
    auto ranges = value_or_throw(co_await plan_ranges(*connection_, *preflight_), "cutting the table into ranges");
    auto created = co_await create_job(*connection_, migration, *preflight_, std::move(ranges), context_.owner());
    // 23505: another process made it in this moment.
    if (!created && created.error().sqlstate != "23505") value_or_throw(std::move(created), "creating the job");
    known = value_or_throw(co_await find_job(*connection_, migration.name), "looking for the job");
  }
  if (known->definition != definition_of(*migration.backfill)) {
    throw CommandError{
        kExitUsage,
        fmt::format("{}:{}:{}: the backfill of '{}' was changed since it started; rows that are done would "
                    "keep the old result. Put it back, or give the new one another name. It started as:\n{}",
                    migration.file, migration.backfill->position.line, migration.backfill->position.column,
                    migration.name, known->definition)};
  }
  co_return std::move(*known);
}

asio::awaitable<std::optional<int>> Run::prepare_backfill() {
  auto const& migration = loaded_.migration;
  auto job = co_await find_or_create_job();
  job_id_ = job.id;
  if (job.status == JobStatus::kComplete) {
    co_await run_hooks_at(planner::Boundary::kAfterBackfill);
    auto next = co_await what_is_next();
    co_await conclude_job(kExitDone, migration.name + " is complete already", std::move(next));
    co_return kExitDone;
  }
  // A pause with an end is waited out, so that whatever restarts this program need not come back for it.
  bool const rests = (job.status == JobStatus::kPaused && !job.pause_has_end) || job.status == JobStatus::kCancelled;
  if (rests) {
    std::string headline = fmt::format("{} is {}{}", migration.name, state::status_name(job.status),
                                       job.reason.empty() ? "" : ": " + job.reason);
    std::vector<std::string> notes;
    notes.push_back(fmt::format("to go on: `pgbackfill resume {}`, then run again", migration.name));
    co_await conclude_job(kExitResumable, std::move(headline), std::move(notes));
    co_return kExitResumable;
  }
  if (job.status == JobStatus::kFailed) {
    std::string const statement = state::set_status(job.id, JobStatus::kRunning, "run again", context_.owner());
    value_or_throw(co_await connection_->query(statement, Deadlines()), "taking the job up again");
  }
  co_await run_hooks_at(planner::Boundary::kBeforeBackfill);
  if (!preflight_) co_await check(false);
  bool const overrides_identity = !preflight_->targets.empty() && preflight_->targets.front().copy_overrides_identity;
  pg_job_ = value_or_throw(co_await load_pg_job(*connection_, job.id, migration.name, *migration.backfill,
                                                preflight_->table, job.sweeps, overrides_identity),
                           "loading the job");
  int const freed = value_or_throw(co_await release_dead_processes(*connection_, job.id, context_.owner()),
                                   "looking for dead processes");
  if (freed > 0) tell(Severity::kInfo, fmt::format("{} range(s) of a process that is gone are free again", freed));
  co_return std::nullopt;
}

asio::awaitable<int> Run::backfill() {
  auto const& migration = loaded_.migration;
  co_await record("started", fmt::format("{} worker(s)", migration.backfill->workers));
  PgDatabase database(context_.io().get_executor(), context_.blocking(), context_.target(), std::move(*pg_job_),
                      context_.owner());
  Probes probes(context_.io().get_executor(), context_.blocking(), context_.target(), user_probes(migration));
  std::vector<std::uint32_t> tables;
  for (auto const& target : database.job().targets) tables.push_back(target.relation_oid);
  probes.set_tables(std::move(tables));
  PoolOptions pool_options;
  pool_options.health = &probes;
  pool_options.deferred_patience = options_.deferred_patience;
  pool_options.reconnect_patience = options_.reconnect_patience;
  pool_options.settings = setting_texts(migration.throttle);
  pool_options.control_interval = options_.poll_interval;
  pool_options.control_age_max = std::max(pool_options.control_age_max, 3 * options_.poll_interval);
  pool_options.schedule = loaded_.schedule;
  pool_options.exit_outside_window = options_.exit_outside_window;
  VacuumKeeper keeper(context_.io().get_executor(), context_.blocking(), context_.target(), database.job().job, sink());
  pool_options.growth = &keeper;
  auto const began = std::chrono::steady_clock::now();
  WorkerPool pool(database, database.job().job, std::move(pool_options), sink());
  interrupts_.attach(&pool);
  auto const outcome = co_await pool.run();
  interrupts_.attach(nullptr);
  auto const elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  auto const growth = co_await growth_since_start(database.job().job, pool.pacer().limits());
  std::string hook_trouble;
  if (outcome.end == PoolEnd::kComplete) {
    auto const hooks = co_await hooks_of(context_, migration, planner::Boundary::kAfterBackfill, options_.skip_hooks,
                                         interrupts_, sink());
    hook_trouble = hooks.trouble;
  }
  std::vector<std::string> after;
  if (!growth.empty()) after.push_back(growth);
  if (outcome.end == PoolEnd::kComplete) {
    auto const next = co_await what_is_next();
    after.insert(after.end(), next.begin(), next.end());
  }
  int const code = summarise(outcome, pool, elapsed, after, hook_trouble);
  if (connection_->is_usable()) {
    std::string const why = outcome.reason.empty() ? "" : ": " + outcome.reason;
    co_await record("stopped", fmt::format("exit {}{}", code, why));
  }
  co_return code;
}

int exit_code_of(PoolEnd end) {
  switch (end) {
    case PoolEnd::kComplete:
      return kExitDone;
    case PoolEnd::kFailed:
      return kExitFailed;
    case PoolEnd::kInterrupted:
    case PoolEnd::kCancelled:
    case PoolEnd::kRowsHeld:
    case PoolEnd::kWindowClosed:
    case PoolEnd::kUnhealthy:
      return kExitResumable;
  }
  return kExitFailed;
}

// Settings are called what they are called; the rest is told in words.
std::string cause_words(throttle::CauseKind kind) {
  if (kind == throttle::CauseKind::kStarting) return "its own slow start";
  if (kind == throttle::CauseKind::kBlind) return "missing readings";
  return throttle::name_of(kind);
}

// "held back: replica_lag 34 % of the time, foreground_latency 3 %"; empty if nothing held it back for long.
std::string held_back_text(Pacer const& pacer, std::chrono::milliseconds elapsed) {
  std::vector<std::pair<double, std::string>> shares;
  for (auto const& [kind, time] : pacer.time_held()) {
    double const share = std::chrono::duration<double>(time) / std::chrono::duration<double>(elapsed);
    if (share >= 0.01) shares.emplace_back(share, cause_words(kind));
  }
  std::sort(shares.rbegin(), shares.rend());
  std::string text;
  for (auto const& [share, name] : shares) {
    bool const is_observed = pacer.limits().mode == throttle::Mode::kObserve;
    char const* const begin = is_observed ? "would have been held back by " : "held back by ";
    text += fmt::format("{}{} {:.0f} %{}", text.empty() ? begin : ", ", name, std::min(share, 1.0) * 100,
                        text.empty() ? " of the time" : "");
  }
  return text;
}

asio::awaitable<std::string> Run::growth_since_start(Job const& job, throttle::Limits limits) {
  if (!connection_->is_usable()) co_return "";
  auto const sizes = co_await connection_->query(state::job_growth(job.id), Deadlines());
  co_return sizes ? growth_text(*sizes, job.table, job.backfill.kind, limits) : "";
}

int Run::summarise(PoolOutcome const& outcome, WorkerPool const& pool, std::chrono::milliseconds elapsed,
                   std::vector<std::string> const& after, std::string const& hook_trouble) {
  auto const& name = loaded_.migration.name;
  Summary summary;
  summary.last = pool.progress();
  summary.last.elapsed = elapsed;
  summary.batches = pool.batches();
  summary.exit_code = exit_code_of(outcome.end);
  summary.complete = outcome.end == PoolEnd::kComplete;
  summary.notes = outcome.notes;
  auto const held_back = held_back_text(pool.pacer(), elapsed);
  if (!held_back.empty()) summary.notes.push_back(held_back);
  summary.notes.insert(summary.notes.end(), after.begin(), after.end());
  std::string const again = fmt::format("to go on: `pgbackfill run {}`", loaded_.migration.file);
  switch (outcome.end) {
    case PoolEnd::kComplete:
      summary.headline = fmt::format("{} is complete: {} rows changed; this run took {}", name,
                                     human_count(summary.last.rows_changed), human_duration(elapsed));
      break;
    case PoolEnd::kFailed:
      summary.headline = fmt::format("{} failed: {}", name, outcome.reason);
      summary.notes.push_back("every batch before it is kept; when the cause is mended, " + again);
      if (loaded_.migration.backfill->quarantine_budget == 0) {
        summary.notes.emplace_back("a bad row can be set aside instead: on_bad_row: {quarantine: N}");
      }
      break;
    case PoolEnd::kCancelled:
      summary.headline = fmt::format("{} was cancelled: {}", name, outcome.reason);
      summary.notes.push_back(fmt::format("to take it up again: `pgbackfill resume {}`, then run", name));
      break;
    case PoolEnd::kInterrupted:
    case PoolEnd::kRowsHeld:
    case PoolEnd::kWindowClosed:
    case PoolEnd::kUnhealthy:
      summary.headline = fmt::format("{} stopped, resumable: {}", name, outcome.reason);
      summary.notes.push_back(again);
      break;
  }
  if (summary.last.quarantined > 0) {
    summary.notes.push_back(
        fmt::format("{} row(s) are set aside in pgbackfill.quarantine; mend them, then `pgbackfill resume "
                    "{} --retry-quarantine` and run again",
                    summary.last.quarantined, name));
  }
  if (!hook_trouble.empty()) {
    summary.exit_code = kExitResumable;
    summary.notes.push_back(hook_trouble + "; all rows are done, and the same command runs the hook again");
  }
  int const code = summary.exit_code;
  tell_summary(std::move(summary));
  return code;
}

// --- complete and rollback -------------------------------------------------------------------------------------------

// One `complete` or `rollback` of one migration.
class Finish {
 public:
  Finish(CommandContext& context, FinishOptions options)
      : context_(context), options_(std::move(options)), teller_(context.teller_options()), interrupts_(context.io()) {}

  asio::awaitable<int> complete();
  asio::awaitable<int> roll_back();

 private:
  asio::awaitable<void> load();
  void confirm_rollback() const;
  asio::awaitable<void> require_open_gate();
  asio::awaitable<bool> has_contract_begun();
  asio::awaitable<void> refuse_past_complete();
  asio::awaitable<void> run_hooks_at(planner::Boundary boundary, std::string command);
  int conclude(StepsOutcome const& outcome, std::string const& command, std::string const& done,
               std::string const& what);
  planner::Migration const& migration() const { return loaded_.migration; }

  CommandContext& context_;
  FinishOptions options_;
  Teller teller_;
  Interrupts interrupts_;
  std::shared_ptr<PgConnection> connection_;
  LoadedMigration loaded_;
};

asio::awaitable<void> Finish::load() {
  connection_ = co_await context_.connect_to_state();
  loaded_ = co_await find_migration(*connection_, options_.file_or_name);
}

// Whoever may write to the state schema could have changed the text that it keeps: no command on this host comes from
// there.
asio::awaitable<void> Finish::run_hooks_at(planner::Boundary boundary, std::string command) {
  if (options_.skip_hooks || planner::hooks_at(migration().hooks, boundary).empty()) co_return;
  if (!loaded_.is_from_file) {
    throw CommandError{kExitUsage,
                       fmt::format("{} has hooks {}, which are run from its file alone and not from what the "
                                   "database keeps of it: `pgbackfill {} FILE`, or --skip-hooks",
                                   migration().name, planner::name_of(boundary), command)};
  }
  auto const outcome = co_await hooks_of(context_, migration(), boundary, false, interrupts_, teller_);
  if (outcome.is_content()) co_return;
  throw CommandError{kExitResumable, fmt::format("{}\nnothing is lost: run `pgbackfill {} {}` again to go on",
                                                 outcome.trouble, command, options_.file_or_name)};
}

// Whatever expand made goes, with all that is in it. `complete` asks about its destructive steps alone.
void Finish::confirm_rollback() const {
  if (options_.yes || planner::expand_steps(migration()).empty()) return;
  throw CommandError{kExitGateClosed,
                     fmt::format("rollback would take back the expand steps of {}, with all that was written into what "
                                 "they made; --dry-run shows them, --yes does it",
                                 migration().name)};
}

int Finish::conclude(StepsOutcome const& outcome, std::string const& command, std::string const& done,
                     std::string const& what) {
  interrupts_.close();
  if (outcome.end == StepsEnd::kFailed) throw CommandError{kExitFailed, outcome.reason};
  if (outcome.end == StepsEnd::kStopped) {
    throw CommandError{kExitResumable, fmt::format("{}; run `pgbackfill {} {}` again to go on", outcome.reason, command,
                                                   options_.file_or_name)};
  }
  context_.print(outcome.ran > 0 ? fmt::format("{}: {} step(s) {}\n", migration().name, outcome.ran, done)
                                 : fmt::format("{}: there is nothing left to {}\n", migration().name, what));
  return kExitDone;
}

asio::awaitable<int> Finish::complete() {
  co_await load();
  auto const steps = planner::contract_steps(migration());
  co_await require_open_gate();
  co_await require_agreement(*connection_, migration().name, steps, options_.yes, context_.owner());
  co_await run_hooks_at(planner::Boundary::kBeforeContract, "complete");
  auto const terms = step_terms(context_, migration(), "contract", options_.locks, interrupts_);
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(*connection_, migration().name), "reading the steps that are done");
  bool const has_open_steps = are_steps_open(recorded, steps);
  auto before =
      value_or_throw(co_await begin_steps(*connection_, migration(), has_open_steps), "recording the table's facts");
  auto const outcome = co_await run_steps(steps, terms, teller_);
  bool const is_settled = before && outcome.end == StepsEnd::kDone;
  if (is_settled) {
    value_or_throw(co_await settle_facts(*connection_, migration(), std::move(*before)), "recording the table's facts");
  }
  if (outcome.end == StepsEnd::kDone) co_await run_hooks_at(planner::Boundary::kAfterContract, "complete");
  co_return conclude(outcome, "complete", "done", "do: no contract step is open");
}

// A contract that was cut short may have dropped what the gate would read: then it goes on, as the gate was open when
// it began. A gate that can be measured counts every time.
asio::awaitable<void> Finish::require_open_gate() {
  // After a swap the names that the gate would read mean other tables.
  bool const swapped = value_or_throw(co_await has_swapped_tables(*connection_, migration()), "looking for the swap");
  if (swapped) co_return;
  GateReading gate;
  std::optional<CommandError> unmeasured;
  try {
    auto const is_stopping = [this] { return interrupts_.is_asked(); };
    gate = co_await measure_gate(context_, *connection_, migration(), is_stopping, teller_);
  } catch (CommandError const& error) {
    unmeasured = error;
  }
  if (unmeasured) {
    bool const has_begun = co_await has_contract_begun();
    if (!has_begun) throw *unmeasured;
    co_return;
  }
  // What a contract that was cut short has dropped cannot be asked about any more.
  auto const is_gone = [](CheckResult const& check) { return check.names_what_is_gone; };
  if (std::any_of(gate.checks.begin(), gate.checks.end(), is_gone)) {
    bool const has_begun = co_await has_contract_begun();
    if (has_begun) std::erase_if(gate.checks, is_gone);
  }
  if (!gate.is_open()) throw CommandError{kExitGateClosed, gate_text(migration().name, gate)};
}

asio::awaitable<bool> Finish::has_contract_begun() {
  bool const swapped = value_or_throw(co_await has_swapped_tables(*connection_, migration()), "looking for the swap");
  if (swapped) co_return true;
  auto const terms = step_terms(context_, migration(), "contract", options_.locks, interrupts_);
  auto const steps = planner::contract_steps(migration());
  auto const settled = co_await settle_steps(steps, terms, teller_);
  if (settled.end != StepsEnd::kDone) throw CommandError{kExitFailed, settled.reason};
  co_return settled.ran > 0;
}

asio::awaitable<void> Finish::refuse_past_complete() {
  bool const has_begun = co_await has_contract_begun();
  if (!has_begun) co_return;
  auto const preview = co_await preview_rollback(*connection_, migration());
  throw CommandError{kExitFailed, preview.refusal};
}

// The end of sync is no step of its own here: with the trigger it goes anyway.
std::vector<planner::PlacedStep> undoable_steps(planner::Migration const& migration) {
  auto steps = planner::expand_steps(migration);
  for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
  for (auto& step : planner::contract_steps(migration)) {
    if (step.phase != planner::kSyncPhase) steps.push_back(std::move(step));
  }
  return steps;
}

asio::awaitable<int> Finish::roll_back() {
  co_await load();
  if (options_.is_dry_run) {
    interrupts_.close();
    auto const preview = co_await preview_rollback(*connection_, migration());
    context_.print(rollback_text(migration().name, preview));
    co_return preview.refusal.empty() ? kExitDone : kExitFailed;
  }
  confirm_rollback();
  co_await refuse_past_complete();
  co_await run_hooks_at(planner::Boundary::kBeforeRollback, "rollback");
  auto const job = value_or_throw(co_await find_job(*connection_, migration().name), "looking for the job");
  if (job && job->status == JobStatus::kRunning) {
    std::string const statement = state::set_status(job->id, JobStatus::kCancelled, "rolled back", context_.owner());
    value_or_throw(co_await connection_->query(statement, Deadlines()), "cancelling the job");
  }
  // Last first. A contract step that was cut short has left something.
  auto const terms = step_terms(context_, migration(), "rollback", options_.locks, interrupts_);
  auto const steps = undoable_steps(migration());
  value_or_throw(co_await begin_undo(*connection_, migration().name), "recording that steps are undone");
  auto outcome = co_await undo_steps(steps, terms, teller_);
  if (outcome.end == StepsEnd::kDone && migration().sync) {
    // Its end may have begun. There is nothing left that could end.
    std::string const forgotten =
        state::forget_step(migration().name, planner::kSyncPhase, planner::kSyncRemove, context_.owner());
    value_or_throw(co_await connection_->query(forgotten, Deadlines()), "forgetting the end of sync");
  }
  if (outcome.end == StepsEnd::kDone) {
    co_await run_hooks_at(planner::Boundary::kAfterRollback, "rollback");
    value_or_throw(co_await connection_->query(state::forget_hooks(migration().name), Deadlines()),
                   "forgetting the hooks");
    value_or_throw(co_await forget_facts(*connection_, migration().name), "forgetting the table's facts");
  }
  int const code = conclude(outcome, "rollback", "undone", "undo");
  // What the rows were written into may be gone with the steps: the next run must not take them for done.
  if (job && outcome.ran > 0) {
    value_or_throw(co_await connection_->query(state::forget_job(job->id, context_.owner()), Deadlines()),
                   "forgetting the job");
    context_.print("the backfill is forgotten: the next `run` begins with the first row again\n");
  }
  co_return code;
}

}  // namespace

asio::awaitable<int> run_one(CommandContext& context, RunOptions options) {
  Run run(context, std::move(options));
  co_return co_await run.go();
}

asio::awaitable<int> roll_back_one(CommandContext& context, FinishOptions options) {
  Finish finish(context, std::move(options));
  co_return co_await finish.roll_back();
}

namespace {

std::string what_stays(planner::Migration const& migration) {
  if (!migration.backfill) return "";
  switch (migration.backfill->kind) {
    case planner::WorkKind::kDelete:
      return "rows that were deleted do not come back";
    case planner::WorkKind::kCopy:
      return "copies of rows go with their table alone";
    default:
      return "values that were overwritten stay as they are";
  }
}

}  // namespace

asio::awaitable<RollbackPreview> preview_rollback(PgConnection& connection, planner::Migration migration) {
  RollbackPreview preview;
  auto contract = co_await preview_undo(connection, migration.name, planner::contract_steps(migration));
  std::erase_if(contract, [](UndoneStep const& step) { return !step.is_recorded; });
  if (!contract.empty()) {
    preview.refusal = migration.name + " is past `complete`: rollback takes nothing of it back" + loss_text(contract);
    co_return preview;
  }
  preview.steps = co_await preview_undo(connection, migration.name, undoable_steps(migration));
  auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
  if (job) preview.job_status = state::status_name(job->status);
  preview.what_stays = what_stays(migration);
  co_return preview;
}

std::string rollback_text(std::string const& name, RollbackPreview const& preview) {
  if (!preview.refusal.empty()) return preview.refusal + "\n";
  std::string text = "rollback of " + name + " would do this; nothing was done:\n";
  if (preview.job_status == "running") text += "  the backfill is cancelled\n";
  text += undo_text(preview.steps);
  bool const undoes = std::any_of(preview.steps.begin(), preview.steps.end(),
                                  [](UndoneStep const& step) { return !step.statements.empty(); });
  if (!preview.job_status.empty() && undoes) {
    text += "  the backfill is forgotten: the next `run` begins with the first row again\n";
  }
  if (preview.steps.empty() && preview.job_status.empty()) return text + "  nothing: nothing of it is there\n";
  if (preview.steps.empty()) text += "  no step is there that could be undone\n";
  return preview.what_stays.empty() ? text : text + "  " + preview.what_stays + "\n";
}

int run_command(CommandContext& context, RunOptions const& options) {
  if (is_folder(options.file)) return context.run(run_sequence(context, options));
  return context.run(run_one(context, options));
}

int complete_command(CommandContext& context, FinishOptions const& options) {
  Finish finish(context, options);
  return context.run(finish.complete());
}

int rollback_command(CommandContext& context, FinishOptions const& options) {
  if (is_folder(options.file_or_name)) return context.run(roll_back_sequence(context, options));
  if (!options.to.empty()) throw CommandError{kExitUsage, "--to goes with a folder of migrations"};
  return context.run(roll_back_one(context, options));
}

}  // namespace pgbackfill::engine
