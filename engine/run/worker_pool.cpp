#include "engine/run/worker_pool.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <utility>

#include "engine/run/between_ranges.h"
#include "planner/file/throttle_settings.h"
#include "planner/model/compute_pace.h"
#include "planner/model/duration.h"
#include "planner/model/work_kind.h"
#include "throttle/backoff.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// Sleeps are cut into pieces this long, so that a stop is heard soon.
constexpr auto kPatienceOfAStop = 100ms;
// The end of a run is heard sooner, for it is time in which nothing else happens.
constexpr auto kPatienceOfTheEnd = 20ms;
constexpr auto kIdlePause = 200ms;
constexpr auto kBlockerInterval = 5s;
constexpr auto kTroubleInterval = 2s;
constexpr auto kRunnerInterval = 1s;
// Longer ago, the state was free in between.
constexpr auto kLockForgotten = 30s;
constexpr std::int64_t kDeferredRowsAtOnce = 500;
constexpr std::int64_t kMostKeysPerRow = 1'000'000;
constexpr int kFollowedInterval = 5;  // over that of a job at work
constexpr int kLeastOverheads = 3;    // that a batch lasts
constexpr int kMostStretch = 10;      // of the target, for batches that take long whatever their rows
// Failures in a row of calls outside ranges (claims, passes) before the run ends.
constexpr int kMostRecoveries = 40;
// Connections lost in a row, each in the middle of a batch, before the run ends: the batch may be what brings the
// server down.
constexpr int kMostLosses = 12;

milliseconds elapsed_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration_cast<milliseconds>(to - from);
}

}  // namespace

struct WorkerPool::Worker {
  int number = 0;
  std::unique_ptr<Session> session;
  int failures = 0;                                                  // in a row, outside ranges
  int losses = 0;                                                    // in a row, of connections in batches
  bool is_cancelled = false;                                         // its batch, for the sake of others
  std::int64_t rows_in_batch = 0;                                    // until it is known what became of it
  bool may_exceed = false;                                           // the limit, as one row or block does it
  std::int64_t keys_per_row = 1;                                     // that its batches pass for a row that they change
  std::optional<std::chrono::steady_clock::time_point> waits_since;  // for its turn
};

WorkerPool::WorkerPool(Database& database, Job const& job, PoolOptions options, EventSink& sink)
    : database_(database),
      job_(job),
      options_(std::move(options)),
      sink_(sink),
      started_(database.now()),
      told_at_(started_),
      pacer_(limits_of(options_.settings, {}).limits, options_.health),
      past_(options_.keeps_history) {
  if (options_.follow) follower_.emplace(*options_.follow, job.backfill.batch.target);
  progress_.migration = job.name;
  progress_.table = job.table;
  progress_.phase = RunPhase::kBackfilling;
  if (!options_.schedule.is_always_open()) {
    progress_.schedule = std::make_shared<throttle::Schedule const>(options_.schedule);
  }
}

WorkerPool::~WorkerPool() = default;

asio::awaitable<PoolOutcome> WorkerPool::run() {
  auto const session = database_.make_session(kControlWorker);
  co_await connect(*session);
  if (options_.health != nullptr) options_.health->start();
  if (options_.growth != nullptr) options_.growth->start();
  while (!is_ending()) {
    auto const now = database_.now();
    if (is_control_due(*session)) {
      control_asked_at_ = now;
      co_await read_control(*session);
      bool const locked = lock_met_at_ && now - *lock_met_at_ < kBlockerInterval;
      if (control_.deferred > 0 || locked) co_await name_blockers(*session);
    }
    if (is_runner_due()) co_await tell_runner(*session);
    heed_growth();
    decide();
    if (!is_ending()) spawn_workers();
    if (options_.exit_outside_window && !is_open()) end(PoolEnd::kWindowClosed, "the window is closed");
    if (is_stopping_ && workers_.empty() && !is_ending()) end(PoolEnd::kInterrupted, "interrupted");
    tell_progress();
    if (control_read_at_ && !is_ending()) co_await keep_past(*session, progress_.phase);
    for (auto slept = 0ms; slept < options_.progress_interval && !is_ending(); slept += kPatienceOfTheEnd) {
      co_await database_.sleep(kPatienceOfTheEnd);
      if (has_somebody_come()) break;
    }
  }
  progress_.phase = RunPhase::kDraining;
  if (options_.growth != nullptr) co_await options_.growth->stop();
  while (!workers_.empty()) {
    tell_progress();
    co_await database_.sleep(kPatienceOfTheEnd);
  }
  if (options_.health != nullptr) options_.health->stop();
  // The last reading is the one that the summary speaks of; without a connection the one before has to do.
  if (session->is_connected()) {
    if (control_read_at_) co_await keep_past(*session, RunPhase::kEnded);
    co_await session->forget_runner();  // else it is forgotten when it was silent for a while
    auto control = co_await session->read_control();
    if (control) {
      control_ = *control;
      rows_since_control_ = 0;
    }
    if (control_.deferred > 0 && outcome_->end == PoolEnd::kRowsHeld) {
      auto blockers = co_await session->blockers();
      if (blockers) blockers_ = *blockers;
    }
  }
  bool const blocked = outcome_->end == PoolEnd::kRowsHeld || outcome_->end == PoolEnd::kFailed;
  if (blocked) outcome_->notes = blockers_;
  tell_progress();
  co_return *outcome_;
}

void WorkerPool::request_stop() {
  if (!is_stopping_) tell(Severity::kInfo, "stopping: the batches in flight end, their ranges are given back");
  is_stopping_ = true;
  database_.wind_down();
}

void WorkerPool::request_abort() {
  request_stop();
  is_aborting_ = true;
  for (auto const& [number, worker] : workers_) {
    if (worker != nullptr) worker->session->abandon();
  }
}

// --- control ---------------------------------------------------------------------------------------------------------

