#include "engine/view/site_pages.h"

#include <fmt/format.h>

#include <chrono>
#include <cstddef>

#include "engine/base/percent_encoding.h"
#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/fewer_samples.h"
#include "engine/view/html.h"
#include "engine/view/range_map.h"
#include "engine/view/report_sections.h"
#include "engine/view/site_parts.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

constexpr char kHead[] = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<link rel="icon" href="data:,"/>
<link rel="stylesheet" href="/style.css"/>
<script src="/uplot.js" defer="defer"></script>
<script src="/charts.js" defer="defer"></script>
<script src="/live.js" defer="defer"></script>
)";

constexpr char kUnreserved[] = "-._~";
// Of a chart that is drawn anew every few seconds; more are not seen on a screen.
constexpr std::size_t kMostMoments = 300;

std::string encoded(std::string_view text) {
  return percent_encoded(text, kUnreserved);
}

std::string who_html(SiteFrame const& frame) {
  if (!frame.allows_control) return "<span class=\"faint\">read-only</span>";
  if (frame.who.empty()) return frame.has_login ? "<a href=\"/login\">Log in</a>" : "";
  std::string const name = "<span>" + html_text(frame.who) + "</span>";
  if (!frame.has_login) return name;
  return name + fmt::format(
                    " <form method=\"post\" action=\"/logout\"><input type=\"hidden\" name=\"csrf\" "
                    "value=\"{}\"/><button type=\"submit\">Log out</button></form>",
                    kSecretPlace);
}

std::string page_begin(std::string const& title, SiteFrame const& frame, std::string const& live) {
  std::string html = kHead;
  html += "<title>" + html_text(title) + "</title>\n</head>\n<body>\n";
  html += "<a class=\"skip\" href=\"#content\">Skip to the content</a>\n";
  html += "<header><nav aria-label=\"pages\"><a href=\"/\">pgbackfill</a></nav><div class=\"who\">" + who_html(frame) +
          "</div></header>\n";
  std::string const source = live.empty() ? "" : fmt::format(" data-live=\"{}\"", html_text(live));
  html += fmt::format("<main id=\"content\" tabindex=\"-1\"{}>\n", source);
  if (!frame.notice.empty()) {
    html += fmt::format("<p class=\"notice {}\" role=\"status\">{}</p>\n", frame.is_notice_bad ? "bad" : "good",
                        html_text(frame.notice));
  }
  return html;
}

std::string page_end(SiteFrame const& frame) {
  return "</main>\n<footer><span>" + html_text(frame.program) +
         "</span> <span id=\"live\" role=\"status\"></span></footer>\n</body>\n</html>\n";
}

// --- all migrations --------------------------------------------------------------------------------------------------

std::string pace_cell(StatusOverview const& one, DatabaseSeen const& database) {
  auto const pace = database.paces.find(one.name);
  bool const has_pace = one.is_worked_on() && pace != database.paces.end();
  if (!has_pace) return "";
  auto const eta = eta_words(pace->second);
  return html_text(human_rate(pace->second.rows_per_second)) +
         (eta.empty() ? "" : "<br/><span class=\"faint\">" + html_text(eta) + "</span>");
}

std::string note_of(StatusOverview const& one) {
  if (!one.broken.empty()) return "cannot be read: " + one.broken;
  if (!one.step_failure.empty()) return without_values(one.step_failure, one.name);
  if (one.is_idle()) return "no process works on it";
  if (!one.paused_until.empty()) return "until " + human_time(one.paused_until);
  return without_values(one.reason, one.name);
}

CellRow overview_row(StatusOverview const& one, DatabaseSeen const& database, SiteFrame const& frame) {
  CellRow row = {fmt::format("<a href=\"{}\">{}</a>", html_text(migration_path(one.name, database.label, frame)),
                             html_text(one.name))};
  if (frame.has_databases) row.push_back(html_text(database.label));
  auto const note = note_of(one);
  row.push_back(one.job ? html_text(one.schema + "." + one.table) : "");
  row.push_back(fmt::format("<span class=\"state {}\">{}</span>{}", state_style(one), html_text(state_word(one)),
                            note.empty() ? "" : "<br/><span class=\"faint\">" + html_text(note) + "</span>"));
  row.push_back(bar_html(one));
  row.push_back(pace_cell(one, database));
  row.push_back(one.job && !one.has_ended() ? fmt::format("{} / {}", one.processes, one.workers) : "");
  row.push_back(one.quarantined > 0 ? html_text(human_count(one.quarantined)) : "");
  row.push_back(html_text(human_time(one.began)));
  return row;
}

