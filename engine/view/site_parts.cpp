#include "engine/view/site_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <vector>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/html.h"
#include "engine/view/report_sections.h"
#include "engine/view/runners_view.h"
#include "engine/view/site_pages.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr double kWhole = 100;

std::string term(std::string_view label, std::string const& html) {
  return html.empty() ? "" : fmt::format("<dt>{}</dt><dd>{}</dd>\n", label, html);
}

std::string lines_html(std::vector<std::string> const& texts) {
  std::string html;
  for (auto const& text : texts) html += "<p>" + html_text(text) + "</p>";
  return html;
}

// --- phases ----------------------------------------------------------------------------------------------------------

struct Phase {
  char const* word;
  std::string note;
  bool is_done = false;
  bool is_now = false;
};

std::string steps_note(std::int64_t done, std::size_t all) {
  return all == 0 ? "no steps" : fmt::format("{} of {}", std::min(done, static_cast<std::int64_t>(all)), all);
}

std::vector<Phase> phases_of(StatusOverview const& one) {
  bool const is_complete = one.is(JobStatus::kComplete);
  std::size_t const expand = one.migration ? one.migration->expand.size() : 0;
  std::size_t const contract = one.migration ? one.migration->contract.size() : 0;
  std::string const rows = one.job ? fmt::format("{:.1f} %", percent_done(one)) : "not begun";
  std::string const later = one.pass > 0 ? fmt::format("pass {}", one.pass + 1) : "";
  bool const is_expanded = one.expand_done >= static_cast<std::int64_t>(expand);
  bool const is_contracted = contract > 0 && one.contract_done >= static_cast<std::int64_t>(contract);
  auto const word = phase_word(one);
  return {{"expand", one.migration ? steps_note(one.expand_done, expand) : "", is_expanded, word == "expand"},
          {"backfill", rows, is_complete || (one.job && one.pass > 0), word == "backfill"},
          {"rows that came meanwhile", later, is_complete, word == "sweep" || word == "deferred"},
          {"gate", is_complete ? "can be asked" : "", one.contract_done > 0, word == "complete"},
          {"contract", one.migration ? steps_note(one.contract_done, contract) : "", is_contracted,
           word == "contract" && !is_contracted}};
}

std::string phases_html(StatusOverview const& one) {
  std::string html = "<ol class=\"phases\">\n";
  for (auto const& phase : phases_of(one)) {
    char const* const style = phase.is_now ? "now" : phase.is_done ? "done" : "open";
    html += fmt::format("<li class=\"{}\"{}><strong>{}</strong> <span>{}</span>{}</li>\n", style,
                        phase.is_now ? " aria-current=\"step\"" : "", phase.word, html_text(phase.note),
                        phase.is_done ? "<span class=\"unseen\">done</span>" : "");
  }
  return html + "</ol>\n";
}

// From now to its latest end, with the time in which it is likely to end.
std::string eta_band(std::optional<StatusPace> const& given) {
  StatusPace const pace = given.value_or(StatusPace());
  if (!pace.eta || !pace.eta->late || pace.eta->late->count() <= 0) return "";
  auto const whole = static_cast<double>(pace.eta->late->count()) * 1.1;
  auto const at = [&](milliseconds time) { return static_cast<double>(time.count()) / whole * kWhole; };
  double const early = at(pace.eta->early);
  return fmt::format(
      "<div class=\"eta\" role=\"img\" aria-label=\"it ends in {} to {}, by what it did so far\"><i "
      "style=\"left:{:.1f}%;width:{:.1f}%\"></i><b style=\"left:{:.1f}%\"></b><span>now</span><span>{}</span></div>\n",
      human_wait(pace.eta->early), human_wait(*pace.eta->late), early, std::max(at(*pace.eta->late) - early, 0.5),
      at(pace.eta->likely), human_wait(milliseconds(static_cast<std::int64_t>(whole))));
}

std::string rows_words(StatusOverview const& one) {
  std::string const all =
      one.is(JobStatus::kComplete) ? "" : fmt::format(" of about {}", human_count(one.rows_estimated));
  return fmt::format("{}{} passed, {} changed", human_count(one.rows_done), all, human_count(one.rows_changed));
}

std::string pace_words(MigrationSeen const& seen) {
  auto const& one = seen.report.status.overview;
  if (!one.is_worked_on() || !seen.pace) return "";
  auto const eta = eta_words(*seen.pace);
  return human_rate(seen.pace->rows_per_second) + (eta.empty() ? "" : ", " + eta);
}

// --- forms -----------------------------------------------------------------------------------------------------------

class Forms {
 public:
  Forms(MigrationSeen const& seen, SiteFrame const& frame) : seen_(seen), frame_(frame) {}

