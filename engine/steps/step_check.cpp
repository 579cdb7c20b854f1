#include "engine/steps/step_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "engine/pg/catalog.h"
#include "engine/pg/session_settings.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/step_answers.h"
#include "engine/steps/step_runner.h"
#include "engine/steps/table_ahead.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/model/suggestion.h"
#include "planner/steps/contract_plan.h"
#include "planner/steps/recipe.h"
#include "planner/steps/step_names.h"
#include "planner/steps/step_objects.h"
#include "planner/steps/step_rights.h"
#include "planner/steps/table_ahead.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Dependent;
using planner::PlacedStep;
using planner::SchemaStep;
using planner::StepFacts;
using planner::Tie;

// How long rows are looked for that forbid a step.
constexpr auto kLookWait = 2'000ms;
// A claim comes and goes once in a run.
constexpr int kMostLooks = 4;

bool is_of_contract(PlacedStep const& placed) {
  return placed.phase == "contract";
}

// One step, beside those that run before it.
class StepQuestion {
 public:
  StepQuestion(PgConnection& connection, std::string const& migration, bool has_claims, PlacedStep const& placed,
               std::vector<PlacedStep> const& earlier, bool names_objects)
      : connection_(connection),
        migration_(migration),
        has_claims_(has_claims),
        placed_(placed),
        step_(placed.step),
        earlier_(earlier),
        names_objects_(names_objects) {
    may_change_ = any_earlier([&](SchemaStep const& one) { return planner::may_change_refusal(one, step_); });
    may_lift_ = any_earlier([&](SchemaStep const& one) { return planner::may_lift_refusal(one, step_); });
    may_change_done_ = any_earlier([&](SchemaStep const& one) { return planner::may_change_done(one, step_); });
  }

  asio::awaitable<Result<StepAnswer>> ask();

 private:
  asio::awaitable<std::optional<Failure>> read_facts();
  asio::awaitable<std::optional<Failure>> read_claim();
  asio::awaitable<std::optional<Failure>> ask_once();
  asio::awaitable<std::optional<Failure>> ask_of_table_ahead();
  asio::awaitable<std::optional<Failure>> try_definition();
  asio::awaitable<std::optional<Failure>> ask_early_refusal(planner::Recipe const& recipe);
  asio::awaitable<std::optional<Failure>> ask_recipe();
  asio::awaitable<std::optional<Failure>> ask_rights();
  asio::awaitable<std::optional<Failure>> ask_rights_of_way_back();
  asio::awaitable<std::optional<Failure>> ask_dependents();
  asio::awaitable<std::optional<Failure>> ask_objects();
  asio::awaitable<std::optional<Failure>> ask_rows_of_partition();
  asio::awaitable<std::string> suggestion();
  bool swaps_coming_column() const;
  template <class Predicate>
  bool any_earlier(Predicate const& holds) const {
    return std::any_of(earlier_.begin(), earlier_.end(), [&](PlacedStep const& one) { return holds(one.step); });
  }
  void refuse(std::string text) { answer_.refusals.push_back(std::move(text)); }

  PgConnection& connection_;
  std::string const& migration_;
  bool has_claims_;
  PlacedStep const& placed_;
  SchemaStep const& step_;
  std::vector<PlacedStep> const& earlier_;
  bool names_objects_;  // what it is about is what it will be about at its turn
  StepFacts facts_;
  StepAnswer answer_;
  bool may_change_ = false;       // an earlier step may make another answer of it
  bool may_lift_ = false;         // or take away why it is refused
  bool may_change_done_ = false;  // or may make or undo what the step is to bring about
  bool is_done_ = false;
};

asio::awaitable<std::optional<Failure>> StepQuestion::read_facts() {
  auto facts = co_await read_step_facts(connection_, step_);
  if (!facts) co_return facts.error();
  facts_ = std::move(*facts);
  // Any SQL ahead may make the table.
  bool const has_sql = any_earlier([](SchemaStep const& one) { return !planner::is_typed(one); });
  if (facts_.kind == ' ' && has_sql) may_change_ = true;
  co_return co_await read_claim();
}

asio::awaitable<std::optional<Failure>> StepQuestion::read_claim() {
  if (!has_claims_) co_return std::nullopt;
  auto const claim =
      co_await query_read_only(connection_, state::find_claim(migration_, placed_.phase, placed_.position));
  if (!claim && is_of_the_moment(claim.error())) co_return claim.error();
  auto const claimed = claim ? state::first_as<state::Claim>(*claim) : std::nullopt;
  facts_.is_claimed = claimed.has_value();
  facts_.before = claimed ? claimed->before : "";
  co_return std::nullopt;
}