std::string troubles_html(std::vector<DatabaseSeen> const& databases) {
  std::string html;
  for (auto const& database : databases) {
    if (database.trouble.text.empty()) continue;
    html += fmt::format("<p class=\"notice bad\"><strong>{}</strong>: {}</p>\n", html_text(database.label),
                        html_text(database.trouble.text));
  }
  return html;
}

// --- one -------------------------------------------------------------------------------------------------------------

struct Heading {
  char const* id;
  char const* title;
};
// In the order of the page.
constexpr Heading kHeadings[] = {{"progress", "Progress"},
                                 {"controls", "Steer it"},
                                 {"course", "Its course"},
                                 {"ranges", "The key space"},
                                 {"workers", "Who works on it"},
                                 {"rows", "Rows that are not done"},
                                 {"costs", "The estimate, and what happened"},
                                 {"steps", "Steps"},
                                 {"gate", "Checks and the gate"},
                                 {"approvals", "Approvals"},
                                 {"hooks", "Hooks"},
                                 {"standstills", "When it stood, and why"},
                                 {"events", "What happened when"},
                                 {"settings", "Settings"},
                                 {"facts", "What is to be done"},
                                 {"left", "What is left"},
                                 {"notes", "What could not be read"},
                                 {"file", "The file"}};

std::string heading_of(std::string const& id) {
  for (auto const& heading : kHeadings) {
    if (id == heading.id) return heading.title;
  }
  return id;
}

std::string course_html(JobReport const& report, std::vector<Mark> const& marks) {
  if (report.samples.size() <= kMostMoments) return charts_html(report, marks);
  JobReport drawn = report;
  drawn.samples = fewer_samples(report.samples, kMostMoments);
  return charts_html(drawn, marks);
}

std::string file_html(StatusOverview const& one) {
  if (!one.source) return "";
  return "<details><summary>" + html_text(one.file.empty() ? "as it ran last" : one.file) + "</summary>\n<pre>" +
         html_text(*one.source, true) + "</pre></details>\n";
}

}  // namespace

std::string migration_path(std::string const& name, std::string const& label, SiteFrame const& frame,
                           std::string_view word) {
  std::string path = "/migrations/" + encoded(name);
  if (!word.empty()) path += "/" + std::string(word);
  if (frame.has_databases) path += "?database=" + encoded(label);
  return path;
}

std::vector<SiteSection> overview_sections(std::vector<DatabaseSeen> const& databases, SiteFrame const& frame) {
  std::vector<CellRow> rows;
  for (auto const& database : databases) {
    // The latest first: what is worked on is what one looks for.
    for (auto one = database.migrations.rbegin(); one != database.migrations.rend(); ++one) {
      rows.push_back(overview_row(*one, database, frame));
    }
  }
  CellRow titles = {"migration"};
  if (frame.has_databases) titles.emplace_back("database");
  for (char const* title : {"table", "state", "rows passed", "pace", "processes / workers", "set aside", "began"}) {
    titles.emplace_back(title);
  }
  std::string table = table_html("all migrations", titles, rows);
  bool const is_empty = rows.empty() && troubles_html(databases).empty();
  if (is_empty) table = "<p>No migration ran here yet: <code>pgbackfill run FILE</code> starts one.</p>\n";
  return {{"troubles", troubles_html(databases)}, {"migrations", std::move(table)}};
}

std::vector<SiteSection> migration_sections(MigrationSeen const& seen, SiteFrame const& frame) {
  auto const& report = seen.report;
  auto const& one = report.status.overview;
  auto const marks = marks_of(report);
  auto events = marks_html(report, marks);
  return {{"progress", progress_html(seen)},
          {"controls", controls_html(seen, frame)},
          {"course", course_html(report, marks)},
          {"ranges", range_map_html(seen.ranges, seen.has_all_ranges)},
          {"workers", workers_html(seen, frame)},
          {"rows", rows_html(seen, frame)},
          {"costs", costs_html(report)},
          {"steps", steps_html(report)},
          {"gate", gate_html(report)},
          {"approvals", approvals_html(report)},
          {"hooks", hooks_html(report)},
          {"standstills", standstills_html(report)},
          {"events", std::move(events)},
          {"settings", settings_html(seen, frame)},
          {"facts", facts_html(report)},
          {"left", list_html(left_of(report))},
          {"notes", list_html(report.notes)},
          {"file", file_html(one)}};
}

