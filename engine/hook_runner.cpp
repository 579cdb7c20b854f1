#include "engine/hook_runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <map>
#include <variant>
#include <vector>

#include "engine/child_process.h"
#include "engine/http_probe.h"
#include "engine/progress_view.h"
#include "engine/secret_mask.h"
#include "planner/duration.h"
#include "planner/hook.h"
#include "planner/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Hook;
using planner::HookKind;

constexpr auto kTurn = 1s;  // between looks at whether another process is through
constexpr std::size_t kMostRecorded = 4'000;

// What one hook came to.
struct Verdict {
  std::string trouble;  // empty: content
  std::string output;   // as recorded
  std::string result;   // of a backup its id
};

std::string last_part(std::string const& text) {
  return text.size() <= kMostRecorded ? text : "..." + text.substr(text.size() - kMostRecorded);
}

std::string last_line(std::string const& text) {
  auto const end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return "";
  auto const line_break = text.find_last_of('\n', end);
  auto const begin = line_break == std::string::npos ? 0 : line_break + 1;
  return text.substr(begin, end + 1 - begin);
}

std::string end_text(ChildResult const& child, std::chrono::milliseconds timeout) {
  switch (child.end) {
    case ChildEnd::kExited:
      return child.code == 0 ? "" : fmt::format("it exited with {}", child.code);
    case ChildEnd::kSignalled:
      return fmt::format("it was ended by signal {}", child.code);
    case ChildEnd::kTimedOut:
      return "it took longer than " + planner::format_duration(timeout) + " and was ended";
    case ChildEnd::kStopped:
      return "it was interrupted";
  }
  return "";
}

// The lock of a boundary, for as long as this lives.
class Turn {
 public:
  explicit Turn(HookTerms const& terms) : terms_(terms) {}

  // False when the operator stops first.
  asio::awaitable<Result<bool>> take(std::string const& boundary, EventSink& sink);
  PgConnection& connection() { return *asking_; }

 private:
  HookTerms const& terms_;
  std::shared_ptr<PgConnection> holding_;
  std::shared_ptr<PgConnection> asking_;
};

void tell(EventSink& sink, Severity severity, std::string text) {
  sink.emit(log_line(severity, std::move(text)));
}