asio::awaitable<void> WorkerPool::read_control(Session& session) {
  // A reading is as old as its question: the answer may have been long on the way, or this process stopped.
  auto const asked_at = database_.now();
  auto control = co_await session.read_control();
  if (!control) {
    tell_trouble(control.error(), "reading the job's state");
    bool const is_hopeless =
        control.error().trouble == planner::Trouble::kFatal || control.error().trouble == planner::Trouble::kRowData;
    if (is_hopeless) {
      end(PoolEnd::kFailed, control.error().message);
    } else if (control.error().trouble == planner::Trouble::kConnection ||
               control.error().trouble == planner::Trouble::kNotWritable) {
      co_await connect(session);
    }
    co_return;
  }
  bool const first = !control_read_at_.has_value();
  if (!first && control->workers != control_.workers) {
    tell(Severity::kInfo, fmt::format("workers: {} -> {}", control_.workers, control->workers));
  }
  auto const settings_before = first ? control->throttle_settings : control_.throttle_settings;
  if (control->compute_settings != control_.compute_settings) heed_compute_settings(control->compute_settings);
  control_ = std::move(*control);
  if (first) follow_ended_ = control_.follow_ended;
  control_read_at_ = asked_at;
  rows_since_control_ = 0;
  if (first || control_.throttle_settings != settings_before) heed_settings(settings_before);
  switch (control_.status) {
    case JobStatus::kRunning:
    case JobStatus::kPaused:
      break;
    case JobStatus::kCancelled:
      end(PoolEnd::kCancelled, control_.reason);
      break;
    case JobStatus::kFailed:
      end(PoolEnd::kFailed, control_.reason);
      break;
    case JobStatus::kComplete:
      heed_completion();
      break;
  }
}

bool WorkerPool::is_runner_due() const {
  return !is_ending() && control_read_at_ &&
         (!runner_told_at_ || database_.now() - *runner_told_at_ >= kRunnerInterval);
}

// Jobs that do not hear of this one take its share of the server, so a failure is worth one warning. A lost connection
// is met again when the job is read.
asio::awaitable<void> WorkerPool::tell_runner(Session& session) {
  runner_told_at_ = database_.now();
  auto heard = co_await session.tell_runner(pacer_.runner_told(database_.now()));
  if (heard) {
    pacer_.set_runners(std::move(*heard), database_.now());
  } else {
    bool const is_news = session.is_connected() && !std::exchange(is_runner_failure_told_, true);
    tell(is_news ? Severity::kWarning : Severity::kDebug,
         "this process could not announce itself, so other jobs do not share the server with it and `status` does not "
         "show its pace: " +
             heard.error().message);
  }
}

asio::awaitable<void> WorkerPool::keep_past(Session& session, RunPhase phase) {
  auto warning = co_await past_.keep_if_due(session, phase, database_.now());
  if (warning) tell(Severity::kWarning, std::move(*warning));
}

// In mode observe nothing is held back, whatever the causes say. Who waits is told with his query, which may say what
// is in a row, and is not for keeping.
void WorkerPool::sample(HealthTold const& told) {
  auto const now = database_.now();
  past_.sampler().see(told.reading, pacer_.latency_ratio());
  std::vector<std::string> kinds;
  std::string held;
  for (auto const& cause : told.decision.causes) {
    bool const holds = cause.grip != throttle::Grip::kWarns && !told.decision.withheld;
    if (!holds) continue;
    kinds.emplace_back(throttle::name_of(cause.kind));
    bool const is_to_keep = cause.kind != throttle::CauseKind::kLockWaiters;
    if (held.empty() && is_to_keep) held = cause.text;
  }
  if (is_at_row_limit()) {
    kinds.emplace_back(throttle::name_of(throttle::CauseKind::kRowRate));
    held = row_limit_text();
  }
  std::sort(kinds.begin(), kinds.end());
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  past_.sampler().see_held(kinds, held, now);
}

std::string WorkerPool::row_limit_text() const {
  return fmt::format("max_rows_per_second = {}", pacer_.row_limit().value_or(0));
}

bool WorkerPool::is_at_row_limit() const {
  auto const limit = pacer_.row_limit();
  return limit && progress_.rows_per_second > 0.9 * static_cast<double>(*limit);
}

bool WorkerPool::is_control_due(Session& session) const {
  if (!control_asked_at_ || session.has_news()) return true;
  auto const passed = database_.now() - *control_asked_at_;
  bool const is_pause_over = control_.pause_left && passed >= *control_.pause_left;
  // Of a job that is complete there is little to be told, and each reading adds up its ranges.
  auto const rarely = std::min(kFollowedInterval * options_.control_interval, options_.control_age_max / 2);
  return is_pause_over || passed >= (is_following() ? rarely : options_.control_interval);
}

void WorkerPool::heed_settings(std::map<std::string, std::string> const& before) {
  limits_ = limits_of(options_.settings, control_.throttle_settings);
  if (limits_.problem.empty()) {
    pacer_.set_limits(limits_.limits);
    pacer_.set_row_limit(limits_.limits.max_rows_per_second);
  }
  for (auto const& rule : planner::throttle_settings()) {
    auto const was = effective_setting(rule.name, options_.settings, before);
    auto const is = effective_setting(rule.name, options_.settings, control_.throttle_settings);
    if (was.text == is.text) continue;
    tell(Severity::kInfo, fmt::format("throttle.{}: {} -> {}", rule.name, was.text, is.text));
  }
}

void WorkerPool::heed_compute_settings(std::map<std::string, std::string> const& live) {
  if (!job_.backfill.compute) return;
  auto const was = planner::compute_pace(*job_.backfill.compute, control_.compute_settings);
  auto const is = planner::compute_pace(*job_.backfill.compute, live);
  database_.set_compute_settings(live);
  for (auto const& rule : planner::compute_settings()) {
    auto const before = planner::text_of_setting(rule.name, was);
    auto const now = planner::text_of_setting(rule.name, is);
    if (before != now) tell(Severity::kInfo, fmt::format("compute.{}: {} -> {}", rule.name, before, now));
  }
}

