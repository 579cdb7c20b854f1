// `complete` and `rollback` of one migration.

#include <fmt/format.h>
#include <algorithm>
#include <exception>
#include <optional>
#include "engine/app/one_migration.h"
#include "engine/app/phase_parts.h"
#include "engine/app/rehearsed.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/notice/herald.h"
#include "engine/pg/catalog.h"
#include "engine/pg/open_connections.h"
#include "engine/process/interrupts.h"
#include "engine/process/listed_files.h"
#include "engine/run/facts_keeper.h"
#include "engine/run/job_setup.h"
#include "engine/run/prepared_results.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/approval.h"
#include "engine/steps/hook_runner.h"
#include "engine/steps/other_migrations.h"
#include "engine/steps/recorded_steps.h"
#include "engine/steps/step_check.h"
#include "engine/steps/step_runner.h"
#include "engine/steps/subscribers.h"
#include "engine/verify/gate.h"
#include "engine/verify/verify.h"
#include "planner/file/migration_file.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/model/work_kind.h"
#include "planner/steps/other_migrations.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// With a server that is away while hooks run.
constexpr auto kHookPatience = 300s;
constexpr char kRunAgain[] = "run the same command to go on";

// One `complete` or `rollback` of one migration.
class Finish {
 public:
  Finish(CommandContext& context, FinishOptions options)
      : context_(context),
        options_(std::move(options)),
        teller_(context.teller_options()),
        interrupts_(context.interrupts()) {}

  asio::awaitable<int> complete();
  asio::awaitable<int> roll_back();

 private:
  // Tells whoever `on:` names how it ended.
  asio::awaitable<int> tell_of(asio::awaitable<int> command);
  void appoint_herald(std::string const& command);
  EventSink& sink();
  asio::awaitable<int> complete_now();
  asio::awaitable<int> roll_back_now();
  asio::awaitable<void> load();
  asio::awaitable<void> confirm_rollback();
  asio::awaitable<void> require_open_gate();
  asio::awaitable<void> check_others(std::vector<planner::PlacedStep> steps);
  asio::awaitable<void> check_others_of_undo();
  // What the open contract steps would take away beside what they name; refuses what the server would refuse.
  asio::awaitable<std::vector<std::string>> ask_contract(std::vector<planner::PlacedStep> steps);
  asio::awaitable<bool> has_contract_begun();
  // Processes that follow the job end; not again, once the contract has begun.
  asio::awaitable<void> end_following(std::string command);
  asio::awaitable<void> refuse_what_came_since();
  asio::awaitable<void> refuse_past_complete();
  // What it would meet in the middle, it meets before it begins.
  asio::awaitable<void> refuse_half_way();
  asio::awaitable<void> run_hooks_at(planner::Boundary boundary, std::string command);
  int conclude(StepsOutcome const& outcome, std::string const& command, std::string const& done,
               std::string const& what);
  planner::Migration const& migration() const { return loaded_.migration; }

  CommandContext& context_;
  FinishOptions options_;
  Teller teller_;
  std::optional<Herald> herald_;
  Interrupts& interrupts_;
  std::shared_ptr<PgConnection> connection_;
  LoadedMigration loaded_;
};

asio::awaitable<void> Finish::load() {
  auto const use = options_.is_dry_run ? StateUse::kReads : StateUse::kWrites;
  connection_ = co_await context_.connect_to_state(use);
  loaded_ = co_await find_migration(context_, *connection_, options_.file_or_name, SourceUse::kRun);
  if (options_.is_rehearsal) keep_to_rehearsal(loaded_);
  co_await context_.adopt_settings_aloud(*connection_, loaded_.migration.name);
}

