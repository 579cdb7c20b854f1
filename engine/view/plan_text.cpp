#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "engine/base/text.h"
#include "engine/view/plan_verdict.h"
#include "engine/view/plan_view.h"
#include "planner/model/duration.h"
#include "planner/model/sql_text.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

using planner::lint::Work;

constexpr int kLabelColumns = 13;
constexpr int kLeastColumns = 30;
constexpr std::size_t kMostSqlShown = 1'000;

std::string bytes_text(double bytes) {
  char const* const units[] = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

std::string growth_text(PlannedBackfill const& backfill) {
  auto const& growth = *backfill.growth;
  std::string const before = bytes_text(static_cast<double>(backfill.heap_bytes));
  std::string const without = bytes_text(growth.bytes_without_vacuum);
  if (growth.bytes_with_budget < growth.bytes_without_vacuum) {
    return fmt::format(
        "heap {} -> {} with VACUUM between the parts (throttle.bloat {:.0f} %), {} without; more if rows get "
        "wider",
        before, bytes_text(growth.bytes_with_budget), growth.budget * 100, without);
  }
  return fmt::format("heap {} -> up to {} before vacuum makes room again (an updated row leaves its old version)",
                     before, without);
}

std::string work_text(PlannedStatement const& statement, std::int64_t table_bytes) {
  std::string const size = table_bytes > 0 ? " (" + bytes_text(static_cast<double>(table_bytes)) + ")" : "";
  switch (statement.work) {
    case Work::kNone:
      return "changes the catalog only";
    case Work::kSample:
      return "reads a sample of the table";
    case Work::kScan:
      return "reads the table" + size;
    case Work::kIndexBuild:
      return "builds an index over the table" + size;
    case Work::kRewrite:
    case Work::kAllRows:
      return std::string(planner::lint::work_words(statement.work)) + size;
  }
  return "";
}

std::string lock_text(PlannedStatement const& statement) {
  std::vector<std::string> locks;
  for (auto const& lock : statement.locks) {
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

// A step may be a block of code as long as a page; its title says what it does.
std::string abridged(std::string sql) {
  if (sql.size() <= kMostSqlShown) return sql;
  auto const end = sql.find_last_of(" \n", kMostSqlShown / 4);
  auto const begin = sql.substr(0, end == std::string::npos ? kMostSqlShown / 4 : end);
  return fmt::format("{} ... ({} characters; --format json and markdown show them)", begin,
                     human_count(static_cast<std::int64_t>(sql.size())));
}

std::string statement_text(PlannedStatement const& statement, std::int64_t table_bytes) {
  return fmt::format("{}; {}{}; {}{}", lock_text(statement), work_text(statement, table_bytes),
                     statement.is_measured ? ", tried on an empty copy" : "",
                     planner::duration_word(statement.duration), statement.is_alone ? "; outside a transaction" : "");
}

// Sentences are folded to the terminal, SQL is left in one piece for copying.
struct Sheet {
  std::string text;
  int columns;

  void add(std::string const& begin, std::string const& words) {
    std::string prefix = begin;
    for (auto const& line :
         folded(neutralised(words), std::max(columns - static_cast<int>(begin.size()), kLeastColumns))) {
      text += prefix + line + "\n";
      prefix.assign(begin.size(), ' ');
    }
  }
};

void add_step_text(Sheet& sheet, char const* title, PlannedStep const& step) {
  std::string const indent(kLabelColumns, ' ');
  auto const add = [&](std::string const& words) { sheet.add(indent, words); };
  auto const add_sql = [&](std::string const& sql) { sheet.text += indent + sql + "\n"; };
  bool const is_in_list = step.phase != planner::kSyncPhase || step.number == 1;
  sheet.text += fmt::format("  {:<11}{}{}{}\n", title, is_in_list ? fmt::format("{}. ", step.number) : "",
                            step.is_sql ? step.sql : neutralised(step.title), step.is_recorded ? " (done)" : "");
  add(fmt::format("risk {}: {}", planner::risk_word(step.risk), step.reason));
  for (auto const& statement : step.statements) {
    if (!step.is_sql) add_sql("- " + abridged(shown_sql(statement.sql)));
    sheet.add(indent + "  ", statement_text(statement, step.table_bytes));
  }
  if (!step.safe_form.empty()) add("so because: " + step.safe_form);
  if (!step.advice.empty()) add("instead: " + step.advice);
  for (auto const& other : step.others) add(fmt::format("other: {} {}", other.relation, other.words));
  if (step.down) add_sql("down: " + *step.down);
  for (auto const& statement : step.undo) add_sql("down: " + shown_sql(statement.sql));
  if (step.undo.empty() && !step.way_back.empty()) add("down: " + step.way_back);
  if (!step.no_way_back.empty()) add("no way back: " + step.no_way_back);
}

void add_line(Sheet& sheet, char const* title, std::string const& value) {
  sheet.add(fmt::format("  {:<11}", title), value);
}

void add_estimate(Sheet& sheet, PlannedBackfill const& backfill) {
  if (backfill.sample && backfill.sample->is_of_copy) {
    add_line(sheet, "sample",
             fmt::format("{} rows in {:.1f} ms on a temporary copy of them, {:.0f} bytes more a row, rolled back",
                         human_count(backfill.sample->rows), backfill.sample->milliseconds,
                         backfill.sample->bytes_more_per_row));
  } else if (backfill.sample) {
    add_line(
        sheet, "sample",
        fmt::format("{} rows in {:.1f} ms, {} of WAL ({} full-page images), rolled back",
                    human_count(backfill.sample->rows), backfill.sample->milliseconds,
                    bytes_text(static_cast<double>(backfill.sample->wal_bytes)), backfill.sample->full_page_images));
  }
  auto const time = human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(backfill.seconds * 1000)));
  add_line(sheet, "time",
           backfill.sample ? "about " + time + " at the sample's pace, if nothing holds it back"
                           : "about " + time + " by rule of thumb; --sample measures a batch");
  if (backfill.wal_bytes) {
    bool const is_measured = backfill.sample && !backfill.sample->is_of_copy;
    add_line(sheet, "WAL",
             "about " + bytes_text(*backfill.wal_bytes) + (is_measured ? "" : " by rule of thumb, if all rows change"));
  }
  if (backfill.growth) add_line(sheet, "growth", growth_text(backfill));
}

void add_backfill(Sheet& sheet, PlannedBackfill const& backfill) {
  char const* const guess_note = backfill.rows_guessed ? " (a guess from its size: never analyzed)" : "";
  add_line(sheet, "table",
           fmt::format("{}, about {} rows{}, {} of heap{}", backfill.table, human_count(backfill.rows), guess_note,
                       bytes_text(static_cast<double>(backfill.heap_bytes)),
                       backfill.is_partitioned ? fmt::format(", {} partitions", backfill.leaves.size()) : ""));
  for (std::size_t leaf = 0; leaf < backfill.leaves.size(); ++leaf) {
    auto const& key = backfill.leaves[leaf].key;
    if (leaf > 0 && key == backfill.leaves[leaf - 1].key) continue;
    add_line(sheet, "key", key + (backfill.is_partitioned ? " on " + backfill.leaves[leaf].relation : ""));
  }
  add_line(sheet, "risk", fmt::format("{}: {}", planner::risk_word(backfill.risk), backfill.reason));
  add_line(sheet, "way back", backfill.way_back);
  if (!backfill.program.empty()) add_line(sheet, "program", backfill.program);
  add_line(sheet, "ranges", fmt::format("{}, {} workers", backfill.ranges, backfill.workers));
  add_line(sheet, "batch",
           fmt::format("{} to {} rows, sized to take {}; {} commit; statement_timeout {}",
                       human_count(backfill.batch.min_rows), human_count(backfill.batch.max_rows),
                       planner::format_duration(backfill.batch.target),
                       backfill.commit == planner::CommitMode::kAsync ? "asynchronous" : "synchronous",
                       planner::format_duration(backfill.batch.target * 4)));
  if (!backfill.batch_sql.empty()) {
    sheet.text += "\nthe batch, here the first:\n" + backfill.batch_sql + "\n";
    if (!backfill.explain.empty()) sheet.text += "\nits plan:\n";
    for (auto const& line : backfill.explain) sheet.text += "  " + neutralised(line) + "\n";
    if (!backfill.answers.empty()) sheet.text += "\nwhat the program makes of the first rows (written nowhere):\n";
    for (auto const& line : backfill.answers) sheet.text += "  " + neutralised(line) + "\n";
  }
  sheet.text += "\n";
  add_estimate(sheet, backfill);
}

}  // namespace

