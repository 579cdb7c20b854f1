// `run` of one migration: its phases in order.

#include <fmt/format.h>
#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <random>
#include "engine/app/one_migration.h"
#include "engine/app/phase_parts.h"
#include "engine/app/rehearsed.h"
#include "engine/app/serve.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/notice/herald.h"
#include "engine/pg/catalog.h"
#include "engine/pg/open_connections.h"
#include "engine/process/interrupts.h"
#include "engine/process/listed_files.h"
#include "engine/run/facts_keeper.h"
#include "engine/run/growth_text.h"
#include "engine/run/job_binding.h"
#include "engine/run/job_run.h"
#include "engine/run/job_setup.h"
#include "engine/run/leaf_keeper.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/effect_reader.h"
#include "engine/steps/hook_runner.h"
#include "engine/steps/other_migrations.h"
#include "engine/steps/recorded_steps.h"
#include "engine/steps/step_check.h"
#include "engine/steps/step_runner.h"
#include "engine/steps/subscribers.h"
#include "engine/steps/sync_guard.h"
#include "engine/tell/monitor.h"
#include "engine/tell/reading_recorder.h"
#include "engine/verify/gate.h"
#include "engine/verify/read_pace.h"
#include "engine/verify/verify.h"
#include "engine/view/costs_text.h"
#include "planner/file/migration_file.h"
#include "planner/model/duration.h"
#include "planner/model/replace_all.h"
#include "planner/model/sql_text.h"
#include "planner/model/work_kind.h"
#include "planner/steps/contract_plan.h"
#include "throttle/backoff.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// How often a run that ended looks whether its result was scraped.
constexpr auto kScrapeGlance = 50ms;
constexpr char kRunAgain[] = "run the same command to go on";

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

// How long something is waited for, from the first time that it is missed.
class Patience {
 public:
  explicit Patience(std::chrono::milliseconds most) : most_(most) {}

  bool is_over() {
    auto const now = std::chrono::steady_clock::now();
    if (!since_) since_ = now;
    return now - *since_ >= most_;
  }
  // At first, and now and then.
  bool is_to_be_told() {
    auto const now = std::chrono::steady_clock::now();
    bool const is_due = !told_ || now - *told_ >= kTellEvery;
    if (is_due) told_ = now;
    return is_due;
  }

 private:
  static constexpr auto kTellEvery = 10s;
  std::chrono::milliseconds most_;
  std::optional<std::chrono::steady_clock::time_point> since_;
  std::optional<std::chrono::steady_clock::time_point> told_;
};

// One `run` of one migration.
class Run {
 public:
  Run(CommandContext& context, RunOptions options)
      : context_(context), options_(std::move(options)), interrupts_(context.interrupts()) {
    if (options_.sink == nullptr) teller_.emplace(context.teller_options());
  }

  // Whoever `on:` names is told of how it ended, whatever that is.
  asio::awaitable<int> go();

 private:
  asio::awaitable<int> go_on();
  void appoint_herald();
  // Until the workers can begin: what has to be there is made, what is there is found. Safe to repeat at any point.
  // The exit code when there is nothing left for workers, else `pg_job_`.
  asio::awaitable<std::optional<int>> start();
  // The same, again and again while the server is away.
  asio::awaitable<std::optional<int>> start_patiently();
  // Whether it was slept through, not interrupted.
  asio::awaitable<bool> sleep(std::chrono::milliseconds duration);
  asio::awaitable<void> ensure_state();
  asio::awaitable<std::optional<int>> prepare_backfill();
  // Of a job that is complete: the exit code, or it is to be followed.
  asio::awaitable<std::optional<int>> go_on_complete(StoredJob job);
  asio::awaitable<bool> has_come_back(StoredJob job);
  asio::awaitable<void> load_work(StoredJob job);
  void listen();
  void record_readings();
  asio::awaitable<void> await_final_scrape();
  // Who is told in the end, and who passes it on to him.
  EventSink& listener();
  EventSink& sink();
  JobRunOptions work_options();
  asio::awaitable<int> backfill();
  // After the last row: whether rows that come are to be looked for, and doing it until somebody ends that.
  asio::awaitable<bool> is_to_be_followed();
  asio::awaitable<int> follow();
  void tell_completion(WorkerPool const& pool, std::chrono::milliseconds elapsed,
                       std::vector<std::string> const& after);
  int summarise_following(PoolOutcome const& outcome, WorkerPool const& pool, std::chrono::milliseconds elapsed);
  asio::awaitable<void> compute_what_is_read(int pass);
  asio::awaitable<void> tell_missing_keys(planner::WorkTarget target);
  asio::awaitable<void> drop_what_was_read();
  asio::awaitable<void> remember_latest_change();
  // Tell a failure from somebody's rollback.
  asio::awaitable<std::string> who_rolled_back();
  asio::awaitable<void> heed_rollback(PoolOutcome& outcome);
  asio::awaitable<std::optional<int>> start_unless_rolled_back();
  asio::awaitable<void> reconnect();
  asio::awaitable<StoredJob> find_or_create_job();
  asio::awaitable<void> check(bool before_expand);
  // The checks of `verify:`, until contract may have changed what they read.
  asio::awaitable<void> check_verify(bool before_expand);
  // False when it was stopped.
  asio::awaitable<bool> expand_and_sync(FactsBefore before);
  asio::awaitable<bool> expand();
  // Says what of the tables somebody else has changed, and refuses what the work relies on.
  asio::awaitable<void> look_at_drift(bool is_complete, bool has_open_steps);
  // Refuses a table that has the name and is another one, or that the job cannot page as it did.
  asio::awaitable<void> look_at_table(StoredJob known, bool at_identity_alone);
  asio::awaitable<bool> install_sync();
  asio::awaitable<void> check_sync_before(bool has_state);
  // Whom the expand steps would hurt: other migrations, and subscribers of logical replication.
  asio::awaitable<void> check_others(bool is_over);
  asio::awaitable<void> place_trigger();
  // Refuses what the server would refuse of steps that are open, before the first of them.
  asio::awaitable<void> check_steps();
  asio::awaitable<bool> run_phase(std::vector<planner::PlacedStep> steps, std::string phase);
  // Throws CommandError when one fails: to be run again.
  asio::awaitable<void> run_hooks_at(planner::Boundary boundary);
  asio::awaitable<void> record(std::string kind, std::string detail);
  // What comes after a run that is through; empty if nothing does.
  asio::awaitable<std::vector<std::string>> what_is_next();
  int summarise(PoolOutcome const& outcome, WorkerPool const& pool, std::chrono::milliseconds elapsed,
                std::vector<std::string> const& after, std::string const& hook_trouble);
  // Of a copy that counts collisions; empty where nothing is missing.
  asio::awaitable<std::string> uncopied_text(std::vector<planner::WorkTarget> targets);
  // How the table's size changed since the job began, and what was thought of that then; nothing where that says
  // nothing.
  asio::awaitable<std::vector<std::string>> costs_since_start(Job const& job, throttle::Limits limits);
  // What stands behind `pgbackfill run`.
  std::string arguments() const;
  void tell(Severity severity, std::string text);
  void tell_phase(RunPhase phase);
  void tell_summary(Summary summary);
  void conclude(int exit_code, std::string headline, std::vector<std::string> notes, Ending ending = Ending::kByItself);
  // The same for a job that is there, with the counts that it has.
  asio::awaitable<void> conclude_job(int exit_code, std::string headline, std::vector<std::string> notes,
                                     Ending ending);