// Whoever may write to the state schema could have changed the text that it keeps: no command on this host comes from
// there. Those of pgbackfill.yaml are of this host.
asio::awaitable<void> Finish::run_hooks_at(planner::Boundary boundary, std::string command) {
  if (options_.skip_hooks || planner::hooks_at(migration().hooks, boundary).empty()) co_return;
  auto const& stored = loaded_.stored_hooks;
  if (std::find(stored.begin(), stored.end(), boundary) != stored.end()) {
    throw CommandError{kExitUsage,
                       fmt::format("{} has hooks {}, which are run from its file alone and not from what the "
                                   "database keeps of it: `pgbackfill {} FILE`, or --skip-hooks",
                                   migration().name, planner::name_of(boundary), command)};
  }
  auto const outcome = co_await hooks_of(context_, migration(), boundary, kHookPatience, sink());
  if (!outcome.is_content()) {
    throw CommandError{kExitResumable, fmt::format("{}\nnothing is lost: run `pgbackfill {} {}` again to go on",
                                                   outcome.trouble, command, options_.file_or_name)};
  }
  // The old one was idle for as long as they took.
  connection_ = co_await context_.connect_to_state(StateUse::kWrites);
}

// Whatever expand made goes, with all that is in it. `complete` asks about its destructive steps alone.
asio::awaitable<void> Finish::confirm_rollback() {
  if (options_.yes) co_return;
  std::vector<std::string> parts;
  if (!planner::expand_steps(migration()).empty()) {
    parts.emplace_back("the expand steps, with all that was written into what they made");
  }
  if (migration().sync) parts.emplace_back("the sync trigger");
  auto const preview = co_await preview_rollback(*connection_, migration());
  bool const has_steps = parts.empty() && !preview.steps.empty();
  if (has_steps) parts.emplace_back("the contract steps that have begun");
  bool const is_unfinished =
      !preview.job_status.empty() && preview.job_status != state::status_name(JobStatus::kComplete);
  if (is_unfinished) parts.emplace_back("the backfill, which is not complete");
  if (parts.empty()) co_return;
  throw CommandError{kExitGateClosed,
                     fmt::format("rollback would take back of {}: {}; nothing was done. --dry-run shows it, --yes "
                                 "does it",
                                 migration().name, planner::join(parts, "; "))};
}

int Finish::conclude(StepsOutcome const& outcome, std::string const& command, std::string const& done,
                     std::string const& what) {
  if (outcome.end == StepsEnd::kFailed) throw CommandError{kExitFailed, outcome.reason};
  if (outcome.end == StepsEnd::kStopped) {
    throw CommandError{kExitResumable, fmt::format("{}; run `pgbackfill {} {}` again to go on", outcome.reason, command,
                                                   options_.file_or_name)};
  }
  bool const is_news = herald_ && outcome.ran > 0;
  if (is_news) herald_->done(fmt::format("{}: {} step(s) {}", migration().name, outcome.ran, done));
  if (options_.is_rehearsal) return kExitDone;
  context_.print(outcome.ran > 0 ? fmt::format("{}: {} step(s) {}\n", migration().name, outcome.ran, done)
                                 : fmt::format("{}: there is nothing left to {}\n", migration().name, what));
  return kExitDone;
}

EventSink& Finish::sink() {
  if (herald_) return *herald_;
  return teller_;
}

// As hooks are, deliveries are taken from files alone. Who wrote the migration's may wait to be told.
void Finish::appoint_herald(std::string const& command) {
  if (options_.is_dry_run) return;
  if (loaded_.had_receivers) {
    teller_.emit(log_line(
        Severity::kWarning,
        fmt::format("nobody whom on: of {0} names is told, because the database does not keep that: `pgbackfill {1} "
                    "{0}` tells them",
                    migration().file, command),
        {{"migration", migration().name}}));
  }
  if (migration().on.empty()) return;
  herald_.emplace(herald_terms(context_, loaded_, command), teller_);
}

asio::awaitable<int> Finish::tell_of(asio::awaitable<int> command) {
  int code = kExitFailed;
  std::exception_ptr failed;
  try {
    code = co_await std::move(command);
  } catch (CutShort const&) {
    throw;
  } catch (...) {
    failed = std::current_exception();
  }
  // A gate that is closed and an agreement that is missing are answers.
  bool const is_failure = failed && !interrupts_.is_asked() && exit_code_of(failed) != kExitGateClosed;
  if (herald_ && is_failure) herald_->failed(exit_code_of(failed), words_of(failed));
  if (herald_) co_await farewell(*herald_, interrupts_);
  if (failed) std::rethrow_exception(failed);
  co_return code;
}

