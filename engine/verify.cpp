#include "engine/verify.h"

#include <fmt/format.h>

#include "engine/agreement.h"
#include "engine/catalog.h"
#include "engine/command_context.h"
#include "engine/gate.h"
#include "engine/job_setup.h"
#include "planner/duration.h"
#include "planner/migration_file.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Check;
using planner::CheckVerdict;

// Past the server's own timeout, for the way there and back.
constexpr auto kGrace = 30s;

std::string settings(std::chrono::milliseconds timeout) {
  return fmt::format(
      "SELECT pg_catalog.set_config('statement_timeout', '{}', true), pg_catalog.set_config('row_security', 'off', "
      "true), pg_catalog.set_config('jit', 'off', true)",
      timeout.count());
}

// An explicit transaction: out of it, what the query calls cannot commit and go on to write.
asio::awaitable<Result<Rows>> ask(PgConnection& connection, std::string sql, std::chrono::milliseconds timeout) {
  std::vector<std::string> statements = {"BEGIN TRANSACTION READ ONLY", settings(timeout), std::move(sql), "ROLLBACK"};
  Deadlines const deadlines{timeout, timeout + kGrace};
  auto results = co_await connection.pipeline(std::move(statements), deadlines);
  if (results) co_return std::move(results->at(2));
  if (connection.is_usable()) co_await connection.script("ROLLBACK", Deadlines());
  co_return results.error();
}

CheckVerdict failed(Failure const& failure, std::chrono::milliseconds timeout) {
  if (failure.sqlstate == "57014") {
    return {false, fmt::format("was cancelled: {}; its timeout is {}, `timeout:` beside it allows more",
                               failure.message, planner::format_duration(timeout))};
  }
  return {false, failure.message + (failure.sqlstate.empty() ? "" : " (" + failure.sqlstate + ")")};
}

// The rows that do not agree are counted as rows that a backfill would have left.
asio::awaitable<CheckVerdict> count_disagreement(PgConnection& connection, Check const& check) {
  auto const& agrees = std::get<planner::AgreesCheck>(check.kind);
  planner::Backfill backfill;
  backfill.position = check.position;
  backfill.table = agrees.table;
  for (auto const& one : agrees.set) backfill.assignments.push_back({one.position, one.column, one.expression});
  backfill.where = planner::disagreement(agrees);
  backfill.where_position = check.position;
  auto const preflight = value_or_throw(co_await check_backfill(connection, backfill), "reading the table");
  if (!preflight.problems.empty()) co_return CheckVerdict{false, planner::to_string(preflight.problems.front())};
  std::int64_t rows = 0;
  for (auto const& target : preflight.targets) rows += co_await count_remaining(connection, target);
  co_return planner::judge(check, {{std::to_string(rows)}});
}

asio::awaitable<CheckVerdict> verdict_of(PgConnection& connection, Check const& check) {
  CheckVerdict verdict;
  if (!connection.is_usable()) {
    verdict.text = "not asked: the connection was lost";
    co_return verdict;
  }
  if (std::holds_alternative<planner::AgreesCheck>(check.kind)) {
    try {
      verdict = co_await count_disagreement(connection, check);
    } catch (CommandError const& error) {
      verdict.text = error.text;
    }
    co_return verdict;
  }
  auto const rows = co_await ask(connection, planner::check_sql(check), check.timeout);
  co_return rows ? planner::judge(check, rows->rows) : failed(rows.error(), check.timeout);
}

// Problems of one check, and whether all of them are of names that are not there.
struct CheckRefusal {
  std::vector<planner::Problem> problems;
  bool only_missing_names = false;
};

asio::awaitable<Result<CheckRefusal>> plan_check(PgConnection& connection, Check check) {
  CheckRefusal refusal;
  if (std::holds_alternative<planner::AgreesCheck>(check.kind)) {
    auto plan = co_await plan_agreement(connection, check);
    if (!plan) co_return plan.error();
    refusal.problems = std::move(plan->problems);
    refusal.only_missing_names = plan->only_missing_names;
    co_return refusal;
  }
  auto const planned = co_await query_read_only(connection, "EXPLAIN " + planner::check_sql(check));
  if (planned) co_return refusal;
  auto const& error = planned.error();
  if (error.trouble == planner::Trouble::kConnection) co_return error;
  refusal.only_missing_names = is_missing_name(error.sqlstate);
  refusal.problems.push_back({check.position, fmt::format("the server refuses the check {}: {} ({})",
                                                          planner::check_text(check), error.message, error.sqlstate)});
  co_return refusal;
}

}  // namespace

asio::awaitable<Result<std::vector<planner::Problem>>> check_checks(PgConnection& connection, std::vector<Check> checks,
                                                                    bool names_may_come) {
  std::vector<planner::Problem> problems;
  for (auto const& check : checks) {
    auto refusal = co_await plan_check(connection, check);
    if (!refusal) co_return refusal.error();
    if (names_may_come && refusal->only_missing_names) continue;
    for (auto& problem : refusal->problems) problems.push_back(std::move(problem));
  }
  co_return problems;
}

asio::awaitable<std::vector<CheckResult>> run_checks(PgConnection& connection, planner::Migration migration) {
  std::vector<CheckResult> results;
  for (auto const& check : migration.verify) {
    auto const began = std::chrono::steady_clock::now();
    auto const verdict = co_await verdict_of(connection, check);
    CheckResult result;
    result.check = planner::check_text(check);
    result.position = planner::to_string({check.position, ""});
    result.holds = verdict.holds;
    result.text = verdict.text;
    result.took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    results.push_back(std::move(result));
  }
  co_return results;
}

boost::json::array json_of(std::vector<CheckResult> const& results) {
  boost::json::array array;
  for (auto const& one : results) {
    array.push_back({{"check", one.check},
                     {"position", one.position},
                     {"holds", one.holds},
                     {"text", one.text},
                     {"took_ms", one.took.count()}});
  }
  return array;
}

}  // namespace pgbackfill::engine
