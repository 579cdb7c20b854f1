#include <fmt/format.h>

#include "engine/view/console.h"
#include "engine/view/html.h"
#include "engine/view/page_style.h"
#include "engine/view/report_parts.h"
#include "engine/view/report_sections.h"
#include "engine/view/report_view.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

// Nothing is asked for elsewhere, and nothing can be: not even by a name that found its way into markup.
constexpr char kHead[] = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
)";

}  // namespace

std::string report_html(JobReport const& report) {
  auto const& one = report.status.overview;
  auto const marks = marks_of(report);
  std::string html = kHead;
  html += "<title>" + html_text(one.name) + ": pgbackfill report</title>\n";
  html += "<style>\n" + std::string(page_style()) + "</style>\n";
  html += "</head>\n<body>\n<main>\n<h1>" + html_text(one.name) + "</h1>\n";
  html += fmt::format("<p class=\"state {}\">{}</p>\n", state_style(one), html_text(state_word(one)));
  html += section_html("What was to be done", facts_html(report));
  html += section_html("The estimate, and what happened", costs_html(report));
  html += section_html("Its course", charts_html(report, marks));
  html += section_html("When it stood, and why", standstills_html(report));
  if (report.replay) html += section_html("What the throttle saw and decided", replay_html(*report.replay));
  html += section_html("What happened when", marks_html(report, marks));
  html += section_html("Steps", steps_html(report));
  html += section_html("Checks and the gate", gate_html(report));
  html += section_html("Approvals", approvals_html(report));
  html += section_html("Hooks", hooks_html(report));
  html += section_html("Rows that were set aside", set_aside_html(report));
  html += section_html("What is left", list_html(left_of(report)));
  html += section_html("What could not be read", list_html(report.notes));
  if (one.source) html += section_html("The file", "<pre>" + html_text(*one.source, true) + "</pre>\n");
  html +=
      fmt::format("<footer>Read by {} from database {} (PostgreSQL {}) at {}. No value of a row is in it.</footer>\n",
                  html_text(report.program), html_text(report.database), html_text(report.server_version),
                  html_text(human_time(report.read_at)));
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace pgbackfill::engine
