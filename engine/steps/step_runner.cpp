#include "engine/steps/step_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <utility>
#include <variant>

#include "engine/pg/catalog.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/recorded_steps.h"
#include "engine/steps/step_answers.h"
#include "planner/model/short_line.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipe.h"
#include "planner/steps/sql_step.h"
#include "planner/steps/step_objects.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Action;
using planner::PlacedStep;
using planner::Recipe;
using planner::RunSql;
using planner::SchemaStep;
using planner::StepFacts;
using planner::Trouble;
using planner::Way;

// Statements of one step, counting repeats: more is not progress but a fight with somebody.
// Beside one for each statement that it has.
constexpr int kMostRounds = 40;
constexpr int kMostFailures = 2;
// Of a statement that found its work done or its object gone: another process is at the same step.
constexpr int kMostOvertaken = 10;
// A claim comes and goes once in a run.
constexpr int kMostLooks = 4;
constexpr auto kBusyPause = 1s;
constexpr auto kReconnectPause = 500ms;
constexpr std::size_t kMostShown = 100;

bool runs_alone(std::string const& sql) {
  static std::regex const pattern(R"(\b(CONCURRENTLY|VACUUM|CREATE\s+DATABASE|DROP\s+DATABASE|ALTER\s+SYSTEM)\b)",
                                  std::regex::icase);
  return std::regex_search(sql, pattern);
}

std::string shortened(std::string_view text) {
  return planner::short_line(text, kMostShown);
}

// Class 23 and 22: the rows, not the statement, are at fault.
bool is_of_rows(Failure const& failure) {
  return failure.sqlstate.starts_with("23") || failure.sqlstate.starts_with("22");
}

// What the catalog said a moment ago is not so any more: it is there already, or gone.
bool is_overtaken(Failure const& failure) {
  static std::set<std::string> const states = {"42P07", "42710", "42701", "42704", "42P01", "42703"};
  return states.count(failure.sqlstate) != 0;
}

struct StepTable {
  std::string schema;
  std::string name;
  std::string kind;
  std::vector<std::string> parents;
  std::string named;
  std::optional<std::vector<std::string>> leaves;  // schema, name, schema, name...; not asked for most steps
  std::optional<std::string> collation;
};

}  // namespace

StepFacts facts_of(Rows const& rows, int server_version) {
  auto table = state::row_as<StepTable>(rows.rows.at(0));
  StepFacts facts;
  facts.server_version = server_version;
  facts.table = {std::move(table.schema), std::move(table.name)};
  facts.kind = table.kind.front();
  facts.parents = std::move(table.parents);
  facts.named = std::move(table.named);
  facts.collation = table.collation.value_or("");
  auto const leaves = table.leaves.value_or(std::vector<std::string>());
  for (std::size_t at = 0; at + 1 < leaves.size(); at += 2) facts.leaves.push_back({leaves[at], leaves[at + 1]});
  return facts;
}

namespace {

// One step on its way there or back.
class StepRun {
 public:
  StepRun(StepSession& session, PlacedStep const& placed, StepTerms const& terms)
      : session_(session),
        step_(placed.step),
        phase_(placed.phase),
        position_(placed.position),
        terms_(terms),
        name_(step_name(placed)) {}

  asio::awaitable<StepsOutcome> run();
  asio::awaitable<StepsOutcome> undo();
  asio::awaitable<StepsOutcome> settle();
  asio::awaitable<StepInspection> inspect();

 private:
  struct View {  // what the catalog says of the recipe
    Recipe recipe;
    bool is_done = false;
    std::string refusal;
    std::optional<std::size_t> next;
  };