asio::awaitable<void> WorkerPool::name_blockers(Session& session) {
  auto const now = database_.now();
  if (blockers_asked_at_ && now - *blockers_asked_at_ < kBlockerInterval) co_return;
  blockers_asked_at_ = now;
  auto blockers = co_await session.blockers();
  if (!blockers) co_return;
  if (*blockers != blockers_) {
    for (auto const& blocker : *blockers) tell(Severity::kWarning, blocker);
  }
  blockers_ = std::move(*blockers);
}

void WorkerPool::spawn_workers() {
  if (is_stopping_ || !control_read_at_ || !has_looked()) return;
  for (int number = 0; number < workers_wanted(); ++number) {
    if (workers_.contains(number)) continue;
    workers_[number] = nullptr;
    database_.spawn(work(number));
  }
}

void WorkerPool::heed_growth() {
  if (options_.growth == nullptr) return;
  options_.growth->set_limits(pacer_.limits());
  options_.growth->set_wal_limit(pacer_.decision().slot_wal_per_second);
  options_.growth->set_beside_others(pacer_.decision().is_beside_others);
  options_.growth->set_working(may_start(0) && !pacer_.decision().must_rest);
  options_.growth->set_processes(pacer_.processes());
  pacer_.set_growth(options_.growth->hold(), database_.now());
}

void WorkerPool::decide() {
  if (options_.health == nullptr) return;
  std::vector<int> pids;
  for (auto const& [number, worker] : workers_) {
    if (worker != nullptr && worker->session->is_connected()) pids.push_back(worker->session->server_pid());
  }
  options_.health->set_own_sessions(std::move(pids));
  bool const wants = may_start(0) && (!is_following() || is_looking_);
  bool const was_beside_others = pacer_.decision().is_beside_others;
  auto told = pacer_.decide(wants ? workers_wanted() : 0, database_.now());
  sample(*told);
  sink_.emit(std::move(told));
  options_.health->announce(pacer_.told_elsewhere(job_.name));
  auto const& decision = pacer_.decision();
  if (decision.must_stop) {
    end(PoolEnd::kUnhealthy, decision.causes.empty() ? "the throttle says stop" : decision.causes.front().text);
  }
  cancel_batches(decision.is_beside_others && !was_beside_others);
}

// Those that somebody waits for. Batches of a job that was alone are as long as is fastest: whoever comes does not wait
// for the ends of any.
void WorkerPool::cancel_batches(bool has_somebody_come) {
  auto const& pids = pacer_.decision().cancel;
  for (auto const& [number, worker] : workers_) {
    if (worker == nullptr || worker->is_cancelled || !worker->session->is_connected()) continue;
    bool const is_waited_for = std::find(pids.begin(), pids.end(), worker->session->server_pid()) != pids.end();
    if (!is_waited_for && !(has_somebody_come && pacer_.is_in_batch(number))) continue;
    worker->is_cancelled = true;
    worker->session->interrupt();
  }
}

// The probes connect before the workers do: where connections are few, workers that wait for a reading must not hold
// the one that it would come by.
bool WorkerPool::has_looked() const {
  if (options_.health == nullptr) return true;
  auto const sight = options_.health->reading().replication.sight;
  return !workers_.empty() || (sight != throttle::Sight::kNeverSampled && sight != throttle::Sight::kFailed);
}

// Who meets a job at full speed does not wait for its next decision.
bool WorkerPool::has_somebody_come() const {
  if (options_.health == nullptr || pacer_.decision().is_beside_others) return false;
  auto const& presence = options_.health->reading().presence;
  return presence.is_seen() && presence.value.worked > 0 && presence.value.at > pacer_.decision().at;
}

bool WorkerPool::may_start(int worker) const {
  if (is_ending() || is_stopping_ || worker >= workers_wanted()) return false;
  bool const is_to_be_worked_on = control_.status == JobStatus::kRunning || is_following();
  if (!is_to_be_worked_on || !limits_.problem.empty()) return false;
  if (!control_read_at_ || database_.now() - *control_read_at_ > options_.control_age_max) return false;
  return is_open();
}

std::string WorkerPool::held_back() const {
  if (is_stopping_) return "stopping";
  if (control_.status == JobStatus::kPaused) {
    std::string const until = control_.paused_until.empty() ? "" : " until " + control_.paused_until;
    return "paused" + until + (control_.reason.empty() ? "" : ": " + control_.reason);
  }
  if (!limits_.problem.empty()) return limits_.problem;
  if (!control_read_at_) return "waiting for the database";
  auto const age = elapsed_between(*control_read_at_, database_.now());
  if (age > options_.control_age_max) {
    return fmt::format("no fresh reading of the job for {}: no batch starts", planner::format_duration(age));
  }
  if (!is_open()) return outside_windows();
  if (held_since_) {
    std::string text = fmt::format("{} rows are held by others", control_.deferred);
    if (job_.backfill.compute) text += ", or change again and again";
    if (!blockers_.empty()) text += "; " + blockers_.front();
    return text;
  }
  if (lock_met_at_ && database_.now() - *lock_met_at_ < kTroubleInterval && !blockers_.empty()) {
    return "locks: " + blockers_.front();
  }
  if (is_at_row_limit()) return row_limit_text();
  auto const held = pacer_.held_back();
  return held.empty() ? database_.held_back() : held;
}

bool WorkerPool::is_open() const {
  return options_.schedule.is_open(database_.wall_now());
}

std::string WorkerPool::outside_windows() const {
  auto const opens_at = options_.schedule.opens_at(database_.wall_now());
  if (!opens_at) return "outside the windows of the file, which leave no open time for a year";
  auto const second = std::chrono::floor<std::chrono::seconds>(*opens_at);
  return fmt::format("outside the windows of the file; it goes on at {:%Y-%m-%d %H:%M} UTC", fmt::gmtime(second));
}