asio::awaitable<Result<bool>> Turn::take(std::string const& boundary, EventSink& sink) {
  auto asking = co_await PgConnection::open(terms_.target, terms_.blocking);
  if (!asking) co_return asking.error();
  asking_ = std::move(*asking);
  auto holding = co_await PgConnection::open(terms_.target, terms_.blocking);
  if (!holding) co_return holding.error();
  holding_ = std::move(*holding);
  asio::steady_timer timer(co_await asio::this_coro::executor);
  std::string const lock =
      fmt::format("SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended({}, 0))",
                  planner::quote_literal("pgbackfill hooks " + terms_.migration.name + " " + boundary));
  for (bool is_told = false;; is_told = true) {
    if (terms_.is_stopping()) co_return false;
    auto const begun =
        co_await holding_->script("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0", Deadlines());
    if (!begun) co_return begun.error();
    auto const locked = co_await holding_->query(lock, Deadlines());
    if (!locked) co_return locked.error();
    if (locked->at(0, 0) == "t") co_return true;
    if (!is_told) tell(sink, Severity::kInfo, "another process runs the hooks of " + boundary + "; waiting for it");
    auto const ended = co_await holding_->script("ROLLBACK", Deadlines());
    if (!ended) co_return ended.error();
    timer.expires_after(kTurn);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

class HookRun {
 public:
  HookRun(Hook const& hook, HookTerms const& terms, std::string backup)
      : hook_(hook), terms_(terms), server_(libpq_environment(terms.target.conninfo)), environment_(server_) {
    environment_["PGBACKFILL_MIGRATION"] = terms.migration.name;
    environment_["PGBACKFILL_FILE"] = terms.migration.file;
    environment_["PGBACKFILL_BOUNDARY"] = planner::name_of(hook.boundary);
    environment_["PGBACKFILL_BACKUP"] = std::move(backup);
  }

  asio::awaitable<Verdict> run();
  // Without secrets, and fit to be kept.
  std::string clean(std::string const& text) const;

 private:
  asio::awaitable<Verdict> run_http() const;
  asio::awaitable<Verdict> run_command(std::vector<std::string> arguments) const;
  asio::awaitable<Verdict> dump() const;
  asio::awaitable<Verdict> list(std::string file) const;
  std::vector<std::string> dump_arguments(std::string const& file) const;
  void check_expectation(std::string const& text, Verdict& verdict) const;

  Hook const& hook_;
  HookTerms const& terms_;
  std::map<std::string, std::string> server_;
  std::map<std::string, std::string> environment_;
};

std::string HookRun::clean(std::string const& text) const {
  auto secrets = secrets_in(server_);
  std::map<std::string, std::string> inherited;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string const one = *entry;
    auto const equals = one.find('=');
    if (equals != std::string::npos) inherited[one.substr(0, equals)] = one.substr(equals + 1);
  }
  for (auto& secret : secrets_in(inherited)) secrets.push_back(std::move(secret));
  return valid_utf8(masked(text, secrets));
}

void HookRun::check_expectation(std::string const& text, Verdict& verdict) const {
  if (!verdict.trouble.empty() || hook_.expect.empty() || text.find(hook_.expect) != std::string::npos) return;
  verdict.trouble = "its answer does not contain '" + hook_.expect + "'";
}

asio::awaitable<Verdict> HookRun::run() {
  if (hook_.kind == HookKind::kHttp) co_return co_await run_http();
  if (hook_.kind == HookKind::kPgDump) co_return co_await dump();
  std::vector<std::string> arguments = {"/bin/sh", "-c", hook_.what};
  auto verdict = co_await run_command(std::move(arguments));
  if (hook_.boundary != planner::Boundary::kBackup || !verdict.trouble.empty()) co_return verdict;
  if (verdict.result.empty())
    verdict.trouble = "the last line of its output is to be the id of the backup; it said nothing";
  co_return verdict;
}

asio::awaitable<Verdict> HookRun::run_http() const {
  Verdict verdict;
  auto const url = parse_url(hook_.what);
  if (auto const* wrong = std::get_if<std::string>(&url)) {
    verdict.trouble = *wrong;
    co_return verdict;
  }
  auto const answer = co_await http_get(std::get<Url>(url), hook_.timeout);
  if (!answer) {
    verdict.trouble = answer.error().message;
    co_return verdict;
  }
  verdict.output = last_part(clean(answer->body));
  if (static_cast<int>(answer->status) != hook_.status) {
    verdict.trouble = fmt::format("it answered {}, not {}", answer->status, hook_.status);
  }
  check_expectation(answer->body, verdict);
  co_return verdict;
}

asio::awaitable<Verdict> HookRun::run_command(std::vector<std::string> arguments) const {
  Verdict verdict;
  ChildTerms child_terms;
  child_terms.arguments = std::move(arguments);
  child_terms.environment = environment_;
  child_terms.timeout = hook_.timeout;
  child_terms.is_stopping = terms_.is_stopping;
  child_terms.is_urgent = terms_.is_urgent;
  auto const child = co_await run_child(std::move(child_terms));
  if (!child) {
    verdict.trouble = child.error().message;
    co_return verdict;
  }
  verdict.trouble = end_text(*child, hook_.timeout);
  check_expectation(child->output + child->errors, verdict);
  verdict.result = last_line(clean(child->output));
  verdict.output = last_part(clean(child->output + child->errors));
  co_return verdict;
}

std::vector<std::string> HookRun::dump_arguments(std::string const& file) const {
  std::vector<std::string> arguments = {"pg_dump", "--format=custom", "--no-password", "--lock-wait-timeout=60s",
                                        "--file=" + file};
  for (auto const& table : hook_.tables) {
    arguments.push_back("--table=" + planner::quote_qualified(table.schema, table.name));
  }
  return arguments;
}

// Written under another name first: a file of the name asked for is a dump that was listed.
asio::awaitable<Verdict> HookRun::dump() const {
  Verdict verdict;
  std::error_code error;
  if (std::filesystem::exists(hook_.what, error)) {
    verdict.trouble = hook_.what + " is there already and no run of this migration recorded it; move it away";
    co_return verdict;
  }
  std::string const partial = hook_.what + ".partial";
  auto arguments = dump_arguments(partial);
  verdict = co_await run_command(std::move(arguments));
  if (verdict.trouble.empty()) verdict = co_await list(partial);
  if (!verdict.trouble.empty()) {
    std::filesystem::remove(partial, error);
    co_return verdict;
  }
  auto const bytes = std::filesystem::file_size(partial, error);
  std::filesystem::rename(partial, hook_.what, error);
  if (error) {
    verdict.trouble = "cannot rename " + partial + ": " + error.message();
    co_return verdict;
  }
  verdict.result =
      fmt::format("{}:{} ({} bytes)", terms_.owner.host, std::filesystem::absolute(hook_.what).string(), bytes);
  co_return verdict;
}

// A dump whose table of contents can be read, with the rows of each table that was asked for.
asio::awaitable<Verdict> HookRun::list(std::string file) const {
  std::vector<std::string> whole = {"pg_restore", "--list", file};
  auto verdict = co_await run_command(std::move(whole));
  if (!verdict.trouble.empty()) co_return verdict;
  // The list may be long; only its end was kept. What is asked for is asked for by name.
  for (auto const& table : hook_.tables) {
    std::vector<std::string> arguments = {"pg_restore", "--list", "--table=" + table.name};
    if (!table.schema.empty()) arguments.push_back("--schema=" + table.schema);
    arguments.push_back(file);
    auto const found = co_await run_command(std::move(arguments));
    if (!found.trouble.empty()) co_return found;
    if (found.output.find(" TABLE DATA ") == std::string::npos) {
      verdict.trouble = "the dump holds no rows of " + table.name +
                        "; of a partitioned table, name its partitions, or leave `tables:` out";
      co_return verdict;
    }
  }
  verdict.output.clear();
  co_return verdict;
}

std::string shown(std::string const& name, std::string const& text, std::chrono::milliseconds took,
                  Verdict const& verdict) {
  std::string line = fmt::format("{}: {}, {}", name, text, human_duration(took));
  if (!verdict.result.empty() && name == "backup") line += "; id " + verdict.result;
  return line + (verdict.output.empty() ? "" : "\n" + verdict.output);
}

asio::awaitable<HooksOutcome> run_hook(Hook const& hook, int position, Turn& turn, HookTerms const& terms,
                                       EventSink& sink) {
  std::string const name = planner::name_of(hook.boundary);
  std::string const text = planner::to_text(hook);
  std::string const& migration = terms.migration.name;
  auto const done = co_await turn.connection().query(state::hook_done(migration, name, position, text), Deadlines());
  if (!done) co_return HooksOutcome{done.error().message, true};
  if (!done->rows.empty() && !hook.repeats) co_return HooksOutcome{};
  auto const backup = co_await turn.connection().query(state::find_backup(migration), Deadlines());
  if (!backup) co_return HooksOutcome{backup.error().message, true};
  HookRun run(hook, terms, backup->rows.at(0).at(0).value_or(""));
  std::string const told = run.clean(text);
  tell(sink, Severity::kInfo, name + ": " + told);
  auto const began = std::chrono::steady_clock::now();
  auto const verdict = co_await run.run();
  auto const took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  std::string const place = fmt::format("{}:{}:{}", hook.position.file, hook.position.line, hook.position.column);
  if (!verdict.trouble.empty()) {
    co_await turn.connection().query(
        state::record_event(std::nullopt, migration, "hook failed",
                            shown(name, told, took, verdict) + "\n" + verdict.trouble, terms.owner),
        Deadlines());
    co_return HooksOutcome{fmt::format("{}: {}: {}: {}{}", place, name, told, verdict.trouble,
                                       verdict.output.empty() ? "" : "; it said: " + verdict.output)};
  }
  auto const recorded =
      co_await turn.connection().query(state::record_hook(migration, name, position, text, verdict.result,
                                                          shown(name, told, took, verdict), terms.owner),
                                       Deadlines());
  if (!recorded) co_return HooksOutcome{"recording a hook: " + recorded.error().message, true};
  tell(sink, Severity::kInfo, shown(name, "done", took, verdict));
  co_return HooksOutcome{};
}

}  // namespace

asio::awaitable<HooksOutcome> run_hooks(planner::Boundary boundary, HookTerms const& terms, EventSink& sink) {
  auto const hooks = planner::hooks_at(terms.migration.hooks, boundary);
  if (hooks.empty()) co_return HooksOutcome{};
  Turn turn(terms);
  auto const taken = co_await turn.take(planner::name_of(boundary), sink);
  if (!taken) co_return HooksOutcome{"waiting for the turn of its hooks: " + taken.error().message, true};
  if (!*taken) co_return HooksOutcome{"interrupted"};
  for (std::size_t index = 0; index < hooks.size(); ++index) {
    auto outcome = co_await run_hook(hooks[index], static_cast<int>(index), turn, terms, sink);
    if (!outcome.is_content()) co_return outcome;
  }
  co_return HooksOutcome{};
}

}  // namespace pgbackfill::engine