  asio::awaitable<StepsOutcome> run_sql();
  asio::awaitable<std::vector<planner::TableLock>> replayed_locks(std::string sql);
  asio::awaitable<StepsOutcome> run_recipe();
  asio::awaitable<StepsOutcome> undo_sql();
  asio::awaitable<StepsOutcome> undo_recipe(std::string const& doing);
  asio::awaitable<std::optional<Failure>> read_facts(bool with_spelling);
  asio::awaitable<std::optional<Failure>> read_claim();
  asio::awaitable<std::optional<Failure>> spell();
  asio::awaitable<Result<View>> view();
  asio::awaitable<Result<View>> view_as_claimed();
  asio::awaitable<std::optional<StepsOutcome>> wait_while_busy(Action const& action);
  asio::awaitable<StatementOutcome> perform(Action action, std::string before);
  asio::awaitable<std::optional<StepsOutcome>> run_unclaimed(std::vector<Action> const& actions);
  asio::awaitable<StepsOutcome> give_up(StatementOutcome const& outcome);
  asio::awaitable<StepsOutcome> record(std::string proof);
  asio::awaitable<std::optional<StepsOutcome>> recorded_text(std::string& text);
  // Whether what is to be taken back is still what the step left: nothing, or how it ends without that.
  asio::awaitable<std::optional<StepsOutcome>> check_undo();

  StepsOutcome failed(std::string const& text) const { return {StepsEnd::kFailed, 0, name_ + ": " + text, false}; }
  StepsOutcome failed(Failure const& failure) const {
    if (failure.trouble == Trouble::kLockTimeout) {
      auto outcome = stopped(failure.message);
      outcome.is_locked = true;
      return outcome;
    }
    // A refusal of ours has no SQLSTATE.
    auto outcome = failed(failure.message + (failure.sqlstate.empty() ? "" : " (" + failure.sqlstate + ")"));
    outcome.is_lost = failure.trouble == Trouble::kConnection;
    return outcome;
  }
  StepsOutcome stopped(std::string const& text) const { return {StepsEnd::kStopped, 0, name_ + ": " + text, false}; }
  StepsOutcome outcome_of(StatementOutcome const& outcome) const;
  std::string record_sql(std::string const& proof = {}) const {
    return state::record_step(terms_.migration, phase_, position_, step_.text, terms_.owner, proof);
  }
  std::string forget_sql() const { return state::forget_step(terms_.migration, phase_, position_, terms_.owner); }
  std::string claim_sql(std::string const& before) const {
    return state::claim_step(terms_.migration, phase_, position_, step_.text, before);
  }

