// stamp: records a migration as done up to a phase, for a database where somebody did it by hand. Touches no table of
// the user's; believes the catalog and the rows, not the word of whoever says it.

#include <fmt/format.h>

#include <utility>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/process/listed_files.h"
#include "engine/run/facts_keeper.h"
#include "engine/run/job_setup.h"
#include "engine/steps/step_runner.h"
#include "engine/steps/subscribers.h"
#include "engine/verify/gate.h"
#include "engine/verify/verify.h"
#include "engine/view/console.h"
#include "planner/file/migration_file.h"
#include "planner/model/work_kind.h"
#include "planner/steps/left_behind.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

// Looking at steps has nothing to tell.
class Silence : public EventSink {
 public:
  void emit(Event /*event*/) override {}
};

StepTerms looking_terms(CommandContext& context, std::string migration) {
  StepTerms terms;
  terms.migration = std::move(migration);
  terms.owner = context.owner();
  terms.is_stopping = [] { return false; };
  terms.is_aborting = [] { return false; };
  terms.random = [] { return 0.5; };
  terms.connect = [&context] { return context.open(); };
  return terms;
}

// What was found, and what is to be written if it is enough.
struct Stamp {
  std::vector<std::string> failures;
  std::vector<std::string> on_trust;  // what nothing can be asked about
  std::vector<std::string> statements;
  bool contract_took_columns = false;  // so that the work cannot be measured any more
};

asio::awaitable<void> check_steps(CommandContext& context, std::string migration,
                                  std::vector<planner::PlacedStep> steps, bool may_be_changed, Stamp& stamp) {
  auto const terms = looking_terms(context, migration);
  Silence silence;
  auto const inspections = co_await inspect_steps(steps, terms, silence);
  for (std::size_t at = 0; at < steps.size(); ++at) {
    auto const& placed = steps[at];
    auto const& seen = inspections[at];
    if (!seen.is_known) {
      stamp.on_trust.push_back(step_name(placed) + ": " + placed.step.text);
    } else if (!seen.holds && may_be_changed) {
      stamp.on_trust.push_back(step_name(placed) + ": it is not so any more; a contract step may have changed it");
    } else if (!seen.holds) {
      stamp.failures.push_back(step_name(placed) + ": " + seen.why);
    }
    stamp.statements.push_back(
        state::record_step(migration, placed.phase, placed.position, placed.step.text, context.owner(), seen.proof));
  }
}

// Each is looked at as the steps after it have left it: they may have renamed what it made, or taken it away.
asio::awaitable<void> check_contract(CommandContext& context, std::string migration,
                                     std::vector<planner::PlacedStep> steps, Stamp& stamp) {
  auto const terms = looking_terms(context, migration);
  Silence silence;
  std::vector<planner::PlacedStep> left;
  std::vector<std::size_t> places;
  for (std::size_t at = 0; at < steps.size(); ++at) {
    std::vector<planner::PlacedStep> const later(steps.begin() + static_cast<std::ptrdiff_t>(at) + 1, steps.end());
    auto one = planner::left_behind(steps[at], later);
    if (one) {
      left.push_back(std::move(*one));
      places.push_back(at);
    } else {
      stamp.on_trust.push_back(step_name(steps[at]) + ": a later step took away or renamed what it made");
    }
  }
  auto const inspections = co_await inspect_steps(left, terms, silence);
  std::vector<std::string> proofs(steps.size());
  for (std::size_t at = 0; at < left.size(); ++at) {
    auto const& seen = inspections[at];
    proofs[places[at]] = seen.proof;
    if (!seen.is_known) {
      stamp.on_trust.push_back(step_name(left[at]) + ": " + left[at].step.text);
    } else if (!seen.holds) {
      stamp.failures.push_back(step_name(left[at]) + ": " + seen.why);
    }
  }
  for (std::size_t at = 0; at < steps.size(); ++at) {
    stamp.statements.push_back(state::record_step(migration, steps[at].phase, steps[at].position, steps[at].step.text,
                                                  context.owner(), proofs[at]));
  }
}

asio::awaitable<void> check_work(CommandContext& context, PgConnection& connection, planner::Migration migration,
                                 bool is_complete, Stamp& stamp) {
  auto const& backfill = *migration.backfill;
  auto const preflight = value_or_throw(co_await check_backfill(connection, backfill), "reading the table");
  bool const is_gone = !preflight.problems.empty();
  if (is_gone && !(is_complete && preflight.only_missing_names)) {
    throw CommandError{kExitUsage, planner::to_lines(preflight.problems)};
  }
  bool const is_measurable = !is_gone && !backfill.where.empty() && planner::traits_of(backfill.kind).where_is_undone;
  if (is_measurable) {
    std::int64_t remaining = 0;
    for (auto const& target : preflight.targets) remaining += co_await count_remaining(connection, target);
    if (remaining > 0) stamp.failures.push_back(fmt::format("backfill: {} row(s) still satisfy `where`", remaining));
  } else if (is_gone) {
    stamp.on_trust.emplace_back("backfill: what it reads is not there any more, so that nothing can be counted");
  } else if (is_complete) {
    // What the rows were may have been changed since by whoever owns them now.
    stamp.on_trust.emplace_back(
        backfill.kind == planner::WorkKind::kCopy
            ? "backfill: a copy goes its own way once its mirror has ended, so that nothing can be "
              "compared"
            : "backfill: without a `where` that says what is left nothing can be measured");
  } else {
    stamp.failures.emplace_back("backfill: without a `where` that says what is left nothing can be measured");
  }
  auto const job = new_job(migration, preflight);
  for (auto& statement : state::stamp_job(job, context.owner())) stamp.statements.push_back(std::move(statement));
}