void WorkerPool::end(PoolEnd how, std::string reason) {
  if (!outcome_) outcome_ = PoolOutcome{how, std::move(reason), {}};
  database_.wind_down();
}

// --- workers ---------------------------------------------------------------------------------------------------------

asio::awaitable<void> WorkerPool::work(int number) {
  Worker worker;
  worker.number = number;
  worker.session = database_.make_session(number);
  workers_[number] = &worker;
  co_await connect(*worker.session);
  while (!is_ending() && !is_stopping_ && number < workers_wanted()) {
    bool may_work = may_start(number);
    if (may_work && is_following()) {
      co_await follow(worker);
      continue;
    }
    if (may_work) may_work = co_await wait_for_turn(worker, std::nullopt);
    if (may_work) {
      co_await find_work(worker);
    } else if (!may_start(number)) {
      co_await pause_for(kPatienceOfAStop);
    }
  }
  co_await worker.session->end_ahead();
  workers_.erase(number);
}

asio::awaitable<void> WorkerPool::find_work(Worker& worker) {
  if (is_limit_reached()) end_at_limit();
  if (rows_allowed() <= 0) {
    co_await pause_for(kPatienceOfTheEnd);
    co_return;
  }
  auto claimed = co_await worker.session->claim();
  if (!claimed) {
    co_await recover(*worker.session, claimed.error(), worker.failures);
    co_return;
  }
  auto lease = *claimed;
  if (!lease) {
    auto split = co_await split_widest_range(*worker.session, options_.least_rows_of_a_half);
    if (!split) {
      co_await recover(*worker.session, split.error(), worker.failures);
      co_return;
    }
    lease = *split;
  }
  worker.failures = 0;
  if (lease) {
    pacer_.join(worker.number);
    co_await work_range(worker, *lease);
    pacer_.leave(worker.number);
  } else {
    co_await go_on_without_ranges(worker);
  }
}

asio::awaitable<void> WorkerPool::go_on_without_ranges(Worker& worker) {
  auto pass = co_await go_on_to_next_pass(*worker.session);
  if (!pass) {
    co_await recover(*worker.session, pass.error(), worker.failures);
    co_return;
  }
  switch (*pass) {
    case planner::PassEnd::kNextPass:
      co_return;
    case planner::PassEnd::kComplete:
      heed_completion();
      co_return;
    case planner::PassEnd::kOpenRanges:
      break;
    case planner::PassEnd::kDeferred:
      if (!is_visiting_) {
        co_await visit_held_rows(worker);
        co_return;
      }
  }
  co_await pause_for(kIdlePause);
}

asio::awaitable<std::optional<std::int64_t>> WorkerPool::visit_held_rows(Worker& worker) {
  is_visiting_ = true;
  worker.rows_in_batch = std::min(kDeferredRowsAtOnce, rows_allowed());
  rows_in_batches_ += worker.rows_in_batch;
  auto visit = co_await visit_deferred(*worker.session, worker.rows_in_batch);
  count_changed(worker, visit ? visit->rows_changed : 0);
  is_visiting_ = false;
  if (!visit) {
    if (is_following()) {
      co_await recover_following(worker, visit.error());
    } else {
      co_await recover(*worker.session, visit.error(), worker.failures);
    }
    co_return std::nullopt;
  }
  worker.failures = 0;
  if (visit->left == 0 || visit->settled > 0) {
    held_since_.reset();
    co_return visit->left;
  }
  auto const now = database_.now();
  if (!held_since_) held_since_ = now;
  if (!is_following() && now - *held_since_ > options_.deferred_patience) {
    char const* const or_change = job_.backfill.compute ? ", or changed whenever they are computed," : "";
    end(PoolEnd::kRowsHeld, fmt::format("{} rows are still held by other transactions{} after {}", visit->left,
                                        or_change, planner::format_duration(options_.deferred_patience)));
  }
  if (!is_following()) co_await pause_for(kIdlePause);
  co_return visit->left;
}

// --- a job that is complete and followed ----------------------------------------------------------------------------

void WorkerPool::heed_completion() {
  if (!follower_) return end(PoolEnd::kComplete, "");
  control_.status = JobStatus::kComplete;
  if (control_.follow_ended != follow_ended_) end(PoolEnd::kComplete, control_.follow_ended);
}

asio::awaitable<void> WorkerPool::follow(Worker& worker) {
  if (is_limit_reached()) end_at_limit();
  is_looking_ = follower_->is_due(database_.now());
  if (!is_looking_) {
    co_await pause_for(kPatienceOfAStop);
    co_return;
  }
  bool const is_its_turn = co_await wait_for_turn(worker, std::nullopt);
  if (!is_its_turn || is_ending() || !is_following()) co_return;
  if (control_.deferred > 0) {
    co_await visit_found_rows(worker);
  } else {
    co_await look(worker);
  }
}

asio::awaitable<void> WorkerPool::look(Worker& worker) {
  auto const looked = co_await follower_->look(*worker.session, database_, follow_ended_);
  if (!looked) {
    co_await recover_following(worker, looked.error());
    co_return;
  }
  worker.failures = 0;
  switch (*looked) {
    case Looked::kPage:
    case Looked::kThrough:
      break;
    case Looked::kFound:
      co_await visit_found_rows(worker);
      break;
    case Looked::kNewLeaves: {
      auto const reopened = co_await worker.session->reopen("partitions came while it was followed");
      if (reopened) {
        control_.status = JobStatus::kRunning;
      } else {
        co_await recover_following(worker, reopened.error());
      }
      break;
    }
    case Looked::kContract:
      end(PoolEnd::kComplete, "its contract has begun");
      break;
  }
}