  StepSession& session_;
  SchemaStep const& step_;
  std::string const& phase_;
  int position_;
  StepTerms const& terms_;
  std::string name_;
  StepFacts facts_;
  std::string claimed_text_;
  std::string recorded_proof_;
  std::optional<std::chrono::steady_clock::time_point> busy_since_;
};

// --- what is there --------------------------------------------------------------------------------------------------

asio::awaitable<std::optional<Failure>> StepRun::read_facts(bool with_spelling) {
  auto const rows = co_await session_.ask(planner::facts_sql(step_));
  if (!rows) co_return rows.error();
  facts_ = facts_of(*rows, session_.server_version());
  auto const unclaimed = co_await read_claim();
  if (unclaimed) co_return unclaimed;
  if (!with_spelling) co_return std::nullopt;
  co_return co_await spell();
}

asio::awaitable<std::optional<Failure>> StepRun::read_claim() {
  auto const rows = co_await session_.ask(state::find_claim(terms_.migration, phase_, position_));
  if (!rows) co_return rows.error();
  auto const claim = state::first_as<state::Claim>(*rows);
  facts_.is_claimed = claim.has_value();
  claimed_text_ = claim ? claim->step : "";
  if (!claim) co_return std::nullopt;
  facts_.before = claim->before;
  if (claim->may_run.value_or(false)) co_return std::nullopt;
  // It stands in statements as it is.
  Failure failure;
  failure.message = fmt::format(
      "how it was before stands in pgbackfill.claims, {}, and would run as SQL with the rights of this role; run this "
      "as that role, or undo the step by hand and delete the row of {}, {}, position {}",
      claim->stored_by ? "written by role " + *claim->stored_by : "and nobody can tell who wrote it", terms_.migration,
      phase_, position_);
  co_return failure;
}

asio::awaitable<std::optional<Failure>> StepRun::spell() {
  auto statements = planner::spelling_statements(step_, facts_);
  if (statements.empty()) co_return std::nullopt;
  auto const rows = co_await session_.try_out(std::move(statements));
  if (!rows) co_return rows.error();
  auto spelled = state::row_as<Spelled>(rows->rows.at(0));
  facts_.spelling = spelled.text.value_or("");
  facts_.is_mutable = spelled.depends_on_settings();
  if (spelled.refusal) {
    Failure failure;
    failure.message = std::move(*spelled.refusal);
    co_return failure;
  }
  co_return std::nullopt;
}

// Another process may claim and begin the step between the two questions: what it has made so far would look like
// somebody else's.
asio::awaitable<Result<StepRun::View>> StepRun::view() {
  auto const unclaimed = co_await read_claim();
  if (unclaimed) co_return *unclaimed;
  for (int look = 0;; ++look) {
    bool const was_claimed = facts_.is_claimed;
    std::string const before = facts_.before;
    auto seen = co_await view_as_claimed();
    if (!seen || look == kMostLooks) co_return seen;
    auto const unclaimed_now = co_await read_claim();
    if (unclaimed_now) co_return *unclaimed_now;
    bool const is_settled = facts_.is_claimed == was_claimed && facts_.before == before;
    if (is_settled) co_return seen;
  }
}

asio::awaitable<Result<StepRun::View>> StepRun::view_as_claimed() {
  View view;
  view.recipe = planner::recipe_for(step_, facts_);
  auto const rows = co_await session_.ask(planner::inspection_sql(view.recipe));
  if (!rows) co_return rows.error();
  auto const& answer = rows->rows.at(0);
  auto const inspected = state::row_as<Inspected>(answer);
  view.is_done = inspected.is_done;
  view.refusal = inspected.refusal.value_or("");
  auto const is_needed = state::rest_as<bool, Inspected>(answer);
  auto const first = std::find(is_needed.begin(), is_needed.end(), true);
  if (first != is_needed.end()) view.next = static_cast<std::size_t>(first - is_needed.begin());
  co_return view;
}

asio::awaitable<std::optional<StepsOutcome>> StepRun::recorded_text(std::string& text) {
  auto const rows = co_await session_.ask(state::step_done(terms_.migration, phase_, position_));
  if (!rows) co_return failed(rows.error());
  auto done = state::first_as<state::DoneStep>(*rows);
  text = done ? std::move(done->sql) : "";
  recorded_proof_ = done ? done->proof.value_or("") : "";
  co_return std::nullopt;
}

// --- there ----------------------------------------------------------------------------------------------------------

asio::awaitable<StepsOutcome> StepRun::run() {
  std::string text;
  auto const unread = co_await recorded_text(text);
  if (unread) co_return *unread;
  if (text == step_.text) co_return StepsOutcome();
  if (!text.empty()) {
    co_return failed("it ran already, with another text: " + shortened(text) +
                     "; put that text back, or add a new step");
  }
  if (terms_.is_stopping()) co_return stopped("interrupted before it");
  bool const is_recipe = planner::is_typed(step_);
  auto const began = std::chrono::steady_clock::now();
  session_.take_lock_wait();
  StepsOutcome outcome;
  if (is_recipe) {
    outcome = co_await run_recipe();
  } else {
    outcome = co_await run_sql();
  }
  if (outcome.end != StepsEnd::kDone) co_return outcome;
  outcome.ran = 1;
  auto const took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  auto const wait = session_.take_lock_wait();
  // For the report; the step is done without it.
  co_await session_.ask(state::note_step_time(terms_.migration, phase_, position_, took, wait.time, wait.who));
  session_.tell(Severity::kInfo, fmt::format("{} done: {}", name_, shortened(step_.text)));
  co_return outcome;
}

StepsOutcome StepRun::outcome_of(StatementOutcome const& outcome) const {
  switch (outcome.end) {
    case StatementEnd::kDone:
      return {};
    case StatementEnd::kStopped:
    case StatementEnd::kNoLock:
      return stopped(outcome.text);
    case StatementEnd::kCancelled:
      return failed("somebody cancelled it: " + outcome.text);
    case StatementEnd::kLost: {
      auto lost = failed("the connection was lost: " + outcome.text + "; run again to go on");
      lost.is_lost = true;
      return lost;
    }
    case StatementEnd::kFailed:
      return failed(outcome.text);
  }
  return {};
}

// As far as the text tells, by the names that they have now; an index stands for its table.
asio::awaitable<std::vector<planner::TableLock>> StepRun::replayed_locks(std::string sql) {
  std::vector<planner::TableLock> locks;
  std::vector<std::string> oids;
  for (auto const& table : planner::locked_exclusively(sql)) {
    auto const oid = planner::oid_of(table.schema, table.name);
    oids.push_back("coalesce((SELECT i.indrelid FROM pg_catalog.pg_index i WHERE i.indexrelid = " + oid + "), " + oid +
                   "::pg_catalog.oid)");
  }
  if (oids.empty()) co_return locks;
  auto const rows = co_await session_.ask(
      "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
      "WHERE c.oid IN (" +
      planner::join(oids, ", ") + ") ORDER BY 1, 2");
  // Whatever is wrong with the connection, the statement itself meets next.
  if (!rows) co_return locks;
  for (auto const& table : state::rows_as<planner::TableName>(*rows)) {
    locks.push_back({planner::quote_qualified(table.schema, table.name), planner::LockMode::kAccessExclusive});
  }
  co_return locks;
}

asio::awaitable<StepsOutcome> StepRun::run_sql() {
  auto const& sql = std::get<RunSql>(step_.detail->kind).sql;
  StatementTerms statement;
  statement.title = name_;
  statement.is_bounded = false;
  statement.action.sql = sql;
  bool const is_alone = runs_alone(sql);
  if (is_alone) {
    statement.action.way = Way::kConcurrent;
  } else {
    statement.record = record_sql();
    statement.replayed = co_await replayed_locks(sql);
  }
  auto const outcome = co_await session_.perform(std::move(statement));
  bool const is_taken = outcome.end == StatementEnd::kFailed && outcome.failure.sqlstate == "23505";
  if (is_taken) {
    // Perhaps the note that it is done, by another process, or by the server for one that was killed meanwhile.
    auto const done = co_await session_.ask(state::step_done(terms_.migration, phase_, position_));
    auto const noted = done ? state::first_as<state::DoneStep>(*done) : std::nullopt;
    if (noted && noted->sql == step_.text) co_return StepsOutcome();
  }
  if (outcome.end != StatementEnd::kDone || !is_alone) co_return outcome_of(outcome);
  co_return co_await record("");
}

asio::awaitable<StepsOutcome> StepRun::record(std::string proof) {
  auto const noted = co_await session_.ask(record_sql(proof));
  // 23505: another process found it done in this moment.
  if (!noted && noted.error().sqlstate != "23505") co_return failed(noted.error());
  co_return StepsOutcome();
}

asio::awaitable<std::optional<StepsOutcome>> StepRun::wait_while_busy(Action const& action) {
  if (action.busy.empty()) co_return std::nullopt;
  auto const rows = co_await session_.ask(action.busy);
  if (!rows) co_return failed(rows.error());
  auto const builders = state::column_as<std::optional<std::string>>(*rows);
  auto const busy = builders.empty() ? std::nullopt : builders.front();
  if (!busy) {
    busy_since_.reset();
    co_return std::nullopt;
  }
  auto const now = std::chrono::steady_clock::now();
  if (!busy_since_) {
    busy_since_ = now;
    session_.tell(Severity::kWarning,
                  name_ + ": somebody is at work on the table, perhaps on this very index; waiting for " + *busy);
  }
  if (now - *busy_since_ > terms_.patience) {
    co_return stopped("gave up waiting for " + *busy);
  }
  bool const goes_on = co_await sleep_unless_stopped(kBusyPause, terms_.is_stopping);
  if (!goes_on) co_return stopped("interrupted");
  co_return StepsOutcome();
}

asio::awaitable<StatementOutcome> StepRun::perform(Action action, std::string before) {
  StatementTerms statement;
  statement.title = name_;
  statement.action = std::move(action);
  bool const is_alone = statement.action.way == Way::kConcurrent;
  std::string const claim = facts_.is_claimed ? "" : claim_sql(before);
  if (is_alone && !claim.empty()) {
    // Before it, because what it leaves when it is cut short has to be known as ours.
    auto const claimed = co_await session_.ask(claim);
    if (!claimed) {
      StatementOutcome outcome;
      outcome.end = session_.server_version() == 0 ? StatementEnd::kLost : StatementEnd::kFailed;
      outcome.text = claimed.error().message;
      outcome.failure = claimed.error();
      co_return outcome;
    }
  } else {
    statement.note = claim;
  }
  session_.tell(Severity::kDebug, name_ + ": " + statement.action.sql);
  co_return co_await session_.perform(std::move(statement));
}

// Without a claim: what they do leaves nothing that would have to be taken back. Nothing: all ran.
asio::awaitable<std::optional<StepsOutcome>> StepRun::run_unclaimed(std::vector<Action> const& actions) {
  if (actions.empty()) co_return std::nullopt;
  auto const rows = co_await session_.ask(planner::needs_sql(actions));
  if (!rows) co_return failed(rows.error());
  for (std::size_t number = 0; number < actions.size(); ++number) {
    if (rows->at(0, number) != "t") continue;
    for (int failures = 0;; ++failures) {
      StatementTerms statement;
      statement.title = name_;
      statement.action = actions[number];
      session_.tell(Severity::kDebug, name_ + ": " + statement.action.sql);
      auto const outcome = co_await session_.perform(std::move(statement));
      if (outcome.end == StatementEnd::kDone) break;
      bool const is_worth_repeating =
          outcome.end == StatementEnd::kLost || outcome.failure.trouble == Trouble::kConflict;
      if (!is_worth_repeating || failures == kMostFailures) co_return outcome_of(outcome);
      bool const goes_on = co_await sleep_unless_stopped(kReconnectPause, terms_.is_stopping);
      if (!goes_on) co_return stopped("interrupted");
    }
  }
  co_return std::nullopt;
}

// A failure for good: what the step has made so far goes away again, so that nothing half-done holds up anybody.
asio::awaitable<StepsOutcome> StepRun::give_up(StatementOutcome const& outcome) {
  auto result = outcome_of(outcome);
  auto const unclaimed = co_await read_claim();
  if (unclaimed || !facts_.is_claimed) co_return result;
  bool const has_way_back = !planner::recipe_for(step_, facts_).undo.empty();
  if (!has_way_back) co_return result;
  auto const cleared = co_await undo_recipe("cleared away");
  result.reason += cleared.end == StepsEnd::kDone ? "; its partial changes were removed; fix the cause and run again"
                                                  : "; and clearing away failed: " + cleared.reason;
  co_return result;
}

asio::awaitable<StepsOutcome> StepRun::run_recipe() {
  auto const unread = co_await read_facts(true);
  if (unread) co_return failed(*unread);
  if (facts_.is_claimed && claimed_text_ != step_.text) {
    co_return failed("it began with another text: " + shortened(claimed_text_) +
                     "; put that text back and run, or roll back first");
  }
  // How often each statement failed: clearing away in between makes the catalog look like progress.
  std::map<std::size_t, int> failures;
  std::optional<std::size_t> failed_at;
  StatementOutcome failure;
  int overtaken = 0;
  bool is_prepared = false;
  int most_rounds = kMostRounds;
  for (int round = 0; round < most_rounds; ++round) {
    auto const seen = co_await view();
    if (seen && round == 0) most_rounds += static_cast<int>(seen->recipe.actions.size());
    if (!seen) co_return failed(seen.error());
    if (seen->is_done) {
      if (facts_.is_claimed) {
        auto const unfinished = co_await run_unclaimed(seen->recipe.finish);
        if (unfinished) co_return *unfinished;
      } else {
        session_.tell(Severity::kInfo, name_ + ": already in place; rollback will not touch it");
      }
      co_return co_await record(seen->recipe.proof);
    }
    if (failed_at && seen->next == failed_at) co_return co_await give_up(failure);
    failed_at.reset();
    if (!seen->refusal.empty()) co_return failed(seen->refusal);
    if (!seen->next) co_return failed("all its statements ran and it still does not hold; somebody else changes it");
    auto const& action = seen->recipe.actions[*seen->next];
    auto const busy = co_await wait_while_busy(action);
    if (busy && busy->end != StepsEnd::kDone) co_return *busy;
    if (busy) {
      --round;  // waiting is bounded by time
      continue;
    }
    if (!is_prepared) {
      is_prepared = true;
      auto const unprepared = co_await run_unclaimed(seen->recipe.prepare);
      if (unprepared) co_return *unprepared;
      // It may have taken long.
      if (!seen->recipe.prepare.empty()) continue;
    }
    auto outcome = co_await perform(action, seen->recipe.before);
    bool const is_final = outcome.end == StatementEnd::kStopped || outcome.end == StatementEnd::kNoLock ||
                          outcome.end == StatementEnd::kCancelled;
    if (is_final) co_return outcome_of(outcome);
    if (outcome.end == StatementEnd::kDone) continue;
    // Somebody else may have done it, or it was done before the connection went.
    bool const is_worth_repeating = outcome.end == StatementEnd::kLost || outcome.failure.trouble == Trouble::kConflict;
    if (is_worth_repeating) {
      session_.tell(Severity::kWarning, name_ + ": " + outcome.text + "; looking at what is there");
      bool const goes_on = co_await sleep_unless_stopped(kReconnectPause, terms_.is_stopping);
      if (!goes_on) co_return stopped("interrupted");
      continue;
    }
    if (is_overtaken(outcome.failure)) {
      // Nothing is cleared away here: it may be what the other process has made.
      if (++overtaken == kMostOvertaken) co_return outcome_of(outcome);
      session_.tell(Severity::kDebug, name_ + ": " + outcome.text + "; looking at what is there");
      bool const goes_on = co_await sleep_unless_stopped(kReconnectPause, terms_.is_stopping);
      if (!goes_on) co_return stopped("interrupted");
      continue;
    }
    bool const is_hopeless = is_of_rows(outcome.failure) || ++failures[*seen->next] >= kMostFailures;
    if (is_hopeless) co_return co_await give_up(outcome);
    failed_at = seen->next;
    failure = std::move(outcome);
  }
  co_return failed(fmt::format("not done after {} statements; somebody else changes it at the same time", most_rounds));
}

// --- and back -------------------------------------------------------------------------------------------------------

asio::awaitable<StepsOutcome> StepRun::undo() {
  bool const is_recipe = planner::is_typed(step_);
  if (!is_recipe) co_return co_await undo_sql();
  std::string text;
  auto const unread = co_await recorded_text(text);
  if (unread) co_return *unread;
  auto const unknown = co_await read_facts(false);
  if (unknown) co_return failed(*unknown);
  if (text.empty() && !facts_.is_claimed) co_return StepsOutcome();
  if (!facts_.is_claimed) {
    session_.tell(Severity::kInfo, name_ + " was so before, and stays: " + shortened(step_.text));
    auto const forgotten = co_await session_.ask(forget_sql());
    if (!forgotten) co_return failed(forgotten.error());
    co_return StepsOutcome();
  }
  auto const checked = co_await check_undo();
  if (checked) co_return *checked;
  co_return co_await undo_recipe("undone");
}

asio::awaitable<std::optional<StepsOutcome>> StepRun::check_undo() {
  auto const rows = co_await session_.ask(planner::undo_check_sql(step_, facts_, recorded_proof_, true));
  if (!rows) co_return failed(rows.error());
  auto const checked = state::row_as<UndoChecked>(rows->rows.at(0));
  if (checked.refusal) co_return failed(*checked.refusal + "; it was not undone");
  if (!checked.is_gone) co_return std::nullopt;
  auto const forgotten = co_await session_.ask(forget_sql());
  if (!forgotten) co_return failed(forgotten.error());
  session_.tell(Severity::kInfo, name_ + ": nothing of it is there any more: " + shortened(step_.text));
  StepsOutcome outcome;
  outcome.ran = 1;
  co_return outcome;
}

asio::awaitable<StepsOutcome> StepRun::undo_recipe(std::string const& doing) {
  StepsOutcome outcome;
  int most_rounds = kMostRounds;
  for (int round = 0; round < most_rounds; ++round) {
    auto const recipe = planner::recipe_for(step_, facts_);
    if (round == 0) most_rounds += static_cast<int>(recipe.undo.size());
    if (recipe.undo.empty()) {
      session_.tell(Severity::kWarning, fmt::format("{} has no way back and stays: {}", name_, recipe.no_way_back));
      co_return outcome;
    }
    auto const rows = co_await session_.ask(planner::needs_sql(recipe.undo));
    if (!rows) co_return failed(rows.error());
    auto const& row = rows->rows.front();
    auto const next = std::find_if(row.begin(), row.end(), [](auto const& field) { return field == "t"; });
    if (next == row.end()) {
      auto const unfinished = co_await run_unclaimed(recipe.undo_finish);
      if (unfinished) co_return *unfinished;
      auto const forgotten = co_await session_.ask(forget_sql());
      if (!forgotten) co_return failed(forgotten.error());
      session_.tell(Severity::kInfo, fmt::format("{} {}: {}", name_, doing, shortened(step_.text)));
      outcome.ran = 1;
      co_return outcome;
    }
    auto const& action = recipe.undo[static_cast<std::size_t>(next - row.begin())];
    auto const busy = co_await wait_while_busy(action);
    if (busy && busy->end != StepsEnd::kDone) co_return *busy;
    if (busy) {
      --round;
      continue;
    }
    auto const done = co_await perform(action, "");
    bool const goes_on = done.end == StatementEnd::kDone || done.end == StatementEnd::kLost;
    if (!goes_on) co_return outcome_of(done);
  }
  co_return failed(fmt::format("not {} after {} statements", doing, most_rounds));
}

asio::awaitable<StepsOutcome> StepRun::undo_sql() {
  auto const& step = std::get<RunSql>(step_.detail->kind);
  std::string text;
  auto const unread = co_await recorded_text(text);
  if (unread) co_return *unread;
  if (text.empty()) co_return StepsOutcome();
  if (!step.down) {
    session_.tell(Severity::kWarning, name_ + " has no `down:` and stays: " + shortened(step.sql));
    co_return StepsOutcome();
  }
  StatementTerms statement;
  statement.title = name_;
  statement.is_bounded = false;
  statement.action.sql = *step.down;
  bool const is_alone = runs_alone(*step.down);
  if (is_alone) {
    statement.action.way = Way::kConcurrent;
  } else {
    statement.record = forget_sql();
    statement.replayed = co_await replayed_locks(*step.down);
  }
  auto const performed = co_await session_.perform(std::move(statement));
  auto outcome = outcome_of(performed);
  if (outcome.end != StepsEnd::kDone) co_return outcome;
  if (is_alone) {
    auto const forgotten = co_await session_.ask(forget_sql());
    if (!forgotten) co_return failed(forgotten.error());
  }
  session_.tell(Severity::kInfo, fmt::format("{} undone: {}", name_, shortened(*step.down)));
  outcome.ran = 1;
  co_return outcome;
}

asio::awaitable<StepsOutcome> StepRun::settle() {
  StepsOutcome outcome;
  std::string text;
  auto const unread = co_await recorded_text(text);
  if (unread) co_return *unread;
  if (!text.empty()) {
    outcome.ran = 1;
    co_return outcome;
  }
  bool const is_recipe = planner::is_typed(step_);
  if (!is_recipe) co_return outcome;
  auto const unknown = co_await read_facts(false);
  if (unknown) co_return failed(*unknown);
  if (!facts_.is_claimed) co_return outcome;
  auto const unspelled = co_await spell();
  // Of what cannot be spelled any more nothing is known to hold.
  if (unspelled) co_return outcome;
  auto const seen = co_await view();
  if (!seen) co_return failed(seen.error());
  if (!seen->is_done) co_return outcome;
  outcome = co_await record(seen->recipe.proof);
  outcome.ran = outcome.end == StepsEnd::kDone ? 1 : 0;
  co_return outcome;
}

asio::awaitable<StepInspection> StepRun::inspect() {
  StepInspection inspection;
  inspection.is_known = planner::is_typed(step_);
  if (!inspection.is_known) co_return inspection;
  auto const unread = co_await read_facts(true);
  inspection.why = unread ? unread->message : "";
  if (unread) co_return inspection;
  // What is there, or gone, is taken for what is meant; the recipe believes that of its own alone.
  if (planner::believes_claims_alone(step_)) facts_.is_claimed = true;
  auto const seen = co_await view_as_claimed();
  inspection.why = seen ? seen->refusal : seen.error().message;
  if (!seen) co_return inspection;
  inspection.holds = seen->is_done;
  inspection.proof = seen->recipe.proof;
  if (!inspection.holds && inspection.why.empty()) inspection.why = "the catalog does not say so";
  co_return inspection;
}

using StepDeed = asio::awaitable<StepsOutcome> (StepRun::*)();

// The same with one step after the other, up to the first that is not done.
asio::awaitable<StepsOutcome> go_through(std::vector<PlacedStep> const& steps, StepDeed deed, StepSession& session,
                                         StepTerms const& terms) {
  StepsOutcome all;
  for (auto const& step : steps) {
    StepRun run(session, step, terms);
    auto one = co_await (run.*deed)();
    one.ran += all.ran;
    all = std::move(one);
    if (all.end != StepsEnd::kDone) break;
  }
  co_return all;
}

// The reason is for the log and for status; it is worth a try.
asio::awaitable<void> record_failure(StepsOutcome const& outcome, StepSession& session, StepTerms const& terms) {
  if (outcome.end != StepsEnd::kFailed || outcome.is_lost) co_return;
  co_await session.ask(
      state::record_event(std::nullopt, terms.migration, state::kStepFailed, outcome.reason, terms.owner));
}

}  // namespace

