#include "engine/plan/plan_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/base/secret_mask.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/plan/batch_sample.h"
#include "engine/plan/coming_columns.h"
#include "engine/plan/compute_sample.h"
#include "engine/process/listed_files.h"
#include "engine/run/facts_keeper.h"
#include "engine/run/job_setup.h"
#include "engine/run/limits.h"
#include "engine/run/prepared_results.h"
#include "engine/run/work_estimate.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/effect_reader.h"
#include "engine/steps/other_migrations.h"
#include "engine/steps/step_check.h"
#include "engine/steps/step_runner.h"
#include "engine/steps/subscribers.h"
#include "engine/steps/sync_guard.h"
#include "engine/view/plan_verdict.h"
#include "planner/file/config_file.h"
#include "planner/file/migration_file.h"
#include "planner/lint/effect_probe.h"
#include "planner/lint/lint.h"
#include "planner/model/duration.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/model/work_kind.h"
#include "planner/sql/sql_script.h"
#include "planner/steps/contract_plan.h"
#include "planner/steps/other_relations.h"
#include "planner/steps/safe_form.h"
#include "planner/steps/step_notice.h"
#include "planner/steps/step_order.h"
#include "planner/steps/sync_sql.h"
#include "planner/work/compute_sql.h"
#include "planner/work/hot_outlook.h"

namespace pgbackfill::engine {

namespace {

using planner::WorkKind;

// Rows of the batch that the plan shows and that --sample runs.
constexpr std::int64_t kShownRows = 1'000;

std::vector<std::string> lines_of(Rows const& rows) {
  std::vector<std::string> lines;
  for (auto const& row : rows.rows) lines.push_back(row.front().value_or(""));
  return lines;
}

// The leaf with the most rows stands for all.
std::size_t largest_leaf(Preflight const& preflight) {
  auto const& leaves = preflight.table.leaves;
  auto const largest = std::max_element(leaves.begin(), leaves.end(), [](auto const& left, auto const& right) {
    return left.rows_estimated < right.rows_estimated;
  });
  return static_cast<std::size_t>(largest - leaves.begin());
}

asio::awaitable<planner::Interval> first_batch(PgConnection& connection, planner::WorkTarget const& target,
                                               planner::Bound upper) {
  planner::Interval interval{std::nullopt, upper};
  if (!upper) co_return interval;
  if (target.key.is_by_block()) {
    interval.hi = planner::KeyValue{std::to_string(std::min<std::int64_t>(std::stoll(upper->front()), 20))};
    co_return interval;
  }
  std::string statement = planner::look_ahead_sql(target, interval, kShownRows);
  auto const page = value_or_throw(co_await query_read_only(connection, std::move(statement)), "paging the table");
  auto ahead = state::page_of(page.rows.front());
  if (ahead.last) interval.hi = std::move(ahead.last);
  co_return interval;
}

// As it will run, but for the checkpoint beside it; of values that a program computes, what it is given.
std::string batch_statement(planner::WorkTarget const& target, planner::Interval const& interval) {
  if (target.backfill.compute) return planner::compute_shown_sql(target, interval);
  return planner::plain_work(target, interval);
}

bool mentions(std::vector<std::string> const& lines, std::string_view words) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](std::string const& line) { return line.find(words) != std::string::npos; });
}

bool fires(planner::TriggerFacts const& trigger, WorkKind kind) {
  return trigger.enabled != 'D' && planner::may_fire(kind, trigger);
}