  std::string begin(std::string_view word, std::string_view label) const {
    auto const path = migration_path(seen_.report.status.overview.name, seen_.label, frame_, word);
    return fmt::format(
        "<form method=\"post\" action=\"{}\" aria-label=\"{}\"><input type=\"hidden\" name=\"csrf\" value=\"{}\"/>",
        html_text(path), label, kSecretPlace);
  }
  static std::string text(std::string_view name, std::string_view label, std::string_view hint) {
    return fmt::format(
        "<label>{} <input type=\"text\" name=\"{}\" autocomplete=\"off\" maxlength=\"500\" "
        "placeholder=\"{}\"/></label>",
        label, name, hint);
  }
  static std::string end(std::string_view label, std::string_view style = "") {
    return fmt::format("<button type=\"submit\"{}>{}</button></form>\n",
                       style.empty() ? "" : fmt::format(" class=\"{}\"", style), label);
  }

 private:
  MigrationSeen const& seen_;
  SiteFrame const& frame_;
};

std::string release_form(LeaseSeen const& lease, Forms const& forms) {
  std::string html = forms.begin("release-leases", "free the ranges of this process");
  html += fmt::format("<input type=\"hidden\" name=\"process\" value=\"{}\"/>", html_text(lease.process));
  if (lease.is_alive) {
    html += "<label><input type=\"checkbox\" name=\"yes\" value=\"yes\"/> though it lives</label>";
  }
  return html + Forms::end("Free its ranges");
}

std::string runners_html(std::vector<RunnerSeen> const& runners) {
  std::vector<CellRow> rows;
  for (auto const& runner : runners) {
    std::string causes;
    for (auto const& cause : runner.causes) {
      causes += fmt::format("<p>{} <span class=\"faint\">for {}</span></p>", html_text(cause.text),
                            human_duration(cause.lasted));
    }
    rows.push_back({html_text(runner.host), std::to_string(runner.pid), std::to_string(runner.workers),
                    human_bytes(static_cast<std::int64_t>(runner.wal_per_second)) + "/s",
                    runner.may_start ? "may start batches" : "waits", causes, human_duration(runner.age) + " ago"});
  }
  return table_html("processes at work", {"host", "pid", "batches", "WAL", "state", "held back by", "heard of"}, rows);
}

}  // namespace

double percent_done(StatusOverview const& one) {
  if (one.is(JobStatus::kComplete)) return kWhole;
  if (!one.job || one.rows_estimated <= 0) return 0;
  double const share = static_cast<double>(one.rows_done) / static_cast<double>(one.rows_estimated);
  return std::clamp(share, 0.0, 1.0) * kWhole;
}

std::string bar_html(StatusOverview const& one) {
  if (!one.job) return "";
  double const percent = percent_done(one);
  return fmt::format(
      "<div class=\"bar {}\" role=\"progressbar\" aria-label=\"rows passed\" aria-valuemin=\"0\" aria-valuemax=\"100\" "
      "aria-valuenow=\"{:.1f}\"><i style=\"width:{:.2f}%\"></i><span>{:.1f} %</span></div>",
      state_style(one), percent, percent, percent);
}

std::string eta_words(StatusPace const& pace) {
  if (!pace.eta) return "";
  std::string text = "about " + human_wait(pace.eta->likely) + " left";
  if (!pace.eta->late) return text;
  if (*pace.eta->late <= pace.eta->early) return text;
  return text + fmt::format(" ({} to {})", human_wait(pace.eta->early), human_wait(*pace.eta->late));
}

std::string progress_html(MigrationSeen const& seen) {
  auto const& status = seen.report.status;
  auto const& one = status.overview;
  auto const state = state_word(one);
  std::string html = fmt::format("<p class=\"state {}\" data-state=\"{}\">{}</p>\n", state_style(one), html_text(state),
                                 html_text(state));
  html += bar_html(one) + (one.is_worked_on() ? eta_band(seen.pace) : "") + phases_html(one);
  html += "<dl>\n";
  html += term("reason", html_text(without_values(one.reason, one.name)));
  html += term("step failed", html_text(without_values(one.step_failure, one.name)));
  html += term("cannot be read", html_text(one.broken));
  if (!one.paused_until.empty()) html += term("until", html_text(human_time(one.paused_until)));
  if (status.change) {
    html += term("since", html_text(human_time(status.change->at) + ", by " + status.change->who));
  }
  if (one.job) html += term("rows", html_text(rows_words(one)));
  html += term("pace", html_text(pace_words(seen)));
  html += term("held back", lines_html(held_back_texts(status.runners)));
  html += term("notice", lines_html(warning_texts(status.runners)));
  if (one.job && one.last_batch_ms && !one.has_ended()) {
    html += term("last batch", html_text(human_duration(milliseconds(*one.last_batch_ms)) + " ago"));
  }
  html += term("next", sentence_html(next_text(status)));
  return html + "</dl>\n";
}

