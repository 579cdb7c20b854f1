#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/markdown.h"
#include "engine/view/plan_verdict.h"
#include "engine/view/plan_view.h"
#include "planner/model/duration.h"

namespace pgbackfill::engine {

namespace {

using planner::lint::Work;

struct RowOfPlan {
  std::string phase;
  std::string step;
  std::string lock;
  std::string work;
  std::string duration;
  std::string others;
  std::string risk;
  std::string way_back;
};

// Cells hold Markdown already.
std::string line_of(RowOfPlan const& row) {
  return fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", row.phase, row.step, row.lock, row.work,
                     row.duration, row.others, row.risk, row.way_back);
}

std::string locks_of(PlannedStep const& step) {
  std::vector<std::string> seen;
  std::string text;
  for (auto const& statement : step.statements) {
    for (auto const& lock : statement.locks) {
      auto const words = fmt::format("{} on {}", planner::lock_words(lock.mode), markdown_code(lock.relation));
      if (std::find(seen.begin(), seen.end(), words) != seen.end()) continue;
      seen.push_back(words);
      text += (text.empty() ? "" : "; ") + words;
    }
  }
  return text.empty() ? "none" : text;
}

std::string work_of(PlannedStep const& step) {
  Work heaviest = Work::kNone;
  for (auto const& statement : step.statements) heaviest = std::max(heaviest, statement.work);
  if (heaviest == Work::kNone) return "the catalog only";
  std::string const size = step.table_bytes > 0 ? " (" + human_bytes(step.table_bytes) + ")" : "";
  bool const is_measured = step.statements.front().is_measured;
  return std::string(planner::lint::work_words(heaviest)) + size + (is_measured ? ", tried on an empty copy" : "");
}

std::string way_back_of(PlannedStep const& step) {
  if (!step.no_way_back.empty()) return "**none**: " + markdown_text(step.no_way_back);
  if (step.down) return markdown_code(*step.down);
  if (!step.way_back.empty()) return markdown_text(step.way_back);
  std::string text;
  for (auto const& statement : step.undo) text += (text.empty() ? "" : "; ") + markdown_code(statement.sql);
  return text.empty() ? "nothing to undo" : text;
}

RowOfPlan row_of(char const* phase, PlannedStep const& step) {
  RowOfPlan row;
  row.phase = phase;
  row.step = markdown_code(step.text) + (step.is_recorded ? " (done)" : "");
  row.lock = locks_of(step);
  row.work = work_of(step);
  row.duration = planner::duration_word(step.duration);
  for (auto const& other : step.others) {
    row.others += (row.others.empty() ? "" : "; ") + markdown_code(other.relation) + " " + markdown_text(other.words);
  }
  if (row.others.empty()) row.others = "none";
  row.risk = fmt::format("{}: {}", planner::risk_word(step.risk), markdown_text(step.reason));
  row.way_back = way_back_of(step);
  return row;
}

RowOfPlan row_of(PlannedBackfill const& backfill) {
  RowOfPlan row;
  row.phase = "backfill";
  row.step = markdown_text(backfill.title) + " in " + markdown_code(backfill.table);
  row.lock = "rows of one batch, for " + planner::format_duration(backfill.batch.target);
  row.work = fmt::format("about {} rows, {} of heap, in {} ranges", human_count(backfill.rows),
                         human_bytes(backfill.heap_bytes), backfill.ranges);
  row.duration = planner::duration_word(planner::duration_class(backfill.seconds));
  row.others = "none";
  row.risk = fmt::format("{}: {}", planner::risk_word(backfill.risk), markdown_text(backfill.reason));
  row.way_back = markdown_text(backfill.way_back);
  return row;
}

void add_list(std::string& text, std::string const& title, std::vector<std::string> const& items) {
  if (items.empty()) return;
  text += fmt::format("\n**{}**\n\n", title);
  for (auto const& item : items) text += "- " + item + "\n";
}

std::vector<std::string> as_text(std::vector<std::string> const& texts) {
  std::vector<std::string> items;
  for (auto const& text : texts) items.push_back(markdown_text(text));
  return items;
}

std::vector<std::string> forms_of(PlanReport const& report) {
  std::vector<std::string> items;
  for (auto const* steps : {&report.expand, &report.sync, &report.contract}) {
    for (auto const& step : *steps) {
      std::string const& why = step.is_sql ? step.advice : step.safe_form;
      if (why.empty()) continue;
      items.push_back(fmt::format("{}: {}{}", step_place(step), step.is_sql ? "better " : "", markdown_text(why)));
    }
  }
  return items;
}

std::vector<std::string> estimates_of(PlannedBackfill const& backfill) {
  auto const time = human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(backfill.seconds * 1000)));
  std::vector<std::string> items;
  items.push_back(fmt::format("time: about {} with {} workers, {}", time, backfill.workers,
                              backfill.sample ? "at the pace of a measured batch, if nothing holds it back"
                                              : "by rule of thumb (`--sample` measures a batch)"));
  if (backfill.rows_guessed) items.emplace_back("rows: a guess from the size, because the table was never analyzed");
  if (backfill.wal_bytes) {
    bool const is_measured = backfill.sample && !backfill.sample->is_of_copy;
    items.push_back(fmt::format("WAL: about {}{}", human_bytes(static_cast<std::int64_t>(*backfill.wal_bytes)),
                                is_measured ? "" : ", by rule of thumb"));
  }
  if (backfill.growth) {
    items.push_back(fmt::format("growth: heap {} to {} with VACUUM between the parts, {} without",
                                human_bytes(backfill.heap_bytes),
                                human_bytes(static_cast<std::int64_t>(backfill.growth->bytes_with_budget)),
                                human_bytes(static_cast<std::int64_t>(backfill.growth->bytes_without_vacuum))));
  }
  return items;
}

