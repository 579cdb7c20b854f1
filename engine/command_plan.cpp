// plan: what a run would do, from reading alone; the server itself holds every statement to that.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>

#include "engine/catalog.h"
#include "engine/commands.h"
#include "engine/job_setup.h"
#include "engine/limits.h"
#include "engine/progress_view.h"
#include "engine/step_runner.h"
#include "planner/duration.h"
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

struct Sample {
  std::int64_t rows = 0;
  double milliseconds = 0;
  std::int64_t wal_bytes = 0;
  std::int64_t wal_records = 0;
  std::int64_t full_page_images = 0;
};

// A step as it would be run, by what the catalog says now.
struct PlannedStep {
  planner::SchemaStep step;
  planner::Recipe recipe;
  bool is_recorded = false;  // ran already
  std::int64_t table_bytes = 0;
};

struct PlanReport {
  planner::Migration migration;
  Preflight preflight;
  std::vector<LeafRanges> ranges;
  std::vector<PlannedStep> expand;
  std::vector<PlannedStep> sync;
  std::vector<PlannedStep> contract;
  std::string batch_sql;
  std::vector<std::string> explain;
  std::vector<std::string> warnings;
  std::optional<Sample> sample;
  std::optional<StoredJob> job;
  std::int64_t rows = 0;
  bool rows_guessed = false;  // of some leaf at least
  std::int64_t heap_bytes = 0;
  std::size_t range_count = 0;
};

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

void warn(PlanReport& report) {
  auto const& backfill = *report.migration.backfill;
  auto const& table = report.preflight.table;
  for (auto const& trigger : table.triggers) {
    bool const is_of_sync = report.migration.sync && trigger.name == planner::sync_trigger_name(report.migration.name);
    if (is_of_sync || !fires(trigger, backfill.kind)) continue;
    bool const skipped = backfill.triggers == planner::TriggerMode::kSkip && trigger.enabled == 'O';
    report.warnings.push_back(fmt::format("trigger {} {} for each row: {}", planner::quote_identifier(trigger.name),
                                          skipped ? "is skipped (triggers: skip)" : "fires", trigger.definition));
  }
  if (table.has_children) {
    report.warnings.emplace_back(
        "tables that inherit from this one are left alone (ONLY); give them migrations of their own");
  }
  auto const& leaf = table.leaves.empty() ? planner::LeafFacts() : table.leaves.front();
  for (auto& advice : planner::hot_outlook(backfill, leaf).advice) report.warnings.push_back(std::move(advice));
  if (mentions(report.explain, "Seq Scan on " + leaf.name) && report.rows > 100'000) {
    report.warnings.emplace_back("the batch is planned as a sequential scan; run ANALYZE on the table first");
  }
  if (report.preflight.sweeps) {
    report.warnings.emplace_back(
        "a last pass over the table finds rows that came in behind the batches (it reads, and changes "
        "only what still satisfies `where`)");
  }
}

