#include "engine/view/report_sections.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/html.h"
#include "engine/view/report_charts.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMostMarksListed = 300;

}  // namespace

std::string section_html(std::string const& title, std::string const& content) {
  if (content.empty()) return "";
  return "<section>\n<h2>" + html_text(title) + "</h2>\n" + content + "</section>\n";
}

std::string table_html(std::string const& caption, CellRow const& titles, std::vector<CellRow> const& rows) {
  if (rows.empty()) return "";
  std::string html = "<table>\n<caption class=\"unseen\">" + caption + "</caption>\n<thead><tr>";
  for (auto const& title : titles) html += "<th scope=\"col\">" + title + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (auto const& row : rows) {
    html += "<tr>";
    for (std::size_t at = 0; at < row.size(); ++at) {
      html += "<td data-label=\"" + titles.at(at) + "\">" + row[at] + "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</tbody>\n</table>\n";
}

std::string duration_html(std::optional<std::int64_t> ms) {
  return ms ? html_text(human_duration(milliseconds(*ms))) : "";
}

std::string code_html(std::string const& text) {
  return text.empty() ? "" : "<code>" + html_text(text) + "</code>";
}

std::string list_html(std::vector<std::string> const& texts) {
  if (texts.empty()) return "";
  std::string html = "<ul>\n";
  for (auto const& text : texts) html += "<li>" + sentence_html(text) + "</li>\n";
  return html + "</ul>\n";
}

char const* state_style(StatusOverview const& one) {
  if (one.is(JobStatus::kFailed) || one.is(JobStatus::kCancelled) || !one.step_failure.empty()) return "bad";
  if (one.is(JobStatus::kPaused) || one.is_idle()) return "warn";
  return "good";
}

std::string facts_html(JobReport const& report) {
  std::string html = "<dl>\n";
  for (auto const& fact : facts_of(report)) {
    if (fact.label == "state") continue;  // it is in the heading
    bool const is_long = fact.label == "does";
    std::string const text = is_long ? "<pre>" + html_text(fact.text, true) + "</pre>" : html_text(fact.text);
    html += "<dt>" + html_text(fact.label) + "</dt><dd>" + text + "</dd>\n";
  }
  return html + "</dl>\n";
}

std::string costs_html(JobReport const& report) {
  std::vector<CellRow> rows;
  for (auto const& cost : costs_compared(report)) {
    rows.push_back(
        {html_text(cost.what), html_text(cost.expected), html_text(cost.happened), html_text(cost.difference)});
  }
  return table_html("the estimate beside what happened",
                    {"what", "estimated or allowed", "what happened", "difference"}, rows);
}

std::string marks_html(JobReport const& report, std::vector<Mark> const& marks) {
  if (marks.empty()) return "";
  std::string html;
  if (!report.has_all_events)
    html += "<p class=\"faint\">Earlier events are left out; <code>pgbackfill log</code> has them.</p>\n";
  html += "<ol class=\"marks-list\">\n";
  for (std::size_t number = 0; number < marks.size() && number < kMostMarksListed; ++number) {
    auto const& mark = marks[number];
    bool const is_bad = mark.kind == MarkKind::kGone || mark.kind == MarkKind::kFailure;
    html += fmt::format("<li><span class=\"faint\">{}</span> <span{}>{}</span>{}</li>\n", time_text(mark.at_ms),
                        is_bad ? " class=\"bad\"" : "", html_text(mark.text),
                        mark.who.empty() ? "" : " <span class=\"faint\">(" + html_text(mark.who) + ")</span>");
  }
  html += "</ol>\n";
  if (marks.size() > kMostMarksListed) {
    html += fmt::format("<p class=\"faint\">{} more are in <code>pgbackfill log</code>.</p>\n",
                        marks.size() - kMostMarksListed);
  }
  return html;
}

std::string standstills_html(JobReport const& report) {
  std::vector<CellRow> rows;
  for (auto const& one : standstills_of(report)) {
    rows.push_back({time_text(one.from_ms), html_text(human_duration(milliseconds(one.to_ms - one.from_ms))),
                    html_text(cause_label(one.cause)), html_text(one.text)});
  }
  return table_html("times without a row", {"from", "for", "cause", "as it was told"}, rows);
}

std::string steps_html(JobReport const& report) {
  std::vector<CellRow> rows;
  for (auto const& step : report.steps) {
    std::string wait = duration_html(step.lock_wait_ms);
    if (!step.waited_for.empty()) wait += ", for " + html_text(step.waited_for);
    rows.push_back({fmt::format("{} {}", html_text(step.phase), step.number), code_html(step.text),
                    step.done_at.empty() ? "not done" : html_text(human_time(step.done_at)),
                    duration_html(step.took_ms), wait});
  }
  return table_html("steps", {"step", "what", "done", "took", "waited for its locks"}, rows);
}

std::string gate_html(JobReport const& report) {
  std::string html;
  if (report.gate) {
    html += fmt::format("<p>The gate was measured <strong class=\"{}\">{}</strong> at {}, by {}.</p>\n",
                        report.gate->is_open ? "good" : "bad", report.gate->is_open ? "open" : "closed",
                        html_text(human_time(report.gate->measured_at)), html_text(report.gate->measured_by));
    html += list_html(report.gate->reasons);
  }
  if (!report.checks.empty()) html += "<p>It asks besides what the job says:</p>\n" + list_html(report.checks);
  return html;
}

std::string approvals_html(JobReport const& report) {
  std::vector<CellRow> rows;
  for (auto const& approval : report.approvals) {
    rows.push_back({html_text(human_time(approval.at)), html_text(approval.who), html_text(approval.reason),
                    "<pre>" + html_text(approval.plan, true) + "</pre>"});
  }
  return table_html("approvals", {"when", "who", "reason", "agreed to"}, rows);
}

std::string hooks_html(JobReport const& report) {
  std::vector<CellRow> rows;
  for (auto const& hook : report.hooks) {
    rows.push_back(
        {html_text(hook.boundary), code_html(hook.hook), html_text(human_time(hook.ran_at)), code_html(hook.result)});
  }
  return table_html("hooks", {"when", "hook", "ran", "its last line"}, rows);
}

std::string set_aside_html(JobReport const& report) {
  std::vector<CellRow> rows;
  for (auto const& one : report.set_aside) {
    rows.push_back({html_text(one.table), html_text(one.sqlstate), html_text(human_count(one.rows))});
  }
  return table_html("rows that are set aside, by error", {"table", "SQLSTATE", "rows"}, rows);
}

std::string charts_html(JobReport const& report, std::vector<Mark> const& marks) {
  auto const charts = report_charts(report, marks);
  if (!charts.empty() || !report.status.overview.job) return charts;
  return "<p class=\"faint\">Too little was kept to draw: the job was shorter than two moments of five seconds, began "
         "with an older pgbackfill, or its file says <code>history: off</code>.</p>\n";
}

}  // namespace pgbackfill::engine