asio::awaitable<int> Finish::complete() {
  co_return co_await tell_of(complete_now());
}

asio::awaitable<int> Finish::roll_back() {
  co_return co_await tell_of(roll_back_now());
}

asio::awaitable<int> Finish::complete_now() {
  co_await load();
  if (count_of_keys(loaded_)) {
    throw CommandError{kExitUsage, migration().name +
                                       " is a job of some keys alone, and has no contract; complete is "
                                       "for the migration as a whole"};
  }
  take_inputs(loaded_);
  appoint_herald("complete");
  auto const steps = planner::contract_steps(migration());
  co_await require_open_gate();
  co_await check_others(steps);
  auto companions = co_await ask_contract(steps);
  co_await require_agreement(*connection_, migration().name, steps, std::move(companions), options_.yes,
                             context_.owner());
  co_await run_hooks_at(planner::Boundary::kBeforeContract, "complete");
  co_await end_following("complete");
  co_await refuse_what_came_since();
  auto const terms = step_terms(context_, migration(), "contract", options_.locks, interrupts_);
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(*connection_, migration().name), "reading the steps that are done");
  bool const has_open_steps = are_steps_open(recorded, steps);
  auto before =
      value_or_throw(co_await begin_steps(*connection_, migration(), has_open_steps), "recording the table's facts");
  StepsOutcome outcome;
  {
    Interrupts::InOrder const in_order(interrupts_, kStepPatience);
    outcome = co_await run_steps(steps, terms, sink());
  }
  bool const is_settled = before && outcome.end == StepsEnd::kDone;
  if (is_settled) {
    value_or_throw(co_await settle_facts(*connection_, migration(), std::move(*before)), "recording the table's facts");
  }
  if (outcome.end == StepsEnd::kDone) co_await run_hooks_at(planner::Boundary::kAfterContract, "complete");
  co_return conclude(outcome, "complete", "done", "do: no contract step is open");
}

asio::awaitable<void> Finish::check_others(std::vector<planner::PlacedStep> steps) {
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(*connection_, migration().name), "reading the steps that are done");
  steps = open_steps(recorded, std::move(steps));
  auto const conflicts = co_await others_that_need(*connection_, migration().name, steps);
  refuse_conflicts(conflicts);
  bool const is_agreed = options_.subscribers_ready || migration().subscribers_ready;
  auto made = without_places(steps);
  co_await require_subscribers_ready(*connection_, std::move(made), is_agreed);
}

asio::awaitable<void> Finish::check_others_of_undo() {
  auto const recorded =
      value_or_throw(co_await read_recorded_steps(*connection_, migration().name), "reading the steps that are done");
  auto steps = planner::expand_steps(migration());
  std::erase_if(steps, [&](planner::PlacedStep const& step) { return !is_recorded(recorded, step); });
  auto const conflicts = co_await others_that_need_undone(*connection_, migration().name, steps);
  refuse_conflicts(conflicts);
}

asio::awaitable<std::vector<std::string>> Finish::ask_contract(std::vector<planner::PlacedStep> steps) {
  auto recorded =
      value_or_throw(co_await read_recorded_steps(*connection_, migration().name), "reading the steps that are done");
  std::vector<planner::PlacedStep> const none;
  auto const answers =
      value_or_throw(co_await ask_steps(*connection_, migration().name, std::move(steps), none, std::move(recorded)),
                     "asking the server about the steps");
  auto const refused = refusals_of(answers);
  if (!refused.empty()) throw CommandError{kExitUsage, planner::to_lines(refused) + "\nno contract step was begun"};
  co_return companion_lines(answers);
}