asio::awaitable<void> WorkerPool::visit_found_rows(Worker& worker) {
  auto const before = rows_changed_;
  auto const left = co_await visit_held_rows(worker);
  rows_followed_ += rows_changed_ - before;
  if (rows_changed_ > before) {
    tell(Severity::kDebug, fmt::format("{} row(s) that came since it was complete are done", rows_changed_ - before));
  }
  if (!left) {
    follower_->rest(database_.now());
    co_return;
  }
  control_.deferred = *left;
  bool const goes_on = *left > 0 && !held_since_;
  if (!goes_on) follower_->record_visited(*left > 0, database_.now());
}

// What it meets may be what the end of the following brought about: a column that is dropped.
asio::awaitable<void> WorkerPool::recover_following(Worker& worker, Failure failure) {
  using planner::Trouble;
  bool const is_beyond_repair = failure.trouble == Trouble::kFatal || failure.trouble == Trouble::kRowData;
  if (is_beyond_repair) {
    control_asked_at_.reset();
    co_await pause_for(kTroubleInterval);
    if (is_ending()) co_return;
    auto const is_over = co_await worker.session->has_contract_begun();
    if (is_over && *is_over) {
      end(PoolEnd::kComplete, "its contract has begun");
      co_return;
    }
  }
  co_await recover(*worker.session, std::move(failure), worker.failures);
}

std::string WorkerPool::follow_text() const {
  auto const since = fmt::format("{} row(s) done since it was complete", rows_followed_);
  auto const now = database_.now();
  if (is_looking_ || follower_->is_due(now)) return "looking for rows that came; " + since;
  auto const left = std::chrono::ceil<std::chrono::seconds>(follower_->next_at() - now);
  return fmt::format("the next look is in {}; {}", planner::format_duration(left), since);
}

asio::awaitable<void> WorkerPool::work_range(Worker& worker, planner::Lease lease) {
  planner::RangeWalk walk(std::move(lease), walk_options(lease.leaf));
  while (true) {
    // Between batches the range can be given back; with an unknown outcome it has to be read first.
    bool const is_last = walk.is_settled() && !may_start(worker.number);
    // Of an interrupted run what is on its way to a program is done as well.
    bool const is_begun = is_stopping_ && !is_aborting_ && !is_ending() && worker.session->is_ahead();
    if (is_last && !is_begun) {
      co_await give_back(worker, walk.lease());
      co_return;
    }
    if (is_ending() && !worker.session->is_connected()) co_return;
    if (walk.is_settled() && rows_allowed() <= 0) {
      if (is_limit_reached()) end_at_limit();
      co_await give_back(worker, walk.lease());
      co_return;
    }
    if (walk.is_settled() && !is_last) {
      bool const is_its_turn = co_await wait_for_turn(worker, walk.lease().leaf);
      auto const now = database_.now();
      bool const waits_long = worker.waits_since && now - *worker.waits_since > options_.waiting_with_range_max;
      if (waits_long) {
        co_await give_back(worker, walk.lease());
        co_return;
      }
      if (!is_its_turn) continue;
    }
    walk.set_lock_timeout(limits_.limits.lock_wait);
    auto& sizer = sizer_of(walk.lease().leaf);
    auto const target = target_of(sizer);
    sizer.set_target(target);
    walk.set_target(std::max(control_.batch_target, target));
    double const room = std::max(rows_left(walk.lease().leaf), 1.0);
    auto const rows = std::min(whole_requests(pacer_.most_rows(sizer.rows())), keys_allowed(worker));
    auto step = walk.next(room < static_cast<double>(rows) ? static_cast<std::int64_t>(room) : rows);
    bool const over = step.kind == planner::Step::Kind::kFinished || step.kind == planner::Step::Kind::kLost ||
                      step.kind == planner::Step::Kind::kFatal;
    if (step.kind == planner::Step::Kind::kLost) {
      tell(Severity::kInfo,
           fmt::format("worker {}: range {} was taken over or is done", worker.number, walk.lease().range_id));
    }
    if (step.kind == planner::Step::Kind::kFatal) {
      std::string const place = step.key ? "at key " + planner::to_string(step.key, "")
                                         : "after key " + planner::to_string(walk.lease().cursor, "the start");
      std::string const text = fmt::format("{} {} of {}: {} ({})", planner::describe(step.failure.trouble), place,
                                           job_.leaves.at(static_cast<std::size_t>(walk.lease().leaf)).relation,
                                           step.failure.message, step.failure.sqlstate);
      co_await give_back(worker, walk.lease());
      if (!is_ending()) co_await worker.session->mark_failed(text);
      end(PoolEnd::kFailed, text);
    }
    if (over) co_return;
    if (is_last) step.batch.look_ahead_rows = 0;
    co_await do_step(worker, walk, std::move(step));
  }
}

asio::awaitable<void> WorkerPool::do_step(Worker& worker, planner::RangeWalk& walk, planner::Step step) {
  switch (step.kind) {
    case planner::Step::Kind::kLookAhead: {
      auto page = co_await worker.session->look_ahead(walk.lease(), step.rows, walk.statement_timeout());
      if (page) {
        walk.record_page(std::move(*page));
      } else {
        tell_trouble(page.error(), fmt::format("worker {}: look-ahead", worker.number));
        walk.record(page.error());
      }
      break;
    }
    case planner::Step::Kind::kBatch:
      co_await run_batch(worker, walk, std::move(step.batch));
      break;
    case planner::Step::Kind::kWait: {
      throttle::BackoffOptions const backoff;
      co_await pause_for(throttle::backoff_delay(step.attempt, backoff, database_.random()));
      break;
    }
    case planner::Step::Kind::kReconnect:
      co_await connect_again(worker, walk, std::move(step.failure));
      break;
    case planner::Step::Kind::kReread: {
      auto state = co_await worker.session->reread(walk.lease());
      if (state) {
        bool const has_moved = *state && (*state)->sequence > walk.lease().sequence;
        if (has_moved) worker.losses = 0;
        // A range that is done or somebody else's tells nothing: rather too few rows than too many.
        count_changed(worker, has_moved || !*state ? worker.rows_in_batch : 0);
        walk.record_state(std::move(*state));
      } else {
        co_await recover(*worker.session, state.error(), worker.failures);
      }
      break;
    }
    case planner::Step::Kind::kFinished:
    case planner::Step::Kind::kLost:
    case planner::Step::Kind::kFatal:
      assert(false);
  }
}