// What the table will be once the steps ahead have run.
asio::awaitable<std::optional<Failure>> StepQuestion::ask_of_table_ahead() {
  bool const is_of_now = !may_change_ && !may_lift_;
  if (is_of_now || facts_.is_claimed) co_return std::nullopt;
  auto refusal = co_await ask_table_ahead(connection_, earlier_, step_, facts_);
  if (!refusal) co_return refusal.error();
  if (!refusal->empty()) refuse(std::move(*refusal));
  co_return std::nullopt;
}

// On an empty copy. Only a primary can make one.
asio::awaitable<std::optional<Failure>> StepQuestion::try_definition() {
  // A swap of tables is asked by its spelling what no earlier step can change.
  bool const is_of_now = !may_change_ || std::holds_alternative<planner::Swap>(step_.detail->kind);
  if (!is_of_now || connection_.is_standby()) co_return std::nullopt;
  auto statements = planner::spelling_statements(step_, facts_);
  if (statements.empty()) co_return std::nullopt;
  std::size_t const last = statements.size();
  auto tried = tried_out(std::move(statements));
  auto const results = co_await connection_.pipeline(std::move(tried), Deadlines());
  if (!results) {
    auto const& failure = results.error();
    if (connection_.is_usable()) co_await connection_.script("ROLLBACK", Deadlines());
    if (!connection_.is_usable()) co_return failure;
    // Who has the table now may be gone when the step runs; and a read-only session cannot try.
    bool const says_nothing = is_of_the_moment(failure) || failure.sqlstate == "25006" || may_change_;
    if (!says_nothing) {
      refuse(fmt::format("{} ({})", without_probes(failure.message, step_, facts_.table), failure.sqlstate));
    }
    co_return std::nullopt;
  }
  auto const spelled = state::row_as<Spelled>(results->at(last).rows.at(0));
  facts_.spelling = spelled.text.value_or("");
  facts_.is_mutable = spelled.depends_on_settings();
  if (spelled.refusal && !may_change_) refuse(*spelled.refusal);
  co_return std::nullopt;
}

// What no earlier step can change.
asio::awaitable<std::optional<Failure>> StepQuestion::ask_early_refusal(planner::Recipe const& recipe) {
  if (recipe.early_refusal.empty() || facts_.is_claimed) co_return std::nullopt;
  // A swap of columns looks at the steps before it by itself.
  bool const is_swap = std::holds_alternative<planner::Swap>(step_.detail->kind);
  bool const may_go = is_swap && any_earlier([](SchemaStep const& one) { return planner::may_take_away(one); });
  if (may_go) co_return std::nullopt;
  auto const seen = co_await query_read_only(connection_, "SELECT " + recipe.early_refusal);
  if (!seen) co_return seen.error();
  auto const& refusal = seen->rows.front().front();
  if (refusal && swaps_coming_column()) {
    answer_.until_complete.push_back(*refusal);
  } else if (refusal) {
    refuse(*refusal);
  }
  co_return std::nullopt;
}

// What a swap would leave behind can be made anew while the backfill runs.
bool StepQuestion::swaps_coming_column() const {
  auto const* swap = std::get_if<planner::SwapColumn>(&step_.detail->kind);
  return swap != nullptr && is_of_contract(placed_) && any_earlier([&](SchemaStep const& one) {
           auto const* add = std::get_if<planner::AddColumn>(&one.detail->kind);
           return add != nullptr && add->column == swap->with;
         });
}

asio::awaitable<std::optional<Failure>> StepQuestion::ask_recipe() {
  auto const recipe = planner::recipe_for(step_, facts_);
  answer_.title = recipe.title;
  if (answer_.is_refused()) co_return std::nullopt;
  if (may_change_) co_return co_await ask_early_refusal(recipe);
  auto const seen = co_await query_read_only(connection_, planner::inspection_sql(recipe));
  if (!seen) co_return seen.error();
  auto const inspected = state::row_as<Inspected>(seen->rows.at(0));
  is_done_ = inspected.is_done && !may_change_done_;
  if (inspected.is_done || !inspected.refusal) co_return std::nullopt;
  std::string text = *inspected.refusal;
  bool const is_missing = text.starts_with("there is no ");
  if (may_lift_ && !is_missing) co_return std::nullopt;
  if (is_missing) text += co_await suggestion();
  refuse(std::move(text));
  co_return std::nullopt;
}

