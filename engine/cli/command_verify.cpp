// verify: runs the checks of a migration; exit 0 only if all of them hold.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "engine/pg/lasting_connection.h"
#include "engine/process/interrupts.h"
#include "engine/process/listed_files.h"
#include "engine/run/job_setup.h"
#include "engine/verify/repair.h"
#include "engine/verify/replica_session.h"
#include "engine/verify/verify.h"

namespace pgbackfill::engine {

namespace {

void print(CommandContext& context, std::string const& name, std::vector<CheckResult> const& results, std::size_t held,
           std::optional<std::int64_t> repaired) {
  if (context.is_json()) {
    boost::json::object document;
    document["migration"] = name;
    document["holds"] = held == results.size();
    if (repaired) document["rows_repaired"] = *repaired;
    document["checks"] = json_of(results);
    context.print(document);
    return;
  }
  std::string text;
  for (auto const& one : results) {
    text += fmt::format("{} {}: {}\n", one.holds ? "ok    " : "FAILED", one.check, one.text);
    for (std::size_t number = 1; number < one.differing.size(); ++number) {
      text += "         " + planner::to_string(one.differing[number]) + "\n";
    }
  }
  if (repaired) text += fmt::format("{}: {} row(s) repaired\n", name, *repaired);
  text += fmt::format("{}: {} of {} check(s) hold\n", name, held, results.size());
  context.print(text);
}

bool has_comparison(planner::Migration const& migration) {
  return std::any_of(migration.verify.begin(), migration.verify.end(), [](planner::Check const& check) {
    auto const* agrees = std::get_if<planner::AgreesCheck>(&check.kind);
    return agrees != nullptr && !agrees->asks_program();
  });
}

// What is kept for a comparison that is cut short has no use once all of them have ended.
asio::awaitable<void> conclude(CommandContext& context, PgConnection& connection, std::string name, std::size_t held,
                               std::size_t checks) {
  value_or_throw(co_await connection.query(state::forget_comparisons(name), Deadlines()),
                 "forgetting how far the comparisons were");
  std::string const detail = fmt::format("{} of {} check(s) hold", held, checks);
  std::string statement = state::record_event(std::nullopt, name, "verified", detail, context.owner());
  value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "recording what was found");
}

void tell(EventSink& sink, Severity severity, std::string text) {
  sink.emit(log_line(severity, std::move(text)));
}

asio::awaitable<std::shared_ptr<PgConnection>> replica_of(CommandContext& context, std::string conninfo,
                                                          std::function<bool()> is_stopping, EventSink& sink) {
  auto const primary = co_await context.connect();
  std::function<void(std::string)> const say = [&sink](std::string text) {
    tell(sink, Severity::kInfo, std::move(text));
  };
  co_return co_await open_replica_session(context, *primary, std::move(conninfo), std::move(is_stopping), say);
}

// A backfill that is under way would do the same rows.
asio::awaitable<void> refuse_repair_beside_backfill(PgConnection& connection, planner::Migration const& migration) {
  if (!migration.backfill) co_return;
  auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
  if (job && job->status == JobStatus::kComplete) co_return;
  throw CommandError{
      kExitGateClosed,
      fmt::format("the backfill of {} is not complete; run it to its end before a repair", migration.name)};
}

asio::awaitable<std::int64_t> repair_all(CommandContext& context, std::shared_ptr<PgConnection> connection,
                                         LoadedMigration const& loaded, std::vector<CheckResult> const& results,
                                         RepairOptions options, EventSink& sink) {
  std::int64_t rows = 0;
  for (std::size_t number = 0; number < results.size(); ++number) {
    if (results[number].differing.empty()) continue;
    auto const& check = std::get<planner::AgreesCheck>(loaded.migration.verify[number].kind);
    if (check.asks_program()) {
      tell(sink, Severity::kWarning,
           results[number].check +
               ": what a program computes is not repaired; set the columns of these rows back, so that "
               "`where` picks them, and run the backfill again");
      continue;
    }
    auto const changed = co_await repair(context, connection, loaded, number, options, sink);
    rows += changed;
  }
  co_return rows;
}

// One `verify` of one migration.
class Verification {
 public:
  Verification(CommandContext& context, VerifyOptions options)
      : context_(context),
        options_(std::move(options)),
        teller_(context.teller_options()),
        interrupts_(context.interrupts()) {}

  asio::awaitable<int> go();

 private:
  asio::awaitable<void> load();
  // From the primary, or from the standby that was asked for.
  asio::awaitable<std::vector<CheckResult>> check();
  asio::awaitable<void> conclude_patiently(std::size_t held, std::size_t checks);
  asio::awaitable<std::int64_t> repair_rows(std::vector<CheckResult> const& results);
  LastingTerms lasting(std::function<asio::awaitable<std::shared_ptr<PgConnection>>()> open);
  bool has_comparisons() const { return has_comparison(loaded_.migration); }