asio::awaitable<void> ask_checks(CommandContext& context, PgConnection& connection, planner::Migration migration,
                                 Stamp& stamp) {
  Silence silence;
  std::function<bool()> const never = [] { return false; };
  LastingConnection rows(connection);
  CheckTerms terms{context, rows, nullptr, never, silence};
  auto const results = co_await run_checks(terms, std::move(migration));
  for (auto const& result : results) {
    if (!result.holds) stamp.failures.push_back(result.position + ": " + result.check + ": " + result.text);
  }
}

asio::awaitable<Stamp> look(CommandContext& context, PgConnection& connection, planner::Migration migration,
                            bool is_complete) {
  Stamp stamp;
  auto steps = planner::expand_steps(migration);
  if (!is_complete) {
    for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
  }
  co_await check_steps(context, migration.name, std::move(steps), is_complete, stamp);
  if (migration.backfill) co_await check_work(context, connection, migration, is_complete, stamp);
  if (is_complete) {
    auto contract = planner::contract_steps(migration);
    co_await check_contract(context, migration.name, std::move(contract), stamp);
  } else {
    co_await ask_checks(context, connection, migration, stamp);
  }
  co_return stamp;
}

std::string list_of(std::vector<std::string> const& lines) {
  std::string text;
  for (auto const& line : lines) text += "\n  " + neutralised(line);
  return text;
}

asio::awaitable<void> require_unknown(PgConnection& connection, std::string name) {
  auto const known =
      value_or_throw(co_await connection.query(state::find_migration(name), Deadlines()), "looking for the migration");
  if (known.rows.empty()) co_return;
  throw CommandError{
      kExitGateClosed,
      fmt::format("{0} ran in this database: `pgbackfill status {0}` says how far. Only a migration that "
                  "nothing is known of can be stamped",
                  name)};
}

asio::awaitable<int> stamp_migration(CommandContext& context, StampOptions options) {
  auto loaded = load_migration(context, options.file);
  auto const& migration = loaded.migration;
  bool const is_complete = options.phase == "complete";
  // A state that is there is as it is; only where there is none is one made.
  auto const connection = co_await context.connect();
  bool const is_there = co_await context.has_state(*connection);
  bool const is_agreed = options.subscribers_ready || migration.subscribers_ready;
  if (!is_there) {
    std::vector<planner::SchemaStep> const none;
    co_await require_subscribers_ready(*connection, none, is_agreed);
    co_await context.ensure_state(*connection);
  }
  co_await context.require_state(*connection, StateUse::kWrites);
  take_inputs(loaded);
  co_await require_unknown(*connection, migration.name);
  auto stamp = co_await look(context, *connection, migration, is_complete);
  if (!stamp.failures.empty()) {
    throw CommandError{kExitGateClosed, fmt::format("{} is not {} here; nothing was recorded:{}", migration.name,
                                                    options.phase, list_of(stamp.failures))};
  }
  if (!options.yes) {
    std::string const trust = stamp.on_trust.empty() ? "" : "\nwhat cannot be asked about:" + list_of(stamp.on_trust);
    throw CommandError{kExitGateClosed, fmt::format("{} is {} here, as far as can be seen; --yes records it{}",
                                                    migration.name, options.phase, trust)};
  }
  std::vector<std::string> statements = {
      state::remember_migration(migration.name, migration.file, source_to_keep(loaded))};
  statements.push_back(state::record_session_settings(migration.name, to_json(connection->session_settings())));
  for (auto& statement : stamp.statements) statements.push_back(std::move(statement));
  std::string detail = "as " + options.phase;
  for (auto const& one : stamp.on_trust) detail += "; on trust: " + one;
  statements.push_back(state::record_event(std::nullopt, migration.name, "stamped", detail, context.owner()));
  value_or_throw(co_await connection->pipeline(std::move(statements), Deadlines()), "recording it");
  value_or_throw(co_await begin_steps(*connection, migration, false), "recording the table's facts");
  context.print(fmt::format("{} is recorded as {}{}\n", migration.name, options.phase,
                            stamp.on_trust.empty() ? "" : "; on trust:" + list_of(stamp.on_trust)));
  co_return kExitDone;
}

}  // namespace

int stamp_command(CommandContext& context, StampOptions const& options) {
  return context.run(stamp_migration(context, options));
}

}  // namespace pgbackfill::engine