// Of names that are there, the one that may have been meant.
asio::awaitable<std::string> StepQuestion::suggestion() {
  auto const names = planner::names_of(step_);
  std::string word = facts_.table.name;
  std::vector<std::string> known;
  if (facts_.kind == ' ') {
    auto tables = co_await list_tables(connection_);
    if (tables) known = std::move(*tables);
    bool const is_elsewhere = std::find(known.begin(), known.end(), word) != known.end();
    if (is_elsewhere)
      co_return " in that schema, or in those of search_path; another schema has one, so write it with its schema";
  } else if (!names.names.empty()) {
    word = names.names.front();
    std::string const oid = planner::oid_of(facts_.table.schema, facts_.table.name);
    auto const rows = co_await query_read_only(
        connection_, "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = " + oid +
                         " AND attnum > 0 AND NOT attisdropped UNION SELECT conname::text FROM "
                         "pg_catalog.pg_constraint WHERE conrelid = " +
                         oid +
                         " UNION SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid "
                         "= i.indexrelid WHERE i.indrelid = " +
                         oid);
    if (rows) known = state::column_as<std::string>(*rows);
  }
  std::vector<std::string_view> const words(known.begin(), known.end());
  co_return planner::did_you_mean(word, words);
}

asio::awaitable<std::optional<Failure>> StepQuestion::ask_rights() {
  auto question = planner::missing_rights_sql(step_, facts_);
  if (question.empty()) co_return std::nullopt;
  auto const rows = co_await query_read_only(connection_, std::move(question));
  if (!rows) co_return rows.error();
  for (auto const& row : rows->rows) refuse(row.front().value_or(""));
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> StepQuestion::ask_rights_of_way_back() {
  auto question = planner::missing_rights_of_undo_sql(step_, facts_);
  if (question.empty() || is_done_ || answer_.is_refused()) co_return std::nullopt;
  auto const rows = co_await query_read_only(connection_, std::move(question));
  if (!rows) co_return rows.error();
  answer_.way_back_lacks = state::column_as<std::string>(*rows);
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> StepQuestion::ask_dependents() {
  auto question = planner::dependents_sql(step_, facts_);
  if (question.empty()) co_return std::nullopt;
  auto const rows = co_await query_read_only(connection_, std::move(question));
  if (!rows) co_return rows.error();
  for (auto const& row : rows->rows) {
    auto dependent = planner::dependent_of(row);
    bool const may_be_gone =
        any_earlier([&](SchemaStep const& one) { return planner::may_take_away(one, dependent.name); });
    if (may_be_gone) continue;
    (dependent.tie == Tie::kStops ? answer_.in_the_way : answer_.companions).push_back(std::move(dependent));
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> StepQuestion::ask_objects() {
  auto question = names_objects_ && !is_done_ ? planner::taken_sql(step_, facts_) : std::string();
  if (question.empty()) co_return std::nullopt;
  auto const rows = co_await query_read_only(connection_, std::move(question));
  if (!rows) co_return rows.error();
  answer_.taken = state::column_as<std::string>(*rows);
  co_return std::nullopt;
}

struct ReferringRows {
  std::string refusal;
  std::string sql;  // whether there are any
};

// Rows elsewhere that refer to rows of a partition keep it from being detached.
asio::awaitable<std::optional<Failure>> StepQuestion::ask_rows_of_partition() {
  auto const* detach = std::get_if<planner::DetachPartition>(&step_.detail->kind);
  if (detach == nullptr || answer_.is_refused() || is_done_) co_return std::nullopt;
  auto const questions = co_await query_read_only(connection_, planner::referring_rows_sql(facts_, detach->partition));
  if (!questions) co_return questions.error();
  for (auto& question : state::rows_as<ReferringRows>(*questions)) {
    // A table that takes long to be looked through says nothing here; the step asks the server itself.
    std::vector<Statement> statements;
    statements.emplace_back(std::move(question.sql));
    auto const found = co_await read_only(connection_, std::move(statements), kLookWait);
    bool const refers = found && state::value_as<bool>(*found);
    if (refers) refuse(std::move(question.refusal));
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> StepQuestion::ask_once() {
  answer_ = {};
  answer_.placed = placed_;
  answer_.title = step_.text;
  auto failed = co_await read_facts();
  // A schema that the role may not use is in the step's way as well.
  bool const is_denied = failed && failed->sqlstate == "42501";
  if (is_denied) {
    refuse(fmt::format("{} ({})", failed->message, failed->sqlstate));
    co_return std::nullopt;
  }
  if (!failed) failed = co_await ask_rights();
  if (!failed && !answer_.is_refused()) failed = co_await ask_of_table_ahead();
  if (!failed && !answer_.is_refused()) failed = co_await try_definition();
  if (!failed) failed = co_await ask_recipe();
  if (!failed && !is_done_) failed = co_await ask_dependents();
  if (!failed) failed = co_await ask_objects();
  if (!failed) failed = co_await ask_rows_of_partition();
  if (!failed) failed = co_await ask_rights_of_way_back();
  co_return failed;
}

// Another process may claim the step and run it between two questions: what it has dropped would be missed.
asio::awaitable<Result<StepAnswer>> StepQuestion::ask() {
  for (int look = 0; look < kMostLooks; ++look) {
    auto const failed = co_await ask_once();
    if (failed) co_return *failed;
    bool const was_claimed = facts_.is_claimed;
    if (!answer_.is_refused()) break;
    auto const unread = co_await read_claim();
    if (unread) co_return *unread;
    if (facts_.is_claimed == was_claimed) break;
  }
  co_return std::move(answer_);
}

std::string named(std::vector<Dependent> const& dependents) {
  std::vector<std::string> names;
  for (auto const& one : dependents) names.push_back(planner::to_string(one));
  return planner::join(names, ", ");
}

planner::Problem problem_of(StepAnswer const& answer, std::string const& text) {
  return {answer.placed.step.position,
          fmt::format("{} step {}: {}: {}", answer.placed.phase, answer.placed.position + 1, answer.title, text)};
}

std::string in_the_way_text(StepAnswer const& answer) {
  return fmt::format("the server refuses it because of what depends on it: {}; change or drop that first",
                     named(answer.in_the_way));
}

bool is_of_contract(StepAnswer const& answer) {
  return is_of_contract(answer.placed);
}

}  // namespace

asio::awaitable<Result<std::vector<StepAnswer>>> ask_steps(PgConnection& connection, std::string migration,
                                                           std::vector<PlacedStep> steps, std::vector<PlacedStep> ahead,
                                                           RecordedSteps recorded) {
  std::vector<StepAnswer> answers;
  // A state that is not there, or older than claims, has none.
  auto const claims = co_await query_read_only(connection, state::has_claims());
  if (!claims && is_of_the_moment(claims.error())) co_return claims.error();
  bool const has_claims = claims && state::value_as<bool>(*claims);
  std::vector<PlacedStep> earlier;
  for (auto const& one : ahead) {
    if (!is_done_as_it_is(recorded, one)) earlier.push_back(one);
  }
  // Of expand, which may make or replace what a contract step is about.
  auto before_contract = earlier;
  for (auto const& placed : steps) {
    if (is_done_as_it_is(recorded, placed)) continue;
    bool const is_asked = placed.phase != planner::kSyncPhase && planner::is_typed(placed.step);
    if (is_asked) {
      bool const names_objects =
          is_of_contract(placed) && std::none_of(before_contract.begin(), before_contract.end(), [&](auto const& one) {
            return planner::may_matter(one.step, placed.step);
          });
      StepQuestion question(connection, migration, has_claims, placed, earlier, names_objects);
      auto answer = co_await question.ask();
      if (!answer) co_return answer.error();
      answers.push_back(std::move(*answer));
    }
    earlier.push_back(placed);
    if (!is_of_contract(placed)) before_contract.push_back(placed);
  }
  co_return answers;
}

asio::awaitable<Result<std::vector<StepAnswer>>> ask_all_steps(PgConnection& connection, planner::Migration migration,
                                                               RecordedSteps recorded) {
  auto steps = planner::expand_steps(migration);
  for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
  for (auto& step : planner::contract_steps(migration)) steps.push_back(std::move(step));
  std::vector<PlacedStep> none;
  co_return co_await ask_steps(connection, migration.name, std::move(steps), std::move(none), std::move(recorded));
}

namespace {

bool drops_on_its_way_back(PlacedStep const& placed, std::string const& name) {
  auto const* run = std::get_if<planner::RunSql>(&placed.step.detail->kind);
  if (run == nullptr || !run->down) return false;
  SchemaStep down = placed.step;
  down.detail = std::make_shared<planner::StepDetail>(planner::StepDetail{planner::RunSql{*run->down, std::nullopt}});
  return planner::may_take_away(down, name);
}

// What a rollback of several steps would meet, asked before the first of them.
class UndoQuestion {
 public:
  UndoQuestion(PgConnection& connection, std::string const& migration, std::vector<PlacedStep> const& steps)
      : connection_(connection), migration_(migration), steps_(steps) {}

  asio::awaitable<Result<UndoAnswer>> ask();

 private:
  // Last first, as they are undone.
  asio::awaitable<std::optional<Failure>> ask_step(PlacedStep const& placed);
  asio::awaitable<std::optional<Failure>> check(PlacedStep const& placed, StepFacts const& facts,
                                                std::string const& proof);
  asio::awaitable<std::optional<Failure>> ask_rights(PlacedStep const& placed, StepFacts const& facts);
  asio::awaitable<std::optional<Failure>> collect_questions(PlacedStep const& placed, StepFacts const& facts);
  asio::awaitable<std::optional<Failure>> ask_dependents();

  PgConnection& connection_;
  std::string const& migration_;
  std::vector<PlacedStep> const& steps_;
  std::vector<SchemaStep> undone_first_;
  std::vector<std::pair<SchemaStep, StepFacts>> made_;
  UndoAnswer answer_;
};

asio::awaitable<std::optional<Failure>> UndoQuestion::check(PlacedStep const& placed, StepFacts const& facts,
                                                            std::string const& proof) {
  auto const any_first = [&](auto const& may) {
    return std::any_of(undone_first_.begin(), undone_first_.end(),
                       [&](SchemaStep const& later) { return may(later, placed.step); });
  };
  // What is undone before it may bring back what is looked for; the step looks again at its turn.
  if (any_first(planner::may_rename_on_its_way_back)) co_return std::nullopt;
  bool const asks_server = !any_first(planner::may_matter_on_its_way_back);
  auto question = planner::undo_check_sql(placed.step, facts, proof, asks_server);
  auto const rows = co_await query_read_only(connection_, std::move(question));
  if (!rows) co_return rows.error();
  auto const checked = state::row_as<UndoChecked>(rows->rows.at(0));
  if (checked.refusal) {
    answer_.stops.push_back(fmt::format("{} step {}: {}", placed.phase, placed.position + 1, *checked.refusal));
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> UndoQuestion::collect_questions(PlacedStep const& placed,
                                                                        StepFacts const& facts) {
  auto recipe = planner::recipe_for(placed.step, facts);
  bool const is_of_now = std::none_of(undone_first_.begin(), undone_first_.end(), [&](SchemaStep const& later) {
    return planner::may_rename_on_its_way_back(later, placed.step);
  });
  if (recipe.undo_questions.empty() || !is_of_now) co_return std::nullopt;
  auto const needed = co_await query_read_only(connection_, planner::needs_sql(recipe.undo));
  if (!needed) co_return needed.error();
  auto const& row = needed->rows.at(0);
  if (std::find(row.begin(), row.end(), "t") == row.end()) co_return std::nullopt;
  for (auto& question : recipe.undo_questions) {
    question.what = fmt::format("{} step {}: {}", placed.phase, placed.position + 1, question.what);
    answer_.questions.push_back(std::move(question));
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> UndoQuestion::ask_rights(PlacedStep const& placed, StepFacts const& facts) {
  std::vector<std::string> questions;
  questions.push_back(planner::missing_rights_sql(placed.step, facts));
  questions.push_back(planner::missing_rights_of_undo_sql(placed.step, facts));
  for (auto& question : questions) {
    if (question.empty()) continue;
    auto const rights = co_await query_read_only(connection_, std::move(question));
    if (!rights) co_return rights.error();
    for (auto& right : state::column_as<std::string>(*rights)) answer_.stops.push_back(std::move(right));
  }
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> UndoQuestion::ask_step(PlacedStep const& placed) {
  auto const recorded =
      co_await query_read_only(connection_, state::step_done(migration_, placed.phase, placed.position));
  if (!recorded) co_return recorded.error();
  auto const done = state::first_as<state::DoneStep>(*recorded);
  if (!planner::is_typed(placed.step) || placed.phase == planner::kSyncPhase) {
    if (done) undone_first_.push_back(placed.step);
    co_return std::nullopt;
  }
  auto const claim =
      co_await query_read_only(connection_, state::find_claim(migration_, placed.phase, placed.position));
  if (!claim) co_return claim.error();
  auto const claimed = state::first_as<state::Claim>(*claim);
  if (!claimed) co_return std::nullopt;
  auto facts = co_await read_step_facts(connection_, placed.step);
  if (!facts) co_return facts.error();
  facts->is_claimed = true;
  facts->before = claimed->before;
  if (planner::recipe_for(placed.step, *facts).undo.empty()) co_return std::nullopt;
  auto const unasked = co_await ask_rights(placed, *facts);
  if (unasked) co_return unasked;
  std::string const proof = done ? done->proof.value_or("") : "";
  auto const unchecked = co_await check(placed, *facts, proof);
  if (unchecked) co_return unchecked;
  auto const uncollected = co_await collect_questions(placed, *facts);
  if (uncollected) co_return uncollected;
  undone_first_.push_back(placed.step);
  made_.emplace_back(placed.step, std::move(*facts));
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> UndoQuestion::ask_dependents() {
  auto question = planner::dependents_of_undo_sql(made_);
  if (question.empty()) co_return std::nullopt;
  auto const rows = co_await query_read_only(connection_, std::move(question));
  if (!rows) co_return rows.error();
  for (auto const& row : rows->rows) {
    auto const dependent = planner::dependent_of(row);
    bool const goes_first = std::any_of(steps_.begin(), steps_.end(), [&](PlacedStep const& placed) {
      return drops_on_its_way_back(placed, dependent.name);
    });
    if (goes_first) continue;
    (dependent.tie == Tie::kStops ? answer_.stops : answer_.companions).push_back(planner::to_string(dependent));
  }
  co_return std::nullopt;
}

asio::awaitable<Result<UndoAnswer>> UndoQuestion::ask() {
  for (auto placed = steps_.rbegin(); placed != steps_.rend(); ++placed) {
    auto const failed = co_await ask_step(*placed);
    if (failed) co_return *failed;
  }
  auto const failed = co_await ask_dependents();
  if (failed) co_return *failed;
  co_return std::move(answer_);
}

}  // namespace

asio::awaitable<Result<UndoAnswer>> ask_undo(PgConnection& connection, std::string migration,
                                             std::vector<PlacedStep> steps) {
  UndoQuestion question(connection, migration, steps);
  co_return co_await question.ask();
}

std::vector<planner::Problem> refusals_of(std::vector<StepAnswer> const& answers) {
  std::vector<planner::Problem> problems;
  for (auto const& answer : answers) {
    for (auto const& refusal : answer.refusals) problems.push_back(problem_of(answer, refusal));
    for (auto const& refusal : answer.until_complete) problems.push_back(problem_of(answer, refusal));
    if (!answer.in_the_way.empty()) problems.push_back(problem_of(answer, in_the_way_text(answer)));
  }
  return problems;
}

std::vector<planner::Problem> refusals_before_run(std::vector<StepAnswer> const& answers) {
  auto kept = answers;
  for (auto& answer : kept) {
    if (!is_of_contract(answer)) continue;
    answer.in_the_way.clear();
    answer.until_complete.clear();
  }
  return refusals_of(kept);
}

std::vector<planner::Problem> in_the_way_of_contract(std::vector<StepAnswer> const& answers) {
  std::vector<planner::Problem> problems;
  for (auto const& answer : answers) {
    if (!is_of_contract(answer)) continue;
    for (auto const& refusal : answer.until_complete) problems.push_back(problem_of(answer, refusal));
    if (!answer.in_the_way.empty()) problems.push_back(problem_of(answer, in_the_way_text(answer)));
  }
  return problems;
}

std::vector<planner::Problem> ways_back_that_lack_rights(std::vector<StepAnswer> const& answers) {
  std::vector<planner::Problem> problems;
  for (auto const& answer : answers) {
    for (auto const& right : answer.way_back_lacks) {
      problems.push_back(problem_of(answer, "rollback could not take it back: " + right));
    }
  }
  return problems;
}

std::vector<std::string> companion_lines(std::vector<StepAnswer> const& answers) {
  std::vector<std::string> lines;
  for (auto const& answer : answers) {
    std::string const place = fmt::format("{} step {}", answer.placed.phase, answer.placed.position + 1);
    for (auto const& one : answer.taken) lines.push_back(planner::taken_line(answer.placed, one));
    for (auto const& one : answer.companions) {
      lines.push_back(one.tie == Tie::kGoes ? fmt::format("{} drops {} along", place, planner::to_string(one))
                                            : fmt::format("{} changes what {} reads", place, planner::to_string(one)));
    }
  }
  return lines;
}

}  // namespace pgbackfill::engine
