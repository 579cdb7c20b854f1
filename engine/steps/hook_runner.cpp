#include "engine/steps/hook_runner.h"

#include <fmt/format.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <map>
#include <variant>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/base/secret_mask.h"
#include "engine/base/text.h"
#include "engine/child/child_process.h"
#include "engine/http/http_call.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/backup_file.h"
#include "engine/steps/boundary_turn.h"
#include "planner/model/duration.h"
#include "planner/model/hook.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Hook;
using planner::HookKind;

constexpr auto kRecordPause = 500ms;  // between attempts to write down what ran
constexpr std::size_t kMostRecorded = 4'000;

// What one hook came to.
struct Verdict {
  std::string trouble;  // empty: it succeeded
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

void tell(EventSink& sink, Severity severity, std::string text) {
  sink.emit(log_line(severity, std::move(text)));
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
  // Standard output goes into `output_file` if there is one.
  asio::awaitable<Verdict> run_command(std::vector<std::string> arguments, int output_file = -1) const;
  asio::awaitable<Verdict> dump() const;
  asio::awaitable<std::string> sync(BackupFile const& file) const;
  asio::awaitable<Verdict> list(std::string file) const;
  std::vector<std::string> dump_arguments() const;
  void check_expectation(std::string const& text, Verdict& verdict) const;

  Hook const& hook_;
  HookTerms const& terms_;
  std::map<std::string, std::string> server_;
  std::map<std::string, std::string> environment_;
};

std::string HookRun::clean(std::string const& text) const {
  auto secrets = secrets_in(server_);
  auto const named = planner::variables_of(terms_.migration.on);
  for (auto& secret : secrets_of_environment(named)) secrets.push_back(std::move(secret));
  std::string cleaned = valid_utf8(masked(text, secrets));
  // No text of the server can have it.
  for (auto at = cleaned.find('\0'); at != std::string::npos; at = cleaned.find('\0', at)) {
    cleaned.replace(at, 1, "\\x00");
  }
  return cleaned;
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
  HttpCall call;
  call.url = std::get<Url>(url);
  call.ca_file = hook_.ca_file;
  call.timeout = hook_.timeout;
  call.is_stopping = terms_.is_stopping;
  auto const answer = co_await http_call(std::move(call));
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

asio::awaitable<Verdict> HookRun::run_command(std::vector<std::string> arguments, int output_file) const {
  Verdict verdict;
  ChildTerms child_terms;
  child_terms.output_file = output_file;
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

std::vector<std::string> HookRun::dump_arguments() const {
  std::vector<std::string> arguments = {"pg_dump", "--format=custom", "--no-password", "--lock-wait-timeout=60s"};
  for (auto const& table : hook_.tables) {
    arguments.push_back("--table=" + planner::quote_qualified(table.schema, table.name));
  }
  return arguments;
}

// A disk may take long, and the engine's thread has more to do.
asio::awaitable<std::string> HookRun::sync(BackupFile const& file) const {
  std::string trouble;
  auto const work = [&]() -> asio::awaitable<void> {
    trouble = file.sync();
    co_return;
  };
  co_await asio::co_spawn(terms_.blocking, work, asio::use_awaitable);
  co_return trouble;
}

// Written under another name first: a file of the name asked for is a dump that was listed.
asio::awaitable<Verdict> HookRun::dump() const {
  Verdict verdict;
  BackupFile file(hook_.what);
  verdict.trouble = file.create();
  if (!verdict.trouble.empty()) co_return verdict;
  auto arguments = dump_arguments();
  verdict = co_await run_command(std::move(arguments), file.descriptor());
  if (verdict.trouble.empty()) verdict.trouble = co_await sync(file);
  if (verdict.trouble.empty()) verdict = co_await list(file.partial().string());
  if (verdict.trouble.empty()) verdict.trouble = file.settle();
  if (!verdict.trouble.empty()) co_return verdict;
  verdict.result = clean(
      fmt::format("{}:{} ({} bytes)", terms_.owner.host, std::filesystem::absolute(hook_.what).string(), file.bytes()));
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

// The record of a hook that succeeded.
struct Record {
  std::string boundary;
  int position = 0;
  std::string hook;
  Verdict verdict;
  std::string detail;
};

// A hook that ran is not run again, and so this is repeated whatever the server says, and for as long as it is away:
// without it, nothing after the hook could begin. A text that the server's encoding cannot hold is kept in ASCII.
asio::awaitable<std::string> record(Record what, BoundaryTurn& turn, HookTerms const& terms, EventSink& sink) {
  auto const& migration = terms.migration.name;
  std::string told;
  while (true) {
    auto const recorded = co_await turn.ask(state::record_hook(migration, what.boundary, what.position, what.hook,
                                                               what.verdict.result, what.detail, terms.owner));
    if (recorded) co_return "";
    auto const& failure = recorded.error();
    if (failure.trouble == planner::Trouble::kRowData) {
      what.verdict.result = neutralised(what.verdict.result, false);
      what.detail = neutralised(what.detail, false);
    }
    if (failure.trouble == planner::Trouble::kConnection) turn.have_patience_again();
    if (failure.message != told) {
      tell(sink, Severity::kWarning,
           fmt::format("{}: the hook succeeded, but that cannot be recorded; retrying: {}", what.boundary,
                       failure.message));
    }
    told = failure.message;
    bool const goes_on = co_await sleep_unless_stopped(kRecordPause, terms.is_stopping);
    if (goes_on) continue;
    co_return "it succeeded, but this process was stopped before that could be recorded, so the next run begins "
              "it again: " +
        failure.message;
  }
}

asio::awaitable<HooksOutcome> run_hook(Hook const& hook, int position, BoundaryTurn& turn, HookTerms const& terms,
                                       EventSink& sink) {
  std::string const name = planner::name_of(hook.boundary);
  std::string const raw = planner::to_text(hook);
  // As it is kept: the same for every process, whatever is in its environment.
  std::string const text = masked(raw, {});
  std::string const& migration = terms.migration.name;
  auto const done = co_await turn.ask(state::hook_done(migration, name, position, text, raw));
  if (!done) co_return HooksOutcome{done.error().message, true};
  if (!done->rows.empty() && !hook.repeats) co_return HooksOutcome{};
  auto const backup = co_await turn.ask(state::find_backup(migration));
  if (!backup) co_return HooksOutcome{backup.error().message, true};
  HookRun run(hook, terms, state::value_as<std::optional<std::string>>(*backup).value_or(""));
  std::string const told = run.clean(text);
  tell(sink, Severity::kInfo, name + ": " + told);
  auto const began = std::chrono::steady_clock::now();
  auto const verdict = co_await run.run();
  auto const took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  std::string const place = fmt::format("{}:{}:{}", hook.position.file, hook.position.line, hook.position.column);
  std::string trouble = verdict.trouble;
  if (trouble.empty()) {
    Record what{name, position, text, verdict, shown(name, told, took, verdict)};
    trouble = co_await record(std::move(what), turn, terms, sink);
  } else {
    co_await turn.ask(state::record_event(std::nullopt, migration, "hook failed",
                                          shown(name, told, took, verdict) + "\n" + trouble, terms.owner));
  }
  if (!trouble.empty()) {
    co_return HooksOutcome{fmt::format("{}: {}: {}: {}{}", place, name, told, trouble,
                                       verdict.output.empty() ? "" : "; it said: " + verdict.output)};
  }
  tell(sink, Severity::kInfo, shown(name, "done", took, verdict));
  co_return HooksOutcome{};
}

TurnTerms turn_terms(HookTerms const& terms, planner::Boundary boundary, EventSink& sink) {
  TurnTerms turn;
  turn.migration = terms.migration.name;
  turn.boundary = planner::name_of(boundary);
  turn.owner = terms.owner;
  turn.connect = terms.connect;
  turn.patience = terms.patience;
  turn.is_stopping = terms.is_stopping;
  turn.tell = [&sink](Severity severity, std::string text) { tell(sink, severity, std::move(text)); };
  return turn;
}

}  // namespace

asio::awaitable<HooksOutcome> run_hooks(planner::Boundary boundary, HookTerms const& terms, EventSink& sink) {
  auto const hooks = planner::hooks_at(terms.migration.hooks, boundary);
  if (hooks.empty()) co_return HooksOutcome{};
  BoundaryTurn turn(turn_terms(terms, boundary, sink));
  auto const taken = co_await turn.take();
  if (!taken) co_return HooksOutcome{"waiting for the turn of its hooks: " + taken.error().message, true};
  if (!*taken) co_return HooksOutcome{"interrupted"};
  HooksOutcome outcome;
  for (std::size_t index = 0; index < hooks.size() && outcome.is_content(); ++index) {
    outcome = co_await run_hook(hooks[index], static_cast<int>(index), turn, terms, sink);
  }
  co_await turn.give_back();
  co_return outcome;
}

}  // namespace pgbackfill::engine