asio::awaitable<void> WorkerPool::connect_again(Worker& worker, planner::RangeWalk& walk, Failure failure) {
  throttle::BackoffOptions const backoff{100ms, 5'000ms};
  if (++worker.losses > 1) co_await pause_for(throttle::backoff_delay(worker.losses - 2, backoff, database_.random()));
  co_await connect(*worker.session);
  walk.record_reconnected();
  if (worker.losses < kMostLosses || is_ending()) co_return;
  auto const& lease = walk.lease();
  std::string const text =
      fmt::format("the connection was lost {} times in a row in the batch after key {} of {}: {} ({})", worker.losses,
                  planner::to_string(lease.cursor, "the start"),
                  job_.leaves.at(static_cast<std::size_t>(lease.leaf)).relation, failure.message, failure.sqlstate);
  if (worker.session->is_connected()) co_await worker.session->mark_failed(text);
  end(PoolEnd::kFailed, text);
}

asio::awaitable<bool> WorkerPool::wait_for_turn(Worker& worker, std::optional<int> leaf) {
  heed_growth();
  bool const has_room = !leaf || rows_left(*leaf) >= 1;
  auto const wait = has_room ? pacer_.wait_before_batch(worker.number, database_.now()) : std::nullopt;
  if (wait && *wait <= std::chrono::nanoseconds(0)) {
    worker.waits_since.reset();
    co_return true;
  }
  if (!worker.waits_since) worker.waits_since = database_.now();
  // A vacuum between two parts is short.
  milliseconds const longest = options_.growth != nullptr ? kPatienceOfTheEnd : kPatienceOfAStop;
  auto const pause = wait ? std::min(std::chrono::ceil<milliseconds>(*wait), longest) : longest;
  co_await pause_for(pause);
  co_return false;
}

double WorkerPool::rows_left(int leaf) {
  return options_.growth == nullptr ? throttle::kUnlimited : options_.growth->rows_left(leaf);
}

asio::awaitable<void> WorkerPool::run_batch(Worker& worker, planner::RangeWalk& walk, planner::BatchRequest batch) {
  worker.is_cancelled = false;
  int const leaf = batch.lease.leaf;
  if (options_.growth != nullptr) options_.growth->batch_started(leaf, batch.rows);
  pacer_.batch_started(worker.number, batch.rows, database_.now());
  // How many of the rows it will change nobody knows before.
  worker.rows_in_batch = std::min(batch.rows, std::max<std::int64_t>(rows_allowed(), 1));
  rows_in_batches_ += worker.rows_in_batch;
  bool const is_bounded = options_.limit && !std::exchange(worker.may_exceed, false);
  worker.session->set_most_changed(is_bounded ? std::optional(worker.rows_in_batch) : std::nullopt);
  auto done = co_await worker.session->run_batch(batch);
  auto const changed = done ? std::optional{done->rows_changed} : std::nullopt;
  if (options_.growth != nullptr) options_.growth->batch_ended(leaf, batch.rows, changed.value_or(batch.rows));
  pacer_.batch_ended(worker.number, batch.rows, changed, database_.now());
  // After a lost connection only the range tells.
  bool const is_known = done || worker.session->is_connected();
  if (is_known) count_changed(worker, changed.value_or(0));
  if (!done && done.error().sqlstate == kTooManyState) {
    worker.may_exceed = !walk.record_too_many();
    worker.keys_per_row = std::max<std::int64_t>(worker.keys_per_row / 2, 1);
    co_return;
  }
  if (!done) {
    // Who waited for this batch waits less for half of it.
    if (done.error().trouble == planner::Trouble::kStatementTimeout || worker.is_cancelled) {
      sizer_of(batch.lease.leaf).record_timeout(batch.rows);
    }
    BatchTold failed;
    failed.duration = done.error().elapsed;
    failed.sqlstate = done.error().sqlstate;
    if (done.error().trouble == planner::Trouble::kLockTimeout) failed.lock_wait = done.error().elapsed;
    sink_.emit(std::move(failed));
    std::string const what = fmt::format("worker {}: batch after key {}", worker.number,
                                         planner::to_string(batch.lease.cursor, "the start"));
    // It is done again in smaller ones.
    if (worker.is_cancelled && done.error().trouble == planner::Trouble::kCancelled) {
      tell(Severity::kDebug, what + ": cancelled for the sake of others");
    } else {
      tell_trouble(done.error(), what);
    }
    walk.record(done.error());
    co_return;
  }
  worker.failures = 0;
  worker.losses = 0;
  // Where few rows are to be changed, many keys are passed at once all the same.
  bool const is_sparse = 2 * done->rows_changed < batch.rows;
  if (is_sparse) worker.keys_per_row = std::min(2 * worker.keys_per_row, kMostKeysPerRow);
  ++batches_;
  sink_.emit(BatchTold{batch.rows, done->duration, std::nullopt, ""});
  past_.sampler().see_batch(batch.rows, done->duration);
  if (options_.tells_batches) {
    auto const took = std::chrono::duration<double, std::milli>(done->duration).count();
    tell(Severity::kDebug,
         fmt::format("worker {}: {} rows after key {} in {:.1f} ms, {} changed", worker.number, batch.rows,
                     planner::to_string(batch.lease.cursor, "the start"), took, done->rows_changed));
  }
  bool const disturbed = walk.is_disturbed();
  walk.record(*done);
  throttle::BatchSample const sample{batch.rows, done->duration, disturbed};
  sizer_of(batch.lease.leaf).record(sample);
  tell_if_pinned(batch.lease.leaf);
  if (batch.lease.pass == 0) rows_since_control_ += batch.rows;
  progress_.batch_rows = batch.rows;
  progress_.batch_duration = std::chrono::duration_cast<milliseconds>(done->duration);
  if (batch.set_aside == planner::SetAside::kQuarantine && done->rows_left > 0) {
    tell(Severity::kWarning,
         fmt::format("row {} is set aside: {} ({})", planner::to_string(batch.interval.hi, "at the end"), batch.message,
                     batch.sqlstate));
  } else if (done->rows_left > 0) {
    char const* const or_changed = job_.backfill.compute ? ", or changed since they were read," : "";
    tell(Severity::kInfo, fmt::format("{} row(s) held by somebody{} are left for later", done->rows_left, or_changed));
  }
}

std::int64_t WorkerPool::rows_allowed() const {
  if (!options_.limit) return std::numeric_limits<std::int64_t>::max();
  return *options_.limit - rows_changed_ - rows_in_batches_;
}

std::int64_t WorkerPool::keys_allowed(Worker const& worker) const {
  if (!options_.limit) return std::numeric_limits<std::int64_t>::max();
  return std::max<std::int64_t>(std::min(rows_allowed(), planner::kMaxBatchRows) * worker.keys_per_row, 1);
}

void WorkerPool::count_changed(Worker& worker, std::int64_t changed) {
  rows_changed_ += changed;
  rows_in_batches_ -= std::exchange(worker.rows_in_batch, 0);
}

void WorkerPool::end_at_limit() {
  end(PoolEnd::kLimit, fmt::format("{} row(s) are changed, as many as --limit allows", rows_changed_));
}

asio::awaitable<void> WorkerPool::give_back(Worker& worker, planner::Lease lease) {
  auto released = co_await worker.session->release(std::move(lease));
  // Nothing is lost if this fails: the lease runs out by itself.
  if (!released) tell_trouble(released.error(), fmt::format("worker {}: giving a range back", worker.number));
}

// --- trouble ---------------------------------------------------------------------------------------------------------

asio::awaitable<void> WorkerPool::recover(Session& session, Failure failure, int& attempts) {
  tell_trouble(failure, "state of the job");
  using planner::Trouble;
  if (failure.trouble == Trouble::kLockTimeout) {
    co_await wait_for_state(failure);
    co_return;
  }
  bool const beyond_repair =
      failure.trouble == Trouble::kFatal || failure.trouble == Trouble::kRowData || ++attempts > kMostRecoveries;
  if (beyond_repair) {
    if (session.is_connected() && !is_ending()) co_await session.mark_failed(failure.message);
    end(PoolEnd::kFailed, fmt::format("{} ({})", failure.message, failure.sqlstate));
    co_return;
  }
  if (failure.trouble == Trouble::kConnection || failure.trouble == Trouble::kNotWritable) {
    co_await connect(session);
    // A pooler may let us in whose server is away.
    if (attempts == 1) co_return;
  }
  throttle::BackoffOptions const backoff;
  co_await pause_for(throttle::backoff_delay(attempts, backoff, database_.random()));
}

// Somebody has a table of the state locked: a repeat succeeds once the lock is released.
asio::awaitable<void> WorkerPool::wait_for_state(Failure failure) {
  auto const now = database_.now();
  if (!state_locked_at_ || now - *state_locked_at_ > kLockForgotten) state_locked_since_ = now;
  state_locked_at_ = now;
  if (now - state_locked_since_ > options_.reconnect_patience) {
    end(PoolEnd::kUnhealthy, "the state of the job is locked: " + failure.message);
    co_return;
  }
  co_await pause_for(kIdlePause);
}

asio::awaitable<void> WorkerPool::connect(Session& session) {
  auto const began = database_.now();
  for (int attempt = 0; !is_aborting_; ++attempt) {
    auto connected = co_await session.reconnect();
    if (connected) co_return;
    tell_trouble(connected.error(), "connecting");
    bool const hopeless = connected.error().trouble == planner::Trouble::kFatal;
    // A server that lets the control connection in is there; it may only have no place for this one.
    bool const is_reachable = control_read_at_ && *control_read_at_ > began;
    if (hopeless || (!is_reachable && database_.now() - began > options_.reconnect_patience)) {
      end(PoolEnd::kFailed, fmt::format("cannot connect: {}", connected.error().message));
    }
    if (is_ending()) co_return;
    throttle::BackoffOptions const backoff{100ms, 5'000ms};
    co_await pause_for(throttle::backoff_delay(attempt, backoff, database_.random()));
  }
}

asio::awaitable<void> WorkerPool::pause_for(milliseconds duration) {
  auto const until = database_.now() + duration;
  while (!is_ending() && !is_stopping_ && database_.now() < until) {
    auto const left = elapsed_between(database_.now(), until) + 1ms;
    co_await database_.sleep(std::min(left, milliseconds(kPatienceOfAStop)));
  }
}

// --- decisions asked of others ---------------------------------------------------------------------------------------

// As short as the throttle says, but not all overhead: where a batch takes long whatever its rows, because each one
// reads a whole other table, more rows make it cheaper.
milliseconds WorkerPool::target_of(throttle::BatchSizer const& sizer) const {
  auto const worthwhile = std::chrono::ceil<milliseconds>(kLeastOverheads * sizer.overhead());
  auto const most = kMostStretch * control_.batch_target;
  return std::max(pacer_.batch_target(control_.batch_target), std::min(worthwhile, most));
}

throttle::BatchSizer& WorkerPool::sizer_of(int leaf) {
  auto const found = sizers_.find(leaf);
  if (found != sizers_.end()) return found->second;
  throttle::BatchSizerOptions options;
  options.target = control_.batch_target;
  options.limits.min_rows = job_.backfill.batch.min_rows;
  options.limits.max_rows = job_.backfill.batch.max_rows;
  options.limits.bytes_per_row = job_.leaves.at(static_cast<std::size_t>(leaf)).bytes_per_row;
  if (auto const& compute = job_.backfill.compute) {
    auto const requests = std::max<std::int64_t>(compute->in_flight / std::max(job_.backfill.workers, 1), 1);
    options.first_rows = requests * compute->rows;
  }
  options.first_rows = std::clamp<std::int64_t>(options.first_rows, options.limits.min_rows, options.limits.max_rows);
  return sizers_.emplace(leaf, throttle::BatchSizer(options)).first->second;
}

// A batch whose values a program computes is of whole requests, so that a repeat asks for the same ones.
std::int64_t WorkerPool::whole_requests(std::int64_t rows) const {
  auto const& compute = job_.backfill.compute;
  // As many as programs are done with in the time of a batch, for this worker's part; as many again are read ahead.
  auto const most = database_.rows_computed_in(control_.batch_target);
  if (compute && most) rows = std::min(rows, std::max(*most / std::max(control_.workers, 1), compute->rows));
  if (!compute || rows <= compute->rows) return rows;
  return rows - rows % compute->rows;
}

planner::WalkOptions WorkerPool::walk_options(int leaf) const {
  auto const& plan = job_.leaves.at(static_cast<std::size_t>(leaf));
  planner::WalkOptions options;
  options.by_block = plan.key.is_by_block();
  options.rows_per_block = plan.rows_per_block;
  auto const& traits = planner::traits_of(job_.backfill.kind);
  bool const locks_rows = traits.may_update || traits.may_delete || !job_.backfill.mirror_key.empty();
  options.can_skip_locked = locks_rows;
  options.can_quarantine = job_.backfill.quarantine_budget > 0;
  options.batch_target = control_.batch_target;
  options.lock_timeout = limits_.limits.lock_wait;
  return options;
}

// --- telling ---------------------------------------------------------------------------------------------------------

void WorkerPool::tell(Severity severity, std::string text) {
  sink_.emit(log_line(severity, std::move(text), {{"migration", job_.name}}, database_.wall_now()));
}

// Once a leaf: no batch can be smaller, so each one takes longer than it should.
void WorkerPool::tell_if_pinned(int leaf) {
  bool const is_full_length = pacer_.batch_target(control_.batch_target) == control_.batch_target;
  bool const is_pinned = is_full_length && sizer_of(leaf).is_pinned_at_minimum();
  if (!is_pinned || !pinned_told_.insert(leaf).second) return;
  tell(Severity::kWarning,
       fmt::format("batch size is at its minimum, {} rows of {}, and a batch still takes longer than {}: the work on a "
                   "row is slow; lower batch.min_rows in the file or raise the target (pgbackfill set {} "
                   "batch.target=...)",
                   job_.backfill.batch.min_rows, job_.leaves.at(static_cast<std::size_t>(leaf)).relation,
                   planner::format_duration(control_.batch_target), job_.name));
}

// The same kind of trouble is told every few seconds, not thousands of times.
void WorkerPool::tell_trouble(Failure const& failure, std::string const& what) {
  // Another worker took the far part of the range, or a lease ran out: the range is read again, and that is all.
  bool const is_expected = failure.trouble == planner::Trouble::kFenced;
  if (!is_expected) {
    ++retries_;
    sink_.emit(TroubleTold{failure.sqlstate, failure.trouble});
  }
  if (failure.trouble == planner::Trouble::kLockTimeout) lock_met_at_ = database_.now();
  std::string const kind = planner::describe(failure.trouble);
  auto const now = database_.now();
  auto const told = told_.find(kind);
  bool const again = told != told_.end() && now - told->second < kTroubleInterval;
  if (!again) told_[kind] = now;
  tell(again || is_expected ? Severity::kDebug : Severity::kWarning,
       fmt::format("{}: {}: {} ({})", what, kind, failure.message, failure.sqlstate));
}

void WorkerPool::count_worked_time() {
  auto const now = database_.now();
  if (control_.status == JobStatus::kRunning && is_open()) worked_ += now - told_at_;
  told_at_ = now;
}

void WorkerPool::tell_progress() {
  count_worked_time();
  for (auto& note : database_.take_notes()) tell(Severity::kWarning, std::move(note));
  progress_.at = database_.wall_now();
  progress_.worked = std::chrono::duration_cast<milliseconds>(worked_);
  progress_.elapsed = elapsed_between(started_, database_.now());
  progress_.rows_estimated = control_.rows_estimated;
  progress_.rows_done = std::max(progress_.rows_done, control_.rows_done + rows_since_control_);
  progress_.rows_changed = control_.rows_changed;
  progress_.ranges_open = control_.ranges_open;
  progress_.ranges_total = control_.ranges_total;
  progress_.deferred = control_.deferred;
  progress_.quarantined = control_.quarantined;
  progress_.retries = retries_;
  progress_.workers = static_cast<int>(workers_.size());
  progress_.batch_target = control_.batch_target;
  progress_.max_rows_per_second = pacer_.row_limit();
  history_.add(progress_.elapsed, progress_.rows_done);
  progress_.rows_per_second = history_.recent_rate();
  progress_.held_back = held_back();
  progress_.may_start = may_start(0) && pacer_.decision().may_start && !pacer_.is_blind(database_.now());
  progress_.step = is_following() ? follow_text() : "";
  if (!is_ending()) {
    progress_.phase = control_.status == JobStatus::kPaused ? RunPhase::kPaused
                      : is_stopping_                        ? RunPhase::kDraining
                      : !is_open()                          ? RunPhase::kOutsideWindow
                      : is_following()                      ? RunPhase::kFollowing
                      : held_since_                         ? RunPhase::kDeferred
                      : control_.pass > 0                   ? RunPhase::kSweeping
                                                            : RunPhase::kBackfilling;
  }
  sink_.emit(progress_);
}

}  // namespace pgbackfill::engine
