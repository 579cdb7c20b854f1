#include "engine/verify/verify.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <memory>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/pg/catalog.h"
#include "engine/run/job_setup.h"
#include "engine/state/typed_rows.h"
#include "engine/verify/agreement.h"
#include "engine/verify/comparison.h"
#include "engine/verify/program_answers.h"
#include "planner/file/migration_file.h"
#include "planner/model/duration.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Check;
using planner::CheckVerdict;

// Past the server's own timeout, for the way there and back.
constexpr auto kGrace = 30s;
// A check that brings the server down each time is not asked for ever.
constexpr int kMostTimesAsked = 5;

std::string settings(std::chrono::milliseconds timeout) {
  return fmt::format(
      "SELECT pg_catalog.set_config('statement_timeout', '{}', true), pg_catalog.set_config('row_security', 'off', "
      "true), pg_catalog.set_config('jit', 'off', true)",
      timeout.count());
}

// An explicit transaction: out of it, what the query calls cannot commit and go on to write.
asio::awaitable<Result<Rows>> ask(PgConnection& connection, std::string sql, std::chrono::milliseconds timeout) {
  std::vector<Statement> statements = {"BEGIN TRANSACTION READ ONLY", settings(timeout), users_sql(std::move(sql)),
                                       "ROLLBACK"};
  Deadlines const deadlines{timeout, timeout + kGrace};
  auto results = co_await connection.pipeline(std::move(statements), deadlines);
  if (results) co_return std::move(results->at(2));
  if (connection.is_usable()) co_await connection.script("ROLLBACK", Deadlines());
  Failure failure = results.error();
  if (failure.trouble == planner::Trouble::kLockTimeout) failure.message += co_await connection.who_is_in_the_way();
  co_return failure;
}

CheckVerdict failed(Failure const& failure, std::chrono::milliseconds timeout) {
  if (failure.sqlstate == "57014") {
    return {false, fmt::format("was cancelled: {}; its timeout is {}, `timeout:` beside it allows more",
                               failure.message, planner::format_duration(timeout))};
  }
  return {false, failure.message + (failure.sqlstate.empty() ? "" : " (" + failure.sqlstate + ")")};
}

std::string text_of(ComparisonFound const& found) {
  std::string const since = found.begun_before.empty() ? "" : ", begun " + found.begun_before;
  if (found.rows_differing == 0) return fmt::format("{} row(s) agree{}", found.rows_compared, since);
  std::string text = fmt::format("{} of {} row(s) do not agree{}", found.rows_differing, found.rows_compared, since);
  if (!found.differing.empty()) text += ", for example " + planner::to_string(found.differing.front());
  return text;
}

std::string text_of(AnswersFound const& found) {
  std::string text =
      found.rows_differing == 0
          ? fmt::format("{} row(s) have what the program says", found.rows_compared)
          : fmt::format("{} of {} row(s) do not have what the program says", found.rows_differing, found.rows_compared);
  if (!found.differing.empty()) text += ", for example " + planner::to_string(found.differing.front());
  if (found.rows_refused > 0) {
    text += fmt::format("; the program refuses {} row(s), for example {}", found.rows_refused, found.refused);
  }
  return text;
}

// What check_sql() has to know of the catalog.
asio::awaitable<Result<Check>> with_equalities(PgConnection& connection, Check check) {
  std::string const statement = planner::equalities_sql(check);
  if (statement.empty()) co_return check;
  auto const found = co_await query_read_only(connection, statement);
  if (!found) co_return found.error();
  auto& equalities = std::get<planner::NoOrphansCheck>(check.kind).equalities;
  equalities.clear();
  for (auto& name : state::column_as<std::optional<std::string>>(*found)) equalities.push_back(name.value_or(""));
  co_return check;
}

// One run over the checks of a migration.
class Checking {
 public:
  Checking(CheckTerms terms, planner::Migration migration)
      : terms_(std::move(terms)), migration_(std::move(migration)) {}

  asio::awaitable<std::vector<CheckResult>> go();

 private:
  asio::awaitable<void> answer(std::size_t number, CheckResult& result);
  // False: the connection was lost meanwhile, and it may be asked again.
  asio::awaitable<bool> ask_once(std::size_t number, CheckResult& result);
  asio::awaitable<bool> compare_table(std::size_t number, CheckResult& result);
  asio::awaitable<bool> ask_program(std::size_t number, CheckResult& result);
  ReadPace& pace();
  ComparisonTerms comparison_terms(std::size_t number);
  void tell(Severity severity, std::string text);

