#include "engine/plan_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <utility>

#include "engine/catalog.h"
#include "engine/job_setup.h"
#include "engine/limits.h"
#include "engine/step_runner.h"
#include "planner/hot_outlook.h"
#include "planner/migration_file.h"
#include "planner/sql_text.h"
#include "planner/step_detail.h"
#include "planner/step_order.h"
#include "planner/sync_sql.h"
#include "throttle/vacuum_debt.h"

namespace pgbackfill::engine {

namespace {

using planner::WorkKind;

// Rows of the batch that the plan shows and that --sample runs.
constexpr std::int64_t kShownRows = 1'000;
// Without a sample: what one worker does with narrow rows on modest hardware; the text says that it is a guess.
constexpr double kAssumedRowsPerSecond = 100'000;

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
  auto const& row = page.rows.front();
  if (!row[1]) co_return interval;
  interval.hi.emplace();
  for (std::size_t column = 1; column < row.size(); ++column) interval.hi->push_back(*row[column]);
  co_return interval;
}

// As it will run, but for the checkpoint beside it.
std::string batch_statement(planner::WorkTarget const& target, planner::Interval const& interval) {
  return planner::work_alone(planner::work_ctes(target, interval, planner::BatchMode::kPlain));
}

bool mentions(std::vector<std::string> const& lines, std::string_view words) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](std::string const& line) { return line.find(words) != std::string::npos; });
}

bool fires(planner::TriggerFacts const& trigger, WorkKind kind) {
  if (trigger.enabled == 'D') return false;
  if (kind == WorkKind::kUpdate) return trigger.on_update;
  if (kind == WorkKind::kDelete) return trigger.on_delete;
  return kind == WorkKind::kSql && (trigger.on_update || trigger.on_delete || trigger.on_insert);
}