// A contract that was cut short may have dropped what the gate would read: then it goes on, as the gate was open when
// it began. A gate that can be measured counts every time.
asio::awaitable<void> Finish::require_open_gate() {
  // After a swap the names that the gate would read mean other tables.
  bool const swapped = value_or_throw(co_await has_swapped_tables(*connection_, migration()), "looking for the swap");
  if (swapped) co_return;
  GateReading gate;
  std::optional<CommandError> unmeasured;
  auto const began = std::chrono::steady_clock::now();
  try {
    auto const is_stopping = [this] { return interrupts_.is_asked(); };
    gate = co_await measure_gate(context_, *connection_, migration(), is_stopping, teller_);
  } catch (CommandError const& error) {
    if (error.is_passing || error.is_locked) throw;
    unmeasured = error;
  }
  if (unmeasured) {
    bool const has_begun = co_await has_contract_begun();
    if (!has_begun) throw *unmeasured;
    co_return;
  }
  // What a contract that was cut short has dropped cannot be asked about any more.
  auto const is_gone = [](CheckResult const& check) { return check.names_what_is_gone; };
  if (std::any_of(gate.checks.begin(), gate.checks.end(), is_gone)) {
    bool const has_begun = co_await has_contract_begun();
    if (has_begun) std::erase_if(gate.checks, is_gone);
  }
  co_await keep_reading(*connection_, migration().name, gate, began, teller_);
  if (!gate.is_open()) throw CommandError{kExitGateClosed, gate_text(migration().name, gate)};
}

asio::awaitable<bool> Finish::has_contract_begun() {
  bool const swapped = value_or_throw(co_await has_swapped_tables(*connection_, migration()), "looking for the swap");
  if (swapped) co_return true;
  auto const terms = step_terms(context_, migration(), "contract", options_.locks, interrupts_);
  auto const steps = planner::contract_steps(migration());
  StepsOutcome settled;
  {
    Interrupts::InOrder const in_order(interrupts_, kStepPatience);
    settled = co_await settle_steps(steps, terms, teller_);
  }
  if (settled.end == StepsEnd::kStopped) throw CommandError{kExitResumable, settled.reason};
  if (settled.end != StepsEnd::kDone) throw CommandError{kExitFailed, settled.reason};
  co_return settled.ran > 0;
}

asio::awaitable<void> Finish::end_following(std::string command) {
  bool const is_followed = migration().backfill && migration().backfill->follow;
  if (!is_followed) co_return;
  auto const& owner = context_.owner();
  std::string const by = fmt::format("`{}` by {}@{}", command, owner.user, owner.host);
  value_or_throw(co_await connection_->query(state::end_following(migration().name, by, owner), Deadlines()),
                 "ending the following");
}

// Found between the gate and the end of the following.
asio::awaitable<void> Finish::refuse_what_came_since() {
  bool const is_followed = migration().backfill && migration().backfill->follow;
  if (!is_followed) co_return;
  auto const job = value_or_throw(co_await find_job(*connection_, migration().name), "looking for the job");
  if (!job) co_return;
  auto const control =
      value_or_throw(co_await read_control(*connection_, job->id, context_.owner().id), "reading the job");
  auto const deferred = control ? control->deferred : 0;
  if (deferred == 0) co_return;
  throw CommandError{kExitGateClosed,
                     fmt::format("{} row(s) of {} came while the gate was measured, and are not done; no contract step "
                                 "was begun. `pgbackfill run {}` does them, then complete again",
                                 deferred, migration().name, migration().file)};
}

asio::awaitable<void> Finish::refuse_past_complete() {
  bool const has_begun = co_await has_contract_begun();
  if (!has_begun) co_return;
  auto const preview = co_await preview_rollback(*connection_, migration());
  throw CommandError{kExitFailed, preview.refusal};
}

asio::awaitable<void> Finish::refuse_half_way() {
  auto preview = co_await preview_rollback(*connection_, migration());
  co_await ask_rows(*connection_, preview);
  for (auto const& name : preview.companions) {
    teller_.emit(log_line(Severity::kWarning, "the rollback drops along: " + name, {{"migration", migration().name}}));
  }
  if (preview.stops.empty()) co_return;
  throw CommandError{kExitFailed,
                     fmt::format("rollback of {} was not begun, because it would end half-way:\n  {}\nchange or drop "
                                 "that first; or undo a step by hand, and delete its rows from pgbackfill.steps and "
                                 "pgbackfill.claims",
                                 migration().name, planner::join(preview.stops, "\n  "))};
}