  CheckTerms terms_;
  planner::Migration migration_;
  std::unique_ptr<ReadPace> pace_;  // made for the first check that needs it
};

void Checking::tell(Severity severity, std::string text) {
  terms_.sink.emit(log_line(severity, std::move(text), {{"migration", migration_.name}}));
}

ReadPace& Checking::pace() {
  auto& context = terms_.context;
  if (!pace_) pace_ = std::make_unique<ReadPace>(context.io(), context.blocking(), context.target(), migration_);
  return *pace_;
}

ComparisonTerms Checking::comparison_terms(std::size_t number) {
  ComparisonTerms comparison;
  comparison.rows = &terms_.rows;
  comparison.state = terms_.state;
  comparison.pace = &pace();
  comparison.owner = terms_.context.owner();
  comparison.migration = migration_.name;
  comparison.position = static_cast<int>(number);
  comparison.is_stopping = terms_.is_stopping;
  comparison.tell = [this](Severity severity, std::string text) { tell(severity, std::move(text)); };
  return comparison;
}

asio::awaitable<bool> Checking::compare_table(std::size_t number, CheckResult& result) {
  auto const& check = migration_.verify[number];
  auto plan = co_await plan_agreement(*terms_.rows, check);
  if (!plan) {
    result.text = plan.error().message;
    co_return plan.error().trouble != planner::Trouble::kConnection;
  }
  if (!plan->problems.empty()) {
    result.text = planner::to_string(plan->problems.front());
    result.names_what_is_gone = plan->only_missing_names;
    co_return true;
  }
  std::string const as_text = plan->as_text.empty() ? ""
                                                    : "; compared as text, because the type has no equality: " +
                                                          planner::join(plan->as_text, ", ");
  ComparisonFound found;
  try {
    auto comparison = comparison_terms(number);
    found = co_await compare(std::move(comparison), check, std::move(*plan));
  } catch (CommandError const& error) {
    if (!error.is_passing) throw;
    result.text = error.text;
  }
  if (!result.text.empty()) co_return false;
  result.holds = found.error.empty() && found.rows_differing == 0;
  result.text = found.error.empty() ? text_of(found) + as_text : found.error;
  result.rows_compared = found.rows_compared;
  result.differing = found.differing;
  co_return true;
}

// Why the program is not asked here; empty: it may be.
std::string why_not_asked(planner::AgreesCheck const& agrees, CommonOptions const& options,
                          planner::Migration const& migration) {
  if (options.no_exec) return "not asked: --no-exec starts no program";
  if (!agrees.is_stored) return "";
  return fmt::format(
      "not asked: a program is started from the file alone, not from what the database keeps of it; give "
      "the file instead of the name ({})",
      migration.file);
}

// False: the connection was lost, and all of it may be asked again.
asio::awaitable<bool> Checking::ask_program(std::size_t number, CheckResult& result) {
  auto const& check = migration_.verify[number];
  result.text = why_not_asked(std::get<planner::AgreesCheck>(check.kind), terms_.context.options(), migration_);
  if (!result.text.empty()) co_return true;
  ProgramTerms program;
  program.rows = &terms_.rows;
  program.pace = &pace();
  program.pace->set_own_sessions({(*terms_.rows).backend_pid()});
  program.migration = migration_.name;
  program.is_stopping = terms_.is_stopping;
  program.sink = &terms_.sink;
  auto backfill = *migration_.backfill;
  auto const found = co_await compare_answers(std::move(program), check, std::move(backfill));
  result.text = found.error.empty() ? text_of(found) : found.error;
  result.holds = found.error.empty() && found.rows_differing == 0 && found.rows_refused == 0;
  result.names_what_is_gone = found.names_what_is_gone;
  result.rows_compared = found.rows_compared;
  result.differing = found.differing;
  co_return !found.is_lost;
}

asio::awaitable<void> Checking::answer(std::size_t number, CheckResult& result) {
  for (int time = 0; time < kMostTimesAsked; ++time) {
    if (terms_.is_stopping()) throw CommandError{kExitResumable, migration_.name + ": interrupted"};
    bool const is_there = co_await terms_.rows.is_there();
    if (!is_there) {
      result.text = (time == 0 ? "not asked" : result.text) + ": " + terms_.rows.why();
      co_return;
    }
    result.text.clear();
    bool const is_answered = co_await ask_once(number, result);
    if (is_answered) co_return;
  }
  result.text =
      fmt::format("the connection was lost each of {} times that it was asked: {}", kMostTimesAsked, result.text);
}