asio::awaitable<PlannedSample> take_sample(PgConnection& connection, planner::TriggerMode triggers,
                                           planner::WorkTarget const& target, planner::Interval interval) {
  state::LocalSettings settings;
  settings.statement_timeout = std::chrono::milliseconds(10'000);
  settings.lock_timeout = std::chrono::milliseconds(200);
  settings.skip_triggers = triggers == planner::TriggerMode::kSkip;
  // ROLLBACK is part of the pipeline; should the link break, the server rolls back as well.
  std::vector<std::string> statements = {"BEGIN", state::local_settings(settings),
                                         "EXPLAIN (ANALYZE, WAL, FORMAT JSON) " + batch_statement(target, interval),
                                         "ROLLBACK"};
  auto const results =
      value_or_throw(co_await connection.pipeline(std::move(statements), Deadlines()), "the sample batch");
  auto const document = boost::json::parse(results.at(2).at(0, 0));
  auto const& top = document.as_array().at(0).as_object();
  PlannedSample sample;
  sample.milliseconds = top.at("Execution Time").as_double();
  auto const number = [](boost::json::object const& node, char const* key) -> std::int64_t {
    auto const* value = node.if_contains(key);
    return value == nullptr ? 0 : value->to_number<std::int64_t>();
  };
  auto const& plan = top.at("Plan").as_object();
  sample.wal_bytes = number(plan, "WAL Bytes");
  sample.full_page_images = number(plan, "WAL FPI");
  // The work by itself returns no rows; what it changes comes from the node below it.
  bool const is_alone = plan.at("Node Type").as_string() == "ModifyTable";
  if (auto const* children = plan.if_contains("Plans")) {
    for (auto const& child : children->as_array()) {
      auto const& node = child.as_object();
      auto const* subplan = node.if_contains("Subplan Name");
      bool const is_work = subplan != nullptr && subplan->as_string() == "CTE pgbackfill_work";
      if (is_work || (is_alone && subplan == nullptr)) sample.rows = number(node, "Actual Rows");
    }
  }
  co_return sample;
}

// --- steps -----------------------------------------------------------------------------------------------------------

std::vector<PlannedStatement> statements_of(std::vector<planner::Action> const& actions, bool is_way_back) {
  std::vector<PlannedStatement> statements;
  for (auto const& action : actions) {
    if (!is_way_back && action.needed == "false") continue;
    statements.push_back({action.sql, action.locks, action.effort, action.way == planner::Way::kConcurrent});
  }
  return statements;
}

asio::awaitable<PlannedStep> plan_step(PgConnection& connection, planner::SchemaStep step) {
  PlannedStep planned;
  planned.text = step.text;
  if (auto const* run = std::get_if<planner::RunSql>(&step.detail->kind)) {
    planned.is_sql = true;
    planned.sql = run->sql;
    planned.down = run->down;
    co_return planned;
  }
  auto const facts = value_or_throw(co_await read_step_facts(connection, step), "reading the table of a step");
  auto const recipe = planner::recipe_for(step, facts);
  planned.title = recipe.title;
  planned.risk = recipe.risk;
  planned.reason = recipe.reason;
  planned.statements = statements_of(recipe.actions, false);
  planned.undo = statements_of(recipe.undo, true);
  planned.way_back = recipe.way_back;
  planned.no_way_back = recipe.no_way_back;
  if (facts.kind == 'r') {
    auto const size = value_or_throw(co_await query_read_only(connection, planner::table_bytes_sql(facts)),
                                     "reading the size of a table");
    planned.table_bytes = std::stoll(size.at(0, 0));
  }
  co_return planned;
}

asio::awaitable<std::vector<PlannedStep>> plan_steps(PgConnection& connection, std::string migration,
                                                     std::vector<planner::PlacedStep> steps, bool has_state) {
  std::vector<PlannedStep> planned;
  for (auto const& placed : steps) {
    auto one = co_await plan_step(connection, placed.step);
    one.phase = placed.phase;
    one.number = planned.size() + 1;
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

// What becomes of the heap, by leaf: each changed row leaves its old version, unless the update is HOT.
PlannedGrowth growth_of(planner::Migration const& migration, planner::TableFacts const& table) {
  throttle::Limits const limits = limits_of(setting_texts(migration.throttle), {}).limits;
  PlannedGrowth growth;
  growth.budget = limits.bloat;
  for (auto const& leaf : table.leaves) {
    auto const bytes = static_cast<double>(leaf.bytes);
    double const without = bytes * (2 - planner::hot_outlook(*migration.backfill, leaf).share);
    bool const is_vacuumed = static_cast<std::uint64_t>(leaf.bytes) >= throttle::kLeastBytesToVacuum &&
                             limits.mode == throttle::Mode::kOn && limits.bloat > 0;
    growth.bytes_without_vacuum += without;
    growth.bytes_with_budget += is_vacuumed ? std::min(without, bytes * (1 + limits.bloat)) : without;
  }
  return growth;
}

void estimate(PlannedBackfill& planned) {
  auto const rows = static_cast<double>(planned.rows);
  if (planned.sample && planned.sample->rows > 0) {
    auto const sampled = static_cast<double>(planned.sample->rows);
    planned.seconds = rows * planned.sample->milliseconds / sampled / 1000 / planned.workers;
    planned.wal_bytes = rows * static_cast<double>(planned.sample->wal_bytes) / sampled;
  } else {
    planned.seconds = rows / kAssumedRowsPerSecond / planned.workers;
  }
}

PlannedBackfill backfill_of(planner::Migration const& migration, Preflight const& preflight,
                            std::vector<LeafRanges> const& ranges) {
  auto const& backfill = *migration.backfill;
  auto const& table = preflight.table;
  PlannedBackfill planned;
  planned.table = planner::quote_qualified(table.schema, table.name);
  planned.kind = backfill.kind;
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
  if (backfill.kind == WorkKind::kUpdate) planned.growth = growth_of(migration, table);
  return planned;
}

asio::awaitable<void> plan_batch(PgConnection& connection, Preflight const& preflight,
                                 std::vector<LeafRanges> const& ranges, planner::TriggerMode triggers, bool with_sample,
                                 PlannedBackfill& planned) {
  if (preflight.targets.empty()) co_return;
  std::size_t const shown = largest_leaf(preflight);
  auto const& target = preflight.targets[shown];
  auto const interval = co_await first_batch(connection, target, ranges[shown].upper);
  if (!interval.hi) co_return;
  planned.batch_sql = batch_statement(target, interval);
  auto const explained = value_or_throw(
      co_await query_read_only(connection, "EXPLAIN (COSTS OFF) " + planned.batch_sql), "explaining the batch");
  planned.explain = lines_of(explained);
  if (with_sample) planned.sample = co_await take_sample(connection, triggers, target, interval);
}

std::vector<std::string> notes_of(planner::Migration const& migration, Preflight const& preflight,
                                  PlannedBackfill const& planned) {
  auto const& backfill = *migration.backfill;
  auto const& table = preflight.table;
  std::vector<std::string> notes;
  for (auto const& trigger : table.triggers) {
    bool const is_of_sync = migration.sync && trigger.name == planner::sync_trigger_name(migration.name);
    if (is_of_sync || !fires(trigger, backfill.kind)) continue;
    bool const skipped = backfill.triggers == planner::TriggerMode::kSkip && trigger.enabled == 'O';
    notes.push_back(fmt::format("trigger {} {} for each row: {}", planner::quote_identifier(trigger.name),
                                skipped ? "is skipped (triggers: skip)" : "fires", trigger.definition));
  }
  if (table.has_children) {
    notes.emplace_back("tables that inherit from this one are left alone (ONLY); give them migrations of their own");
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

asio::awaitable<void> plan_backfill(PgConnection& connection, planner::Migration const& migration, bool with_sample,
                                    PlanReport& report) {
  auto preflight = value_or_throw(co_await check_backfill(connection, *migration.backfill), "checking the file");
  if (planner::sync_guards_backfill(migration)) preflight.sweeps = false;
  bool const may_come = preflight.only_missing_names && !migration.expand.empty();
  if (!preflight.problems.empty()) {
    std::string const text = planner::to_lines(preflight.problems);
    if (!may_come) throw CommandError{kExitUsage, text};
    report.notes.push_back("cannot be checked until the expand steps ran: " + text);
    co_return;
  }
  auto const probes = value_or_throw(co_await check_probes(connection, migration.probes), "checking the probes");
  if (!probes.empty()) throw CommandError{kExitUsage, planner::to_lines(probes)};
  auto const ranges = value_or_throw(co_await plan_ranges(connection, preflight), "cutting the table into ranges");
  auto planned = backfill_of(migration, preflight, ranges);
  co_await plan_batch(connection, preflight, ranges, migration.backfill->triggers, with_sample, planned);
  estimate(planned);
  report.notes = notes_of(migration, preflight, planned);
  report.backfill = std::move(planned);
}

}  // namespace

asio::awaitable<PlanReport> read_plan(PgConnection& connection, LoadedMigration loaded, bool with_sample) {
  auto const& migration = loaded.migration;
  PlanReport report;
  report.migration = migration.name;
  report.file = migration.file;
  auto const there =
      value_or_throw(co_await query_read_only(connection, state::has_version()), "reading the state schema");
  bool const has_state = there.at(0, 0) == "t";
  if (has_state) {
    auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
    if (job) report.job_status = state::status_name(job->status);
  }
  auto expand = planner::expand_steps(migration);
  auto sync = planner::sync_steps(migration);
  auto contract = planner::contract_steps(migration);
  report.expand = co_await plan_steps(connection, migration.name, std::move(expand), has_state);
  report.sync = co_await plan_steps(connection, migration.name, std::move(sync), has_state);
  for (auto const& check : migration.verify) report.verify.push_back(planner::check_text(check));
  report.contract = co_await plan_steps(connection, migration.name, std::move(contract), has_state);
  if (migration.backfill) co_await plan_backfill(connection, migration, with_sample, report);
  co_return report;
}

}  // namespace pgbackfill::engine
