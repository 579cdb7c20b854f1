// exporter: serves what the state tables say of all jobs, for as long as nobody stops it. Reads only.
//
// It reads by its own clock and answers from what it read last, so that no number of scrapes costs the database more.
// A read that fails takes what was there before with it: nobody is shown old values as if they were true.

#include <fmt/format.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <optional>

#include "engine/base/command_error.h"
#include "engine/base/listen_address.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/pg/catalog.h"
#include "engine/pg/open_connections.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/state/stored_overview.h"
#include "engine/tell/http_server.h"
#include "engine/tell/metrics.h"
#include "engine/tell/teller.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// What the server may work on the answer.
constexpr auto kReadMost = 10s;
// Behind the end of the next read, for a machine that is busy. Older values are not shown, whatever holds up the read.
constexpr auto kSlack = 5s;
// A server that was away is not left unseen for an hour because somebody looks once an hour.
constexpr std::chrono::milliseconds kRetryMost{10'000};

JobShown job_of(std::vector<std::optional<std::string>> const& row) {
  JobShown job;
  // What somebody broke by hand in the rows of one migration keeps nobody from seeing the others.
  try {
    auto const stored = state::stored_overview_of(row);
    job.migration = stored.name;
    if (!stored.job) return job;
    job.status = stored.status;
    job.table = stored.schema + "." + stored.table;
    job.rows_done = stored.rows_done;
    job.rows_changed = stored.rows_changed;
    job.rows_estimated = stored.rows_estimated;
    job.ranges = stored.ranges_total;
    job.ranges_open = stored.ranges_open;
    job.deferred = stored.deferred;
    job.quarantined = stored.quarantined;
    job.processes = stored.processes;
    if (stored.last_batch_ms) job.last_batch_age = std::chrono::milliseconds(*stored.last_batch_ms);
    job.elapsed = std::chrono::milliseconds(stored.elapsed_ms);
  } catch (state::BrokenState const&) {
    job.migration = row.front().value_or("");
    job.is_readable = false;
  }
  return job;
}

class Exporter {
 public:
  Exporter(CommandContext& context, ExporterOptions const& options)
      : context_(context), options_(options), teller_(context.teller_options()) {}

  asio::awaitable<int> go();

 private:
  void listen();
  HttpAnswer answer(std::string_view path) const;
  asio::awaitable<void> look();
  asio::awaitable<bool> find_state();
  asio::awaitable<JobsShown> read();
  // What was read last, unless it is too old to be shown.
  JobsShown const* fresh() const;
  void take_failure(CommandError const& error);
  void tell(Severity severity, std::string text) { teller_.emit(log_line(severity, std::move(text))); }
  bool is_stopping() const { return context_.interrupts().is_asked(); }

  CommandContext& context_;
  ExporterOptions const& options_;
  Teller teller_;
  std::optional<HttpServer> server_;
  std::shared_ptr<PgConnection> connection_;
  std::optional<JobsShown> shown_;
  std::string why_not_{"nothing was read yet"};
  bool has_looked_ = false;
  bool has_state_ = false;  // of the connection: the schema is there, and can be read
};

void Exporter::listen() {
  try {
    server_.emplace(context_.io(), options_.listen, [this](std::string_view path) { return answer(path); });
  } catch (boost::system::system_error const& error) {
    throw CommandError{kExitUsage,
                       fmt::format("cannot listen on {}: {}", to_string(options_.listen), error.code().message())};
  }
  ListenAddress const address{options_.listen.host, server_->port()};
  tell(Severity::kInfo, fmt::format("metrics: http://{}/metrics", to_string(address)));
}

JobsShown const* Exporter::fresh() const {
  bool const is_fresh = shown_ && Clock::now() - shown_->read_at <= options_.interval + kReadMost + kSlack;
  return is_fresh ? &*shown_ : nullptr;
}

HttpAnswer Exporter::answer(std::string_view path) const {
  constexpr int kUnavailable = 503;
  constexpr int kNotFound = 404;
  HttpAnswer answer;
  if (path == "/metrics") {
    answer.content_type = Metrics::kContentType;
    answer.body = exporter_text(fresh(), Clock::now());
  } else if (path == "/healthz") {
    answer.body = "alive\n";
  } else if (path == "/readyz") {
    bool const is_ready = fresh() != nullptr;
    if (!is_ready) answer.status = kUnavailable;
    answer.body = is_ready ? "ready\n" : fmt::format("the state cannot be read: {}\n", neutralised(why_not_));
  } else {
    if (path != "/") answer.status = kNotFound;
    answer.body = "pgbackfill exporter: /metrics, /healthz, /readyz\n";
  }
  return answer;
}

// Whether there is a state, on this connection or on a new one.
asio::awaitable<bool> Exporter::find_state() {
  if (connection_ && !connection_->is_usable()) connection_.reset();
  if (!connection_) {
    has_state_ = false;
    connection_ = co_await context_.connect();
  }
  // Before the first run there is no schema, and no job either.
  if (has_state_) co_return true;
  bool const is_there = co_await context_.has_state(*connection_);
  if (is_there) co_await context_.require_state(*connection_, StateUse::kReads);
  has_state_ = is_there;
  co_return has_state_;
}

asio::awaitable<JobsShown> Exporter::read() {
  bool const is_there = co_await find_state();
  auto const began = Clock::now();
  JobsShown shown;
  if (is_there) {
    std::vector<Statement> statements;
    statements.emplace_back(state::overviews(""));
    auto const rows =
        value_or_throw(co_await read_only(*connection_, std::move(statements), kReadMost), "reading the migrations");
    for (auto const& row : rows.rows) shown.jobs.push_back(job_of(row));
  }
  shown.read_at = Clock::now();
  shown.reading_took = shown.read_at - began;
  co_return shown;
}

void Exporter::take_failure(CommandError const& error) {
  // What was wrong from the beginning is a mistake of whoever started it.
  if (!has_looked_ && error.exit_code == kExitUsage) throw error;
  if (shown_ || error.text != why_not_) tell(Severity::kWarning, "the state cannot be read: " + error.text);
  shown_.reset();
  why_not_ = error.text;
  connection_.reset();
}

asio::awaitable<void> Exporter::look() {
  try {
    auto shown = co_await read();
    if (!shown_ && has_looked_) tell(Severity::kInfo, "the state can be read again");
    shown_ = std::move(shown);
    why_not_ = "the server does not answer";
  } catch (CommandError const& error) {
    take_failure(error);
  } catch (state::BrokenState const& broken) {
    take_failure(CommandError{kExitFailed, broken.what()});
  } catch (CutShort const&) {
    shown_.reset();  // ^C
  }
  has_looked_ = true;
}

asio::awaitable<int> Exporter::go() {
  listen();
  std::function<bool()> const is_over = [this] { return is_stopping(); };
  while (!is_stopping()) {
    co_await look();
    auto const pause = shown_ ? options_.interval : std::min(options_.interval, kRetryMost);
    co_await sleep_unless_stopped(pause, is_over);
  }
  co_return kExitDone;
}

}  // namespace

int exporter_command(CommandContext& context, ExporterOptions const& options) {
  Exporter exporter(context, options);
  return context.run(exporter.go());
}

}  // namespace pgbackfill::engine