// The end of sync is no step of its own here: with the trigger it goes anyway.
std::vector<planner::PlacedStep> undoable_steps(planner::Migration const& migration) {
  auto steps = planner::expand_steps(migration);
  for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
  for (auto& step : planner::contract_steps(migration)) {
    if (step.phase != planner::kSyncPhase) steps.push_back(std::move(step));
  }
  return steps;
}

asio::awaitable<int> Finish::roll_back_now() {
  co_await load();
  appoint_herald("rollback");
  if (options_.is_dry_run) {
    auto preview = co_await preview_rollback(*connection_, migration());
    co_await ask_rows(*connection_, preview);
    context_.print(rollback_text(migration().name, preview));
    if (preview.refusal.empty()) co_await check_others_of_undo();
    co_return preview.refusal.empty() && preview.stops.empty() ? kExitDone : kExitFailed;
  }
  co_await confirm_rollback();
  co_await refuse_past_complete();
  co_await check_others_of_undo();
  co_await refuse_half_way();
  co_await run_hooks_at(planner::Boundary::kBeforeRollback, "rollback");
  auto const job = value_or_throw(co_await find_job(*connection_, migration().name), "looking for the job");
  if (job && job->status == JobStatus::kRunning) {
    auto const& owner = context_.owner();
    std::string const who = fmt::format("{}{}@{}, pid {}", kRolledBackBy, owner.user, owner.host, owner.pid);
    std::string const statement = state::set_status(job->id, JobStatus::kCancelled, who, owner);
    value_or_throw(co_await connection_->query(statement, Deadlines()), "cancelling the job");
  }
  if (job && job->status == JobStatus::kComplete) co_await end_following("rollback");
  // Last first. A contract step that was cut short has left something.
  auto const terms = step_terms(context_, migration(), "rollback", options_.locks, interrupts_);
  auto const steps = undoable_steps(migration());
  value_or_throw(co_await begin_undo(*connection_, migration().name), "recording that steps are undone");
  StepsOutcome outcome;
  {
    Interrupts::InOrder const in_order(interrupts_, kStepPatience);
    outcome = co_await undo_steps(steps, terms, sink());
  }
  if (outcome.end == StepsEnd::kDone && migration().sync) {
    // Its end may have begun. There is nothing left that could end.
    std::string const forgotten =
        state::forget_step(migration().name, planner::kSyncPhase, planner::kSyncRemove, context_.owner());
    value_or_throw(co_await connection_->query(forgotten, Deadlines()), "forgetting the end of sync");
  }
  if (outcome.end == StepsEnd::kDone && !loaded_.prepared.empty()) {
    value_or_throw(co_await drop_prepared(*connection_, migration().name, loaded_.prepared),
                   "dropping results of prepare");
  }
  if (outcome.end == StepsEnd::kDone) {
    co_await run_hooks_at(planner::Boundary::kAfterRollback, "rollback");
    value_or_throw(co_await connection_->query(state::forget_hooks(migration().name), Deadlines()),
                   "forgetting the hooks");
    value_or_throw(co_await forget_facts(*connection_, migration().name), "forgetting the table's facts");
  }
  int const code = conclude(outcome, "rollback", "undone", "undo");
  // What the rows were written into may be gone with the steps: the next run must not take them for done.
  if (job && outcome.ran > 0) {
    value_or_throw(co_await connection_->query(state::forget_job(job->id, context_.owner()), Deadlines()),
                   "forgetting the job");
    context_.print("the backfill is forgotten: the next `run` begins with the first row again\n");
  }
  co_return code;
}

}  // namespace

asio::awaitable<int> complete_one(CommandContext& context, FinishOptions options) {
  Finish finish(context, std::move(options));
  co_return co_await finish.complete();
}

asio::awaitable<int> roll_back_one(CommandContext& context, FinishOptions options) {
  Finish finish(context, std::move(options));
  co_return co_await finish.roll_back();
}