  CommandContext& context_;
  VerifyOptions options_;
  Teller teller_;
  Interrupts& interrupts_;
  LoadedMigration loaded_;
  // Of the primary: for the state, and for nothing else that takes long.
  std::optional<LastingConnection> state_;
};

LastingTerms Verification::lasting(std::function<asio::awaitable<std::shared_ptr<PgConnection>>()> open) {
  LastingTerms terms;
  terms.open = std::move(open);
  terms.patience = options_.reconnect_patience;
  terms.is_stopping = [this] { return interrupts_.is_asked(); };
  terms.tell = [this](std::string text) { tell(teller_, Severity::kWarning, std::move(text)); };
  return terms;
}

asio::awaitable<void> Verification::load() {
  auto const use = options_.repair ? StateUse::kWrites : StateUse::kReads;
  auto connection = co_await context_.connect_to_state(use);
  loaded_ = co_await find_migration(context_, *connection, options_.file_or_name, SourceUse::kRun);
  co_await context_.adopt_settings_aloud(*connection, loaded_.migration.name);
  take_inputs(loaded_);
  if (loaded_.migration.verify.empty()) {
    throw CommandError{kExitUsage, loaded_.migration.name + " has no section `verify:`: there is nothing to check"};
  }
  if (options_.repair) co_await refuse_repair_beside_backfill(*connection, loaded_.migration);
  if (has_comparisons() && options_.restart) {
    value_or_throw(co_await connection->query(state::forget_comparisons(loaded_.migration.name), Deadlines()),
                   "forgetting how far the comparisons were");
  }
  auto terms = lasting([this] { return context_.connect(); });
  state_.emplace(std::move(connection), std::move(terms));
}

asio::awaitable<std::vector<CheckResult>> Verification::check() {
  std::function<bool()> const is_stopping = [this] { return interrupts_.is_asked(); };
  std::function<asio::awaitable<std::shared_ptr<PgConnection>>()> open = [this] { return context_.connect(); };
  if (!options_.replica.empty()) {
    std::string const replica = context_.read_conninfo(options_.replica, "--replica");
    open = [this, replica, is_stopping] { return replica_of(context_, replica, is_stopping, teller_); };
  }
  auto first = co_await open();
  auto terms_of_rows = lasting(open);
  LastingConnection rows(std::move(first), std::move(terms_of_rows));
  CheckTerms terms{context_, rows, has_comparisons() ? &*state_ : nullptr, is_stopping, teller_};
  auto results = co_await run_checks(terms, loaded_.migration);
  co_return results;
}

asio::awaitable<std::int64_t> Verification::repair_rows(std::vector<CheckResult> const& results) {
  auto connection = co_await context_.connect();
  value_or_throw(co_await connection->query(state::forget_comparisons(loaded_.migration.name), Deadlines()),
                 "forgetting how far the comparisons were");
  RepairOptions const options{options_.reconnect_patience};
  auto const rows = co_await repair_all(context_, std::move(connection), loaded_, results, options, teller_);
  co_return rows;
}

// The connection may have been lost while nothing was asked of it; what was found is shown in any case.
asio::awaitable<void> Verification::conclude_patiently(std::size_t held, std::size_t checks) {
  for (int time = 0; time < 2; ++time) {
    bool const is_there = co_await state_->is_there();
    if (!is_there) break;
    bool is_lost = false;
    try {
      co_await conclude(context_, **state_, loaded_.migration.name, held, checks);
    } catch (CommandError const& error) {
      if (!error.is_passing) throw;
      is_lost = true;
    }
    if (!is_lost) co_return;
  }
  tell(teller_, Severity::kWarning, "that it was verified could not be recorded");
}

asio::awaitable<int> Verification::go() {
  co_await load();
  auto results = co_await check();
  std::optional<std::int64_t> repaired;
  if (options_.repair) {
    repaired = co_await repair_rows(results);
    if (*repaired > 0) results = co_await check();
  }
  auto const& name = loaded_.migration.name;
  auto const held = static_cast<std::size_t>(
      std::count_if(results.begin(), results.end(), [](CheckResult const& one) { return one.holds; }));
  if (has_comparisons()) co_await conclude_patiently(held, results.size());
  print(context_, name, results, held, repaired);
  co_return held == results.size() ? kExitDone : kExitGateClosed;
}

asio::awaitable<int> verify(CommandContext& context, VerifyOptions options) {
  Verification verification(context, std::move(options));
  co_return co_await verification.go();
}

}  // namespace

int verify_command(CommandContext& context, VerifyOptions const& options) {
  return context.run(verify(context, options));
}

}  // namespace pgbackfill::engine