asio::awaitable<Sample> take_sample(PgConnection& connection, PlanReport const& report,
                                    planner::WorkTarget const& target, planner::Interval interval) {
  state::LocalSettings settings;
  settings.statement_timeout = std::chrono::milliseconds(10'000);
  settings.lock_timeout = std::chrono::milliseconds(200);
  settings.skip_triggers = report.migration.backfill->triggers == planner::TriggerMode::kSkip;
  // ROLLBACK is part of the pipeline; should the link break, the server rolls back as well.
  std::vector<std::string> statements = {"BEGIN", state::local_settings(settings),
                                         "EXPLAIN (ANALYZE, WAL, FORMAT JSON) " + batch_statement(target, interval),
                                         "ROLLBACK"};
  auto const results =
      value_or_throw(co_await connection.pipeline(std::move(statements), Deadlines()), "the sample batch");
  auto const document = boost::json::parse(results.at(2).at(0, 0));
  auto const& top = document.as_array().at(0).as_object();
  Sample sample;
  sample.milliseconds = top.at("Execution Time").as_double();
  auto const number = [](boost::json::object const& node, char const* key) -> std::int64_t {
    auto const* value = node.if_contains(key);
    return value == nullptr ? 0 : value->to_number<std::int64_t>();
  };
  auto const& plan = top.at("Plan").as_object();
  sample.wal_bytes = number(plan, "WAL Bytes");
  sample.wal_records = number(plan, "WAL Records");
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

asio::awaitable<std::vector<PlannedStep>> plan_steps(PgConnection& connection, std::string migration,
                                                     std::vector<planner::PlacedStep> steps, bool has_state) {
  std::vector<PlannedStep> planned;
  for (auto const& placed : steps) {
    PlannedStep one;
    one.step = placed.step;
    planner::StepFacts facts;
    bool const is_typed = planner::is_typed(one.step);
    if (is_typed) {
      facts = value_or_throw(co_await read_step_facts(connection, one.step), "reading the table of a step");
    }
    one.recipe = planner::recipe_for(one.step, facts);
    if (has_state) {
      auto const done = value_or_throw(
          co_await query_read_only(connection, state::step_done(migration, placed.phase, placed.position)),
          "reading the steps");
      one.is_recorded = !done.rows.empty();
    }
    if (facts.kind == 'r') {
      auto const size = value_or_throw(co_await query_read_only(connection, planner::table_bytes_sql(facts)),
                                       "reading the size of a table");
      one.table_bytes = std::stoll(size.at(0, 0));
    }
    planned.push_back(std::move(one));
  }
  co_return planned;
}

asio::awaitable<PlanReport> make_report(PgConnection& connection, planner::Migration migration, bool with_sample) {
  PlanReport report;
  report.migration = std::move(migration);
  auto there = value_or_throw(co_await query_read_only(connection, state::has_version()), "reading the state schema");
  if (there.at(0, 0) == "t") {
    report.job = value_or_throw(co_await find_job(connection, report.migration.name), "looking for the job");
  }
  bool const has_state = there.at(0, 0) == "t";
  auto expand = planner::expand_steps(report.migration);
  auto sync = planner::sync_steps(report.migration);
  auto contract = planner::contract_steps(report.migration);
  report.expand = co_await plan_steps(connection, report.migration.name, std::move(expand), has_state);
  report.sync = co_await plan_steps(connection, report.migration.name, std::move(sync), has_state);
  report.contract = co_await plan_steps(connection, report.migration.name, std::move(contract), has_state);
  if (!report.migration.backfill) co_return report;
  report.preflight =
      value_or_throw(co_await check_backfill(connection, *report.migration.backfill), "checking the file");
  if (planner::sync_guards_backfill(report.migration)) report.preflight.sweeps = false;
  bool const may_come = report.preflight.only_missing_names && !report.migration.expand.empty();
  if (!report.preflight.problems.empty()) {
    std::string const text = planner::to_lines(report.preflight.problems);
    if (!may_come) throw CommandError{kExitUsage, text};
    report.warnings.push_back("cannot be checked until the expand steps ran: " + text);
    co_return report;
  }
  auto const probes = value_or_throw(co_await check_probes(connection, report.migration.probes), "checking the probes");
  if (!probes.empty()) throw CommandError{kExitUsage, planner::to_lines(probes)};
  report.ranges = value_or_throw(co_await plan_ranges(connection, report.preflight), "cutting the table into ranges");
  for (auto const& leaf : report.preflight.table.leaves) {
    report.rows += leaf.rows_estimated;
    report.rows_guessed = report.rows_guessed || leaf.rows_guessed;
    report.heap_bytes += leaf.bytes;
  }
  for (auto const& leaf : report.ranges) report.range_count += leaf.ranges.size();
  if (!report.preflight.targets.empty()) {
    std::size_t const shown = largest_leaf(report.preflight);
    auto const& target = report.preflight.targets[shown];
    auto const interval = co_await first_batch(connection, target, report.ranges[shown].upper);
    if (interval.hi) {
      report.batch_sql = batch_statement(target, interval);
      auto const explained = value_or_throw(
          co_await query_read_only(connection, "EXPLAIN (COSTS OFF) " + report.batch_sql), "explaining the batch");
      report.explain = lines_of(explained);
      if (with_sample) report.sample = co_await take_sample(connection, report, target, interval);
    }
  }
  warn(report);
  co_return report;
}

std::string bytes_text(double bytes) {
  char const* const units[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

struct Estimate {
  double seconds = 0;
  double wal_bytes = 0;
  bool measured = false;
};

Estimate estimate(PlanReport const& report) {
  Estimate estimate;
  int const workers = report.migration.backfill->workers;
  if (report.sample && report.sample->rows > 0) {
    double const rows = static_cast<double>(report.sample->rows);
    estimate.measured = true;
    estimate.seconds = static_cast<double>(report.rows) * report.sample->milliseconds / rows / 1000 / workers;
    estimate.wal_bytes = static_cast<double>(report.rows) * static_cast<double>(report.sample->wal_bytes) / rows;
  } else {
    estimate.seconds = static_cast<double>(report.rows) / kAssumedRowsPerSecond / workers;
  }
  return estimate;
}

// What becomes of the heap, by leaf: each changed row leaves its old version, unless the update is HOT.
struct GrowthEstimate {
  double bytes_without_vacuum = 0;
  double bytes_with_budget = 0;
};

GrowthEstimate estimate_growth(PlanReport const& report, throttle::Limits const& limits) {
  GrowthEstimate estimate;
  for (auto const& leaf : report.preflight.table.leaves) {
    auto const bytes = static_cast<double>(leaf.bytes);
    double const without = bytes * (2 - planner::hot_outlook(*report.migration.backfill, leaf).share);
    bool const is_vacuumed = static_cast<std::uint64_t>(leaf.bytes) >= throttle::kLeastBytesToVacuum &&
                             limits.mode == throttle::Mode::kOn && limits.bloat > 0;
    estimate.bytes_without_vacuum += without;
    estimate.bytes_with_budget += is_vacuumed ? std::min(without, bytes * (1 + limits.bloat)) : without;
  }
  return estimate;
}

std::string growth_text(PlanReport const& report) {
  throttle::Limits const limits = limits_of(setting_texts(report.migration.throttle), {}).limits;
  auto const guess = estimate_growth(report, limits);
  std::string const before = bytes_text(static_cast<double>(report.heap_bytes));
  std::string const without = bytes_text(guess.bytes_without_vacuum);
  if (guess.bytes_with_budget < guess.bytes_without_vacuum) {
    return fmt::format(
        "heap {} -> {} with VACUUM between the parts (throttle.bloat {:.0f} %), {} without; more if rows get "
        "wider",
        before, bytes_text(guess.bytes_with_budget), limits.bloat * 100, without);
  }
  return fmt::format("heap {} -> up to {} before vacuum makes room again (an updated row leaves its old version)",
                     before, without);
}

std::string key_text(planner::Key const& key) {
  if (key.is_by_block()) return "physical blocks (no usable key)";
  std::vector<std::string> columns;
  for (auto const& column : key.columns) {
    columns.push_back(
        fmt::format("{} {}{}", planner::quote_identifier(column.name), column.type, column.descending ? " DESC" : ""));
  }
  return fmt::format("{} ({})", planner::quote_identifier(key.index), planner::join(columns, ", "));
}

std::string effort_text(planner::Action const& action, std::int64_t table_bytes) {
  std::string const size = table_bytes > 0 ? " (" + bytes_text(static_cast<double>(table_bytes)) + ")" : "";
  switch (action.effort) {
    case planner::Effort::kCatalog:
      return "changes the catalog only";
    case planner::Effort::kScan:
      return "reads the table" + size;
    case planner::Effort::kBuild:
      return "builds an index over the table" + size;
  }
  return "";
}

std::string lock_text(planner::Action const& action) {
  std::vector<std::string> locks;
  for (auto const& lock : action.locks) {
    locks.push_back(fmt::format("{} on {}, which stops {}", planner::lock_words(lock.mode), lock.relation,
                                planner::lock_stops(lock.mode)));
  }
  return locks.empty() ? std::string("no lock on a table") : planner::join(locks, "; ");
}

// Line breaks end the user's comments; without any they only stand in the way.
std::string shown_sql(std::string sql) {
  if (sql.find("--") != std::string::npos) return sql;
  std::replace(sql.begin(), sql.end(), '\n', ' ');
  while (sql.ends_with(' ')) sql.pop_back();
  return sql;
}

void add_step_text(std::string& text, char const* title, std::size_t number, PlannedStep const& planned) {
  auto const& step = planned.step;
  std::string const indent(13, ' ');
  if (auto const* run = std::get_if<planner::RunSql>(&step.detail->kind)) {
    text += fmt::format("  {:<11}{}\n", title, run->sql);
    if (run->down) text += indent + "down: " + *run->down + "\n";
    return;
  }
  auto const& recipe = planned.recipe;
  text += fmt::format("  {:<11}{}. {}{}\n", title, number, recipe.title, planned.is_recorded ? " (done)" : "");
  text += fmt::format("{}risk {}: {}\n", indent, planner::risk_word(recipe.risk), recipe.reason);
  for (auto const& action : recipe.actions) {
    if (action.needed == "false") continue;
    text += fmt::format("{}- {}\n{}  {}; {}{}\n", indent, shown_sql(action.sql), indent, lock_text(action),
                        effort_text(action, planned.table_bytes),
                        action.way == planner::Way::kConcurrent ? "; outside a transaction" : "");
  }
  for (auto const& action : recipe.undo) text += fmt::format("{}down: {}\n", indent, shown_sql(action.sql));
  if (recipe.undo.empty() && !recipe.way_back.empty()) text += fmt::format("{}down: {}\n", indent, recipe.way_back);
  if (!recipe.no_way_back.empty()) text += fmt::format("{}no way back: {}\n", indent, recipe.no_way_back);
}

std::string text_of(PlanReport const& report) {
  std::string text = fmt::format("migration {} ({})\n", report.migration.name, report.migration.file);
  auto const add = [&](char const* title, std::string const& value) {
    text += fmt::format("  {:<11}{}\n", title, value);
  };
  if (report.job) add("state", "a job of this name exists and is " + state::status_name(report.job->status));
  auto const steps = [&](char const* title, std::vector<PlannedStep> const& list) {
    for (std::size_t index = 0; index < list.size(); ++index) add_step_text(text, title, index + 1, list[index]);
  };
  steps("expand", report.expand);
  steps("sync", report.sync);
  if (report.migration.backfill && !report.ranges.empty()) {
    auto const& backfill = *report.migration.backfill;
    auto const& table = report.preflight.table;
    char const* const guess_note = report.rows_guessed ? " (a guess from its size: never analyzed)" : "";
    add("table", fmt::format("{}, about {} rows{}, {} of heap{}", planner::quote_qualified(table.schema, table.name),
                             human_count(report.rows), guess_note, bytes_text(static_cast<double>(report.heap_bytes)),
                             table.kind == 'p' ? fmt::format(", {} partitions", table.leaves.size()) : ""));
    for (std::size_t leaf = 0; leaf < report.preflight.keys.size(); ++leaf) {
      if (leaf > 0 && report.preflight.keys[leaf] == report.preflight.keys[leaf - 1]) continue;
      std::string const of = table.kind == 'p' ? " on " + report.preflight.targets[leaf].relation : "";
      add("key", key_text(report.preflight.keys[leaf]) + of);
    }
    add("ranges", fmt::format("{}, {} workers", report.range_count, backfill.workers));
    add("batch", fmt::format("{} to {} rows, sized to take {}; {} commit; statement_timeout {}",
                             human_count(backfill.batch.min_rows), human_count(backfill.batch.max_rows),
                             planner::format_duration(backfill.batch.target),
                             backfill.commit == planner::CommitMode::kAsync ? "asynchronous" : "synchronous",
                             planner::format_duration(backfill.batch.target * 4)));
    if (!report.batch_sql.empty()) {
      text += "\nthe batch, here the first:\n" + report.batch_sql + "\n\nits plan:\n";
      for (auto const& line : report.explain) text += "  " + line + "\n";
    }
    auto const guess = estimate(report);
    text += "\n";
    if (report.sample) {
      add("sample",
          fmt::format("{} rows in {:.1f} ms, {} of WAL ({} full-page images), rolled back",
                      human_count(report.sample->rows), report.sample->milliseconds,
                      bytes_text(static_cast<double>(report.sample->wal_bytes)), report.sample->full_page_images));
    }
    auto const time = std::chrono::milliseconds(static_cast<std::int64_t>(guess.seconds * 1000));
    add("time", guess.measured ? "about " + human_duration(time) + " at the sample's pace, if nothing holds it back"
                               : "about " + human_duration(time) + " by rule of thumb; --sample measures a batch");
    if (guess.measured) add("WAL", "about " + bytes_text(guess.wal_bytes));
    if (backfill.kind == WorkKind::kUpdate) add("growth", growth_text(report));
  }
  steps("contract", report.contract);
  if (!report.warnings.empty()) text += "\n";
  for (auto const& warning : report.warnings) text += "note: " + warning + "\n";
  return text;
}

boost::json::object json_of(planner::Action const& action) {
  boost::json::array locks;
  for (auto const& lock : action.locks) {
    locks.push_back({{"relation", lock.relation},
                     {"mode", std::string(planner::lock_words(lock.mode))},
                     {"stops", std::string(planner::lock_stops(lock.mode))}});
  }
  char const* const effort = action.effort == planner::Effort::kCatalog ? "catalog"
                             : action.effort == planner::Effort::kScan  ? "scan"
                                                                        : "index build";
  return {{"sql", action.sql},
          {"locks", std::move(locks)},
          {"effort", effort},
          {"in_transaction", action.way != planner::Way::kConcurrent}};
}

boost::json::object json_of(PlannedStep const& planned) {
  boost::json::object object;
  if (auto const* run = std::get_if<planner::RunSql>(&planned.step.detail->kind)) {
    object["sql"] = run->sql;
    if (run->down) object["down"] = *run->down;
    return object;
  }
  auto const& recipe = planned.recipe;
  object["step"] = planned.step.text;
  object["title"] = recipe.title;
  object["risk"] = std::string(planner::risk_word(recipe.risk));
  object["reason"] = recipe.reason;
  object["done"] = planned.is_recorded;
  object["table_bytes"] = planned.table_bytes;
  boost::json::array statements;
  for (auto const& action : recipe.actions) {
    if (action.needed != "false") statements.push_back(json_of(action));
  }
  object["statements"] = std::move(statements);
  boost::json::array undo;
  for (auto const& action : recipe.undo) undo.push_back(json_of(action));
  object["undo"] = std::move(undo);
  if (!recipe.way_back.empty()) object["way_back"] = recipe.way_back;
  if (!recipe.no_way_back.empty()) object["no_way_back"] = recipe.no_way_back;
  return object;
}

boost::json::object json_of(PlanReport const& report) {
  boost::json::object document;
  document["migration"] = report.migration.name;
  document["file"] = report.migration.file;
  auto const steps = [](std::vector<PlannedStep> const& list) {
    boost::json::array array;
    for (auto const& planned : list) array.push_back(json_of(planned));
    return array;
  };
  document["expand"] = steps(report.expand);
  document["sync"] = steps(report.sync);
  document["contract"] = steps(report.contract);
  boost::json::array warnings;
  for (auto const& warning : report.warnings) warnings.emplace_back(warning);
  document["notes"] = std::move(warnings);
  if (report.job) document["job_status"] = state::status_name(report.job->status);
  if (!report.migration.backfill || report.ranges.empty()) return document;
  boost::json::object backfill;
  backfill["table"] = planner::quote_qualified(report.preflight.table.schema, report.preflight.table.name);
  backfill["rows_estimated"] = report.rows;
  backfill["rows_guessed"] = report.rows_guessed;
  backfill["heap_bytes"] = report.heap_bytes;
  backfill["ranges"] = report.range_count;
  boost::json::array leaves;
  for (std::size_t leaf = 0; leaf < report.preflight.keys.size(); ++leaf) {
    boost::json::object object;
    object["relation"] = report.preflight.targets[leaf].relation;
    object["key"] = key_text(report.preflight.keys[leaf]);
    object["rows_estimated"] = report.preflight.table.leaves[leaf].rows_estimated;
    object["ranges"] = report.ranges[leaf].ranges.size();
    leaves.push_back(std::move(object));
  }
  backfill["leaves"] = std::move(leaves);
  backfill["batch_sql"] = report.batch_sql;
  boost::json::array explain;
  for (auto const& line : report.explain) explain.emplace_back(line);
  backfill["explain"] = std::move(explain);
  auto const guess = estimate(report);
  backfill["seconds_estimated"] = guess.seconds;
  if (report.sample) {
    boost::json::object sample;
    sample["rows"] = report.sample->rows;
    sample["milliseconds"] = report.sample->milliseconds;
    sample["wal_bytes"] = report.sample->wal_bytes;
    sample["full_page_images"] = report.sample->full_page_images;
    backfill["sample"] = std::move(sample);
    backfill["wal_bytes_estimated"] = guess.wal_bytes;
  }
  if (report.migration.backfill->kind == WorkKind::kUpdate) {
    auto const growth = estimate_growth(report, limits_of(setting_texts(report.migration.throttle), {}).limits);
    backfill["heap_bytes_without_vacuum"] = static_cast<std::int64_t>(growth.bytes_without_vacuum);
    backfill["heap_bytes_expected"] = static_cast<std::int64_t>(growth.bytes_with_budget);
  }
  document["backfill"] = std::move(backfill);
  return document;
}

// Connections look for the primary; a plan alone could do with a standby.
asio::awaitable<std::shared_ptr<PgConnection>> connect_to_read(CommandContext& context) {
  try {
    auto connection = co_await context.connect();
    co_return connection;
  } catch (CommandError const& error) {
    bool const is_standby = error.text.find("hot standby") != std::string::npos;
    if (!is_standby) throw;
    throw CommandError{error.exit_code,
                       error.text + "; plan only reads: to plan on a standby, add target_session_attrs=any"};
  }
}

asio::awaitable<int> plan(CommandContext& context, PlanOptions options) {
  auto const loaded = load_migration(options.file);
  auto connection = co_await connect_to_read(context);
  auto const report = co_await make_report(*connection, loaded.migration, options.sample);
  if (context.is_json()) {
    context.print(json_of(report));
  } else {
    context.print(text_of(report));
  }
  co_return kExitDone;
}

}  // namespace

int plan_command(CommandContext& context, PlanOptions const& options) {
  return context.run(plan(context, options));
}

}  // namespace pgbackfill::engine