std::string workers_html(MigrationSeen const& seen, SiteFrame const& frame) {
  std::string html = runners_html(seen.report.status.runners);
  std::vector<CellRow> rows;
  Forms const forms(seen, frame);
  for (auto const& lease : seen.leases) {
    bool const is_over = lease.left_ms <= 0;
    rows.push_back({html_text(lease.host),
                    fmt::format("{} <span class=\"faint\">{}</span>", lease.pid, html_text(lease.process)),
                    lease.is_alive ? "alive" : "<span class=\"bad\">not heard of</span>", human_count(lease.ranges),
                    is_over ? "<span class=\"bad\">run out</span>" : human_duration(milliseconds(lease.left_ms))});
    if (frame.may_control()) rows.back().push_back(release_form(lease, forms));
  }
  CellRow titles = {"host", "process", "state", "ranges", "lease"};
  if (frame.may_control()) titles.emplace_back("free them");
  html += table_html("who holds ranges", titles, rows);
  std::vector<std::string> waiting;
  for (auto const& run : seen.report.status.waiting) {
    waiting.push_back(fmt::format("pid {} on {} waits since {}", run.pid, run.host, human_time(run.since)));
  }
  return html + list_html(waiting);
}

std::string rows_html(MigrationSeen const& seen, SiteFrame const& frame) {
  std::vector<CellRow> deferred;
  for (auto const& one : seen.deferred) {
    deferred.push_back({html_text(one.table), html_text(human_count(one.rows)), html_text(human_time(one.since)),
                        std::to_string(one.visits)});
  }
  std::string html;
  if (!deferred.empty()) html += "<h3>Deferred: somebody held them</h3>\n";
  html += table_html("deferred rows", {"table", "rows", "since", "visits"}, deferred);
  auto const kinds = set_aside_html(seen.report);
  if (!kinds.empty()) html += "<h3>Set aside: they fail by themselves</h3>\n" + kinds;
  std::vector<CellRow> rows;
  for (auto const& one : seen.quarantine) {
    rows.push_back(
        {std::to_string(one.id), html_text(one.table), html_text(one.sqlstate), html_text(human_time(one.at))});
    if (!frame.shows_values) continue;
    rows.back().push_back(code_html(one.key));
    rows.back().push_back(html_text(one.message));
  }
  CellRow titles = {"number", "table", "SQLSTATE", "when"};
  if (frame.shows_values) {
    titles.emplace_back("key");
    titles.emplace_back("error");
  }
  html += table_html("the first rows that are set aside", titles, rows);
  if (!rows.empty() && !frame.shows_values) {
    html += "<p class=\"faint\">Keys and errors may hold what is in a row: <code>pgbackfill status " +
            html_text(seen.report.status.overview.name) + "</code> shows them.</p>\n";
  }
  if (!rows.empty() && frame.may_control()) {
    html += Forms(seen, frame).begin("retry-quarantine", "try rows that are set aside again") +
            Forms::end("Try them again");
  }
  return html;
}

std::string controls_html(MigrationSeen const& seen, SiteFrame const& frame) {
  auto const& one = seen.report.status.overview;
  if (!frame.may_control()) return "";
  Forms const forms(seen, frame);
  std::string html;
  bool const is_running = one.is(JobStatus::kRunning);
  bool const has_begun = one.job && !one.is(JobStatus::kComplete);
  if (is_running) {
    html += forms.begin("pause", "pause") + Forms::text("reason", "reason", "incident 4711") +
            Forms::text("for", "for", "2h") + Forms::end("Pause");
  } else if (has_begun) {
    html += forms.begin("resume", "resume") + Forms::end("Resume");
  }
  if (is_running || one.is(JobStatus::kPaused)) {
    html += "<details><summary>Cancel it</summary><p>All processes end; rows that are done stay done.</p>" +
            forms.begin("cancel", "cancel") + Forms::text("reason", "reason", "") + Forms::end("Cancel it", "danger") +
            "</details>\n";
  }
  if (one.migration && !one.migration->contract.empty()) {
    html += fmt::format("<p><a href=\"{}\">Look at the contract steps, and approve them</a></p>\n",
                        html_text(migration_path(one.name, seen.label, frame, "approve")));
  }
  return html;
}

std::string settings_html(MigrationSeen const& seen, SiteFrame const& frame) {
  if (seen.settings.empty()) return "";
  std::vector<CellRow> rows;
  std::string options;
  for (auto const& line : seen.settings) {
    rows.push_back({code_html(line.key), html_text(line.value), html_text(line.origin), html_text(line.bounds),
                    html_text(line.help)});
    options += fmt::format("<option value=\"{0}\">{0}</option>", html_text(line.key));
  }
  std::string html;
  if (frame.may_control()) {
    html += Forms(seen, frame).begin("set", "change a setting") + "<label>setting <select name=\"key\">" + options +
            "</select></label>" + Forms::text("value", "value", "default") + Forms::end("Set");
  }
  return html + "<details><summary>All settings</summary>\n" +
         table_html("settings", {"setting", "value", "from", "takes", "meaning"}, rows) + "</details>\n";
}

}  // namespace pgbackfill::engine