std::string step_name(PlacedStep const& placed) {
  auto const& step = placed.step;
  std::string const place =
      step.position.line > 0 ? fmt::format("{}:{}:{}: ", step.position.file, step.position.line, step.position.column)
                             : "";
  if (placed.phase == planner::kSyncPhase) return place + "sync";
  return fmt::format("{}{} step {}", place, placed.phase, placed.position + 1);
}

asio::awaitable<Result<StepFacts>> read_step_facts(PgConnection& connection, SchemaStep const& step) {
  auto const rows = co_await query_read_only(connection, planner::facts_sql(step));
  if (!rows) co_return rows.error();
  co_return facts_of(*rows, connection.server_version());
}

asio::awaitable<StepsOutcome> run_steps(std::vector<PlacedStep> const& steps, StepTerms const& terms, EventSink& sink) {
  StepsOutcome all;
  if (steps.empty()) co_return all;
  StepSession session(terms, sink);
  auto const rows = co_await session.ask(state::recorded_steps(terms.migration));
  if (!rows) {
    all.end = StepsEnd::kFailed;
    all.reason = fmt::format("{}: {} ({})", step_name(steps.front()), rows.error().message, rows.error().sqlstate);
    all.is_lost = rows.error().trouble == Trouble::kConnection;
    co_return all;
  }
  auto const recorded = recorded_steps_of(*rows);
  std::vector<PlacedStep> open;
  for (auto const& step : steps) {
    if (!is_done_as_it_is(recorded, step)) open.push_back(step);
  }
  all = co_await go_through(open, &StepRun::run, session, terms);
  co_await record_failure(all, session, terms);
  co_return all;
}

asio::awaitable<StepsOutcome> undo_steps(std::vector<PlacedStep> const& steps, StepTerms const& terms,
                                         EventSink& sink) {
  StepSession session(terms, sink);
  std::vector<PlacedStep> const last_first(steps.rbegin(), steps.rend());
  auto all = co_await go_through(last_first, &StepRun::undo, session, terms);
  co_await record_failure(all, session, terms);
  co_return all;
}

asio::awaitable<StepsOutcome> settle_steps(std::vector<PlacedStep> const& steps, StepTerms const& terms,
                                           EventSink& sink) {
  StepSession session(terms, sink);
  co_return co_await go_through(steps, &StepRun::settle, session, terms);
}

asio::awaitable<std::vector<StepInspection>> inspect_steps(std::vector<PlacedStep> const& steps, StepTerms const& terms,
                                                           EventSink& sink) {
  std::vector<StepInspection> inspections;
  StepSession session(terms, sink);
  for (auto const& step : steps) {
    StepRun run(session, step, terms);
    auto inspection = co_await run.inspect();
    inspections.push_back(std::move(inspection));
  }
  co_return inspections;
}

}  // namespace pgbackfill::engine
