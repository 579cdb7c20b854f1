#include <fmt/format.h>

#include <algorithm>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/markdown.h"
#include "engine/view/report_parts.h"
#include "engine/view/report_view.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;
using Row = std::vector<std::string>;

constexpr std::size_t kMostMarksListed = 100;

// Cells hold Markdown already.
std::string table(std::string const& title, Row const& titles, std::vector<Row> const& rows) {
  if (rows.empty()) return "";
  auto const line = [](Row const& cells) {
    std::string text = "|";
    for (auto const& cell : cells) text += " " + cell + " |";
    return text + "\n";
  };
  std::string text = "\n#### " + title + "\n\n" + line(titles) + line(Row(titles.size(), "---"));
  for (auto const& row : rows) text += line(row);
  return text;
}

std::string list(std::string const& title, std::vector<std::string> const& texts) {
  if (texts.empty()) return "";
  std::string text = "\n#### " + title + "\n\n";
  for (auto const& one : texts) text += "- " + markdown_text(one) + "\n";
  return text;
}

std::string duration_of(std::optional<std::int64_t> ms) {
  return ms ? human_duration(milliseconds(*ms)) : "";
}

std::string facts(JobReport const& report) {
  std::string text;
  for (auto const& fact : facts_of(report)) {
    text += fmt::format("- {}: {}\n", fact.label,
                        fact.label == "does" ? markdown_code(fact.text) : markdown_text(fact.text));
  }
  return text;
}

std::string costs(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& cost : costs_compared(report)) {
    rows.push_back({cost.what, markdown_text(cost.expected), markdown_text(cost.happened), cost.difference});
  }
  return table("The estimate, and what happened", {"", "estimated or allowed", "what happened", "difference"}, rows);
}

std::string standstills(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& one : standstills_of(report)) {
    rows.push_back({time_text(one.from_ms), human_duration(milliseconds(one.to_ms - one.from_ms)),
                    markdown_text(cause_label(one.cause)), markdown_text(one.text)});
  }
  return table("When it stood, and why", {"from", "for", "cause", "as it was told"}, rows);
}

std::string marks(JobReport const& report) {
  auto const all = marks_of(report);
  std::vector<std::string> texts;
  std::size_t const first = all.size() > kMostMarksListed ? all.size() - kMostMarksListed : 0;
  for (std::size_t at = first; at < all.size(); ++at) {
    texts.push_back(time_text(all[at].at_ms) + "  " + all[at].text +
                    (all[at].who.empty() ? "" : " (" + all[at].who + ")"));
  }
  bool const has_all = first == 0 && report.has_all_events;
  return list(has_all ? "What happened when" : "What happened last", texts);
}

std::string steps(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& step : report.steps) {
    std::string wait = duration_of(step.lock_wait_ms);
    if (!step.waited_for.empty()) wait += ", for " + markdown_text(step.waited_for);
    rows.push_back({fmt::format("{} {}", markdown_text(step.phase), step.number), markdown_code(step.text),
                    step.done_at.empty() ? "not done" : markdown_text(human_time(step.done_at)),
                    duration_of(step.took_ms), wait});
  }
  return table("Steps", {"step", "what", "done", "took", "waited for its locks"}, rows);
}

std::string gate(JobReport const& report) {
  std::vector<std::string> texts;
  if (report.gate) {
    texts.push_back(fmt::format("the gate was measured {} at {}, by {}", report.gate->is_open ? "open" : "closed",
                                human_time(report.gate->measured_at), report.gate->measured_by));
    texts.insert(texts.end(), report.gate->reasons.begin(), report.gate->reasons.end());
  }
  for (auto const& check : report.checks) texts.push_back("check: " + check);
  return list("Checks and the gate", texts);
}

std::string approvals(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& approval : report.approvals) {
    rows.push_back({markdown_text(human_time(approval.at)), markdown_text(approval.who), markdown_text(approval.reason),
                    markdown_code(approval.plan)});
  }
  return table("Approvals", {"when", "who", "reason", "agreed to"}, rows);
}

std::string hooks(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& hook : report.hooks) {
    rows.push_back({markdown_text(hook.boundary), markdown_code(hook.hook), markdown_text(human_time(hook.ran_at)),
                    hook.result.empty() ? "" : markdown_code(hook.result)});
  }
  return table("Hooks", {"when", "hook", "ran", "its last line"}, rows);
}

std::string set_aside(JobReport const& report) {
  std::vector<Row> rows;
  for (auto const& one : report.set_aside) {
    rows.push_back({markdown_text(one.table), markdown_text(one.sqlstate), human_count(one.rows)});
  }
  return table("Rows that were set aside", {"table", "SQLSTATE", "rows"}, rows);
}

}  // namespace

std::string report_markdown(JobReport const& report) {
  auto const& one = report.status.overview;
  std::string text = fmt::format("### pgbackfill report of {}: {}\n\n", markdown_text(one.name), state_word(one));
  text += facts(report) + costs(report) + standstills(report);
  if (report.replay) text += list("What the throttle saw and decided", replay_lines(*report.replay));
  text += marks(report) + steps(report) + gate(report);
  text += approvals(report) + hooks(report) + set_aside(report) + list("What is left", left_of(report));
  text += list("What could not be read", report.notes);
  text += fmt::format("\nRead by {} from database {} (PostgreSQL {}) at {}.\n", markdown_text(report.program),
                      markdown_text(report.database), markdown_text(report.server_version),
                      markdown_text(human_time(report.read_at)));
  if (!one.source) return text;
  return text + "\n<details><summary>The file</summary>\n\n" + markdown_fence("yaml", *one.source) + "\n</details>\n";
}

}  // namespace pgbackfill::engine
