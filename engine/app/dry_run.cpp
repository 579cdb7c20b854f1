#include "engine/app/dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/plan/compute_sample.h"
#include "engine/process/listed_files.h"
#include "engine/run/job_setup.h"
#include "engine/state/typed_rows.h"
#include "planner/file/migration_file.h"
#include "planner/model/short_line.h"
#include "planner/model/sql_text.h"
#include "planner/model/work_kind.h"
#include "planner/steps/step_order.h"
#include "planner/work/trial_sql.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::WorkKind;

constexpr std::int64_t kRowsTried = 1'000;
// Where no row of a page is to be changed, the next ones are longer.
constexpr std::int64_t kMostRowsTried = 50'000;
constexpr auto kTryFor = 20'000ms;
constexpr auto kCountFor = 30'000ms;
constexpr auto kTrialTimeout = 30'000ms;
constexpr auto kLockWait = 1'000ms;
constexpr int kRowsShown = 5;
constexpr std::size_t kMostShown = 300;

struct ShownRow {
  std::string key;
  std::optional<std::string> before;  // JSON
  std::optional<std::string> behind;  // of a row that goes: nothing
};

struct Trial {
  std::string relation;
  std::string up_to;  // the last key
  std::int64_t rows = 0;
  std::int64_t changed = 0;
  std::chrono::milliseconds took{0};
  std::vector<ShownRow> shown;
  std::vector<std::string> answers;  // of a program
  std::string failure;               // what the server says; empty: nothing
};

struct DryRun {
  std::string name;
  std::string table;
  std::string verb;                  // what becomes of rows
  std::optional<std::int64_t> left;  // rows that satisfy `where`, counted
  std::int64_t estimated = 0;        // of the table
  std::optional<std::int64_t> keys;  // that it is kept to
  std::string missing_keys;          // those that are in no row; empty: none
  std::optional<Trial> trial;        // none: no row was to be changed
  std::int64_t passed = 0;           // rows before it that were not to be
  std::vector<std::string> not_covered;
};

// --- what is asked ---------------------------------------------------------------------------------------------------

// Each leaf by itself; nothing when they take too long together.
asio::awaitable<std::optional<std::int64_t>> count_left(PgConnection& connection, Preflight const& preflight) {
  auto const give_up_at = std::chrono::steady_clock::now() + kCountFor;
  std::int64_t count = 0;
  planner::Interval const whole;
  for (auto const& target : preflight.targets) {
    auto const left =
        std::chrono::duration_cast<std::chrono::milliseconds>(give_up_at - std::chrono::steady_clock::now());
    if (left <= 0ms) co_return std::nullopt;
    std::vector<Statement> statements = {users_sql(planner::remaining_by_where_sql(target, whole))};
    auto const counted = co_await read_only(connection, std::move(statements), left);
    if (!counted) co_return std::nullopt;
    count += state::value_as<std::int64_t>(*counted);
  }
  co_return count;
}

// The next rows behind `lo`; without keys a part of the blocks.
asio::awaitable<planner::Page> next_page(PgConnection& connection, planner::WorkTarget const& target, planner::Bound lo,
                                         std::int64_t rows) {
  planner::Page page;
  if (target.key.is_by_block()) {
    constexpr std::int64_t kRowsOfABlock = 50;
    auto const last = value_or_throw(co_await read_last_key(connection, target), "looking for the last block");
    std::int64_t const from = lo ? std::stoll(lo->front()) : -1;
    std::int64_t const to = from + std::max<std::int64_t>(rows / kRowsOfABlock, 1);
    page.rows = rows;
    if (last && to < std::stoll(last->front())) page.last = planner::KeyValue{std::to_string(to)};
    co_return page;
  }
  planner::Interval const rest{lo, std::nullopt};
  auto const found = value_or_throw(co_await query_read_only(connection, planner::look_ahead_sql(target, rest, rows)),
                                    "looking for the first rows");
  co_return state::page_of(found.rows.at(0));
}

state::LocalSettings settings_of_trial(planner::Backfill const& backfill, std::string const& migration, int version) {
  state::LocalSettings settings;
  settings.statement_timeout = kTrialTimeout;
  settings.lock_timeout = kLockWait;
  settings.skip_triggers = backfill.triggers == planner::TriggerMode::kSkip;
  settings.migration = migration;
  settings.server_version = version;
  return settings;
}

