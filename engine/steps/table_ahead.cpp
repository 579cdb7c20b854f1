#include "engine/steps/table_ahead.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <string_view>
#include <utility>
#include <variant>

#include "engine/state/typed_rows.h"
#include "engine/steps/step_answers.h"
#include "engine/steps/step_runner.h"
#include "planner/model/replace_all.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/model/suggestion.h"
#include "planner/steps/step_names.h"
#include "planner/steps/table_ahead.h"

namespace pgbackfill::engine {

namespace {

using planner::PlacedStep;
using planner::SchemaStep;
using planner::StepFacts;
using planner::TableAhead;
using planner::TableName;

// What the copy cannot have, the role may not try, or somebody else says, is no answer about the table. What depends on
// a column is asked of the table itself.
bool says_nothing(Failure const& failure) {
  bool const is_raised = failure.sqlstate.starts_with("P0");
  return is_of_the_moment(failure) || is_raised || failure.sqlstate == "25006" || failure.sqlstate == "42501" ||
         failure.sqlstate == "2BP01";
}

class AheadQuestion {
 public:
  AheadQuestion(PgConnection& connection, std::vector<PlacedStep> const& ahead, SchemaStep const& step,
                StepFacts const& facts)
      : connection_(connection), ahead_(ahead), step_(step), facts_(facts) {}

  asio::awaitable<Result<std::string>> ask();

 private:
  void look_ahead();
  asio::awaitable<std::optional<Failure>> ask_copies();
  asio::awaitable<Result<bool>> make_copies();
  asio::awaitable<std::optional<Failure>> ask_columns();
  asio::awaitable<std::optional<Failure>> ask_columns(std::string copy, std::vector<std::string> needed,
                                                      TableAhead const& table, TableName name);
  asio::awaitable<std::optional<Failure>> read_facts();
  asio::awaitable<std::optional<Failure>> try_definition();
  asio::awaitable<std::optional<Failure>> ask_recipe();
  asio::awaitable<std::optional<Failure>> try_step();
  void refuse_for(Failure const& failure);
  bool has_other() const { return !other_name_.name.empty(); }