  CommandContext& context_;
  RunOptions options_;
  std::optional<Teller> teller_;  // unless somebody else listens
  std::optional<Herald> herald_;
  std::optional<Monitor> monitor_;
  std::optional<ReadingRecorder> recorder_;
  std::optional<Heart> heart_;
  Interrupts& interrupts_;
  LoadedMigration loaded_;
  std::shared_ptr<PgConnection> connection_;
  // What was recorded when this run began.
  RecordedSteps recorded_;
  // What was read of the table, until an expand step may have changed it.
  std::optional<Preflight> preflight_;
  std::optional<PgJob> pg_job_;
  bool is_complete_ = false;  // and to be followed
  PreparedResults prepared_;
  std::int64_t job_id_ = 0;
  std::string known_change_;  // the latest change of the migration's status when this run began: its number in the log
};

asio::awaitable<std::string> Run::uncopied_text(std::vector<planner::WorkTarget> targets) {
  if (!connection_->is_usable()) co_return "";
  auto const uncopied = co_await count_uncopied(*connection_, std::move(targets));
  if (uncopied == 0) co_return "";
  co_return fmt::format(
      "{} row(s) are not in the copy: another unique index of it has their values; the gate stays "
      "closed until they are there",
      uncopied);
}

std::string names_of(std::vector<planner::Prepared> const& prepared) {
  std::vector<std::string> names;
  for (auto const& one : prepared) names.push_back(one.name);
  return planner::join(names, ", ");
}

std::string rolled_back_text(std::string const& name, std::string const& who) {
  return fmt::format("{} was rolled back by {} while it ran", name, who);
}

std::string complete_text(std::string const& name, Progress const& last, std::chrono::milliseconds elapsed) {
  return fmt::format("{} is complete: {} rows changed; this run took {}", name, human_count(last.rows_changed),
                     human_duration(elapsed));
}

std::string begin_anew_text(std::string const& arguments) {
  return fmt::format("`pgbackfill run {}` begins it anew", arguments);
}