// ROLLBACK is part of the pipeline; should the link break, the server rolls back as well.
asio::awaitable<Trial> try_rows(PgConnection& connection, planner::WorkTarget target, planner::Interval interval,
                                std::string migration) {
  Trial trial;
  trial.relation = target.relation;
  bool const is_watched = planner::changes_its_rows(target);
  std::vector<Statement> statements = {
      "BEGIN", state::local_settings(settings_of_trial(target.backfill, migration, connection.server_version()))};
  statements.push_back(users_sql(is_watched ? planner::watch_rows_sql(target, interval)
                                            : planner::copied_rows_sql(target, interval, kRowsShown)));
  std::size_t const shown_at = is_watched ? statements.size() + 1 : statements.size() - 1;
  std::size_t const work_at = statements.size();
  statements.push_back(users_sql(planner::plain_work(target, interval)));
  if (is_watched) statements.push_back(users_sql(planner::changed_rows_sql(target, interval, kRowsShown)));
  statements.emplace_back("ROLLBACK");
  Deadlines const deadlines{kTrialTimeout, kTrialTimeout * 3};
  auto const began = std::chrono::steady_clock::now();
  auto results = co_await connection.pipeline(std::move(statements), deadlines);
  trial.took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
  if (!results) {
    if (is_of_the_moment(results.error())) throw error_of(results.error(), "trying the first rows");
    // The transaction has failed, and is still open.
    co_await connection.query("ROLLBACK", Deadlines());
    trial.failure = fmt::format("{} ({})", results.error().message, results.error().sqlstate);
    co_return trial;
  }
  auto const& work = results->at(work_at);
  trial.changed = work.rows.empty() ? work.affected : std::stoll(work.rows.front().front().value_or("0"));
  trial.shown = state::rows_as<ShownRow>(results->at(shown_at));
  co_return trial;
}

// Page by page, until some row is changed.
asio::awaitable<void> try_work(CommandContext& context, PgConnection& connection, Preflight const& preflight,
                               std::optional<std::int64_t> limit, DryRun& dry) {
  auto const give_up_at = std::chrono::steady_clock::now() + kTryFor;
  for (auto const& target : preflight.targets) {
    planner::Bound lo;
    for (std::int64_t rows = limit.value_or(kRowsTried); std::chrono::steady_clock::now() < give_up_at;
         rows = std::min(2 * rows, std::max(kMostRowsTried, rows))) {
      auto const page = co_await next_page(connection, target, lo, rows);
      planner::Interval const interval{lo, page.last};
      if (page.rows == 0) break;
      Trial trial;
      if (target.backfill.compute) {
        trial.relation = target.relation;
        trial.answers = co_await sample_answers(connection, target, interval, dry.name);
      } else {
        trial = co_await try_rows(connection, target, interval, dry.name);
      }
      trial.rows = page.rows;
      trial.up_to = planner::to_string(page.last, "the end");
      bool const is_found = trial.changed > 0 || !trial.failure.empty() || !trial.answers.empty();
      if (is_found) {
        dry.trial = std::move(trial);
        co_return;
      }
      dry.passed += page.rows;
      if (!page.last || context.interrupts().is_asked()) break;
      lo = page.last;
    }
  }
}

std::vector<std::string> not_covered(planner::Migration const& migration, Preflight const& preflight,
                                     bool has_prepared) {
  std::vector<std::string> texts = {"the other rows: one of them may fail, or be held by somebody"};
  auto const& backfill = *migration.backfill;
  if (!migration.expand.empty() || !migration.contract.empty()) {
    texts.emplace_back("the steps of expand and contract: `pgbackfill plan` shows them");
  }
  if (has_prepared) texts.emplace_back("prepare, whose queries stand in their places: batches take less time");
  if (migration.sync) texts.emplace_back("the trigger of sync, and what applications write meanwhile");
  if (!migration.hooks.empty()) texts.emplace_back("the hooks");
  if (!migration.verify.empty()) texts.emplace_back("the checks of verify, which look at the end");
  if (backfill.compute) texts.emplace_back("the writing of what the program answers; what else the program did stays");
  if (!preflight.table.triggers.empty())
    texts.emplace_back("what triggers of the table did outside of the database, which stays");
  texts.emplace_back("the pace: replicas, locks and growth; `plan --sample` estimates the time");
  return texts;
}

// --- words -----------------------------------------------------------------------------------------------------------

std::string value_text(boost::json::value const& value) {
  return planner::short_line(boost::json::serialize(value), kMostShown);
}

boost::json::object object_of(std::optional<std::string> const& text) {
  if (!text) return {};
  auto const value = boost::json::parse(*text);
  return value.is_object() ? value.as_object() : boost::json::object();
}

// "display_name: null -> "ADA"".
std::string changes_text(ShownRow const& row) {
  auto const before = object_of(row.before);
  auto const behind = object_of(row.behind);
  if (row.before && !row.behind) return "goes: " + value_text(before);
  std::vector<std::string> parts;
  for (auto const& [name, value] : behind) {
    auto const* was = before.if_contains(name);
    std::string const arrow = was == nullptr ? "" : value_text(*was) + " -> ";
    parts.push_back(fmt::format("{}: {}{}", neutralised(std::string(name)), arrow, value_text(value)));
  }
  return planner::join(parts, ", ");
}

