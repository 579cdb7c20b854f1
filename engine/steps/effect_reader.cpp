#include "engine/steps/effect_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/sql/sql_script.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

constexpr char kSyntaxError[] = "42601";

// The files of the copy and of its indexes. A change of the catalog alone keeps them.
std::string files_of_copy() {
  return fmt::format("pg_catalog.pg_relation_filenode('pg_temp.{}'::pg_catalog.regclass)::pg_catalog.text",
                     planner::lint::kEffectCopy);
}

std::vector<Statement> statements_of(planner::lint::EffectProbe const& probe) {
  std::string const table = planner::quote_qualified(probe.table.schema, probe.table.name);
  return {"BEGIN",
          "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
          "'30000', true)",
          // The statement names the table as the file does.
          users_sql(fmt::format("CREATE TEMP TABLE {} (LIKE {} INCLUDING ALL)", planner::lint::kEffectCopy, table)),
          fmt::format("SELECT pg_catalog.set_config('pgbackfill.copy', {}, true), "
                      "pg_catalog.set_config('client_min_messages', 'debug1', true)",
                      files_of_copy()),
          users_sql(probe.statement), "SELECT pg_catalog.set_config('client_min_messages', 'warning', true)",
          fmt::format("SELECT pg_catalog.current_setting('pgbackfill.copy') <> {}", files_of_copy()), "ROLLBACK"};
}

bool says(std::vector<std::string> const& lines, std::string_view words) {
  return std::any_of(lines.begin(), lines.end(), [&](std::string const& line) { return line.starts_with(words); });
}

}  // namespace

asio::awaitable<Result<std::optional<MeasuredEffect>>> measure_effect(PgConnection& connection,
                                                                      planner::lint::EffectProbe probe) {
  auto statements = statements_of(probe);
  auto const results = co_await connection.pipeline(std::move(statements), Deadlines());
  auto const said = connection.debug_lines();
  if (!results) {
    if (!connection.is_usable()) co_return results.error();
    auto const ended = co_await connection.query("ROLLBACK", Deadlines());
    if (!ended) co_return ended.error();
    co_return std::optional<MeasuredEffect>();
  }
  MeasuredEffect effect;
  effect.rewrites = state::value_as<bool>(results->at(6)) || says(said, "rewriting table");
  effect.scans = effect.rewrites || says(said, "verifying table");
  effect.builds = says(said, "building index");
  co_return std::optional(effect);
}

namespace {

struct SqlOfStep {
  planner::SourcePosition position;
  std::string sql;
};

// Statement by statement.
std::vector<SqlOfStep> sql_of_steps(planner::Migration const& migration, RecordedSteps const& recorded) {
  auto steps = planner::expand_steps(migration);
  for (auto& step : planner::contract_steps(migration)) steps.push_back(std::move(step));
  std::vector<SqlOfStep> statements;
  for (auto const& placed : steps) {
    auto const* run = std::get_if<planner::RunSql>(&placed.step.detail->kind);
    if (run == nullptr || is_done_as_it_is(recorded, placed)) continue;
    for (std::string const& text : {run->sql, run->down.value_or("")}) {
      for (auto const& statement : planner::lint::split_script(text).statements) {
        auto const& span = statement.span;
        statements.push_back({placed.step.position, text.substr(span.begin, span.end - span.begin)});
      }
    }
  }
  return statements;
}

}  // namespace

asio::awaitable<Result<std::vector<planner::Problem>>> check_step_syntax(PgConnection& connection,
                                                                         planner::Migration const& migration,
                                                                         RecordedSteps recorded) {
  std::vector<planner::Problem> problems;
  auto const statements = sql_of_steps(migration, recorded);
  if (statements.empty()) co_return problems;
  std::vector<std::string> texts;
  for (auto const& statement : statements) texts.push_back(statement.sql);
  auto const refusals = co_await connection.read_statements(std::move(texts), Deadlines());
  if (!refusals) co_return refusals.error();
  for (std::size_t number = 0; number < statements.size(); ++number) {
    auto const& refusal = refusals->at(number);
    if (!refusal || refusal->sqlstate != kSyntaxError) continue;
    problems.push_back({statements[number].position,
                        fmt::format("the server cannot read this SQL: {} ({})", refusal->message, refusal->sqlstate)});
  }
  co_return problems;
}

}  // namespace pgbackfill::engine