std::string Run::arguments() const {
  auto const& given = context_.options().only_keys;
  auto text = planner::arguments_of(loaded_.migration.file, loaded_.migration.name);
  if (!given.empty()) planner::replace_all(text, "--only-keys FILE", "--only-keys " + given);
  return text;
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

void Run::conclude(int exit_code, std::string headline, std::vector<std::string> notes, Ending ending) {
  Summary summary;
  summary.last.migration = loaded_.migration.name;
  summary.exit_code = exit_code;
  summary.complete = exit_code == kExitDone;
  summary.headline = std::move(headline);
  summary.notes = std::move(notes);
  summary.ending = ending;
  tell_summary(std::move(summary));
}

asio::awaitable<void> Run::conclude_job(int exit_code, std::string headline, std::vector<std::string> notes,
                                        Ending ending) {
  auto const control =
      value_or_throw(co_await read_control(*connection_, job_id_, context_.owner().id), "reading the job");
  Summary summary;
  summary.exit_code = exit_code;
  summary.complete = exit_code == kExitDone;
  summary.headline = std::move(headline);
  summary.notes = std::move(notes);
  summary.ending = ending;
  summary.last.migration = loaded_.migration.name;
  if (control) {
    summary.batches = control->batches;
    summary.last.rows_done = control->rows_done;
    summary.last.rows_estimated = control->rows_estimated;
    summary.last.rows_changed = control->rows_changed;
    summary.last.ranges_open = control->ranges_open;
    summary.last.ranges_total = control->ranges_total;
    summary.last.deferred = control->deferred;
    summary.last.quarantined = control->quarantined;
    summary.last.batch_target = control->batch_target;
  }
  tell_summary(std::move(summary));
}

void Run::tell_summary(Summary summary) {
  if (interrupts_.is_asked() && summary.exit_code == kExitResumable) summary.ending = Ending::kInterrupted;
  if (context_.is_json()) context_.print(json_of(summary));
  sink().emit(std::move(summary));
}

asio::awaitable<void> Run::record(std::string kind, std::string detail) {
  std::optional<std::int64_t> const job = job_id_ == 0 ? std::nullopt : std::optional(job_id_);
  // The audit line is worth a try, not a failure.
  co_await connection_->query(state::record_event(job, loaded_.migration.name, kind, detail, context_.owner()),
                              Deadlines());
}

EventSink& Run::listener() {
  if (herald_) return *herald_;
  if (options_.sink != nullptr) return *options_.sink;
  return *teller_;
}

EventSink& Run::sink() {
  if (recorder_) return *recorder_;
  if (monitor_) return *monitor_;
  return listener();
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
    // A context of its own: nothing that a viewer asks for is done on the thread of the batches.
    SiteMaker const pages = [this](asio::io_context& io) {
      return pages_of_run(io, context_.options(), *options_.listen);
    };
    monitor_.emplace(*options_.listen, loaded_.migration.name, listener(), pages);
  } catch (boost::system::system_error const& error) {
    throw CommandError{kExitUsage, fmt::format("cannot listen on {}: {}; nothing was started",
                                               to_string(*options_.listen), error.code().message())};
  }
  heart_.emplace(context_.io(), *monitor_);
  tell(Severity::kInfo, fmt::format("metrics and health are at http://{0}/metrics, pages at http://{0}/",
                                    to_string(monitor_->address())));
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

void Run::appoint_herald() {
  if (loaded_.migration.on.empty()) return;
  herald_.emplace(herald_terms(context_, loaded_, "run"), listener());
}

asio::awaitable<int> Run::go() {
  loaded_ = load_migration(context_, options_.file);
  if (options_.is_rehearsal) keep_to_rehearsal(loaded_);
  context_.owner().lease_time = options_.lease_time;
  appoint_herald();
  int code = kExitFailed;
  std::exception_ptr failed;
  try {
    code = co_await go_on();
  } catch (CutShort const&) {
    throw;
  } catch (...) {
    failed = std::current_exception();
  }
  bool const is_failure = failed && !interrupts_.is_asked();
  if (herald_ && is_failure) herald_->failed(exit_code_of(failed), words_of(failed));
  if (herald_) co_await farewell(*herald_, interrupts_);
  if (failed) std::rethrow_exception(failed);
  co_await await_final_scrape();
  if (heart_) heart_->close();
  co_return code;
}

asio::awaitable<int> Run::go_on() {
  listen();
  record_readings();
  std::optional<int> code;
  try {
    code = co_await start_unless_rolled_back();
  } catch (CutShort const&) {
    code = kExitResumable;
    conclude(*code, loaded_.migration.name + " was interrupted before its backfill began", {kRunAgain});
  }
  if (!code && !is_complete_) code = co_await backfill();
  if (is_complete_) code = co_await follow();
  co_return *code;
}

asio::awaitable<std::optional<int>> Run::start_unless_rolled_back() {
  CommandError failed;
  try {
    auto const code = co_await start_patiently();
    co_return code;
  } catch (CommandError const& error) {
    failed = error;
  }
  if (failed.exit_code != kExitFailed) throw failed;
  auto const who = co_await who_rolled_back();
  if (who.empty()) throw failed;
  conclude(kExitResumable, rolled_back_text(loaded_.migration.name, who), {begin_anew_text(arguments())},
           Ending::kCancelled);
  co_return kExitResumable;
}

asio::awaitable<std::optional<int>> Run::start_patiently() {
  Patience away{options_.reconnect_patience};
  Patience locked{options_.locks.patience};
  std::mt19937_64 random{std::random_device{}()};
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int attempt = 0;; ++attempt) {
    CommandError failed;
    try {
      auto const code = co_await start();
      co_return code;
    } catch (CommandError const& error) {
      if (!error.is_passing && !error.is_locked) throw;
      failed = error;
    }
    bool const is_late = (failed.is_locked ? locked : away).is_over();
    if (is_late && !failed.is_locked) throw failed;
    if (!connection_) {
      bool const is_hopeless = co_await refuses_for_good(context_.target(), context_.blocking());
      if (is_hopeless) throw failed;
    }
    throttle::BackoffOptions const backoff{100ms, 2'000ms};
    bool slept = false;
    if (!is_late) {
      // Each attempt has waited for the lock itself.
      bool const is_news = !failed.is_locked || locked.is_to_be_told();
      if (is_news) tell(Severity::kWarning, failed.text + (failed.is_locked ? "; waiting" : "; trying again"));
      tell_phase(RunPhase::kStarting);
      auto const step = failed.is_locked ? 1 : attempt;
      slept = co_await sleep(throttle::backoff_delay(step, backoff, uniform(random)));
    }
    if (slept) continue;
    conclude(
        kExitResumable,
        fmt::format("{} {} before it began", loaded_.migration.name, is_late ? "gave up waiting" : "was interrupted"),
        {failed.text, kRunAgain});
    co_return kExitResumable;
  }
}

asio::awaitable<void> Run::ensure_state() {
  auto done = co_await context_.ensure_state(*connection_);
  if (!done.empty()) tell(Severity::kInfo, std::move(done));
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
  is_complete_ = false;
  connection_ = co_await context_.connect();
  take_inputs(loaded_);
  co_await bind_only_keys(*connection_, loaded_);
  auto const other_settings = co_await context_.adopt_settings(*connection_, migration.name);
  for (auto const& text : other_settings) {
    tell(Severity::kWarning, text + ", recorded when " + migration.name + " first ran");
  }
  std::optional<StoredJob> known;
  auto there =
      value_or_throw(co_await connection_->query(state::has_version(), Deadlines()), "reading the state schema");
  if (state::value_as<bool>(there)) {
    co_await ensure_state();
    known = value_or_throw(co_await find_job(*connection_, migration.name), "looking for the job");
  }
  bool const is_resumed = known && migration.backfill && known->status != JobStatus::kComplete;
  if (is_resumed) co_await look_at_table(*known, true);
  bool has_open_steps = true;
  recorded_.clear();
  if (state::value_as<bool>(there)) {
    recorded_ =
        value_or_throw(co_await read_recorded_steps(*connection_, migration.name), "reading the steps that are done");
    auto steps = planner::expand_steps(migration);
    for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
    has_open_steps = are_steps_open(recorded_, steps);
    co_await look_at_drift(known && known->status == JobStatus::kComplete, has_open_steps);
  }
  if (is_resumed) co_await look_at_table(*known, false);
  // Everything in the file meets the server before anything is touched.
  if (migration.backfill && !known) co_await check(true);
  auto const unreadable =
      value_or_throw(co_await check_step_syntax(*connection_, migration, recorded_), "checking the steps");
  if (!unreadable.empty()) throw CommandError{kExitUsage, planner::to_lines(unreadable)};
  co_await check_steps();
  if (migration.sync) co_await check_sync_before(state::value_as<bool>(there));
  co_await check_verify(true);
  bool const is_over = known && known->status == JobStatus::kComplete;
  co_await check_others(is_over);
  co_await ensure_state();
  co_await context_.require_state_rights(*connection_);
  value_or_throw(co_await connection_->query(
                     state::remember_migration(migration.name, migration.file, source_to_keep(loaded_)), Deadlines()),
                 "recording the migration");
  std::string const settings = to_json(connection_->session_settings());
  value_or_throw(co_await connection_->query(state::record_session_settings(migration.name, settings), Deadlines()),
                 "recording the settings of the session");
  if (known_change_.empty()) co_await remember_latest_change();
  if (!is_over) {
    co_await run_hooks_at(planner::Boundary::kBackup);
    co_await run_hooks_at(planner::Boundary::kBeforeExpand);
  }
  // Another process may have been first: what is recorded now holds for both.
  if (!context_.has_recorded_settings()) {
    co_await context_.adopt_settings(*connection_, migration.name);
  } else if (!migration.hooks.empty()) {
    value_or_throw(co_await connection_->refresh_schemas(), "reading the schemas of search_path");
  }
  auto before =
      value_or_throw(co_await begin_steps(*connection_, migration, has_open_steps), "recording the table's facts");
  bool const prepared = co_await expand_and_sync(std::move(before));
  if (!prepared) co_return kExitResumable;
  if (!is_over) co_await run_hooks_at(planner::Boundary::kAfterExpand);
  if (migration.backfill) {
    auto const code = co_await prepare_backfill();
    co_return code;
  }
  auto next = co_await what_is_next();
  conclude(kExitDone,
           fmt::format("{} is done: {} expand step(s), no backfill", migration.name, migration.expand.size()),
           std::move(next), has_open_steps ? Ending::kByItself : Ending::kNothingToDo);
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
    bool const destroys = std::any_of(steps.begin(), steps.end(), [&](planner::PlacedStep const& placed) {
      return !is_recorded(recorded, placed) && !planner::destructive_reason(placed.step).empty();
    });
    notes.push_back(fmt::format(
        "next: `pgbackfill gate {0}`, {1}then `pgbackfill complete {0}` for the {2} contract step(s)", name,
        destroys ? fmt::format("`pgbackfill approve {}` by whoever may agree to what it destroys, ", name) : "",
        count));
  }
  co_return notes;
}