asio::awaitable<bool> Checking::ask_once(std::size_t number, CheckResult& result) {
  auto const& check = migration_.verify[number];
  auto const* agrees = std::get_if<planner::AgreesCheck>(&check.kind);
  if (agrees != nullptr && agrees->asks_program()) co_return co_await ask_program(number, result);
  if (agrees != nullptr) co_return co_await compare_table(number, result);
  auto const found = co_await ask_check(*terms_.rows, check);
  // Nothing was found out that could hold or not.
  bool const is_locked = !found && found.error().trouble == planner::Trouble::kLockTimeout;
  if (is_locked) throw error_of(found.error(), result.position + ": " + result.check);
  auto const verdict = found ? *found : failed(found.error(), check.timeout);
  result.holds = verdict.holds;
  result.text = verdict.text;
  result.names_what_is_gone = !found && is_missing_name(found.error().sqlstate);
  co_return found || found.error().trouble != planner::Trouble::kConnection;
}

asio::awaitable<std::vector<CheckResult>> Checking::go() {
  std::vector<CheckResult> results;
  for (std::size_t number = 0; number < migration_.verify.size(); ++number) {
    auto const& check = migration_.verify[number];
    auto const began = std::chrono::steady_clock::now();
    CheckResult result;
    result.check = planner::check_text(check);
    result.position = fmt::format("{}:{}:{}", check.position.file, check.position.line, check.position.column);
    if (terms_.is_stopping()) throw CommandError{kExitResumable, migration_.name + ": interrupted"};
    co_await answer(number, result);
    result.took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    results.push_back(std::move(result));
  }
  co_return results;
}

// Problems of one check, and whether all of them are of names that are not there.
struct CheckRefusal {
  std::vector<planner::Problem> problems;
  bool only_missing_names = false;
};

asio::awaitable<Result<CheckRefusal>> plan_check(PgConnection& connection, Check check) {
  CheckRefusal refusal;
  auto const* agrees = std::get_if<planner::AgreesCheck>(&check.kind);
  if (agrees != nullptr && agrees->asks_program()) {
    // What is read and written is asked of the backfill.
    if (agrees->where.empty()) co_return refusal;
    auto const planned = co_await query_read_only(connection, users_sql("EXPLAIN " + planner::picked_sql(*agrees)));
    if (planned) co_return refusal;
    if (is_of_the_moment(planned.error())) co_return planned.error();
    refusal.only_missing_names = is_missing_name(planned.error().sqlstate);
    refusal.problems.push_back(
        {agrees->where_position, fmt::format("{} ({})", planned.error().message, planned.error().sqlstate)});
    co_return refusal;
  }
  if (agrees != nullptr) {
    auto plan = co_await plan_agreement(connection, check);
    if (!plan) co_return plan.error();
    refusal.problems = std::move(plan->problems);
    refusal.only_missing_names = plan->only_missing_names;
    co_return refusal;
  }
  auto const known = co_await with_equalities(connection, check);
  if (!known) co_return known.error();
  auto const planned = co_await query_read_only(connection, users_sql("EXPLAIN " + planner::check_sql(*known)));
  if (planned) co_return refusal;
  auto const& error = planned.error();
  if (is_of_the_moment(error)) co_return error;
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

asio::awaitable<Result<CheckVerdict>> ask_check(PgConnection& connection, Check check) {
  auto const known = co_await with_equalities(connection, check);
  if (!known) co_return known.error();
  auto const rows = co_await ask(connection, planner::check_sql(*known), check.timeout);
  if (!rows) co_return rows.error();
  co_return planner::judge(check, rows->rows);
}

asio::awaitable<std::vector<CheckResult>> run_checks(CheckTerms terms, planner::Migration migration) {
  Checking checking(std::move(terms), std::move(migration));
  auto results = co_await checking.go();
  co_return results;
}

boost::json::array json_of(std::vector<CheckResult> const& results) {
  boost::json::array array;
  for (auto const& one : results) {
    boost::json::object object{{"check", one.check},
                               {"position", one.position},
                               {"holds", one.holds},
                               {"text", one.text},
                               {"took_ms", one.took.count()}};
    if (one.rows_compared) {
      object["rows_compared"] = *one.rows_compared;
      object["differing"] = json_of(one.differing);
    }
    array.push_back(std::move(object));
  }
  return array;
}

}  // namespace pgbackfill::engine
