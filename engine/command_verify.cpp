// verify: runs the checks of a migration; exit 0 only if all of them hold.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "engine/commands.h"
#include "engine/interrupts.h"
#include "engine/job_setup.h"
#include "engine/repair.h"
#include "engine/replica_session.h"
#include "engine/verify.h"

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
    return std::holds_alternative<planner::AgreesCheck>(check.kind);
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

asio::awaitable<std::shared_ptr<PgConnection>> replica_of(CommandContext& context, PgConnection& primary,
                                                          std::string conninfo, std::function<bool()> is_stopping,
                                                          EventSink& sink) {
  std::function<void(std::string)> const tell = [&sink](std::string text) {
    LogLine line;
    line.at = std::chrono::system_clock::now();
    line.text = std::move(text);
    sink.emit(std::move(line));
  };
  co_return co_await open_replica_session(context, primary, std::move(conninfo), std::move(is_stopping), tell);
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
                                         planner::Migration const& migration, std::vector<CheckResult> const& results,
                                         Interrupts& interrupts, EventSink& sink) {
  std::int64_t rows = 0;
  for (std::size_t number = 0; number < results.size(); ++number) {
    if (results[number].differing.empty()) continue;
    auto const changed = co_await repair(context, connection, migration, number, interrupts, sink);
    rows += changed;
  }
  co_return rows;
}

asio::awaitable<int> verify(CommandContext& context, VerifyOptions options) {
  auto connection = co_await context.connect_to_state();
  auto const loaded = co_await find_migration(*connection, options.file_or_name);
  auto const& name = loaded.migration.name;
  if (loaded.migration.verify.empty()) {
    throw CommandError{kExitUsage, name + " has no section `verify:`: there is nothing to check"};
  }
  if (options.repair) co_await refuse_repair_beside_backfill(*connection, loaded.migration);
  bool const is_kept = has_comparison(loaded.migration);
  if (is_kept && options.restart) {
    value_or_throw(co_await connection->query(state::forget_comparisons(name), Deadlines()),
                   "forgetting how far the comparisons were");
  }
  std::shared_ptr<PgConnection> kept_by;
  if (is_kept) kept_by = co_await context.connect();
  Teller teller(context.teller_options());
  Interrupts interrupts(context.io());
  std::function<bool()> const is_stopping = [&interrupts] { return interrupts.is_asked(); };
  auto rows = connection;
  if (!options.replica.empty()) rows = co_await replica_of(context, *connection, options.replica, is_stopping, teller);
  CheckTerms terms{context, *rows, kept_by.get(), is_stopping, teller};
  auto results = co_await run_checks(terms, loaded.migration);
  std::optional<std::int64_t> repaired;
  if (options.repair) {
    value_or_throw(co_await connection->query(state::forget_comparisons(name), Deadlines()),
                   "forgetting how far the comparisons were");
    repaired = co_await repair_all(context, connection, loaded.migration, results, interrupts, teller);
    if (!options.replica.empty())
      rows = co_await replica_of(context, *connection, options.replica, is_stopping, teller);
    CheckTerms again{context, *rows, kept_by.get(), is_stopping, teller};
    if (*repaired > 0) results = co_await run_checks(again, loaded.migration);
  }
  interrupts.close();
  auto const held = static_cast<std::size_t>(
      std::count_if(results.begin(), results.end(), [](CheckResult const& one) { return one.holds; }));
  if (is_kept) co_await conclude(context, *kept_by, name, held, results.size());
  print(context, name, results, held, repaired);
  co_return held == results.size() ? kExitDone : kExitGateClosed;
}

}  // namespace

int verify_command(CommandContext& context, VerifyOptions const& options) {
  return context.run(verify(context, options));
}

}  // namespace pgbackfill::engine
