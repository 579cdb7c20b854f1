#include <fmt/format.h>

#include <algorithm>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/html.h"
#include "engine/view/report_charts.h"
#include "engine/view/report_parts.h"
#include "engine/view/report_view.h"
#include "engine/view/status_view.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMostMarksListed = 300;

// Nothing is asked for elsewhere, and nothing can be: not even by a name that found its way into markup.
constexpr char kHead[] = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
)";

constexpr char kStyle[] = R"css(<style>
:root{--page:#fff;--text:#1b1f24;--faint:#57606a;--line:#d0d7de;--soft:#f3f5f8;--good:#116329;--bad:#b3261e;
--warn:#7a4a00;
--c0:#0b5cad;--c1:#a4570a;--c2:#3b7a1e;--c3:#8a3ea8;--c4:#0f7a7a;--c5:#a02050;--paused:#e9c46a;--window:#9fb3c8;
--gone:#b9bec4}
@media (prefers-color-scheme:dark){:root{--page:#11151a;--text:#e6e9ed;--faint:#a3adb8;--line:#343c46;--soft:#1a2027;
--good:#6fcf87;--bad:#ff8a80;--warn:#e3b341;--c0:#6cb2ff;--c1:#ffb066;--c2:#8fd46f;--c3:#d79bf0;--c4:#62d3d3;
--c5:#ff93b8;
--paused:#6b5414;--window:#36485c;--gone:#454c54}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:1.25rem}
h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
p{margin:.4rem 0}
.state{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.faint,footer,figcaption span,em{color:var(--faint);font-style:normal}
dl{display:grid;grid-template-columns:minmax(6rem,auto) 1fr;gap:.25rem 1rem;margin:0}
dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
th{color:var(--faint);font-weight:600}
code,pre{font:.875rem/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
pre{background:var(--soft);padding:.75rem;white-space:pre-wrap;margin:.5rem 0;border-radius:.25rem}
ol.marks-list{padding-left:2.2rem}ol.marks-list li{overflow-wrap:anywhere}
figure{margin:1rem 0 0}figcaption{display:flex;flex-wrap:wrap;gap:0 .75rem}
.plot{position:relative;height:7rem;border-bottom:1px solid var(--line);border-left:1px solid var(--line);
background:var(--soft)}
.plot svg{position:absolute;inset:0;width:100%;height:100%}
.plot span{position:absolute;font-size:.75rem;color:var(--faint);background:var(--page);padding:0 .25rem;
border-radius:.2rem;opacity:.9}
.plot .top{left:.25rem;top:.25rem}.plot span.limit{right:.25rem;transform:translateY(-50%)}
path{fill:none;vector-effect:non-scaling-stroke}
.line{stroke-width:1.6;stroke-linejoin:round}.area{fill-opacity:.18;stroke:none}
.limit{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4}
.mark{stroke:var(--faint);stroke-width:1;stroke-dasharray:2 2}.mark.gone,.mark.failed{stroke:var(--bad);
stroke-width:1.6;stroke-dasharray:none}
path.c0{stroke:var(--c0)}path.c1{stroke:var(--c1)}path.c2{stroke:var(--c2)}path.c3{stroke:var(--c3)}
path.c4{stroke:var(--c4)}path.c5{stroke:var(--c5)}
.area.c0{fill:var(--c0)}.area.c1{fill:var(--c1)}.area.c2{fill:var(--c2)}.area.c3{fill:var(--c3)}
.area.c4{fill:var(--c4)}.area.c5{fill:var(--c5)}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}
i.c4{background:var(--c4)}i.c5{background:var(--c5)}
rect.paused{fill:var(--paused)}rect.window{fill:var(--window)}rect.gone{fill:var(--gone)}
i.paused{background:var(--paused)}i.window{background:var(--window)}i.gone{background:var(--gone)}
.band{fill-opacity:.55}.legend{font-size:.85rem;display:flex;flex-wrap:wrap;gap:.25rem 1rem}
.legend i{display:inline-block;width:.9rem;height:.7rem;margin-right:.35rem;border-radius:.15rem}
.marks{position:relative;height:1.2rem;font-size:.75rem}
.marks b{position:absolute;transform:translateX(-50%);font-weight:600;color:var(--faint)}
.marks b.gone,.marks b.failed{color:var(--bad)}
.lane{display:grid;gap:.1rem;margin:.3rem 0;font-size:.875rem}
.lane svg{width:100%;height:1rem;background:var(--soft)}.lane rect{fill:var(--c1)}
.axis{display:flex;justify-content:space-between;font-size:.8rem;color:var(--faint);margin:.2rem 0}
footer{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:.5rem;font-size:.85rem;overflow-wrap:anywhere}
@media (max-width:40rem){main{padding:.9rem}dl{grid-template-columns:1fr}
dd{margin-bottom:.4rem}
thead{display:none}tr{display:block;border-bottom:1px solid var(--line);padding:.35rem 0}td{display:block;border:0;
padding:.1rem 0}
td:empty{display:none}td::before{content:attr(data-label)": ";color:var(--faint)}
td[data-label=""]::before{content:""}}
@media print{:root{--page:#fff;--text:#000;--faint:#444;--line:#bbb;--soft:#f6f6f6;--good:#116329;--bad:#b3261e;
--warn:#7a4a00;
--c0:#0b5cad;--c1:#a4570a;--c2:#3b7a1e;--c3:#8a3ea8;--c4:#0f7a7a;--c5:#a02050;--paused:#e9c46a;--window:#9fb3c8;
--gone:#b9bec4}
body{font-size:10.5pt}main{max-width:none;padding:0}figure,tr,li{break-inside:avoid}h2{break-after:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
</style>
)css";

using Row = std::vector<std::string>;

std::string section(std::string const& title, std::string const& content) {
  if (content.empty()) return "";
  return "<section>\n<h2>" + html_text(title) + "</h2>\n" + content + "</section>\n";
}

// Cells hold HTML already; titles are ours.
std::string table(Row const& titles, std::vector<Row> const& rows) {
  if (rows.empty()) return "";
  std::string html = "<table>\n<thead><tr>";
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

std::string code(std::string const& text) {
  return text.empty() ? "" : "<code>" + html_text(text) + "</code>";
}

std::string list(std::vector<std::string> const& texts) {
  if (texts.empty()) return "";
  std::string html = "<ul>\n";
  for (auto const& text : texts) html += "<li>" + html_text(text) + "</li>\n";
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
  std::vector<Row> rows;
  for (auto const& cost : costs_compared(report)) {
    rows.push_back(
        {html_text(cost.what), html_text(cost.expected), html_text(cost.happened), html_text(cost.difference)});
  }
  return table({"", "estimated or allowed", "what happened", "difference"}, rows);
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
  std::vector<Row> rows;
  for (auto const& one : standstills_of(report)) {
    rows.push_back({time_text(one.from_ms), html_text(human_duration(milliseconds(one.to_ms - one.from_ms))),
                    html_text(cause_label(one.cause)), html_text(one.text)});
  }
  return table({"from", "for", "cause", "as it was told"}, rows);
}

std::string duration_html(std::optional<std::int64_t> ms) {
  return ms ? html_text(human_duration(milliseconds(*ms))) : "";
}

std::string steps_html(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& step : report.steps) {
    std::string wait = duration_html(step.lock_wait_ms);
    if (!step.waited_for.empty()) wait += ", for " + html_text(step.waited_for);
    rows.push_back({fmt::format("{} {}", html_text(step.phase), step.number), code(step.text),
                    step.done_at.empty() ? "not done" : html_text(human_time(step.done_at)),
                    duration_html(step.took_ms), wait});
  }
  return table({"step", "what", "done", "took", "waited for its locks"}, rows);
}

std::string gate_html(JobReport const& report) {
  std::string html;
  if (report.gate) {
    html += fmt::format("<p>The gate was measured <strong class=\"{}\">{}</strong> at {}, by {}.</p>\n",
                        report.gate->is_open ? "good" : "bad", report.gate->is_open ? "open" : "closed",
                        html_text(human_time(report.gate->measured_at)), html_text(report.gate->measured_by));
    html += list(report.gate->reasons);
  }
  if (!report.checks.empty()) html += "<p>It asks besides what the job says:</p>\n" + list(report.checks);
  return html;
}

std::string approvals_html(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& approval : report.approvals) {
    rows.push_back({html_text(human_time(approval.at)), html_text(approval.who), html_text(approval.reason),
                    "<pre>" + html_text(approval.plan, true) + "</pre>"});
  }
  return table({"when", "who", "reason", "agreed to"}, rows);
}

std::string hooks_html(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& hook : report.hooks) {
    rows.push_back({html_text(hook.boundary), code(hook.hook), html_text(human_time(hook.ran_at)), code(hook.result)});
  }
  return table({"when", "hook", "ran", "its last line"}, rows);
}

std::string set_aside_html(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& one : report.set_aside) {
    rows.push_back({html_text(one.table), html_text(one.sqlstate), html_text(human_count(one.rows))});
  }
  return table({"table", "SQLSTATE", "rows"}, rows);
}

std::string charts_html(JobReport const& report, std::vector<Mark> const& marks) {
  auto const charts = report_charts(report, marks);
  if (!charts.empty() || !report.status.overview.job) return charts;
  return "<p class=\"faint\">Too little was kept to draw: the job was shorter than two moments of five seconds, began "
         "with an older pgbackfill, or its file says <code>history: off</code>.</p>\n";
}

}  // namespace

std::string report_html(JobReport const& report) {
  auto const& one = report.status.overview;
  auto const marks = marks_of(report);
  std::string html = kHead;
  html += "<title>" + html_text(one.name) + ": pgbackfill report</title>\n";
  html += kStyle;
  html += "</head>\n<body>\n<main>\n<h1>" + html_text(one.name) + "</h1>\n";
  html += fmt::format("<p class=\"state {}\">{}</p>\n", state_style(one), html_text(state_word(one)));
  html += section("What was to be done", facts_html(report));
  html += section("The estimate, and what happened", costs_html(report));
  html += section("Its course", charts_html(report, marks));
  html += section("When it stood, and why", standstills_html(report));
  html += section("What happened when", marks_html(report, marks));
  html += section("Steps", steps_html(report));
  html += section("Checks and the gate", gate_html(report));
  html += section("Approvals", approvals_html(report));
  html += section("Hooks", hooks_html(report));
  html += section("Rows that were set aside", set_aside_html(report));
  html += section("What is left", list(left_of(report)));
  html += section("What could not be read", list(report.notes));
  if (one.source) html += section("The file", "<pre>" + html_text(*one.source, true) + "</pre>\n");
  html +=
      fmt::format("<footer>Read by {} from database {} (PostgreSQL {}) at {}. No value of a row is in it.</footer>\n",
                  html_text(report.program), html_text(report.database), html_text(report.server_version),
                  html_text(human_time(report.read_at)));
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace pgbackfill::engine
