#include "engine/step_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <regex>

#include "planner/sql_text.h"
#include "throttle/backoff.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// Short attempts first. Autovacuum gives way only to somebody who waits longer than deadlock_timeout (1 s by default),
// so attempts above that have to be among them.
constexpr milliseconds kLadder[] = {100ms, 100ms, 100ms, 300ms, 300ms, 300ms, 1000ms, 1000ms, 2000ms};
// The wait between attempts is so much longer than the attempt that readers are stalled a tenth of the time at most.
constexpr int kPauseOverAttempt = 10;
constexpr auto kStepDeadline = 24h;

bool runs_alone(std::string const& sql) {
  static std::regex const pattern(R"(\b(CONCURRENTLY|VACUUM|CREATE\s+DATABASE|DROP\s+DATABASE|ALTER\s+SYSTEM)\b)",
                                  std::regex::icase);
  return std::regex_search(sql, pattern);
}

bool is_worth_repeating(Failure const& failure) {
  using planner::Trouble;
  return failure.trouble == Trouble::kLockTimeout || failure.trouble == Trouble::kConflict;
}

void tell(EventSink& sink, StepTerms const& terms, Severity severity, std::string text) {
  LogLine line;
  line.at = std::chrono::system_clock::now();
  line.severity = severity;
  line.text = std::move(text);
  line.fields = {{"migration", terms.migration}, {"phase", terms.phase}};
  sink.emit(std::move(line));
}

// `note` is the statement that records the step (or forgets it), in the step's own transaction where there can be one.
asio::awaitable<Result<Done>> run_once(PgConnection& connection, std::string sql, std::string note, milliseconds lock) {
  Deadlines const patient{kStepDeadline, kStepDeadline};
  if (runs_alone(sql)) {
    auto done = co_await connection.script(std::move(sql), patient);
    if (!done) co_return done.error();
    auto noted = co_await connection.query(std::move(note), Deadlines());
    if (!noted) co_return noted.error();
    co_return Done();
  }
  std::string const script = fmt::format(
      "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = 10000;\n{}\n;\n{};\n"
      "COMMIT",
      lock.count(), sql, note);
  auto done = co_await connection.script(script, patient);
  if (!done && connection.is_usable()) co_await connection.script("ROLLBACK", Deadlines());
  co_return done;
}

asio::awaitable<StepsOutcome> run_with_retries(PgConnection& connection, std::string sql, std::string note,
                                               std::string name, StepTerms const& terms, EventSink& sink) {
  StepsOutcome outcome;
  auto const executor = co_await asio::this_coro::executor;
  auto const began = std::chrono::steady_clock::now();
  for (std::size_t attempt = 0;; ++attempt) {
    milliseconds const lock = kLadder[std::min(attempt, std::size(kLadder) - 1)];
    auto done = co_await run_once(connection, sql, note, lock);
    if (done) co_return outcome;
    bool const late = std::chrono::steady_clock::now() - began > terms.patience;
    if (!is_worth_repeating(done.error()) || late) {
      outcome.end = StepsEnd::kFailed;
      outcome.reason = fmt::format("{}: {} ({}){}", name, done.error().message, done.error().sqlstate,
                                   late ? ", after " + std::to_string(attempt + 1) + " attempts" : "");
      co_return outcome;
    }
    if (terms.is_stopping()) {
      outcome.end = StepsEnd::kStopped;
      outcome.reason = "interrupted at " + name;
      co_return outcome;
    }
    throttle::BackoffOptions const backoff{lock * kPauseOverAttempt, 60s};
    auto const pause = throttle::backoff_delay(0, backoff, 0.5 + terms.random() / 2);
    tell(sink, terms, Severity::kWarning,
         fmt::format("{}: no lock within {} ms, attempt {}; next in {} ms", name, lock.count(), attempt + 1,
                     pause.count()));
    asio::steady_timer timer(executor, pause);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

std::string step_name(StepTerms const& terms, planner::SqlStep const& step, std::size_t position) {
  std::string const place =
      step.position.line > 0 ? fmt::format("{}:{}:{}: ", step.position.file, step.position.line, step.position.column)
                             : "";
  return fmt::format("{}{} step {}", place, terms.phase, position + 1);
}

std::string shortened(std::string text) {
  for (auto& character : text) {
    if (character == '\n' || character == '\t') character = ' ';
  }
  return text.size() > 100 ? text.substr(0, 97) + "..." : text;
}

}  // namespace

asio::awaitable<StepsOutcome> run_steps(PgConnection& connection, std::vector<planner::SqlStep> const& steps,
                                        StepTerms const& terms, EventSink& sink) {
  StepsOutcome outcome;
  for (std::size_t position = 0; position < steps.size(); ++position) {
    auto const& step = steps[position];
    std::string const name = step_name(terms, step, position);
    auto const fail = [&](std::string text) {
      outcome.end = StepsEnd::kFailed;
      outcome.reason = name + ": " + text;
    };
    int const number = static_cast<int>(position);
    auto done = co_await connection.query(state::step_done(terms.migration, terms.phase, number), Deadlines());
    if (!done) {
      fail(done.error().message);
      co_return outcome;
    }
    if (!done->rows.empty()) {
      if (done->at(0, 0) == step.sql) continue;
      fail("it ran already, with another text: " + shortened(done->at(0, 0)) +
           "; put that text back, or add a new step");
      co_return outcome;
    }
    if (terms.is_stopping()) {
      outcome.end = StepsEnd::kStopped;
      outcome.reason = "interrupted before " + name;
      co_return outcome;
    }
    std::string note = state::record_step(terms.migration, terms.phase, number, step.sql, terms.owner);
    auto const ran = co_await run_with_retries(connection, step.sql, std::move(note), name, terms, sink);
    if (ran.end != StepsEnd::kDone) {
      outcome.end = ran.end;
      outcome.reason = ran.reason;
      co_return outcome;
    }
    ++outcome.ran;
    tell(sink, terms, Severity::kInfo, fmt::format("{} done: {}", name, shortened(step.sql)));
  }
  co_return outcome;
}

asio::awaitable<StepsOutcome> undo_steps(PgConnection& connection, std::vector<planner::SqlStep> const& steps,
                                         StepTerms const& terms, EventSink& sink) {
  StepsOutcome outcome;
  for (std::size_t position = steps.size(); position-- > 0;) {
    auto const& step = steps[position];
    std::string const name = step_name(terms, step, position);
    int const number = static_cast<int>(position);
    auto done = co_await connection.query(state::step_done(terms.migration, terms.phase, number), Deadlines());
    if (!done) {
      outcome.end = StepsEnd::kFailed;
      outcome.reason = name + ": " + done.error().message;
      co_return outcome;
    }
    if (done->rows.empty()) continue;
    if (!step.down) {
      tell(sink, terms, Severity::kWarning, name + " has no `down:` and stays: " + shortened(step.sql));
      continue;
    }
    std::string note = state::forget_step(terms.migration, terms.phase, number, terms.owner);
    auto const ran = co_await run_with_retries(connection, *step.down, std::move(note), name, terms, sink);
    if (ran.end != StepsEnd::kDone) {
      outcome.end = ran.end;
      outcome.reason = ran.reason;
      co_return outcome;
    }
    ++outcome.ran;
    tell(sink, terms, Severity::kInfo, fmt::format("{} undone: {}", name, shortened(*step.down)));
  }
  co_return outcome;
}

}  // namespace pgbackfill::engine