asio::awaitable<PlannedSample> take_sample(PgConnection& connection, planner::TriggerMode triggers,
                                           planner::WorkTarget const& target, planner::Interval interval) {
  state::LocalSettings settings;
  settings.statement_timeout = std::chrono::milliseconds(10'000);
  settings.lock_timeout = std::chrono::milliseconds(200);
  settings.skip_triggers = triggers == planner::TriggerMode::kSkip;
  // ROLLBACK is part of the pipeline; should the link break, the server rolls back as well.
  std::vector<Statement> statements = {
      "BEGIN", state::local_settings(settings),
      users_sql("EXPLAIN (ANALYZE, WAL, FORMAT JSON) " + planner::plain_work(target, interval)), "ROLLBACK"};
  auto const results =
      value_or_throw(co_await connection.pipeline(std::move(statements), Deadlines()), "the sample batch");
  co_return sample_of(state::value_as<std::string>(results.at(2)));
}

// --- steps -----------------------------------------------------------------------------------------------------------

std::vector<PlannedStatement> statements_of(std::vector<planner::Action> const& actions, std::int64_t table_bytes) {
  std::vector<PlannedStatement> statements;
  for (auto const& action : actions) {
    PlannedStatement statement;
    statement.sql = action.sql;
    statement.locks = action.locks;
    statement.work = planner::work_of(action.effort);
    statement.duration = planner::duration_class(planner::work_seconds(statement.work, table_bytes));
    statement.is_alone = action.way == planner::Way::kConcurrent;
    statements.push_back(std::move(statement));
  }
  return statements;
}

planner::DurationClass duration_of(std::vector<PlannedStatement> const& statements, std::int64_t table_bytes) {
  double seconds = 0;
  for (auto const& statement : statements) seconds += planner::work_seconds(statement.work, table_bytes);
  return planner::duration_class(seconds);
}

// What lint reads from the text is all that is known of SQL.
PlannedStep planned_sql(planner::RunSql const& run, planner::lint::LintedStep const& linted, std::int64_t table_bytes) {
  PlannedStep planned;
  planned.is_sql = true;
  planned.sql = run.sql;
  planned.title = "sql";
  planned.down = run.down;
  planned.table_bytes = table_bytes;
  if (!run.down) planned.no_way_back = "it has no `down:`";
  PlannedStatement statement;
  statement.sql = run.sql;
  for (auto const& effect : linted.effects) {
    if (effect.lock != planner::LockMode::kNone) statement.locks.push_back({effect.relation, effect.lock});
    statement.work = std::max(statement.work, effect.work);
  }
  statement.duration = planner::duration_class(planner::work_seconds(statement.work, table_bytes));
  planned.duration = statement.duration;
  planned.statements.push_back(std::move(statement));
  planned.reason = "lint has nothing to say against it";
  auto const worst = std::max_element(linted.findings.begin(), linted.findings.end(),
                                      [](auto const& left, auto const& right) { return left.risk < right.risk; });
  if (worst == linted.findings.end()) return planned;
  planned.risk = worst->risk;
  planned.reason = worst->why;
  planned.advice = worst->instead;
  return planned;
}

planner::lint::Work work_of(MeasuredEffect const& effect) {
  using planner::lint::Work;
  if (effect.rewrites) return Work::kRewrite;
  if (effect.builds) return Work::kIndexBuild;
  return effect.scans ? Work::kScan : Work::kNone;
}

// Replaces what the text says by what the server does, where all of it can be tried.
asio::awaitable<void> measure_sql(PgConnection& connection, PlannedStep& planned) {
  auto& statement = planned.statements.front();
  auto heaviest = planner::lint::Work::kNone;
  auto const script = planner::lint::split_script(planned.sql);
  if (script.statements.empty()) co_return;
  for (auto const& one : script.statements) {
    auto probe = planner::lint::effect_probe(planned.sql.substr(one.span.begin, one.span.end - one.span.begin));
    if (!probe) co_return;
    auto const effect =
        value_or_throw(co_await measure_effect(connection, std::move(*probe)), "trying a step on an empty copy");
    if (!effect) co_return;
    heaviest = std::max(heaviest, work_of(*effect));
  }
  statement.work = heaviest;
  statement.is_measured = true;
  statement.duration = planner::duration_class(planner::work_seconds(heaviest, planned.table_bytes));
  planned.duration = statement.duration;
}

// Of the largest table that it works on.
asio::awaitable<std::int64_t> bytes_of_relations(PgConnection& connection, std::vector<planner::lint::Effect> effects) {
  std::vector<std::string> names = {planner::quote_literal("")};
  for (auto const& effect : effects) {
    if (effect.work != planner::lint::Work::kNone) names.push_back(planner::quote_literal(effect.relation));
  }
  if (names.size() == 1) co_return 0;
  // As lint names it: nothing that could be read as SQL again.
  std::string const list = planner::join(names, ", ");
  auto const sizes = value_or_throw(
      co_await query_read_only(connection,
                               "SELECT coalesce(max(pg_catalog.pg_table_size(c.oid)), 0) FROM "
                               "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                               "WHERE c.relkind IN ('r', 'm', 'p') AND (n.nspname || '.' || c.relname IN (" +
                                   list + ") OR (c.relname IN (" + list +
                                   ") AND n.nspname = ANY (current_setting('pgbackfill.schemas')::text[])))"),
      "reading the size of a table");
  co_return state::value_as<std::int64_t>(sizes);
}

asio::awaitable<PlannedStep> plan_typed(PgConnection& connection, planner::SchemaStep step) {
  PlannedStep planned;
  auto const read = co_await read_step_facts(connection, step);
  // What the role may not see, the answers to the steps name with its place in the file.
  bool const is_denied = !read && read.error().sqlstate == "42501";
  planned.title = step.text;
  if (is_denied) co_return planned;
  auto const facts = value_or_throw(read, "reading the table of a step");
  if (facts.kind == 'r' || facts.kind == 'p') {
    auto const size = value_or_throw(co_await query_read_only(connection, planner::table_bytes_sql(facts)),
                                     "reading the size of a table");
    planned.table_bytes = state::value_as<std::int64_t>(size);
  }
  auto recipe = planner::recipe_for(step, facts);
  auto actions = recipe.prepare;
  actions.insert(actions.end(), recipe.actions.begin(), recipe.actions.end());
  actions.insert(actions.end(), recipe.finish.begin(), recipe.finish.end());
  std::erase_if(actions, [](planner::Action const& action) { return action.needed == "false"; });
  planned.title = recipe.title;
  planned.risk = recipe.risk;
  planned.reason = recipe.reason;
  planned.statements = statements_of(actions, planned.table_bytes);
  planned.duration = duration_of(planned.statements, planned.table_bytes);
  planned.safe_form = planner::safe_form(step, facts);
  planned.undo = statements_of(recipe.undo, planned.table_bytes);
  planned.way_back = recipe.way_back;
  planned.no_way_back = recipe.no_way_back;
  std::string const question = planner::other_relations_sql(step, facts);
  if (question.empty()) co_return planned;
  auto const others = value_or_throw(co_await query_read_only(connection, question), "reading what depends on a table");
  planned.others = state::rows_as<OtherRelation>(others);
  co_return planned;
}

asio::awaitable<PlannedStep> plan_step(PgConnection& connection, planner::PlacedStep placed,
                                       planner::lint::LintedFile const& linted) {
  auto const* run = std::get_if<planner::RunSql>(&placed.step.detail->kind);
  PlannedStep planned;
  if (run == nullptr) {
    planned = co_await plan_typed(connection, placed.step);
  } else {
    auto const& at = placed.step.position;
    auto const of_lint = std::find_if(linted.steps.begin(), linted.steps.end(), [&](auto const& each) {
      return each.position.line == at.line && each.position.column == at.column;
    });
    auto const known = of_lint == linted.steps.end() ? planner::lint::LintedStep() : *of_lint;
    auto const bytes = co_await bytes_of_relations(connection, known.effects);
    planned = planned_sql(*run, known, bytes);
    co_await measure_sql(connection, planned);
  }
  planned.text = placed.step.text;
  planned.phase = placed.phase;
  co_return planned;
}

asio::awaitable<std::vector<PlannedStep>> plan_steps(PgConnection& connection, std::string migration,
                                                     std::vector<planner::PlacedStep> steps,
                                                     planner::lint::LintedFile const& linted, bool has_state) {
  std::vector<PlannedStep> planned;
  for (auto const& placed : steps) {
    auto one = co_await plan_step(connection, placed, linted);
    one.number = static_cast<std::size_t>(placed.position) + 1;
    if (has_state) {
      auto const done = value_or_throw(
          co_await query_read_only(connection, state::step_done(migration, placed.phase, placed.position)),
          "reading the steps");
      one.is_recorded = !done.rows.empty();
    }
    planned.push_back(std::move(one));
  }
  co_return planned;
}

// --- the backfill ----------------------------------------------------------------------------------------------------

std::string key_text(planner::Key const& key) {
  if (key.is_by_block()) return "physical blocks (no usable key)";
  std::vector<std::string> columns;
  for (auto const& column : key.columns) {
    columns.push_back(
        fmt::format("{} {}{}", planner::quote_identifier(column.name), column.type, column.descending ? " DESC" : ""));
  }
  return fmt::format("{} ({})", planner::quote_identifier(key.index), planner::join(columns, ", "));
}

// What a batch has shown wins over the rule of thumb. A temporary copy writes no WAL.
void estimate(planner::Migration const& migration, planner::TableFacts const& table, PlannedBackfill& planned) {
  auto const& sample = planned.sample;
  auto const guess = estimate_work(migration, table, sample ? sample->bytes_more_per_row : 0);
  planned.seconds = guess.seconds;
  planned.wal_bytes = guess.wal_bytes;
  if (guess.growth) {
    planned.growth = {guess.growth->bytes_without_vacuum, guess.growth->bytes_with_budget, guess.growth->budget};
  }
  if (!sample || sample->rows == 0) return;
  auto const rows = static_cast<double>(planned.rows);
  auto const sampled = static_cast<double>(sample->rows);
  if (!sample->is_of_copy) planned.wal_bytes = rows * static_cast<double>(sample->wal_bytes) / sampled;
  double const seconds = rows * sample->milliseconds / sampled / 1000 / planned.workers;
  planned.seconds = seconds_within_limits(migration, seconds, rows, planned.wal_bytes.value_or(0));
}

// Of some rows; what a batch has shown is of them already.
void estimate_of_keys(planner::TableFacts const& table, std::int64_t keys, PlannedBackfill& planned) {
  planned.growth.reset();
  if (planned.sample) return;
  std::int64_t rows = 1;
  for (auto const& leaf : table.leaves) rows += leaf.rows_estimated;
  double const part = std::min(1.0, static_cast<double>(keys) / static_cast<double>(rows));
  planned.seconds *= part;
  if (planned.wal_bytes) *planned.wal_bytes *= part;
}

void judge_delete(planner::Backfill const& backfill, PlannedBackfill& planned) {
  if (backfill.move_to) {
    planned.title = "move rows to " + planner::quote_qualified(backfill.move_to->schema, backfill.move_to->name);
    planned.risk = planner::Risk::kMedium;
    planned.reason = "the rows are gone from the table, and stand in the other one";
    planned.way_back = "none of its own: a migration the other way moves them back";
    return;
  }
  planned.title = "delete rows";
  if (backfill.dedupe) {
    planned.title = "delete all but one of the rows with the same " + planner::join(backfill.dedupe->by, ", ");
  }
  planned.risk = planner::Risk::kDestructive;
  planned.reason = "the rows are gone";
  planned.way_back = "none: the rows are gone";
}

// What is lost when the work was wrong.
void judge_work(planner::Migration const& migration, PlannedBackfill& planned) {
  auto const& backfill = *migration.backfill;
  std::vector<std::string> columns;
  bool all_new = true;
  for (auto const& assignment : backfill.assignments) {
    columns.push_back(assignment.column);
    all_new = all_new && std::any_of(migration.expand.begin(), migration.expand.end(), [&](auto const& step) {
                auto const* add = std::get_if<planner::AddColumn>(&step.detail->kind);
                return add != nullptr && add->column == assignment.column;
              });
  }
  if (auto const& compute = backfill.compute) {
    std::string const processes = compute->service ? "" : fmt::format(", {} process(es)", compute->processes);
    planned.program = fmt::format("{}, up to {} rows a request, {} in flight{}", planner::name_of(*compute),
                                  compute->rows, compute->in_flight, processes);
  }
  switch (backfill.kind) {
    case WorkKind::kUpdate:
      planned.title = "set " + planner::join(columns, ", ");
      if (backfill.compute) {
        planned.title =
            fmt::format("compute {} by {}", planner::join(columns, ", "), planner::name_of(*backfill.compute));
      }
      planned.risk = all_new ? planner::Risk::kLow : planner::Risk::kMedium;
      planned.reason =
          all_new ? "it writes columns that an expand step makes" : "values that it overwrites are not kept";
      planned.way_back = all_new ? "goes with the columns" : "none: what was there before is not kept";
      break;
    case WorkKind::kSql:
      planned.title = "sql";
      planned.risk = planner::Risk::kMedium;
      planned.reason = "values that it overwrites are not kept";
      planned.way_back = "none: what was there before is not kept";
      break;
    case WorkKind::kCopy:
      planned.title = "copy to " + planner::quote_qualified(backfill.copy_to.schema, backfill.copy_to.name);
      planned.reason = "the table that it reads stays as it is";
      planned.way_back = "the rows go with the table that they are copied to";
      if (backfill.compute) planned.title += " what " + planner::name_of(*backfill.compute) + " computes";
      break;
    case WorkKind::kAsk:
      planned.title = "tell " + planner::name_of(*backfill.compute) + " of the rows";
      planned.risk = planner::Risk::kMedium;
      planned.reason = "the table stays as it is; what the program does is its own affair";
      planned.way_back = "none: pgbackfill does not know what the program does";
      break;
    case WorkKind::kDelete:
      judge_delete(backfill, planned);
      break;
  }
}

PlannedBackfill backfill_of(planner::Migration const& migration, Preflight const& preflight,
                            std::vector<LeafRanges> const& ranges) {
  auto const& backfill = *migration.backfill;
  auto const& table = preflight.table;
  PlannedBackfill planned;
  planned.table = planner::quote_qualified(table.schema, table.name);
  planned.kind = backfill.kind;
  judge_work(migration, planned);
  planned.is_partitioned = table.kind == 'p';
  planned.workers = backfill.workers;
  planned.batch = backfill.batch;
  planned.commit = backfill.commit;
  for (auto const& leaf : table.leaves) {
    planned.rows += leaf.rows_estimated;
    planned.rows_guessed = planned.rows_guessed || leaf.rows_guessed;
    planned.heap_bytes += leaf.bytes;
  }
  for (auto const& leaf : ranges) planned.ranges += leaf.ranges.size();
  for (std::size_t leaf = 0; leaf < preflight.keys.size(); ++leaf) {
    planned.leaves.push_back({preflight.targets[leaf].relation, key_text(preflight.keys[leaf]),
                              table.leaves[leaf].rows_estimated, ranges[leaf].ranges.size()});
  }
  return planned;
}

// Over columns that are still to come, the server can only be asked about it on an empty copy.
asio::awaitable<void> plan_batch(PgConnection& connection, planner::Migration const& migration,
                                 Preflight const& preflight, std::vector<LeafRanges> const& ranges, bool is_coming,
                                 bool with_sample, PlannedBackfill& planned) {
  if (preflight.targets.empty()) co_return;
  std::size_t const shown = largest_leaf(preflight);
  auto const& target = preflight.targets[shown];
  auto const interval = co_await first_batch(connection, target, ranges[shown].upper);
  if (!interval.hi) co_return;
  planned.batch_sql = batch_statement(target, interval);
  if (is_coming) {
    auto columns = preflight.table.leaves[shown].columns;
    planned.sample = co_await try_on_copy(connection, migration, target, interval, std::move(columns), with_sample);
    co_return;
  }
  auto const explained =
      value_or_throw(co_await query_read_only(connection, users_sql("EXPLAIN (COSTS OFF) " + planned.batch_sql)),
                     "explaining the batch");
  planned.explain = lines_of(explained);
  if (!with_sample) co_return;
  planned.sample = co_await take_sample(connection, migration.backfill->triggers, target, interval);
  if (target.backfill.compute) {
    planned.answers = co_await sample_answers(connection, target, interval, migration.name);
  }
}

struct SizedRelation {
  std::string name;
  std::int64_t count = 0;
};

// Other tables that the plan of one batch reads from end to end: what a batch costs then does not follow its rows.
asio::awaitable<std::vector<std::string>> whole_reads(PgConnection& connection, Preflight const& preflight,
                                                      std::vector<std::string> const& explain) {
  constexpr std::int64_t kLeastRowsThatMatter = 10'000;
  std::vector<std::string> notes;
  for (auto const& relation : preflight.other_relations) {
    if (relation.ends_with(')')) continue;
    std::string statement =
        "SELECT c.relname, greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = to_regclass(" +
        planner::quote_literal(relation) + ")";
    auto rows = value_or_throw(co_await query_read_only(connection, std::move(statement)), "looking at " + relation);
    if (rows.rows.empty()) continue;
    auto const found = state::row_as<SizedRelation>(rows.rows.front());
    std::string const scan = "Seq Scan on " + found.name;
    bool const is_read = found.count >= kLeastRowsThatMatter &&
                         std::any_of(explain.begin(), explain.end(), [&](std::string const& line) {
                           auto const at = line.find(scan);
                           auto const end = at + scan.size();
                           return at != std::string::npos && (end == line.size() || line[end] == ' ');
                         });
    if (!is_read) continue;
    notes.push_back(fmt::format(
        "each batch reads all of {} (~{} rows): put what it gets from there into a table of its own first, with an "
        "index, and join that",
        relation, found.count));
  }
  co_return notes;
}

std::vector<std::string> notes_of(planner::Migration const& migration, Preflight const& preflight,
                                  PlannedBackfill const& planned) {
  auto const& backfill = *migration.backfill;
  auto const& table = preflight.table;
  std::vector<std::string> notes = preflight.warnings;
  notes.insert(notes.end(), preflight.notes.begin(), preflight.notes.end());
  for (auto const& trigger : table.triggers) {
    bool const is_of_sync = migration.sync && planner::is_sync_trigger_name(trigger.name, migration.name);
    if (is_of_sync || !fires(trigger, backfill.kind)) continue;
    bool const skipped = backfill.triggers == planner::TriggerMode::kSkip && trigger.enabled == 'O';
    // Statements go to the partitioned table then, as a plain one would.
    if (trigger.is_of_leaf) continue;
    notes.push_back(fmt::format("trigger {} {} for each {}: {}", planner::quote_identifier(trigger.name),
                                skipped ? "is skipped (triggers: skip)" : "fires",
                                trigger.for_each_row ? "row" : "batch", trigger.definition));
  }
  auto const& leaf = table.leaves.empty() ? planner::LeafFacts() : table.leaves.front();
  for (auto& advice : planner::hot_outlook(backfill, leaf).advice) notes.push_back(std::move(advice));
  if (mentions(planned.explain, "Seq Scan on " + leaf.name) && planned.rows > 100'000) {
    notes.emplace_back("the batch is planned as a sequential scan; run ANALYZE on the table first");
  }
  if (preflight.sweeps) {
    notes.emplace_back(
        "a last pass over the table finds rows that came in behind the batches (it reads, and changes "
        "only what still satisfies `where`)");
  }
  return notes;
}

asio::awaitable<void> plan_backfill(PgConnection& connection, planner::Migration const& migration,
                                    std::optional<std::int64_t> keys, bool with_sample, PlanReport& report) {
  auto preflight = value_or_throw(co_await check_backfill(connection, *migration.backfill), "checking the file");
  if (planner::sync_guards_backfill(migration)) preflight.sweeps = false;
  bool const may_come = may_come_with_expand(preflight, migration);
  bool const is_coming = !preflight.problems.empty();
  if (is_coming) {
    std::string const text = planner::to_lines(preflight.problems);
    bool const is_past = std::any_of(report.contract.begin(), report.contract.end(),
                                     [](PlannedStep const& step) { return step.is_recorded; });
    if (!may_come && !is_past) throw CommandError{kExitUsage, text};
    auto coming = is_past ? std::nullopt : with_coming_columns(migration, std::move(preflight));
    if (!coming) {
      report.notes.push_back((is_past ? "the backfill is over, and contract steps took away what it names: "
                                      : "cannot be checked until the expand steps ran: ") +
                             text);
      co_return;
    }
    preflight = std::move(*coming);
  }
  auto const probes = value_or_throw(co_await check_probes(connection, migration.probes), "checking the probes");
  if (!probes.empty()) throw CommandError{kExitUsage, planner::to_lines(probes)};
  preflight.listed_rows = keys;
  auto const ranges = value_or_throw(co_await plan_ranges(connection, preflight), "cutting the table into ranges");
  auto planned = backfill_of(migration, preflight, ranges);
  if (keys && !preflight.targets.empty()) {
    planned.rows = *keys;
    auto missing = co_await missing_keys_text(connection, preflight.targets.front(), *keys);
    if (!missing.empty()) report.notes.push_back(std::move(missing));
  }
  co_await plan_batch(connection, migration, preflight, ranges, is_coming, with_sample, planned);
  estimate(migration, preflight.table, planned);
  if (keys) estimate_of_keys(preflight.table, *keys, planned);
  for (auto& note : notes_of(migration, preflight, planned)) report.notes.push_back(std::move(note));
  auto reads = co_await whole_reads(connection, preflight, planned.explain);
  for (auto& note : reads) report.notes.push_back(std::move(note));
  if (is_coming) {
    report.notes.emplace_back(
        "the batch is shown as it will be once the expand steps have added its columns; EXPLAIN comes after them, and "
        "--sample runs it on a temporary copy of its rows");
  }
  report.backfill = std::move(planned);
}

struct PlanningRole {
  std::string name;
  std::string is_superuser;  // on or off
};

// The trigger function of a mirror runs with the rights of the role that installs it, whoever writes the table.
asio::awaitable<void> plan_rights(PgConnection& connection, planner::Migration const& migration, PlanReport& report) {
  bool const is_mirror = migration.backfill && !migration.backfill->mirror_key.empty();
  if (!is_mirror) co_return;
  auto const role = value_or_throw(
      co_await query_read_only(connection, "SELECT current_user, current_setting('is_superuser')"), "reading the role");
  auto const me = state::row_as<PlanningRole>(role.rows.at(0));
  if (me.is_superuser != "on") co_return;
  report.notes.push_back(fmt::format(
      "the trigger function of `mirror:` would run with the rights of {}, a superuser, for everybody who writes "
      "the table: run pgbackfill as a role that has just the rights it needs",
      me.name));
}

std::string_view words_of(planner::Tie tie) {
  switch (tie) {
    case planner::Tie::kStops:
      return "that keeps the server from it";
    case planner::Tie::kGoes:
      return "that goes with it";
    case planner::Tie::kReads:
      return "that reads it";
  }
  return "";
}

// Those that are named for the step already have their names quoted; foreign keys stand with the other table.
bool is_named(PlannedStep const& step, planner::Dependent const& dependent) {
  return std::any_of(step.others.begin(), step.others.end(), [&](OtherRelation const& other) {
    std::string plain = other.relation;
    std::erase(plain, '"');
    return plain == dependent.identity || other.words.ends_with(" by foreign key " + dependent.name);
  });
}

std::string with_article(std::string const& type) {
  bool const has_vowel = std::string_view("aeiou").find(type.front()) != std::string_view::npos;
  return (has_vowel ? "an " : "a ") + type;
}

void add_dependents(std::vector<StepAnswer> const& answers, std::vector<PlannedStep>& steps) {
  for (auto& step : steps) {
    for (auto const& answer : answers) {
      bool const is_this =
          answer.placed.phase == step.phase && static_cast<std::size_t>(answer.placed.position) + 1 == step.number;
      if (!is_this) continue;
      if (!answer.way_back_lacks.empty()) {
        step.no_way_back = "the role lacks a right that rollback needs: " + planner::join(answer.way_back_lacks, "; ");
      }
      auto dependents = answer.in_the_way;
      dependents.insert(dependents.end(), answer.companions.begin(), answer.companions.end());
      for (auto const& one : dependents) {
        if (is_named(step, one)) continue;
        step.others.push_back({one.identity, fmt::format("is {} {}", with_article(one.type), words_of(one.tie))});
      }
    }
  }
}

// What the server would answer to the steps that are open.
asio::awaitable<void> plan_answers(PgConnection& connection, planner::Migration migration, bool has_state,
                                   PlanReport& report) {
  RecordedSteps recorded;
  if (has_state) {
    recorded = value_or_throw(co_await read_recorded_steps(connection, migration.name), "reading the steps");
  }
  auto const answers = value_or_throw(co_await ask_all_steps(connection, std::move(migration), std::move(recorded)),
                                      "asking the server about the steps");
  add_dependents(answers, report.expand);
  add_dependents(answers, report.contract);
  report.refused = refusals_of(answers);
}

// A plan does not upgrade the state: of an older one nothing is known.
asio::awaitable<void> plan_drift(PgConnection& connection, planner::Migration migration, PlanReport& report) {
  auto const version =
      value_or_throw(co_await query_read_only(connection, state::read_version()), "reading the version of the state");
  auto const layout = state::first_as<state::LayoutVersion>(version);
  bool const has_facts = layout && layout->version >= 9;
  if (!has_facts) co_return;
  auto drift =
      value_or_throw(co_await read_drift(connection, std::move(migration)), "comparing the table with its facts");
  report.drift = std::move(drift.harmless);
  report.critical_drift = std::move(drift.critical);
  if (drift.is_unsettled)
    report.notes.emplace_back("steps are under way or were cut short: what differs may be theirs");
}

asio::awaitable<bool> is_sync_recorded(PgConnection& connection, std::string migration, bool has_state) {
  if (!has_state) co_return false;
  auto const done = value_or_throw(
      co_await query_read_only(connection, state::step_done(migration, planner::kSyncPhase, planner::kSyncInstall)),
      "reading the steps");
  co_return !done.rows.empty();
}

// Before the steps are looked at, because the trigger's name depends on the others.
asio::awaitable<void> plan_sync(PgConnection& connection, planner::Migration& migration, bool has_state,
                                PlanReport& report) {
  if (!migration.sync) co_return;
  bool const is_recorded = co_await is_sync_recorded(connection, migration.name, has_state);
  if (is_recorded) co_return;
  auto const look = value_or_throw(co_await check_sync(connection, migration), "checking the file");
  if (!look.problem.empty()) throw CommandError{kExitUsage, look.problem};
  for (auto const& note : look.notes) report.notes.push_back(note);
  auto const problem = co_await place_sync_trigger(connection, migration);
  auto const placed = planner::sync_steps(migration).front();
  if (!problem.empty()) report.notes.push_back("run refuses: " + step_name(placed) + ": " + problem);
  auto const question = planner::column_triggers_sql(migration.sync->install);
  if (question.empty()) co_return;
  auto const triggers = value_or_throw(co_await query_read_only(connection, question), "reading the triggers");
  for (auto const& row : triggers.rows) report.notes.push_back(row.front().value_or(""));
}

bool takes_replayed_lock(PlannedStep const& step) {
  return std::any_of(step.statements.begin(), step.statements.end(), [](PlannedStatement const& statement) {
    return std::any_of(statement.locks.begin(), statement.locks.end(),
                       [](planner::TableLock const& lock) { return lock.mode == planner::LockMode::kAccessExclusive; });
  });
}

// What comes together of several steps: prepared statements, and standbys.
asio::awaitable<void> note_steps(PgConnection& connection, planner::Migration const& migration, PlanReport& report) {
  std::vector<std::string> outdating;
  std::vector<std::string> locking;
  auto placed = planner::expand_steps(migration);
  auto const contract = planner::contract_steps(migration);
  placed.insert(placed.end(), contract.begin(), contract.end());
  auto planned = report.expand;
  planned.insert(planned.end(), report.contract.begin(), report.contract.end());
  for (std::size_t step = 0; step < planned.size(); ++step) {
    if (planned[step].is_recorded) continue;
    if (planner::outdates_plans(placed[step].step)) outdating.push_back(step_place(planned[step]));
    if (takes_replayed_lock(planned[step])) locking.push_back(step_place(planned[step]));
  }
  if (!outdating.empty()) report.notes.push_back(planner::outdated_plans_text(outdating));
  if (locking.empty()) co_return;
  auto const rows =
      value_or_throw(co_await query_read_only(connection, planner::standbys_sql()), "looking for standbys");
  std::vector<std::string> standbys;
  for (auto const& row : rows.rows) standbys.push_back(row.front().value_or(""));
  if (!standbys.empty()) report.notes.push_back(planner::replayed_locks_text(standbys, locking));
}

// Whom the steps would hurt: `run` and `complete` ask the same again.
asio::awaitable<void> note_others(PgConnection& connection, planner::Migration const& migration, PlanReport& report) {
  std::vector<planner::PlacedStep> open;
  auto const add = [&open](std::vector<planner::PlacedStep> const& steps, std::vector<PlannedStep> const& planned) {
    for (std::size_t step = 0; step < steps.size(); ++step) {
      if (!planned[step].is_recorded) open.push_back(steps[step]);
    }
  };
  add(planner::expand_steps(migration), report.expand);
  add(planner::contract_steps(migration), report.contract);
  bool const is_over = report.job_status == state::status_name(JobStatus::kComplete);
  auto conflicts = co_await others_that_need(connection, migration.name, open);
  for (auto& one : co_await others_with_copies(connection, migration, is_over)) conflicts.push_back(std::move(one));
  for (auto const& conflict : conflicts) report.notes.push_back("in the way: " + conflict);
  std::vector<planner::SchemaStep> steps;
  for (auto const& one : open) steps.push_back(one.step);
  auto const text = co_await subscribers_text(connection, std::move(steps));
  if (text.empty()) co_return;
  report.notes.push_back((migration.subscribers_ready ? "agreed to by the file: " : "run refuses: ") + text);
}

// Of the keys of a job nothing is left to be said.
std::string note_of_file(planner::Prepared const& prepared) {
  if (!prepared.from) return "";
  return fmt::format(
      "prepare '{}' has the rows of {}: an unlogged table with a unique index on ({}) while the job runs",
      prepared.name, prepared.from->csv, planner::join(prepared.key, ", "));
}

}  // namespace

asio::awaitable<PlanReport> read_plan(PgConnection& connection, LoadedMigration loaded, bool with_sample) {
  auto& migration = loaded.migration;
  RecordedSteps const none;
  auto const unreadable = value_or_throw(co_await check_step_syntax(connection, migration, none), "checking the steps");
  if (!unreadable.empty()) throw CommandError{kExitUsage, planner::to_lines(unreadable)};
  auto const wrong = value_or_throw(co_await check_prepared(connection, loaded.prepared), "checking prepare");
  if (!wrong.empty() && migration.expand.empty()) throw CommandError{kExitUsage, planner::to_lines(wrong)};
  PlanReport report;
  report.migration = migration.name;
  report.file = migration.file;
  auto const there =
      value_or_throw(co_await query_read_only(connection, state::has_version()), "reading the state schema");
  bool const has_state = state::value_as<bool>(there);
  if (has_state) {
    auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
    if (job) report.job_status = state::status_name(job->status);
    co_await plan_drift(connection, migration, report);
  }
  co_await plan_rights(connection, migration, report);
  co_await plan_sync(connection, migration, has_state, report);
  int const major =
      std::clamp(connection.server_version() / 10000, planner::lint::kMinPgMajor, planner::lint::kMaxPgMajor);
  planner::lint::LintOptions options;
  options.pg_major = major;
  auto const linted = planner::lint::Linter(options).lint_migration(loaded.source, migration.file);
  auto expand = planner::expand_steps(migration);
  auto sync = planner::sync_steps(migration);
  auto contract = planner::contract_steps(migration);
  report.expand = co_await plan_steps(connection, migration.name, std::move(expand), linted, has_state);
  report.sync = co_await plan_steps(connection, migration.name, std::move(sync), linted, has_state);
  for (auto const& hook : migration.hooks) {
    report.hooks.push_back(planner::name_of(hook.boundary) + ": " + masked(planner::to_text(hook), {}));
  }
  for (auto const& rule : migration.on) {
    std::string receivers;
    for (auto const& each : rule.deliveries) receivers += (receivers.empty() ? "" : "; ") + planner::to_text(each);
    std::string const after = planner::has_time(rule.occasion) ? " after " + planner::format_duration(rule.after) : "";
    report.told.push_back(fmt::format("{}{}: {}", planner::name_of(rule.occasion), after, masked(receivers, {})));
  }
  report.from_config = planner::from_elsewhere(migration);
  for (auto const& check : migration.verify) report.verify.push_back(planner::check_text(check));
  report.contract = co_await plan_steps(connection, migration.name, std::move(contract), linted, has_state);
  auto const agreed = planner::contract_steps(migration);
  for (std::size_t step = 0; step < agreed.size(); ++step) {
    report.contract[step].destroys = planner::destructive_reason(agreed[step].step);
  }
  co_await plan_answers(connection, migration, has_state, report);
  auto const keys = count_of_keys(loaded);
  if (keys) {
    report.notes.push_back(fmt::format("only the rows of {} keys of {} are worked, as a job of their own: {}",
                                       human_count(*keys), loaded.only_keys->file, migration.name));
  }
  for (auto const& one : loaded.prepared) {
    if (one.is_of_file()) {
      auto note = note_of_file(one);
      if (!note.empty()) report.notes.push_back(std::move(note));
      continue;
    }
    report.notes.push_back(fmt::format(
        "prepare '{}' is computed once, before the batches, into an unlogged table with a unique index on ({}); here "
        "its "
        "query stands in its place, so that the plan and the sample of a batch show more work than a batch has",
        one.name, planner::join(one.key, ", ")));
  }
  if (migration.backfill) co_await plan_backfill(connection, migration, keys, with_sample, report);
  co_await note_steps(connection, migration, report);
  co_await note_others(connection, migration, report);
  co_return report;
}

}  // namespace pgbackfill::engine