  PgConnection& connection_;
  std::vector<PlacedStep> const& ahead_;
  SchemaStep const& step_;
  StepFacts const& facts_;
  TableName name_;        // as the file says it
  TableName other_name_;  // that a foreign key refers to; none: it is the table itself
  TableAhead table_;
  TableAhead other_;
  SchemaStep of_copy_;
  StepFacts facts_of_copy_;
  bool is_done_ = false;
  std::string refusal_;
};

void AheadQuestion::look_ahead() {
  name_ = planner::names_of(step_).tables.front();
  table_ = planner::table_ahead(ahead_, step_, name_, planner::kCopyAhead);
  auto const* key = std::get_if<planner::AddForeignKey>(&step_.detail->kind);
  if (key == nullptr || key->references == name_) return;
  other_name_ = key->references;
  other_ = planner::table_ahead(ahead_, step_, other_name_, planner::kOtherCopyAhead);
}

void AheadQuestion::refuse_for(Failure const& failure) {
  if (says_nothing(failure)) return;
  refusal_ = fmt::format("{} ({})", without_probes(failure.message, step_, facts_.table), failure.sqlstate);
}

std::vector<Statement> statements_of(TableAhead const& table, std::string const& copy) {
  std::vector<Statement> statements;
  if (!table.create.empty()) statements.push_back(users_sql(table.create));
  statements.push_back(users_sql(planner::copy_sql(table.origin, copy)));
  statements.emplace_back(planner::carry_names_sql(table.origin, copy));
  for (auto const& change : table.changes) statements.push_back(users_sql(change));
  return statements;
}

// False: that cannot be done, so that nothing is known.
asio::awaitable<Result<bool>> AheadQuestion::make_copies() {
  std::vector<Statement> statements = {"BEGIN"};
  statements.emplace_back(
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true)");
  auto made = statements_of(table_, planner::kCopyAhead);
  statements.insert(statements.end(), made.begin(), made.end());
  if (has_other()) {
    made = statements_of(other_, planner::kOtherCopyAhead);
    statements.insert(statements.end(), made.begin(), made.end());
  }
  auto const results = co_await connection_.pipeline(std::move(statements), Deadlines());
  if (!results && !connection_.is_usable()) co_return results.error();
  co_return results.has_value();
}

asio::awaitable<std::optional<Failure>> AheadQuestion::ask_columns(std::string copy, std::vector<std::string> needed,
                                                                   TableAhead const& table, TableName name) {
  if (needed.empty() || !refusal_.empty()) co_return std::nullopt;
  auto const rows = co_await connection_.query(planner::columns_of_copy_sql(copy), Deadlines());
  if (!rows) co_return rows.error();
  auto const columns = state::column_as<std::string>(*rows);
  auto const is_missing = [&](std::string const& column) {
    return std::find(columns.begin(), columns.end(), column) == columns.end();
  };
  auto const missing = std::find_if(needed.begin(), needed.end(), is_missing);
  if (missing == needed.end()) co_return std::nullopt;
  refusal_ = fmt::format("there is no column {} in {}", *missing, planner::shown(name));
  auto const fate = table.fates.find(*missing);
  if (fate != table.fates.end()) {
    refusal_ += " by then: " + fate->second;
  } else {
    std::vector<std::string_view> const words(columns.begin(), columns.end());
    refusal_ += planner::did_you_mean(*missing, words);
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> AheadQuestion::ask_columns() {
  auto const needed = planner::needed_columns(step_);
  auto failed = co_await ask_columns(planner::kCopyAhead, needed.own, table_, facts_.table);
  if (failed) co_return failed;
  char const* const copy = has_other() ? planner::kOtherCopyAhead : planner::kCopyAhead;
  TableAhead const& other = has_other() ? other_ : table_;
  TableName const name = has_other() ? other_name_ : facts_.table;
  co_return co_await ask_columns(copy, needed.other, other, name);
}

asio::awaitable<std::optional<Failure>> AheadQuestion::read_facts() {
  auto const rows = co_await connection_.query(planner::facts_sql(of_copy_), Deadlines());
  if (!rows) co_return rows.error();
  facts_of_copy_ = facts_of(*rows, connection_.server_version());
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> AheadQuestion::try_definition() {
  auto statements = planner::spelling_statements(of_copy_, facts_of_copy_);
  if (statements.empty()) co_return std::nullopt;
  auto tried = to_try(std::move(statements));
  auto const results = co_await connection_.pipeline(std::move(tried), Deadlines());
  if (!results) {
    refuse_for(results.error());
    co_return results.error();
  }
  auto const spelled = state::row_as<Spelled>(results->back().rows.at(0));
  facts_of_copy_.spelling = spelled.text.value_or("");
  facts_of_copy_.is_mutable = spelled.depends_on_settings();
  refusal_ = spelled.refusal.value_or("");
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> AheadQuestion::ask_recipe() {
  auto const recipe = planner::recipe_for(of_copy_, facts_of_copy_);
  auto const seen = co_await connection_.query(planner::inspection_sql(recipe), Deadlines());
  if (!seen) co_return seen.error();
  auto const inspected = state::row_as<Inspected>(seen->rows.at(0));
  is_done_ = inspected.is_done;
  if (is_done_ || !inspected.refusal) co_return std::nullopt;
  refusal_ = without_probes(*inspected.refusal, step_, facts_.table);
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> AheadQuestion::try_step() {
  auto const changes = planner::changes_of(step_, planner::kCopyAhead);
  if (!changes) co_return std::nullopt;
  std::vector<Statement> statements;
  for (auto const& change : *changes) statements.push_back(users_sql(change));
  auto const results = co_await connection_.pipeline(std::move(statements), Deadlines());
  if (!results) refuse_for(results.error());
  co_return std::nullopt;
}

// A failure that is no refusal ends the questions.
asio::awaitable<std::optional<Failure>> AheadQuestion::ask_copies() {
  auto failed = co_await ask_columns();
  bool const is_alike = table_.is_alike && other_.is_alike;
  if (failed || !refusal_.empty() || !is_alike) co_return failed;
  auto const questions = planner::questions_of(step_);
  failed = co_await read_facts();
  if (!failed) failed = co_await try_definition();
  if (!failed && refusal_.empty() && questions.asks_recipe) failed = co_await ask_recipe();
  if (!failed && refusal_.empty() && questions.tries && !is_done_) failed = co_await try_step();
  co_return failed;
}

asio::awaitable<Result<std::string>> AheadQuestion::ask() {
  auto const& kind = step_.detail->kind;
  bool const has_table =
      !std::holds_alternative<planner::CreateTable>(kind) && !std::holds_alternative<planner::AddEnumValue>(kind);
  if (!has_table) co_return std::string();
  look_ahead();
  for (auto const& [table, name] : {std::pair(&table_, facts_.table), std::pair(&other_, other_name_)}) {
    if (table->is_known && !table->gone.empty()) {
      co_return fmt::format("there is no table {} by then: {}", planner::shown(name), table->gone);
    }
  }
  bool const may_ask = planner::questions_of(step_).asks_columns && table_.is_known && other_.is_known;
  if (!may_ask || connection_.is_standby()) co_return std::string();
  char const* const other = has_other() ? planner::kOtherCopyAhead : planner::kCopyAhead;
  of_copy_ = planner::of_copies(step_, planner::kCopyAhead, other);
  auto const is_made = co_await make_copies();
  if (!is_made) co_return is_made.error();
  std::optional<Failure> failed;
  if (*is_made) failed = co_await ask_copies();
  if (!connection_.is_usable()) co_return failed.value_or(Failure());
  auto const ended = co_await connection_.script("ROLLBACK", Deadlines());
  if (!ended) co_return ended.error();
  co_return std::move(refusal_);
}

}  // namespace

asio::awaitable<Result<std::string>> ask_table_ahead(PgConnection& connection, std::vector<PlacedStep> const& ahead,
                                                     SchemaStep const& step, StepFacts const& facts) {
  AheadQuestion question(connection, ahead, step, facts);
  co_return co_await question.ask();
}

std::string without_probes(std::string text, SchemaStep const& step, TableName const& table) {
  std::vector<std::pair<std::string, TableName>> names = {{"pgbackfill_probe", table}, {planner::kCopyAhead, table}};
  if (auto const* attach = std::get_if<planner::AttachPartition>(&step.detail->kind)) {
    names.emplace_back("pgbackfill_probe_part", attach->partition);
  }
  if (auto const* key = std::get_if<planner::AddForeignKey>(&step.detail->kind)) {
    names.emplace_back("pgbackfill_probe_part", key->references);
    names.emplace_back(planner::kOtherCopyAhead, key->references);
  }
  for (auto const& [copy, name] : names) {
    planner::replace_all(text, planner::quote_identifier(copy), planner::quote_identifier(name.name));
  }
  // As the recipes name it: with a schema, of which each session has its own.
  static std::regex const shown_copy(std::string(R"(pg_temp(_\d+)?\.)") + planner::kCopyAhead + R"(\b)");
  std::smatch found;
  std::string before;
  while (std::regex_search(text, found, shown_copy)) {
    before += found.prefix().str() + planner::shown(table);
    text = found.suffix().str();
  }
  return before + text;
}

}  // namespace pgbackfill::engine