asio::awaitable<void> Run::run_hooks_at(planner::Boundary boundary) {
  if (options_.skip_hooks) co_return;
  auto outcome = co_await hooks_of(context_, loaded_.migration, boundary, options_.reconnect_patience, sink());
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
  char const* const who = drift.is_unsettled
                              ? "changed by the steps of a run that was cut short, or by others meanwhile: "
                              : "changed by somebody else: ";
  for (auto const& text : told) tell(Severity::kWarning, who + text);
  if (drift.critical.empty() || !has_work) co_return;
  std::string text = migration.name + " relies on what was changed by somebody else:";
  for (auto const& one : drift.critical) text += "\n  " + one;
  text += fmt::format(
      "\nnothing was started; see whether the migration is still right, then `pgbackfill run {} --accept-drift` "
      "records what is there now and goes on",
      arguments());
  throw CommandError{kExitGateClosed, text};
}

asio::awaitable<void> Run::look_at_table(StoredJob known, bool at_identity_alone) {
  auto facts = value_or_throw(co_await read_table_facts(*connection_, loaded_.migration.backfill->table),
                              "looking for the table");
  if (!facts) co_return;
  auto const look = at_identity_alone ? &look_at_identity : &bind_job;
  auto const binding = value_or_throw(
      co_await look(*connection_, std::move(known), std::move(*facts), options_.accept_drift, context_.owner()),
      "comparing the table with the one that the job began on");
  if (!binding.refusal.empty()) throw CommandError{kExitGateClosed, binding.refusal};
  for (auto const& text : binding.told) tell(Severity::kWarning, text);
}