std::string sql_of(PlanReport const& report) {
  std::string sql;
  auto const add = [&](std::string const& title, std::string statement) {
    // A line break ends the user's comment.
    bool const has_comment = statement.find("--") != std::string::npos;
    while (!has_comment && (statement.ends_with('\n') || statement.ends_with(' '))) statement.pop_back();
    sql += (sql.empty() ? "-- " : "\n-- ") + neutralised(title) + "\n" + statement + ";\n";
  };
  auto const add_steps = [&](std::vector<PlannedStep> const& steps) {
    for (auto const& step : steps) {
      std::string const title = step_place(step) + (step.is_sql ? "" : ": " + step.title);
      for (auto const& statement : step.statements) {
        add(title + (statement.is_alone ? ", outside a transaction" : ""), statement.sql);
      }
    }
  };
  add_steps(report.expand);
  add_steps(report.sync);
  if (report.backfill && !report.backfill->batch_sql.empty())
    add("backfill, its first batch", report.backfill->batch_sql);
  add_steps(report.contract);
  if (!sql.empty()) sql.pop_back();
  return sql;
}

}  // namespace

std::string plan_markdown(PlanReport const& report) {
  auto const verdict = verdict_of(report);
  std::string text =
      fmt::format("### pgbackfill plan of {}: {}\n\n", markdown_text(report.migration), verdict_text(verdict));
  if (!report.job_status.empty()) text += "A job of this name exists and is " + report.job_status + ".\n\n";
  if (verdict.blocking.empty()) {
    text += "Nothing stops reads or writes for longer than milliseconds, once it has its lock.\n\n";
  }
  text +=
      "| phase | step | lock | reads or writes | takes | other relations | risk | way back |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (auto const& step : report.expand) text += line_of(row_of("expand", step));
  for (auto const& step : report.sync) text += line_of(row_of("sync", step));
  if (report.backfill) text += line_of(row_of(*report.backfill));
  for (auto const& step : report.contract) text += line_of(row_of("contract", step));
  add_list(text, "Stops others for longer", as_text(verdict.blocking));
  add_list(text, "`complete` destroys, and asks for an approval first", as_text(verdict.destroyed));
  add_list(text, "Changed by others since the first run; `run` refuses without `--accept-drift`",
           as_text(report.critical_drift));
  add_list(text, "Changed by others since the first run", as_text(report.drift));
  add_list(text, "Hooks", as_text(report.hooks));
  add_list(text, "Who is told", as_text(report.told));
  add_list(text, "From the common configuration", as_text(report.from_config));
  add_list(text, "Checked before `complete`", as_text(report.verify));
  add_list(text, "Why it is done so", forms_of(report));
  if (report.backfill) add_list(text, "Estimate", estimates_of(*report.backfill));
  add_list(text, "Notes", as_text(report.notes));
  std::string const sql = sql_of(report);
  if (sql.empty()) return text;
  return text + "\n<details><summary>SQL, in order</summary>\n\n" + markdown_fence("sql", sql) + "\n</details>\n";
}

}  // namespace pgbackfill::engine