std::string text_of(DryRun const& dry) {
  std::string text = fmt::format("dry run of {}: all of it was rolled back\n", neutralised(dry.name));
  text += fmt::format("  table    {}, about {} rows\n", neutralised(dry.table), human_count(dry.estimated));
  if (dry.keys) text += fmt::format("  keys     {}, and no other rows\n", human_count(*dry.keys));
  if (!dry.missing_keys.empty()) text += "  missing  " + neutralised(dry.missing_keys) + "\n";
  if (dry.left) text += fmt::format("  left     {} rows satisfy `where`, counted\n", human_count(*dry.left));
  if (dry.passed > 0) text += fmt::format("  passed   {} rows that are not to be changed\n", human_count(dry.passed));
  if (!dry.trial) {
    text += "  tried    no row to be changed was found\n";
  } else {
    auto const& trial = *dry.trial;
    std::string const what = !trial.failure.empty()  ? "failed: " + neutralised(trial.failure)
                             : trial.answers.empty() ? fmt::format("{} {} in {}", human_count(trial.changed), dry.verb,
                                                                   human_duration(trial.took))
                                                     : "the program was asked for the first ones";
    text += fmt::format("  tried    the {} rows of {} up to {}: {}\n", human_count(trial.rows),
                        neutralised(trial.relation), neutralised(trial.up_to), what);
    for (auto const& row : trial.shown) {
      text += fmt::format("  row      {}: {}\n", neutralised(row.key), neutralised(changes_text(row)));
    }
    bool const shows_none = trial.shown.empty() && trial.failure.empty() && trial.answers.empty();
    if (shows_none)
      text += "  row      none of the first rows of the table is another one: the work is on other rows\n";
    for (auto const& line : trial.answers) text += "  answer   " + neutralised(line) + "\n";
  }
  for (auto const& one : dry.not_covered) text += "  not      " + one + "\n";
  return text;
}

boost::json::object json_of(DryRun const& dry) {
  boost::json::object document{{"migration", dry.name}, {"table", dry.table}, {"rows_estimated", dry.estimated}};
  if (dry.keys) document["keys"] = *dry.keys;
  if (!dry.missing_keys.empty()) document["missing_keys"] = valid_utf8(dry.missing_keys);
  if (dry.left) document["rows_left"] = *dry.left;
  document["rows_passed"] = dry.passed;
  if (dry.trial) {
    auto const& trial = *dry.trial;
    boost::json::array rows;
    for (auto const& row : trial.shown) {
      boost::json::object shown{{"key", valid_utf8(row.key)}};
      if (row.before) shown["before"] = object_of(row.before);
      if (row.behind) shown["after"] = object_of(row.behind);
      rows.emplace_back(std::move(shown));
    }
    boost::json::array answers;
    for (auto const& line : trial.answers) answers.emplace_back(valid_utf8(line));
    document["tried"] = {
        {"relation", trial.relation},   {"up_to", valid_utf8(trial.up_to)},   {"rows", trial.rows},
        {"changed", trial.changed},     {"milliseconds", trial.took.count()}, {"rows_shown", std::move(rows)},
        {"answers", std::move(answers)}};
    if (!trial.failure.empty()) document["failure"] = valid_utf8(trial.failure);
  }
  boost::json::array not_tried;
  for (auto const& one : dry.not_covered) not_tried.emplace_back(one);
  document["not_covered"] = std::move(not_tried);
  return document;
}

}  // namespace

asio::awaitable<int> dry_run(CommandContext& context, RunOptions options) {
  auto loaded = load_migration(context, options.file);
  auto const& migration = loaded.migration;
  take_inputs(loaded);
  if (!migration.backfill) {
    throw CommandError{kExitUsage, migration.name + " has no backfill to be tried; `pgbackfill plan` shows its steps"};
  }
  auto const connection = co_await context.connect();
  co_await context.adopt_settings_aloud(*connection, migration.name);
  co_await bind_only_keys(*connection, loaded);
  auto const preflight =
      value_or_throw(co_await check_backfill(*connection, *migration.backfill), "checking the backfill");
  if (!preflight.problems.empty()) {
    bool const may_come = may_come_with_expand(preflight, migration);
    throw CommandError{
        may_come ? kExitGateClosed : kExitUsage,
        planner::to_lines(preflight.problems) +
            (may_come ? "\nsteps of expand may make it: run them first, as `run` does; nothing was tried" : "")};
  }
  DryRun dry;
  dry.name = migration.name;
  dry.table = planner::quote_qualified(preflight.table.schema, preflight.table.name);
  dry.verb = planner::done_word(*migration.backfill);
  for (auto const& leaf : preflight.table.leaves) dry.estimated += leaf.rows_estimated;
  dry.keys = count_of_keys(loaded);
  if (dry.keys) dry.missing_keys = co_await missing_keys_text(*connection, preflight.targets.front(), *dry.keys);
  if (!migration.backfill->where.empty()) dry.left = co_await count_left(*connection, preflight);
  co_await try_work(context, *connection, preflight, options.limit, dry);
  dry.not_covered = not_covered(migration, preflight, !loaded.prepared.empty());
  if (context.is_json()) {
    context.print(json_of(dry));
  } else {
    context.print(text_of(dry));
  }
  co_return dry.trial && !dry.trial->failure.empty() ? kExitFailed : kExitDone;
}

}  // namespace pgbackfill::engine