namespace {

// Rows that the backfill took out of their table, in one that goes with the rollback.
asio::awaitable<std::vector<std::string>> rows_that_would_go(PgConnection& connection, planner::Migration migration) {
  std::vector<std::string> texts;
  if (!migration.backfill) co_return texts;
  for (auto const& placed : planner::expand_steps(migration)) {
    auto const* create = std::get_if<planner::CreateTable>(&placed.step.detail->kind);
    if (create == nullptr || !planner::moves_rows_into(*migration.backfill, create->table)) continue;
    std::string claim_sql = state::find_claim(migration.name, placed.phase, placed.position);
    auto const claim =
        value_or_throw(co_await query_read_only(connection, std::move(claim_sql)), "looking at the steps");
    auto const facts = value_or_throw(co_await read_step_facts(connection, placed.step), "reading the table of a step");
    if (claim.rows.empty() || facts.kind == ' ') continue;
    std::string const table = planner::quote_qualified(facts.table.schema, facts.table.name);
    std::string has_rows_sql = "SELECT EXISTS (SELECT FROM " + table + ")";
    auto const has_rows = value_or_throw(co_await query_read_only(connection, std::move(has_rows_sql)),
                                         "looking for rows that were moved");
    if (!state::value_as<bool>(has_rows)) continue;
    texts.push_back(
        fmt::format("{} step {}: table {} has rows that were moved into it, and would go with it; move "
                    "them back and empty it",
                    placed.phase, placed.position + 1, table));
  }
  co_return texts;
}

}  // namespace

asio::awaitable<RollbackPreview> preview_rollback(PgConnection& connection, planner::Migration migration) {
  RollbackPreview preview;
  auto contract = co_await preview_undo(connection, migration.name, planner::contract_steps(migration));
  std::erase_if(contract, [](UndoneStep const& step) { return !step.is_recorded; });
  if (!contract.empty()) {
    preview.refusal = migration.name + " has begun `complete`: rollback can no longer undo it" + loss_text(contract);
    co_return preview;
  }
  preview.steps = co_await preview_undo(connection, migration.name, undoable_steps(migration));
  auto tied = value_or_throw(co_await ask_undo(connection, migration.name, undoable_steps(migration)),
                             "asking the server what depends on what the steps made");
  preview.stops = std::move(tied.stops);
  preview.companions = std::move(tied.companions);
  preview.questions = std::move(tied.questions);
  auto const rows = co_await rows_that_would_go(connection, migration);
  preview.stops.insert(preview.stops.end(), rows.begin(), rows.end());
  auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
  if (job) preview.job_status = state::status_name(job->status);
  if (migration.backfill) preview.what_stays = planner::what_stays(*migration.backfill);
  co_return preview;
}

asio::awaitable<void> ask_rows(PgConnection& connection, RollbackPreview& preview) {
  constexpr std::chrono::hours kAsLongAsTheStep{24};
  for (auto& question : preview.questions) {
    question.check.timeout = kAsLongAsTheStep;
    auto const found = co_await ask_check(connection, question.check);
    if (!found && is_of_the_moment(found.error())) throw error_of(found.error(), "asking the rows");
    // What cannot be asked of the rows now, the server asks them when that step is undone.
    if (found && !found->holds) preview.stops.push_back(question.what + found->text);
  }
}

std::string rollback_text(std::string const& name, RollbackPreview const& preview) {
  if (!preview.refusal.empty()) return preview.refusal + "\n";
  std::string text = "rollback of " + name + " would do this; nothing was done:\n";
  if (preview.job_status == "running") text += "  the backfill is cancelled\n";
  text += undo_text(preview.steps);
  for (auto const& one : preview.companions) text += "  goes with it: " + neutralised(one) + "\n";
  for (auto const& one : preview.stops) {
    text += "  stops it, so that nothing would be begun: " + neutralised(one) + "\n";
  }
  bool const undoes = std::any_of(preview.steps.begin(), preview.steps.end(),
                                  [](UndoneStep const& step) { return !step.statements.empty(); });
  if (!preview.job_status.empty() && undoes) {
    text += "  the backfill is forgotten: the next `run` begins with the first row again\n";
  }
  if (preview.steps.empty() && preview.job_status.empty()) return text + "  nothing to roll back\n";
  if (preview.steps.empty()) text += "  no step is there that could be undone\n";
  return preview.what_stays.empty() ? text : text + "  " + preview.what_stays + "\n";
}

}  // namespace pgbackfill::engine