std::string plan_text(PlanReport const& report, int columns) {
  Sheet sheet{fmt::format("migration {} ({})\n", neutralised(report.migration), neutralised(report.file)), columns};
  auto const verdict = verdict_of(report);
  add_line(sheet, "verdict", verdict_text(verdict));
  for (auto const& one : verdict.blocking) add_line(sheet, "stops", one);
  for (auto const& one : verdict.destroyed) add_line(sheet, "destroys", one);
  if (!report.job_status.empty()) add_line(sheet, "state", "a job of this name exists and is " + report.job_status);
  for (auto const& one : report.critical_drift) add_line(sheet, "drift!", one + "; run refuses without --accept-drift");
  for (auto const& one : report.drift) add_line(sheet, "drift", one);
  for (auto const& step : report.expand) add_step_text(sheet, "expand", step);
  for (auto const& step : report.sync) add_step_text(sheet, "sync", step);
  if (report.backfill) add_backfill(sheet, *report.backfill);
  for (auto const& hook : report.hooks) sheet.text += fmt::format("  {:<11}{}\n", "hook", neutralised(hook));
  for (auto const& one : report.told) sheet.text += fmt::format("  {:<11}{}\n", "told", neutralised(one));
  for (auto const& one : report.from_config) sheet.text += fmt::format("  {:<11}{}\n", "config", neutralised(one));
  for (auto const& check : report.verify) sheet.text += fmt::format("  {:<11}{}\n", "verify", neutralised(check));
  for (auto const& step : report.contract) add_step_text(sheet, "contract", step);
  if (!report.notes.empty()) sheet.text += "\n";
  for (auto const& note : report.notes) sheet.add("note: ", note);
  return std::move(sheet.text);
}

}  // namespace pgbackfill::engine
