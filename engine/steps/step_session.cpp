#include "engine/steps/step_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "engine/base/text.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/state/typed_rows.h"
#include "planner/model/short_line.h"
#include "planner/model/sql_text.h"
#include "planner/steps/step_notice.h"
#include "planner/work/lock_watch.h"
#include "throttle/ladder_climb.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Action;
using planner::Trouble;
using planner::Way;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// A build of an index may take this long; what hangs is found by its lack of progress.
constexpr auto kLongest = 24h * 7;
// What a statement that only changes the catalog may take beyond its lock.
constexpr milliseconds kBriefWork{2'000};
constexpr milliseconds kLookAtBuild{500};
constexpr milliseconds kLeastLook{50};
// Of what is only tried out.
constexpr milliseconds kTryWait{2'000};
constexpr auto kTellEvery = 5s;
constexpr milliseconds kStandbyPause{500};
constexpr std::size_t kMostNamed = 3;
constexpr std::size_t kMostQueryShown = 80;

struct Blocker {
  std::optional<int> backend;  // absent: a prepared transaction
  std::string user;
  std::string application;
  std::string state;
  milliseconds transaction_age{0};
  milliseconds state_age{0};
  std::string kind;
  std::string query;
  bool prevents_wraparound = false;
  std::string prepared;  // id, role and age, where it is a prepared transaction

  int pid() const { return backend.value_or(0); }
  bool is_autovacuum() const { return kind == "autovacuum worker"; }
  bool is_idle_in_transaction() const { return state.starts_with("idle in transaction"); }
};

struct BuildProgress {
  std::string phase;
  std::int64_t done = 0;
  std::int64_t total = 0;
  std::int64_t sessions_done = 0;
  std::int64_t sessions = 0;
};

struct AloneSession {
  int pid = 0;
  std::string timeouts;  // of locks and of statements, as the session has them
};

std::string name_of(Blocker const& session) {
  if (session.pid() == 0) {
    if (session.prepared.empty() || session.prepared == "?") return "a prepared transaction";
    return "prepared transaction " + session.prepared + ", which COMMIT PREPARED or ROLLBACK PREPARED ends";
  }
  if (session.prevents_wraparound) return fmt::format("pid {}, a vacuum that prevents wraparound", session.pid());
  if (session.is_autovacuum()) return fmt::format("pid {}, autovacuum", session.pid());
  std::string text = fmt::format("pid {}", session.pid());
  if (!session.user.empty()) text += " " + session.user;
  if (!session.application.empty()) text += "/" + session.application;
  if (session.state.empty()) return text;
  auto const age = session.is_idle_in_transaction() ? session.state_age : session.transaction_age;
  text += fmt::format(", {} for {}", session.state, human_duration(age));
  if (!session.query.empty()) text += ": " + planner::short_line(session.query, kMostQueryShown);
  // Often it is the program that has called this one, which would wait for itself.
  if (session.is_idle_in_transaction()) text += " (commit first: it holds its locks until its transaction ends)";
  return text;
}

std::string names_of(std::vector<Blocker> const& sessions) {
  std::string text;
  for (std::size_t index = 0; index < std::min(sessions.size(), kMostNamed); ++index) {
    text += (text.empty() ? "" : "; ") + name_of(sessions[index]);
  }
  if (sessions.size() > kMostNamed) text += fmt::format("; and {} more", sessions.size() - kMostNamed);
  return text;
}

// What is kept says nothing of what they do with which rows.
std::string names_without_queries(std::vector<Blocker> sessions) {
  for (auto& session : sessions) session.query.clear();
  return names_of(sessions);
}

std::string in_the_way(std::string const& names) {
  return names.empty() ? "" : "; in the way: " + names;
}

std::string relation_of(Action const& action) {
  return action.locks.empty() ? "" : " on " + action.locks.back().relation;
}

bool is_bounded(StatementTerms const& statement) {
  return statement.action.way == Way::kBrief && statement.is_bounded;
}

// Zero: none.
milliseconds statement_bound(StatementTerms const& statement, milliseconds lock_timeout) {
  return is_bounded(statement) ? 2 * lock_timeout + kBriefWork : statement.action.bound;
}

std::string brief_script(PgConnection const& connection, StatementTerms const& statement, bool is_nowait,
                         milliseconds lock_timeout) {
  auto const& action = statement.action;
  std::string script = fmt::format(
      "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SET LOCAL "
      "idle_in_transaction_session_timeout = 10000; ",
      lock_timeout.count(), statement_bound(statement, lock_timeout).count());
  // A table may be named without its schema, as the file names it.
  script += connection.users_settings() + ";\n";
  for (auto const& lock : action.locks) {
    script += fmt::format("LOCK TABLE {} IN {} MODE{}; ", lock.relation, planner::lock_words(lock.mode),
                          is_nowait ? " NOWAIT" : "");
  }
  if (!statement.note.empty()) {
    script += connection.our_settings() + ";\n" + statement.note + ";\n" + connection.users_settings() + ";\n";
  }
  script += action.sql + "\n;\n";
  if (!statement.record.empty()) script += connection.our_settings() + ";\n" + statement.record + ";\n";
  return script + "COMMIT";
}

bool is_lock_trouble(Failure const& failure) {
  return failure.trouble == Trouble::kLockTimeout || failure.trouble == Trouble::kConflict;
}

// 55000 is in the same class for batches, and says here that the object is in the wrong state.
bool is_shortage(Failure const& failure) {
  return failure.trouble == Trouble::kResources && failure.sqlstate != "55000";
}

StatementOutcome ended(StatementEnd end, std::string text, Failure failure = {}) {
  StatementOutcome outcome;
  outcome.end = end;
  outcome.text = std::move(text);
  outcome.failure = std::move(failure);
  return outcome;
}

std::string words_of(Failure const& failure) {
  return fmt::format("{} ({})", failure.message, failure.sqlstate);
}

}  // namespace

struct StepSession::Flight {
  explicit Flight(asio::any_io_executor executor) : over(std::move(executor)) {}
  bool is_over = false;
  std::optional<Result<Done>> result;
  asio::steady_timer over;
};

struct StepSession::Seen {
  bool is_build = false;
  std::string title;
  std::string names;     // who was in the way at the last look that found somebody
  std::string progress;  // of a build
  Clock::time_point progressed_at = Clock::now();
  Clock::time_point told_at = Clock::now();
  bool is_cancel_sent = false;
  bool is_out_of_patience = false;
  std::set<int> terminated;
};

void StepSession::tell(Severity severity, std::string text) {
  sink_.emit(log_line(severity, std::move(text), {{"migration", terms_.migration}, {"phase", terms_.phase}}));
}

void StepSession::tell_progress(std::string step) {
  Progress progress;
  progress.migration = terms_.migration;
  progress.phase = terms_.phase == "contract" ? RunPhase::kContracting : RunPhase::kExpanding;
  progress.elapsed = std::chrono::duration_cast<milliseconds>(Clock::now() - began_);
  progress.step = std::move(step);
  sink_.emit(std::move(progress));
}

asio::awaitable<std::optional<Failure>> StepSession::connect() {
  for (auto* connection : {&watch_, &work_}) {
    if (*connection && (*connection)->is_usable()) continue;
    auto opened = co_await terms_.connect();
    if (!opened) co_return opened.error();
    *connection = std::move(*opened);
    // Its statements say themselves how long they wait.
    if (connection == &work_) work_->set_lock_terms({});
  }
  co_return std::nullopt;
}

asio::awaitable<Result<Rows>> StepSession::ask(std::string sql) {
  auto const failed = co_await connect();
  if (failed) co_return *failed;
  auto rows = co_await watch_->query(sql, Deadlines());
  bool const is_lost = !rows && !watch_->is_usable();
  if (!is_lost) co_return rows;
  auto const failed_again = co_await connect();
  if (failed_again) co_return *failed_again;
  co_return co_await watch_->query(std::move(sql), Deadlines());
}

asio::awaitable<Result<Rows>> StepSession::try_out(std::vector<std::string> statements) {
  auto const failed = co_await connect();
  if (failed) co_return *failed;
  std::size_t const last = statements.size();
  auto tried = tried_out(std::move(statements));
  work_->set_lock_terms(LockTerms{kTryWait, ""});
  auto results = co_await work_->pipeline(std::move(tried), Deadlines());
  work_->set_lock_terms({});
  if (results) co_return std::move(results->at(last));
  if (work_->is_usable()) co_await work_->script("ROLLBACK", Deadlines());
  Failure failure = results.error();
  if (failure.trouble == Trouble::kLockTimeout) failure.message += co_await watch_->who_is_in_the_way();
  co_return failure;
}

asio::awaitable<void> StepSession::fly(std::shared_ptr<PgConnection> connection, std::string script,
                                       Deadlines deadlines, std::shared_ptr<Flight> flight) {
  auto done = co_await connection->script(std::move(script), deadlines);
  flight->result = std::move(done);
}

asio::awaitable<Result<Done>> StepSession::watched(std::string script, Deadlines deadlines, milliseconds look_every,
                                                   Seen& seen) {
  auto const executor = co_await asio::this_coro::executor;
  auto const flight = std::make_shared<Flight>(executor);
  asio::co_spawn(executor, fly(work_, std::move(script), deadlines, flight),
                 [flight](std::exception_ptr const& /*out of memory: no result*/) {
                   flight->is_over = true;
                   flight->over.cancel();
                 });
  while (!flight->is_over) {
    flight->over.expires_after(look_every);
    boost::system::error_code woken;
    co_await flight->over.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    if (flight->is_over) break;
    bool const is_to_cancel = terms_.is_aborting() || seen.is_out_of_patience;
    if (is_to_cancel && !seen.is_cancel_sent) {
      seen.is_cancel_sent = true;
      work_->cancel_on_server();
    }
    co_await look(seen);
  }
  if (flight->result) co_return std::move(*flight->result);
  Failure failure;
  failure.trouble = Trouble::kConnection;
  failure.sqlstate = planner::kLinkLostState;
  failure.message = "the statement's outcome is unknown";
  co_return failure;
}

// Names whom the statement waits for, and ends them where that was asked for.
asio::awaitable<void> StepSession::look(Seen& seen) {
  auto const rows = co_await watch_->query(planner::blockers_sql(work_->backend_pid()), Deadlines());
  if (!rows) co_return;
  auto const sessions = state::rows_as<Blocker>(*rows);
  if (!sessions.empty()) seen.names = names_of(sessions);
  for (auto const& session : sessions) {
    auto const& allowed = terms_.blockers;
    bool const is_named = std::find(allowed.pids.begin(), allowed.pids.end(), session.pid()) != allowed.pids.end();
    bool const is_idle = allowed.idle_in_transaction && session.is_idle_in_transaction() &&
                         session.state_age >= *allowed.idle_in_transaction;
    bool const is_to_end = session.pid() != 0 && (is_named || is_idle) && seen.terminated.insert(session.pid()).second;
    if (!is_to_end) continue;
    tell(Severity::kWarning, seen.title + ": ending, as asked: " + name_of(session));
    co_await watch_->query(planner::terminate_sql(session.pid()), Deadlines());
  }
  if (seen.is_build) co_await look_at_build(seen);
}

asio::awaitable<void> StepSession::look_at_build(Seen& seen) {
  auto const rows = co_await watch_->query(planner::build_progress_sql(work_->backend_pid()), Deadlines());
  std::string progress = "waiting";
  if (rows && !rows->rows.empty()) {
    auto const build = state::row_as<BuildProgress>(rows->rows.front());
    progress = build.phase;
    if (build.total > 0) {
      progress += fmt::format(", {:.0f} %", 100.0 * static_cast<double>(build.done) / static_cast<double>(build.total));
    }
    if (build.sessions != 0) progress += fmt::format(", {} of {} sessions", build.sessions_done, build.sessions);
    // The counters, not the percentage: a large table takes long for each.
    auto const counted = progress + std::to_string(build.done);
    if (seen.progress != counted) seen.progressed_at = Clock::now();
    seen.progress = counted;
  }
  bool const is_waiting = !seen.names.empty() && progress.find("waiting") != std::string::npos;
  std::string const text = seen.title + ": " + progress + (is_waiting ? "; it waits for " + seen.names : "");
  tell_progress(text);
  if (Clock::now() - seen.told_at >= kTellEvery) {
    seen.told_at = Clock::now();
    tell(Severity::kInfo, text);
  }
  seen.is_out_of_patience = is_waiting && Clock::now() - seen.progressed_at > terms_.patience;
}

asio::awaitable<milliseconds> StepSession::read_deadlock_timeout() {
  auto const rows = co_await watch_->query(
      "SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'", Deadlines());
  co_return rows ? state::value_as<milliseconds>(*rows) : milliseconds(1000);
}

asio::awaitable<Result<Done>> StepSession::attempt(StatementTerms const& statement, bool is_nowait,
                                                   milliseconds lock_timeout, Seen& seen) {
  Deadlines const patient{kLongest, kLongest};
  auto const look_every = std::clamp(lock_timeout / 3, kLeastLook, kLookAtBuild);
  auto done = co_await watched(brief_script(*work_, statement, is_nowait, lock_timeout), patient, look_every, seen);
  if (!done && work_->is_usable()) co_await work_->script("ROLLBACK", Deadlines());
  co_return done;
}

asio::awaitable<void> StepSession::tell_unseen_standbys(StatementTerms const& statement) {
  if (has_told_unseen_) co_return;
  auto const attached = co_await watch_->query(planner::standbys_sql(), Deadlines());
  if (!attached || attached->rows.size() <= standbys_->seen()) co_return;
  has_told_unseen_ = true;
  std::string names;
  for (auto const& row : attached->rows) names += (names.empty() ? "" : ", ") + row.front().value_or("");
  for (auto const& trouble : standbys_->troubles()) names += "; " + trouble;
  tell(Severity::kWarning,
       fmt::format("{}: its ACCESS EXCLUSIVE lock is replayed on {} standby(s) ({}), and pgbackfill sees who reads the "
                   "table on {} of them: a long query on another one holds up the replay and all later reads there; "
                   "--standby CONNINFO lets it look and wait",
                   statement.title, attached->rows.size(), names, standbys_->seen()));
}

asio::awaitable<std::optional<StatementOutcome>> StepSession::await_standbys(StatementTerms const& statement,
                                                                             milliseconds age) {
  auto locks = statement.action.locks;
  locks.insert(locks.end(), statement.replayed.begin(), statement.replayed.end());
  bool const is_of_interest = terms_.blocking != nullptr && is_replayed(locks);
  if (!is_of_interest) co_return std::nullopt;
  if (!standbys_) standbys_.emplace(terms_.standbys, *terms_.blocking);
  auto const began = Clock::now();
  std::optional<Clock::time_point> told_at;
  while (true) {
    auto const readers = co_await standbys_->readers(locks, age);
    co_await tell_unseen_standbys(statement);
    if (readers.empty()) co_return std::nullopt;
    std::string const text = "the replay of its lock would wait for " + readers.front() +
                             (readers.size() > 1 ? fmt::format(" and {} more", readers.size() - 1) : "");
    if (Clock::now() - began > terms_.patience) {
      co_return ended(StatementEnd::kNoLock,
                      fmt::format("{}, for longer than {}", text, human_duration(terms_.patience)));
    }
    bool const is_due = !told_at || Clock::now() - *told_at >= kTellEvery;
    if (is_due) {
      told_at = Clock::now();
      tell(Severity::kWarning, statement.title + ": waiting, because " + text);
    }
    tell_progress(statement.title + ": " + text);
    bool const goes_on = co_await sleep_unless_stopped(kStandbyPause, terms_.is_stopping);
    if (!goes_on) co_return ended(StatementEnd::kStopped, "interrupted; " + text);
  }
}

namespace {

throttle::InTheWay in_the_way_of(std::vector<Blocker> const& holders) {
  throttle::InTheWay found;
  for (auto const& holder : holders) {
    found.is_autovacuum = found.is_autovacuum || holder.is_autovacuum();
    found.prevents_wraparound = found.prevents_wraparound || holder.prevents_wraparound;
  }
  return found;
}

throttle::FailedAttempt failed_attempt(Failure const& failure, milliseconds bound) {
  using throttle::FailedAttempt;
  FailedAttempt attempt;
  if (failure.sqlstate == "57014") {
    attempt.kind = FailedAttempt::kCancelled;
    attempt.is_cut_off = bound.count() > 0 && failure.elapsed >= bound;
  } else if (is_lock_trouble(failure)) {
    attempt.kind = FailedAttempt::kNoLock;
  } else if (is_shortage(failure)) {
    attempt.kind = FailedAttempt::kShortage;
  }
  return attempt;
}

std::string attempt_text(StatementTerms const& statement, throttle::Rung const& rung, Failure const& failure) {
  if (failure.trouble != Trouble::kLockTimeout) return words_of(failure);
  return fmt::format("no lock{} {}", relation_of(statement.action),
                     rung.is_nowait ? "at once" : fmt::format("within {} ms", rung.lock_timeout.count()));
}

asio::awaitable<std::vector<Blocker>> find_holders(PgConnection& watch, std::vector<planner::TableLock> locks,
                                                   std::vector<int> own) {
  auto const rows = co_await watch.query(planner::holders_sql(locks, std::move(own)), Deadlines());
  co_return rows ? state::rows_as<Blocker>(*rows) : std::vector<Blocker>();
}

// LOCK TABLE takes no foreign table: what is done to one waits for its own lock.
asio::awaitable<std::vector<planner::TableLock>> without_foreign_tables(PgConnection& watch,
                                                                        std::vector<planner::TableLock> locks) {
  std::vector<std::string> names;
  for (auto const& lock : locks) names.push_back(lock.relation);
  std::string statement =
      "SELECT n.name FROM pg_catalog.unnest(" + planner::text_array(names) +
      ") AS n (name) JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name) WHERE c.relkind = 'f'";
  auto const rows = co_await watch.query(std::move(statement), Deadlines());
  // Whatever is wrong with the connection, the statement itself meets next.
  auto const foreign = rows ? state::column_as<std::string>(*rows) : std::vector<std::string>();
  std::erase_if(locks, [&](planner::TableLock const& lock) {
    return std::find(foreign.begin(), foreign.end(), lock.relation) != foreign.end();
  });
  co_return locks;
}

StatementOutcome outcome_after(throttle::AfterAttempt::Kind kind, Failure const& failure) {
  using throttle::AfterAttempt;
  if (kind == AfterAttempt::kLost) return ended(StatementEnd::kLost, words_of(failure), failure);
  if (kind == AfterAttempt::kStopped) return ended(StatementEnd::kStopped, "interrupted", failure);
  if (kind == AfterAttempt::kCancelled) return ended(StatementEnd::kCancelled, words_of(failure), failure);
  if (kind == AfterAttempt::kFailed) return ended(StatementEnd::kFailed, words_of(failure), failure);
  return ended(StatementEnd::kFailed,
               fmt::format("it took longer than the {} that it may hold its lock, and was rolled back",
                           human_duration(kBriefWork)),
               failure);
}

}  // namespace

asio::awaitable<StatementOutcome> StepSession::climb(StatementTerms const& statement) {
  auto const& action = statement.action;
  auto const asked_at = Clock::now();
  throttle::ClimbTerms terms;
  terms.patience = terms_.patience;
  terms.deadlock_timeout = co_await read_deadlock_timeout();
  terms.can_say_nowait = !action.locks.empty();
  terms.is_brief = is_bounded(statement);
  auto const longest = throttle::longest_rung({terms.deadlock_timeout, false});
  auto const held_up = co_await await_standbys(statement, longest);
  if (held_up) co_return *held_up;
  throttle::LadderClimb climb(terms, Clock::now());
  std::string names;
  std::string waited_for;
  while (true) {
    std::vector<int> own = {watch_->backend_pid(), work_->backend_pid()};
    auto const holders = co_await find_holders(*watch_, action.locks, std::move(own));
    if (!holders.empty()) {
      names = names_of(holders);
      waited_for = names_without_queries(holders);
    }
    auto const next = climb.next(Clock::now(), in_the_way_of(holders));
    if (next.kind == throttle::Climb::kGiveUp) {
      co_return ended(StatementEnd::kNoLock, fmt::format("no lock{} within {}{}", relation_of(action),
                                                         human_duration(terms_.patience), in_the_way(names)));
    }
    auto pause = next.pause;
    if (next.kind == throttle::Climb::kLetBe) {
      tell(Severity::kWarning,
           fmt::format("{}: waiting without asking for a lock{}", statement.title, in_the_way(names)));
    } else {
      Seen seen;
      seen.title = statement.title;
      auto const attempted_at = Clock::now();
      auto const done = co_await attempt(statement, next.rung.is_nowait, next.rung.lock_timeout, seen);
      if (done && climb.attempts() > 1) {
        lock_wait_.time += std::chrono::duration_cast<milliseconds>(attempted_at - asked_at);
        lock_wait_.who = waited_for;
      }
      if (done) co_return StatementOutcome();
      if (!seen.names.empty()) names = seen.names;
      auto attempted = failed_attempt(done.error(), statement_bound(statement, next.rung.lock_timeout));
      if (!work_->is_usable()) attempted.kind = throttle::FailedAttempt::kNoConnection;
      attempted.is_stop_requested = terms_.is_aborting();
      auto const after = climb.failed(attempted, terms_.random());
      if (after.kind != throttle::AfterAttempt::kAgain) co_return outcome_after(after.kind, done.error());
      pause = after.pause;
      std::string const text = fmt::format("{}: {}, attempt {}{}; next in {} ms", statement.title,
                                           attempt_text(statement, next.rung, done.error()), climb.attempts(),
                                           in_the_way(names), pause.count());
      tell(Severity::kWarning, text);
      tell_progress(text);
    }
    bool const goes_on = co_await sleep_unless_stopped(pause, terms_.is_stopping);
    if (!goes_on) co_return ended(StatementEnd::kStopped, "interrupted" + in_the_way(names));
  }
}

// Settings of the session, because a statement that runs alone has no transaction to put them in. Says why it cannot
// be; empty: it can.
asio::awaitable<std::string> StepSession::prepare_alone() {
  std::string statement =
      "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('lock_timeout') || ' ' || "
      "pg_catalog.current_setting('statement_timeout')";
  auto const rows = co_await work_->query(std::move(statement), Deadlines());
  if (!rows) co_return words_of(rows.error());
  auto const session = state::row_as<AloneSession>(rows->rows.at(0));
  bool const is_direct = session.pid == work_->backend_pid();
  if (is_direct) {
    // What the file's SQL would find in a transaction, the session has to have.
    std::string settings = "SET lock_timeout = 0; SET statement_timeout = 0; SET default_transaction_read_only = off" +
                           work_->users_settings_of_session();
    auto const set = co_await work_->script(std::move(settings), Deadlines());
    co_return set ? "" : words_of(set.error());
  }
  if (session.timeouts == "0 0") co_return "";
  co_return fmt::format(
      "this connection goes through a pooler and has lock_timeout and statement_timeout '{}', which would cut the "
      "statement short and leave an invalid index; give --dsn the server itself, or a role without these settings",
      session.timeouts);
}

asio::awaitable<StatementOutcome> StepSession::run_alone(StatementTerms const& statement) {
  std::string const refused = co_await prepare_alone();
  if (!refused.empty() && !work_->is_usable()) co_return ended(StatementEnd::kLost, refused);
  if (!refused.empty()) co_return ended(StatementEnd::kFailed, refused);
  Seen seen;
  seen.is_build = true;
  seen.title = statement.title;
  Deadlines const patient{kLongest, kLongest};
  auto const done = co_await watched(statement.action.sql, patient, kLookAtBuild, seen);
  if (done) co_return StatementOutcome();
  auto const& failure = done.error();
  if (!work_->is_usable()) co_return ended(StatementEnd::kLost, words_of(failure), failure);
  if (failure.sqlstate != "57014") co_return ended(StatementEnd::kFailed, words_of(failure), failure);
  if (terms_.is_aborting()) co_return ended(StatementEnd::kStopped, "interrupted", failure);
  if (seen.is_out_of_patience) {
    co_return ended(StatementEnd::kNoLock,
                    fmt::format("no progress for {}{}", human_duration(terms_.patience), in_the_way(seen.names)),
                    failure);
  }
  co_return ended(StatementEnd::kCancelled, words_of(failure), failure);
}

asio::awaitable<StatementOutcome> StepSession::perform(StatementTerms statement) {
  auto const failed = co_await connect();
  if (failed) co_return ended(StatementEnd::kLost, words_of(*failed), *failed);
  bool const is_alone = statement.action.way == Way::kConcurrent;
  StatementOutcome outcome;
  if (is_alone) {
    outcome = co_await run_alone(statement);
  } else {
    auto locks = co_await without_foreign_tables(*watch_, std::move(statement.action.locks));
    statement.action.locks = std::move(locks);
    outcome = co_await climb(statement);
  }
  co_return outcome;
}

}  // namespace pgbackfill::engine