asio::awaitable<void> Run::check(bool before_expand) {
  tell_phase(RunPhase::kPlanning);
  bool const is_settled = !before_expand || loaded_.migration.expand.empty();
  if (is_settled) {
    auto const wrong = value_or_throw(co_await check_prepared(*connection_, loaded_.prepared), "checking prepare");
    if (!wrong.empty()) throw CommandError{kExitUsage, planner::to_lines(wrong)};
  }
  auto preflight =
      value_or_throw(co_await check_backfill(*connection_, *loaded_.migration.backfill), "checking the file");
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

// However it ends, what the steps have made is theirs: the next run must not take it for somebody else's.
asio::awaitable<bool> Run::expand_and_sync(FactsBefore before) {
  auto const& migration = loaded_.migration;
  std::exception_ptr failed;
  bool is_done = false;
  try {
    is_done = co_await expand();
    if (!migration.expand.empty()) {
      value_or_throw(co_await connection_->refresh_schemas(), "reading the schemas of search_path");
      if (is_done) co_await check_verify(false);
    }
    // Before the backfill reads where the table ends: what comes later goes through the trigger.
    if (is_done) is_done = co_await install_sync();
  } catch (CommandError const&) {
    failed = std::current_exception();
  }
  bool const can_settle = before && connection_->is_usable();
  if (can_settle) {
    auto settled = co_await settle_facts(*connection_, migration, std::move(*before));
    if (!failed) value_or_throw(std::move(settled), "recording the table's facts");
  }
  if (failed) std::rethrow_exception(failed);
  co_return is_done;
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
  if (guard == SyncGuard::kMissing) co_await place_trigger();
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
  auto const look = value_or_throw(co_await check_sync(*connection_, migration), "checking the file");
  if (!look.problem.empty()) throw CommandError{kExitUsage, look.problem};
  co_await place_trigger();
}

asio::awaitable<void> Run::place_trigger() {
  auto const problem = co_await place_sync_trigger(*connection_, loaded_.migration);
  if (problem.empty()) co_return;
  auto const placed = planner::sync_steps(loaded_.migration).front();
  throw CommandError{kExitGateClosed, step_name(placed) + ": " + problem + "; nothing of it was begun"};
}

asio::awaitable<void> Run::check_others(bool is_over) {
  auto const& migration = loaded_.migration;
  auto const steps = open_steps(recorded_, planner::expand_steps(migration));
  refuse_conflicts(co_await others_that_need(*connection_, migration.name, steps));
  refuse_conflicts(co_await others_with_copies(*connection_, migration, is_over));
  bool const is_agreed = options_.subscribers_ready || migration.subscribers_ready;
  auto made = without_places(steps);
  co_await require_subscribers_ready(*connection_, std::move(made), is_agreed);
}

asio::awaitable<void> Run::check_steps() {
  auto const& migration = loaded_.migration;
  auto const answers =
      value_or_throw(co_await ask_all_steps(*connection_, migration, recorded_), "asking the server about the steps");
  auto const refused = refusals_before_run(answers);
  if (!refused.empty()) throw CommandError{kExitUsage, planner::to_lines(refused)};
  for (auto const& problem : in_the_way_of_contract(answers)) {
    tell(Severity::kWarning, "`complete` would be refused now: " + planner::to_string(problem));
  }
  for (auto const& problem : ways_back_that_lack_rights(answers)) {
    tell(Severity::kWarning, planner::to_string(problem));
  }
}

asio::awaitable<bool> Run::run_phase(std::vector<planner::PlacedStep> steps, std::string phase) {
  auto const& migration = loaded_.migration;
  if (steps.empty()) co_return true;
  tell_phase(RunPhase::kExpanding);
  auto const terms = step_terms(context_, migration, std::move(phase), options_.locks, interrupts_);
  StepsOutcome outcome;
  {
    Interrupts::InOrder const in_order(interrupts_, kStepPatience);
    outcome = co_await run_steps(steps, terms, sink());
  }
  // The catalog says what a lost connection has left, so that it is safe to begin with the first step again.
  if (outcome.end == StepsEnd::kFailed) {
    throw CommandError{kExitFailed, outcome.reason, outcome.is_lost || !connection_->is_usable()};
  }
  if (outcome.is_locked && !interrupts_.is_asked()) throw CommandError{kExitResumable, outcome.reason, false, true};
  if (outcome.ran > 0) preflight_.reset();
  if (outcome.end == StepsEnd::kDone) co_return true;
  conclude(kExitResumable, fmt::format("{} stopped: {}", migration.name, outcome.reason), {kRunAgain});
  co_return false;
}

asio::awaitable<StoredJob> Run::find_or_create_job() {
  auto& migration = loaded_.migration;
  auto known = value_or_throw(co_await find_job(*connection_, migration.name), "looking for the job");
  if (!known) {
    if (options_.workers) migration.backfill->workers = *options_.workers;
    if (!preflight_) co_await check(false);
    if (planner::sync_guards_backfill(migration)) preflight_->sweeps = false;
    preflight_->listed_rows = count_of_keys(loaded_);
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

// Of one that was followed: rows that were found and not done.
asio::awaitable<bool> Run::has_come_back(StoredJob job) {
  auto const control =
      value_or_throw(co_await read_control(*connection_, job.id, context_.owner().id), "reading the job");
  if (!control || control->deferred == 0) co_return false;
  std::string const statement = state::reopen_job(job.id, "rows that came later are deferred", context_.owner());
  auto const reopened = value_or_throw(co_await connection_->query(statement, Deadlines()), "taking the job up again");
  co_return !reopened.rows.empty();
}

asio::awaitable<std::optional<int>> Run::go_on_complete(StoredJob job) {
  auto const& name = loaded_.migration.name;
  co_await drop_what_was_read();
  co_await run_hooks_at(planner::Boundary::kAfterBackfill);
  auto next = co_await what_is_next();
  if (!is_complete_) {
    co_await conclude_job(kExitDone, name + " is complete already", std::move(next), Ending::kNothingToDo);
    co_return kExitDone;
  }
  co_await look_at_table(job, true);
  co_await look_at_table(job, false);
  tell(Severity::kInfo, name + " is complete already");
  for (auto& note : next) tell(Severity::kInfo, std::move(note));
  co_await load_work(std::move(job));
  co_return std::nullopt;
}

asio::awaitable<std::optional<int>> Run::prepare_backfill() {
  auto const& migration = loaded_.migration;
  auto job = co_await find_or_create_job();
  job_id_ = job.id;
  if (job.status == JobStatus::kComplete) {
    is_complete_ = co_await is_to_be_followed();
    bool has_work = false;
    if (!is_complete_) has_work = co_await has_come_back(job);
    if (!has_work) {
      auto const code = co_await go_on_complete(std::move(job));
      co_return code;
    }
    job.status = JobStatus::kRunning;
  }
  // A pause with an end is waited out, so that whatever restarts this program need not come back for it.
  bool const rests = (job.status == JobStatus::kPaused && !job.pause_has_end) || job.status == JobStatus::kCancelled;
  if (rests) {
    std::string headline = fmt::format("{} is {}{}", migration.name, state::status_name(job.status),
                                       job.reason.empty() ? "" : ": " + job.reason);
    std::vector<std::string> notes;
    notes.push_back(fmt::format("to go on: `pgbackfill resume {}`, then run again", migration.name));
    // Whoever watched was told when it was paused, and need not be told by every process that finds it so.
    co_await conclude_job(kExitHalted, std::move(headline), std::move(notes), Ending::kNothingToDo);
    co_return kExitHalted;
  }
  if (job.status == JobStatus::kFailed) {
    std::string const statement = state::set_status(job.id, JobStatus::kRunning, "run again", context_.owner());
    value_or_throw(co_await connection_->query(statement, Deadlines()), "taking the job up again");
  }
  co_await run_hooks_at(planner::Boundary::kBeforeBackfill);
  co_await load_work(std::move(job));
  co_return std::nullopt;
}

asio::awaitable<void> Run::load_work(StoredJob job) {
  auto const& migration = loaded_.migration;
  if (!preflight_) co_await check(false);
  for (auto const& warning : preflight_->warnings) tell(Severity::kWarning, warning);
  auto const seen = value_or_throw(co_await settle_leaves(*connection_, job.id, preflight_->table, context_.owner()),
                                   "looking at the partitions");
  for (auto const& text : seen.told) tell(Severity::kWarning, text);
  co_await compute_what_is_read(job.pass);
  auto work = planner::with_tables(*migration.backfill, loaded_.prepared, migration.name);
  pg_job_ =
      value_or_throw(co_await load_pg_job(*connection_, job.id, migration.name, std::move(work), preflight_->table,
                                          job.sweeps && preflight_->sweeps, preflight_->traits),
                     "loading the job");
  pg_job_->pass = job.pass;
  if (!pg_job_->targets.empty()) co_await tell_missing_keys(pg_job_->targets.front());
  int const freed = value_or_throw(co_await release_dead_processes(*connection_, job.id, context_.owner()),
                                   "looking for dead processes");
  if (freed > 0) tell(Severity::kInfo, fmt::format("{} range(s) of a process that is gone are free again", freed));
}

asio::awaitable<void> Run::tell_missing_keys(planner::WorkTarget target) {
  auto const keys = count_of_keys(loaded_);
  if (!keys) co_return;
  auto const missing = co_await missing_keys_text(*connection_, std::move(target), *keys);
  if (!missing.empty()) tell(Severity::kWarning, missing);
}

struct MayCreate {
  bool may = false;
  std::string role;
};

// Of several processes one computes, and the others wait for it.
asio::awaitable<void> Run::compute_what_is_read(int pass) {
  auto const& migration = loaded_.migration;
  prepared_ = {migration.name, loaded_.prepared, {}};
  if (prepared_.all.empty()) co_return;
  auto const may =
      value_or_throw(co_await connection_->query(
                         "SELECT has_schema_privilege('pgbackfill', 'CREATE'), quote_ident(current_user)", Deadlines()),
                     "looking at this role's rights");
  auto const [may_create, role] = state::row_as<MayCreate>(may.rows.at(0));
  if (!may_create) {
    throw CommandError{kExitUsage,
                       fmt::format("{}: prepare makes tables in schema pgbackfill, and this role may not: GRANT CREATE "
                                   "ON SCHEMA pgbackfill TO {}",
                                   migration.name, role)};
  }
  tell(Severity::kInfo, fmt::format("computing what the batches read: {}", names_of(prepared_.all)));
  auto const made = value_or_throw(co_await compute_prepared(*connection_, prepared_, pass), "computing what is read");
  for (auto const& one : made) tell(Severity::kInfo, told_text(one));
}

// Worth a try: what is left of it is dropped by the next command that ends the job, or by hand.
asio::awaitable<void> Run::drop_what_was_read() {
  if (loaded_.prepared.empty() || !connection_->is_usable()) co_return;
  auto dropped = co_await drop_prepared(*connection_, loaded_.migration.name, loaded_.prepared);
  // The server may have crashed since this connection was used.
  if (!dropped && !connection_->is_usable()) {
    co_await reconnect();
    dropped = co_await drop_prepared(*connection_, loaded_.migration.name, loaded_.prepared);
  }
  if (!dropped)
    tell(Severity::kWarning, "results of prepare are left in schema pgbackfill: " + dropped.error().message);
}

JobRunOptions Run::work_options() {
  auto options = job_run_options(loaded_.migration, loaded_.schedule);
  options.pool.exit_outside_window = options_.exit_outside_window;
  options.pool.limit = options_.limit;
  options.prepared = std::move(prepared_);
  options.pool.tells_batches = context_.options().log_level == Severity::kDebug;
  options.pool.deferred_patience = options_.deferred_patience;
  options.pool.reconnect_patience = options_.reconnect_patience;
  options.pool.control_interval = options_.poll_interval;
  return options;
}

asio::awaitable<int> Run::backfill() {
  auto const& migration = loaded_.migration;
  co_await record("started", fmt::format("{} worker(s)", migration.backfill->workers));
  auto options = work_options();
  auto const began = std::chrono::steady_clock::now();
  JobRun run(context_.io().get_executor(), context_.blocking(), context_.target(), std::move(*pg_job_),
             context_.owner(), std::move(options), sink());
  Interrupts::InOrder in_order(interrupts_, run.pool());
  auto outcome = co_await run.run();
  in_order.let_go_of_pool();
  bool const is_over = outcome.end == PoolEnd::kComplete || outcome.end == PoolEnd::kCancelled;
  if (is_over) co_await drop_what_was_read();
  bool const may_be_undone = outcome.end == PoolEnd::kFailed || outcome.end == PoolEnd::kCancelled;
  if (may_be_undone) co_await heed_rollback(outcome);
  auto const elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  auto after = co_await costs_since_start(run.job().job, run.pool().pacer().limits());
  std::string hook_trouble;
  if (outcome.end == PoolEnd::kComplete && !options_.skip_hooks) {
    auto const hooks =
        co_await hooks_of(context_, migration, planner::Boundary::kAfterBackfill, options_.reconnect_patience, sink());
    hook_trouble = hooks.trouble;
    // It was idle for as long as they took.
    auto const alive = co_await connection_->query("SELECT 1", Deadlines());
    if (!alive) co_await reconnect();
  }
  if (outcome.end == PoolEnd::kComplete) {
    auto const uncopied = co_await uncopied_text(run.job().targets);
    if (!uncopied.empty()) after.push_back(uncopied);
    auto const next = co_await what_is_next();
    after.insert(after.end(), next.begin(), next.end());
  }
  bool const may_follow = outcome.end == PoolEnd::kComplete && hook_trouble.empty();
  if (may_follow) is_complete_ = co_await is_to_be_followed();
  if (is_complete_) {
    tell_completion(run.pool(), elapsed, after);
    pg_job_ = run.job();
    co_return kExitDone;
  }
  int const code = summarise(outcome, run.pool(), elapsed, after, hook_trouble);
  if (connection_->is_usable()) {
    std::string const why = outcome.reason.empty() ? "" : ": " + outcome.reason;
    co_await record("stopped", fmt::format("exit {}{}", code, why));
  }
  co_return code;
}

// Whoever reads by a program gets one summary: that of the end.
void Run::tell_completion(WorkerPool const& pool, std::chrono::milliseconds elapsed,
                          std::vector<std::string> const& after) {
  tell(Severity::kInfo, complete_text(loaded_.migration.name, pool.progress(), elapsed));
  for (auto const& note : after) tell(Severity::kInfo, note);
}

asio::awaitable<bool> Run::is_to_be_followed() {
  auto const& migration = loaded_.migration;
  if (!migration.backfill->follow) co_return false;
  if (!connection_->is_usable()) co_await reconnect();
  if (!options_.may_follow) {
    tell(Severity::kInfo, fmt::format("{} is not followed in a run of a folder; `pgbackfill run {}` does that",
                                      migration.name, migration.file));
    co_return false;
  }
  auto const begun = value_or_throw(co_await connection_->query(state::has_contract_begun(migration.name), Deadlines()),
                                    "looking at the contract steps");
  if (state::value_as<bool>(begun)) co_return false;
  auto const control =
      value_or_throw(co_await read_control(*connection_, job_id_, context_.owner().id), "reading the job");
  bool const tells_nothing = control && control->rows_again > 0;
  if (tells_nothing) {
    tell(Severity::kWarning,
         "rows that were changed still satisfy `where`, so that it does not tell which rows came "
         "later: nothing is followed");
  }
  co_return !tells_nothing;
}

asio::awaitable<int> Run::follow() {
  auto const& migration = loaded_.migration;
  auto job = std::move(*pg_job_);
  auto const has_no_key = [](planner::WorkTarget const& work) { return work.key.is_by_block(); };
  if (std::any_of(job.targets.begin(), job.targets.end(), has_no_key)) {
    std::vector<std::string> notes;
    notes.emplace_back("it is not followed, because its table has no key: give it a primary key");
    co_await conclude_job(kExitDone, migration.name + " is complete", std::move(notes), Ending::kByItself);
    co_return kExitDone;
  }
  auto options = work_options();
  options.pool.follow = migration.backfill->follow;
  // A table that rests has no course.
  options.pool.keeps_history = false;
  tell(Severity::kInfo, fmt::format("following {0}: rows that `where` picks are looked for every {1}, until "
                                    "`pgbackfill complete {0}` or `pgbackfill cancel {0}`",
                                    migration.name, planner::format_duration(migration.backfill->follow->every)));
  co_await record("started", "following");
  auto const began = std::chrono::steady_clock::now();
  JobRun run(context_.io().get_executor(), context_.blocking(), context_.target(), std::move(job), context_.owner(),
             std::move(options), sink());
  Interrupts::InOrder in_order(interrupts_, run.pool());
  auto outcome = co_await run.run();
  in_order.let_go_of_pool();
  if (outcome.end == PoolEnd::kFailed) co_await heed_rollback(outcome);
  auto const elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  int const code = summarise_following(outcome, run.pool(), elapsed);
  if (!connection_->is_usable()) co_await reconnect();
  if (connection_ && connection_->is_usable()) co_await record("stopped", fmt::format("exit {}, following", code));
  co_return code;
}

int Run::summarise_following(PoolOutcome const& outcome, WorkerPool const& pool, std::chrono::milliseconds elapsed) {
  if (outcome.end != PoolEnd::kComplete) return summarise(outcome, pool, elapsed, {}, "");
  Summary summary;
  summary.last = pool.progress();
  summary.last.elapsed = elapsed;
  summary.complete = true;
  summary.ending = Ending::kNothingToDo;
  summary.headline = fmt::format("{} is complete; following it ends after {}: {}", loaded_.migration.name,
                                 human_duration(elapsed), outcome.reason);
  if (pool.rows_followed() > 0) {
    summary.notes.push_back(fmt::format("{} row(s) that came meanwhile were {}", pool.rows_followed(),
                                        planner::done_word(*loaded_.migration.backfill)));
  }
  tell_summary(std::move(summary));
  return kExitDone;
}

// A rollback takes from under a run what it works with, and so what it meets may be any error. Whose it was, if there
// was one since this run began.
asio::awaitable<std::string> Run::who_rolled_back() {
  if (!connection_ || !connection_->is_usable()) co_await reconnect();
  if (!connection_ || !connection_->is_usable()) co_return "";
  auto const& name = loaded_.migration.name;
  auto const change = co_await connection_->query(state::latest_status_change(name), Deadlines());
  if (!change) co_return "";
  auto const latest = state::first_as<state::LatestChange>(*change);
  if (!latest || latest->id == known_change_ || latest->kind != "rolled back") co_return "";
  // A step that failed is cleared away by this process itself.
  auto const& owner = context_.owner();
  if (latest->pid == owner.pid && latest->host == owner.host) co_return "";
  co_return latest->who();
}

asio::awaitable<void> Run::remember_latest_change() {
  auto const change = value_or_throw(
      co_await connection_->query(state::latest_status_change(loaded_.migration.name), Deadlines()), "reading the log");
  auto const latest = state::first_as<state::LatestChange>(change);
  known_change_ = latest ? latest->id : "none";
}

asio::awaitable<void> Run::heed_rollback(PoolOutcome& outcome) {
  auto who = co_await who_rolled_back();
  // It has begun, or somebody cancelled.
  bool const may_have_begun = who.empty() && outcome.end == PoolEnd::kFailed && connection_->is_usable();
  if (may_have_begun) {
    auto const job = co_await find_job(*connection_, loaded_.migration.name);
    bool const is_cancelled = job && *job && (*job)->status == JobStatus::kCancelled;
    if (is_cancelled) outcome = {PoolEnd::kCancelled, (*job)->reason, {}};
  }
  // A rollback begins with a cancel, and records itself at its end.
  bool const has_begun = outcome.end == PoolEnd::kCancelled && outcome.reason.starts_with(kRolledBackBy);
  if (who.empty() && has_begun) who = outcome.reason.substr(std::string_view(kRolledBackBy).size());
  if (!who.empty()) outcome = {PoolEnd::kRolledBack, std::move(who), {}};
}

// After a hook or a failure; worth a try.
asio::awaitable<void> Run::reconnect() {
  try {
    connection_ = co_await context_.connect();
  } catch (CommandError const&) {
  }
}

int exit_code_of(PoolEnd end) {
  switch (end) {
    case PoolEnd::kComplete:
      return kExitDone;
    case PoolEnd::kFailed:
      return kExitFailed;
    case PoolEnd::kCancelled:
      return kExitHalted;
    case PoolEnd::kInterrupted:
    case PoolEnd::kRolledBack:
    case PoolEnd::kRowsHeld:
    case PoolEnd::kWindowClosed:
    case PoolEnd::kUnhealthy:
    case PoolEnd::kLimit:
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

asio::awaitable<std::vector<std::string>> Run::costs_since_start(Job const& job, throttle::Limits limits) {
  std::vector<std::string> texts;
  if (!connection_->is_usable()) co_return texts;
  auto const sizes = co_await connection_->query(state::job_growth(job.id), Deadlines());
  if (!sizes) co_return texts;
  auto const costs = costs_of(*sizes);
  texts.push_back(growth_text(costs, job.table, job.backfill.kind, limits));
  texts.push_back(costs_text(costs));
  std::erase(texts, "");
  co_return texts;
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
  std::string const again = fmt::format("to go on: `pgbackfill run {}`", arguments());
  switch (outcome.end) {
    case PoolEnd::kComplete:
      summary.headline = complete_text(name, summary.last, elapsed);
      break;
    case PoolEnd::kFailed:
      summary.headline = fmt::format("{} failed: {}", name, outcome.reason);
      summary.notes.push_back("every batch before it is kept; when the cause is fixed, " + again);
      if (loaded_.migration.backfill->quarantine_budget == 0) {
        summary.notes.emplace_back("a bad row can be set aside instead: on_bad_row: {quarantine: N}");
      }
      break;
    case PoolEnd::kCancelled:
      summary.ending = Ending::kCancelled;
      summary.headline = fmt::format("{} was cancelled: {}", name, outcome.reason);
      summary.notes.push_back(fmt::format("to take it up again: `pgbackfill resume {}`, then run", name));
      break;
    case PoolEnd::kRolledBack:
      summary.ending = Ending::kCancelled;
      summary.headline = rolled_back_text(name, outcome.reason);
      summary.notes.push_back(begin_anew_text(arguments()));
      break;
    case PoolEnd::kInterrupted:
    case PoolEnd::kRowsHeld:
    case PoolEnd::kWindowClosed:
    case PoolEnd::kUnhealthy:
    case PoolEnd::kLimit:
      if (outcome.end == PoolEnd::kInterrupted) summary.ending = Ending::kInterrupted;
      // As whoever ran it asked: nobody has to be told of a failure.
      if (outcome.end == PoolEnd::kLimit) summary.ending = Ending::kInterrupted;
      if (outcome.end == PoolEnd::kWindowClosed) summary.ending = Ending::kWindowClosed;
      summary.headline = fmt::format("{} stopped, resumable: {}", name, outcome.reason);
      summary.notes.push_back(again);
      break;
  }
  if (summary.last.quarantined > 0) {
    summary.notes.push_back(
        fmt::format("{} row(s) are set aside in pgbackfill.quarantine; fix them, then `pgbackfill resume "
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

}  // namespace

asio::awaitable<int> run_one(CommandContext& context, RunOptions options) {
  Run run(context, std::move(options));
  co_return co_await run.go();
}

}  // namespace pgbackfill::engine