std::string overview_page(std::vector<SiteSection> const& sections, SiteFrame const& frame, std::string const& live) {
  std::string html = page_begin("Migrations: pgbackfill", frame, live) + "<h1>Migrations</h1>\n";
  for (auto const& section : sections) {
    html += fmt::format("<div id=\"s-{}\" class=\"wide\">{}</div>\n", section.id, section.html);
  }
  return html + page_end(frame);
}

std::string migration_page(MigrationSeen const& seen, std::vector<SiteSection> const& sections, SiteFrame const& frame,
                           std::string const& live) {
  auto const& report = seen.report;
  auto const& one = report.status.overview;
  std::string html = page_begin(one.name + ": pgbackfill", frame, live);
  html += "<h1>" + html_text(one.name) + "</h1>\n";
  html += fmt::format("<p class=\"faint\">{}in database {} (PostgreSQL {})</p>\n",
                      one.job ? "of " + html_text(one.schema + "." + one.table) + ", " : "", html_text(report.database),
                      html_text(report.server_version));
  for (auto const& section : sections) {
    html += fmt::format(
        "<section aria-labelledby=\"h-{0}\"{1}><h2 id=\"h-{0}\">{2}</h2>\n<div id=\"s-{0}\">{3}</div></section>\n",
        section.id, section.html.empty() ? " hidden=\"hidden\"" : "", heading_of(section.id), section.html);
  }
  return html + page_end(frame);
}

std::string approval_page(ContractSeen const& seen, SiteFrame const& frame) {
  std::string html = page_begin("Approve " + seen.name + ": pgbackfill", frame, "");
  auto const back = html_text(migration_path(seen.name, seen.label, frame));
  html +=
      fmt::format("<p><a href=\"{}\">{}</a></p>\n<h1>Approve its contract steps</h1>\n", back, html_text(seen.name));
  html += "<p><code>pgbackfill complete</code> runs these steps, if the gate is open:</p>\n<pre>" +
          html_text(seen.plan, true) + "</pre>\n";
  html += list_html(seen.destructive);
  if (!frame.may_control()) return html + "<p>Log in to approve them.</p>\n" + page_end(frame);
  html += fmt::format(
      "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"csrf\" value=\"{}\"/><input type=\"hidden\" "
      "name=\"plan\" value=\"{}\"/><label>reason <input type=\"text\" name=\"reason\" autocomplete=\"off\" "
      "maxlength=\"500\"/></label><button type=\"submit\">Approve these steps</button></form>\n",
      html_text(migration_path(seen.name, seen.label, frame, "approve")), kSecretPlace, html_text(seen.plan_hash));
  return html + page_end(frame);
}

std::string login_page(SiteFrame const& frame, std::string const& back, std::string const& trouble) {
  std::string html = page_begin("Log in: pgbackfill", frame, "") + "<h1>Log in</h1>\n";
  if (!trouble.empty()) html += "<p class=\"notice bad\" role=\"alert\">" + html_text(trouble) + "</p>\n";
  html += fmt::format(
      "<form method=\"post\" action=\"/login\" class=\"login\"><input type=\"hidden\" name=\"back\" "
      "value=\"{}\"/><label>token <input type=\"password\" name=\"token\" autocomplete=\"current-password\" "
      "required=\"required\"/></label><button type=\"submit\">Log in</button></form>\n",
      html_text(back));
  html += "<p class=\"faint\">Whoever runs this server has the tokens: they are in the file of --token-file.</p>\n";
  return html + page_end(frame);
}

std::string trouble_page(SiteFrame const& frame, std::string const& title, std::string const& text) {
  return page_begin(title + ": pgbackfill", frame, "") + "<h1>" + html_text(title) + "</h1>\n<p class=\"trouble\">" +
         html_text(text, true) + "</p>\n<p><a href=\"/\">All migrations</a></p>\n" + page_end(frame);
}

}  // namespace pgbackfill::engine
