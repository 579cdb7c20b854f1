#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/text.h"
#include "engine/view/costs_text.h"
#include "engine/view/course.h"
#include "engine/view/runners_view.h"
#include "engine/view/sparkline.h"
#include "engine/view/status_view.h"
#include "planner/model/params.h"
#include "planner/model/sql_text.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr int kLabelWidth = 15;
constexpr int kBarMost = 30;
constexpr int kChartNoteWidth = 26;
constexpr int kNarrowestChart = 30;
constexpr int kWidestChart = 60;

std::string_view status_color(StatusOverview const& one) {
  if (!one.broken.empty()) return kBad;
  if (one.is(JobStatus::kFailed) || one.is(JobStatus::kCancelled)) return kBad;
  if (one.is(JobStatus::kPaused)) return kDoubtful;
  if (one.is_idle()) return kDoubtful;
  return kGood;
}

std::string percent_of(StatusOverview const& one) {
  if (!one.job) return "";
  if (one.is(JobStatus::kComplete)) return "100.0 %";
  return human_percent(one.rows_done, one.rows_estimated);
}

std::string age_of(StatusOverview const& one) {
  return one.last_batch_ms ? human_duration(milliseconds(*one.last_batch_ms)) : "";
}

std::string phase_text(StatusOverview const& one) {
  if (!one.job) return "no backfill has begun";
  if (one.is(JobStatus::kComplete)) {
    return "the backfill is complete: rows that were there when it began, and rows that came meanwhile";
  }
  if (one.ranges_open > 0 && one.pass == 0) return "backfill, first pass: the rows that were there when it began";
  if (one.ranges_open > 0) {
    return fmt::format("backfill, pass {}: rows that came while the pass before it ran", one.pass + 1);
  }
  if (one.deferred > 0) return "all ranges are done; rows that somebody held are visited again until they are free";
  return "all ranges of this pass are done; next it looks for rows that came meanwhile";
}

std::string command_for(StatusOverview const& one, char const* command) {
  return fmt::format("`pgbackfill {} {}`", command, neutralised(one.name));
}

std::string run_command_for(StatusOverview const& one) {
  return fmt::format("`pgbackfill run {}`",
                     neutralised(planner::arguments_of(one.file.empty() ? "FILE" : one.file, one.name)));
}

std::size_t pending(std::size_t all, std::int64_t done) {
  return all - std::min(all, static_cast<std::size_t>(std::max<std::int64_t>(done, 0)));
}

// Of a migration that has steps only: they ran up to the gate.
bool is_through_without_rows(StatusOverview const& one) {
  return !one.job && one.migration && !one.migration->backfill &&
         pending(one.migration->expand.size(), one.expand_done) == 0;
}

// Whether `complete` would ask for an approval that is not there.
bool needs_approval(StatusPage const& page, std::size_t left) {
  if (page.approval && page.approval->holds) return false;
  auto const& contract = page.overview.migration->contract;
  return std::any_of(contract.end() - static_cast<std::ptrdiff_t>(left), contract.end(),
                     [](planner::SchemaStep const& step) { return !planner::destructive_reason(step).empty(); });
}

std::string next_when_complete(StatusPage const& page) {
  auto const& one = page.overview;
  if (!page.overview.migration || page.overview.migration->contract.empty()) {
    return "nothing is left to do; " + run_command_for(one) + " would find it complete";
  }
  std::size_t const left = pending(page.overview.migration->contract.size(), one.contract_done);
  if (left == 0) return "nothing is left to do: the contract steps are done too";
  std::string const approve =
      needs_approval(page, left) ? command_for(one, "approve") + " records who agrees to what cannot be undone; " : "";
  return fmt::format("{} measures that nothing is left; {}{} then runs {} of contract", command_for(one, "gate"),
                     approve, command_for(one, "complete"), counted(static_cast<std::int64_t>(left), "step", "steps"));
}

// What was rolled back, or never begun, has none of its expand steps.
std::string next_without_job(StatusPage const& page) {
  auto const& one = page.overview;
  if (is_through_without_rows(one)) return next_when_complete(page);
  return run_command_for(one) + " does what is not done yet";
}

bool is_everybody_gone(StatusPage const& page) {
  return std::all_of(page.holders.begin(), page.holders.end(),
                     [](RangeHolder const& holder) { return holder.is_gone; });
}

std::string next_when_running(StatusPage const& page) {
  auto const& one = page.overview;
  if (one.processes > 0) {
    if (is_everybody_gone(page))
      return "its process is gone; " + run_command_for(one) + " frees its ranges at once and goes on there";
    return "it runs; another " + run_command_for(one) + ", here or on another host, joins in";
  }
  if (!page.waiting.empty()) return "a process waits to go on: for its window, for held rows or for a connection";
  return "no process is working on it; run it again to go on where it was: " + run_command_for(one);
}

// Of a migration whose rows are done, or that has none.
std::string state_after_rows(StatusOverview const& one) {
  if (!one.migration || pending(one.migration->contract.size(), one.contract_done) == 0) return "complete";
  return one.contract_done > 0 ? "complete was cut short" : "waits for complete";
}

}  // namespace

std::string state_word(StatusOverview const& one) {
  if (!one.broken.empty()) return "broken";
  if (one.is_followed()) return "following";
  if (one.is(JobStatus::kComplete)) return state_after_rows(one);
  if (one.is_idle()) return "idle";
  if (one.job) return one.status;
  if (is_through_without_rows(one)) return state_after_rows(one);
  return one.expand_done > 0 ? "begun" : "not begun";
}

std::string phase_word(StatusOverview const& one) {
  if (!one.job) return "expand";
  if (one.is_followed()) return "following";
  if (one.is(JobStatus::kComplete)) return one.contract_done > 0 ? "contract" : "complete";
  if (one.ranges_open > 0) return one.pass == 0 ? "backfill" : "sweep";
  return one.deferred > 0 ? "deferred" : "sweep";
}

std::string next_text(StatusPage const& page) {
  auto const& one = page.overview;
  if (!one.job) return next_without_job(page);
  if (one.is_followed()) return "rows that come are done while it is followed; " + next_when_complete(page);
  if (one.is(JobStatus::kComplete)) return next_when_complete(page);
  if (one.is(JobStatus::kRunning)) return next_when_running(page);
  if (one.is(JobStatus::kFailed)) {
    return "every batch before the failure is kept; when its cause is fixed, " + run_command_for(one) +
           " tries again from there";
  }
  bool const waits = !page.waiting.empty() || one.processes > 0;
  if (!one.paused_until.empty()) {
    return fmt::format("{} lets it go on at once{}", command_for(one, "resume"),
                       waits ? "" : "; no process waits: " + run_command_for(one) + " does, until the pause is over");
  }
  return fmt::format("{} lets it go on{}; until then a repeat of `run` changes nothing", command_for(one, "resume"),
                     waits ? ", the process that waits does the rest" : ", then " + run_command_for(one));
}

std::string qualified_name(std::string const& schema, std::string const& table) {
  return neutralised(schema + "." + table);
}

namespace {

std::string key_text(BadRow const& bad) {
  std::vector<std::string> parts;
  for (auto const& [column, value] : bad.key) parts.push_back(neutralised(column) + "=" + neutralised(value));
  return planner::join(parts, ", ");
}

std::string holder_text(RangeHolder const& holder) {
  std::string const who =
      fmt::format("{} pid {}: {}", neutralised(holder.host), holder.pid, counted(holder.ranges, "range", "ranges"));
  std::string const lease = human_duration(milliseconds(std::abs(holder.lease_ms)));
  if (holder.lease_ms < 0) return who + fmt::format(", lease ran out {} ago: free for anybody", lease);
  if (holder.is_gone) return who + fmt::format("; the process is gone, its lease runs out in {}", lease);
  return who + fmt::format(", lease runs out in {} unless renewed", lease);
}

std::string settings_text(StatusOverview const& one) {
  std::string const limit = one.max_rows_per_second
                                ? fmt::format("at most {} rows/s", human_count(*one.max_rows_per_second))
                                : std::string("no limit of rows/s");
  return fmt::format("{}, batches of {}, {}; `pgbackfill set` changes them", counted(one.workers, "worker", "workers"),
                     human_duration(milliseconds(one.batch_target_ms)), limit);
}

// What differs from the defaults.
std::string throttle_text(StatusOverview const& one) {
  std::vector<std::string> texts;
  for (auto const& setting : one.settings) {
    if (setting.origin == "default") continue;
    texts.push_back(fmt::format("{} {} ({})", setting.name, neutralised(setting.text), setting.origin));
  }
  return planner::join(texts, ", ");
}

// Of a job that may not work all the time.
std::string window_text(StatusOverview const& one, throttle::SystemTime now) {
  if (one.schedule.is_always_open()) return "";
  bool const is_open = one.schedule.is_open(now);
  auto const change = is_open ? one.schedule.closes_at(now) : one.schedule.opens_at(now);
  std::string const state = is_open ? "open" : "closed: no batch starts";
  if (!change) return state + (is_open ? "" : ", and none will for a year");
  auto const second = std::chrono::floor<std::chrono::seconds>(*change);
  return fmt::format("{}; {} {:%Y-%m-%d %H:%M} UTC, in {}", state, is_open ? "until" : "it goes on at",
                     fmt::gmtime(second), human_wait(std::chrono::ceil<milliseconds>(*change - now)));
}

std::string until_text(StatusOverview const& one) {
  if (one.pause_left_ms <= 0) return human_time(one.paused_until) + ", which is over: the next process resumes it";
  return fmt::format("{}, in {}: it goes on by itself then", human_time(one.paused_until),
                     human_duration(milliseconds(one.pause_left_ms)));
}

std::string steps_text(std::vector<planner::SchemaStep> const& steps, std::int64_t done) {
  std::size_t const left = pending(steps.size(), done);
  std::string text = fmt::format("{} of {} steps done", steps.size() - left, steps.size());
  if (left > 0) text += ", next: " + neutralised(steps[steps.size() - left].text);
  return text;
}

// --- One page --------------------------------------------------------------------------------------------------------

class PageView {
 public:
  PageView(StatusPage const& page, StatusPace const& pace, ViewOptions const& view)
      : page_(page), pace_(pace), view_(view) {}

  std::vector<std::string> lines() {
    title();
    work();
    figures();
    people();
    trouble();
    outlook();
    return std::move(lines_);
  }

 private:
  void add(std::string_view label, std::string_view text) {
    for (auto& line : labelled(label, kLabelWidth, text, view_)) lines_.push_back(std::move(line));
  }
  void add_list(std::string_view label, std::vector<std::string> const& texts) {
    for (auto const& text : texts) {
      add(label, text);
      label = "";
    }
  }

  void title() {
    auto const& one = page_.overview;
    is_rolled_back_ = !one.job && page_.change && page_.change->kind == "rolled back";
    lines_.push_back(coloured(neutralised(one.name), kStrong, view_) + "  " +
                     coloured(is_rolled_back_ ? "rolled back" : state_word(one), status_color(one), view_));
    if (!one.paused_until.empty()) add("  until", until_text(one));
    if (!one.reason.empty()) add("  reason", neutralised(one.reason));
    if (!one.step_failure.empty()) add("  step failed", neutralised(one.step_failure));
    if (page_.change && page_.change->kind != "resumed") {
      add("  since", fmt::format("{}, by {}", human_time(page_.change->at), neutralised(page_.change->who)));
    }
  }

  void work() {
    auto const& one = page_.overview;
    if (one.job) add("  table", qualified_name(one.schema, one.table));
    std::string_view rest = one.definition;
    // The definition's first line repeats the table.
    rest.remove_prefix(std::min(rest.size(), rest.find('\n') + 1));
    std::string text = neutralised(rest);
    while (text.ends_with(' ')) text.pop_back();
    if (!text.empty()) add("  does", text);
    bool const has_none = !one.job && page_.overview.migration && !page_.overview.migration->backfill;
    if (has_none) return add("  phase", "it has steps only, and no backfill");
    add("  phase", is_rolled_back_ ? "what could be undone is undone" : phase_text(one));
  }

  std::string bar() const {
    auto const& one = page_.overview;
    int const width = std::min(kBarMost, view_.columns - kLabelWidth - 12);
    double const share = one.is(JobStatus::kComplete) ? 1.0
                         : one.rows_estimated > 0
                             ? static_cast<double>(one.rows_done) / static_cast<double>(one.rows_estimated)
                             : 0.0;
    int const full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
    std::string text;
    for (int column = 0; column < width; ++column) {
      bool const is_full = column < full;
      text += view_.unicode ? (is_full ? "█" : "░") : (is_full ? "#" : ".");
    }
    return text;
  }

  void figures() {
    auto const& one = page_.overview;
    if (!one.job) return;
    add("  progress", bar() + "  " + percent_of(one));
    // How many there would be was a guess, and now it is known.
    std::string const all =
        one.is(JobStatus::kComplete) ? "" : fmt::format(" of about {}", human_count(one.rows_estimated));
    add("",
        fmt::format("{}{} rows passed, {} changed", human_count(one.rows_done), all, human_count(one.rows_changed)));
    // What a process told before it was killed is no news.
    bool const is_alone = !page_.holders.empty() && is_everybody_gone(page_);
    if (one.is_worked_on() && !is_alone) {
      add("  pace", pace_text());
      add_list("", pace_texts(page_.runners));
    }
    if (!is_alone) {
      add_list("  held back", held_back_texts(page_.runners));
      add_list("  notice", warning_texts(page_.runners));
    }
    if (!one.has_ended()) add_list("  shares", elsewhere_texts(page_.elsewhere));
    std::string const course = page_.last_hour.empty() ? "" : course_text(summary_of(page_.last_hour));
    if (!course.empty()) add("  last hour", course);
    if (page_.shows_course) charts();
    std::string batches = counted(one.batches, "batch", "batches");
    if (one.last_batch_ms) batches += fmt::format(", the last one {} ago", age_of(one));
    if (!one.is(JobStatus::kComplete)) {
      batches += fmt::format("; {} of {} open in this pass", human_count(one.ranges_open),
                             counted(one.ranges_total, "range", "ranges"));
    }
    add("  batches", batches);
    if (!page_.growth.empty()) add("  size", page_.growth);
    std::string const costs = page_.costs ? costs_text(*page_.costs) : "";
    if (!costs.empty()) add("  cost", costs);
    for (auto const& seen : page_.prepared) {
      add("  prepare", fmt::format("{}: {} rows, computed {} ago{}", neutralised(seen.name), human_count(seen.rows),
                                   human_duration(std::chrono::seconds(seen.age_s)),
                                   seen.pass > 0 ? fmt::format(", for pass {}", seen.pass) : ""));
    }
    if (!one.has_ended()) {
      add("  settings", settings_text(one));
      std::string const throttle = throttle_text(one);
      if (!throttle.empty()) add("  throttle", throttle);
      std::string const window = window_text(one, std::chrono::system_clock::now());
      if (!window.empty()) add("  windows", window);
    }
  }

  // What the last hour looked like, where there is room for it.
  void charts() {
    int const width = std::min(view_.columns - kLabelWidth - kChartNoteWidth, kWidestChart);
    if (!view_.unicode || width < kNarrowestChart) return;
    auto const chart = course_chart(page_.last_hour, static_cast<std::size_t>(width));
    if (!chart.rate.empty()) add("  rate", chart.rate + " at most " + human_rate(chart.most_rows_per_second));
    if (chart.lag.empty()) return;
    add("  lag", chart.lag + " at most " + human_duration(chart.longest_lag));
  }

  std::string pace_text() const {
    std::string text = human_rate(pace_.rows_per_second);
    if (pace_.eta) {
      text += ", about " + human_wait(pace_.eta->likely) + " left";
      if (pace_.eta->late && *pace_.eta->late > pace_.eta->early) {
        text += fmt::format(" ({} to {})", human_wait(pace_.eta->early), human_wait(*pace_.eta->late));
      }
    }
    return text;
  }

  void people() {
    auto const& one = page_.overview;
    if (!one.job || one.is(JobStatus::kComplete)) return;
    std::vector<std::string> texts;
    for (auto const& holder : page_.holders) texts.push_back(holder_text(holder));
    for (auto const& run : page_.waiting) {
      texts.push_back(fmt::format("{} pid {}: holds no range and waits, there since {}", neutralised(run.host), run.pid,
                                  human_time(run.since)));
    }
    if (texts.empty()) texts.emplace_back("none");
    add_list("  processes", texts);
  }

  void trouble() {
    auto const& one = page_.overview;
    if (one.deferred > 0) {
      add("  deferred", counted(one.deferred, "row that somebody held", "rows that somebody held") +
                            " when their batch ran; visited again at the end");
    }
    std::vector<std::string> texts;
    for (auto const& text : page_.in_the_way) texts.push_back(neutralised(text));
    add_list("  in the way", texts);
    if (one.quarantined == 0) return;
    add("  quarantined",
        counted(one.quarantined, "row that fails by itself", "rows that fail by themselves") + ", set aside:");
    for (auto const& bad : page_.bad_rows) {
      add("", fmt::format("{}  {}  {}", key_text(bad), bad.sqlstate, neutralised(bad.message)));
    }
    if (one.quarantined > static_cast<std::int64_t>(page_.bad_rows.size())) {
      add("", "... all of them are in pgbackfill.quarantine");
    }
    add("", fmt::format("fix them, then `pgbackfill resume {} --retry-quarantine` and {}", neutralised(one.name),
                        run_command_for(one)));
  }

  void outlook() {
    if (page_.overview.migration) {
      auto const& migration = *page_.overview.migration;
      if (!migration.expand.empty()) add("  expand", steps_text(migration.expand, page_.overview.expand_done));
      if (!migration.contract.empty()) add("  contract", steps_text(migration.contract, page_.overview.contract_done));
    }
    if (page_.approval) {
      add("  approved", neutralised(approval_text(*page_.approval)) +
                            (page_.approval->holds ? "" : "; holds no more: the contract steps were changed since"));
    }
    add("  next", next_text(page_));
  }

  StatusPage const& page_;
  StatusPace const& pace_;
  ViewOptions const& view_;
  bool is_rolled_back_ = false;
  std::vector<std::string> lines_;
};

std::vector<std::string> overview_table(std::vector<StatusOverview> const& overviews,
                                        std::map<std::string, StatusPace> const& paces, ViewOptions const& view) {
  std::vector<TableColumn> const columns = {{"NAME", false, true, 0},       {"TABLE", false, true, 3},
                                            {"STATUS", false, false, 0},    {"DONE", true, false, 0},
                                            {"ROWS", true, false, 4},       {"PACE", true, false, 1},
                                            {"WORKERS", true, false, 6},    {"PROCESSES", true, false, 5},
                                            {"LAST BATCH", true, false, 2}, {"SET ASIDE", true, false, 7}};
  std::vector<std::vector<std::string>> rows;
  for (auto const& one : overviews) {
    auto const pace = paces.find(one.name);
    bool const has_pace = one.is_worked_on() && pace != paces.end();
    rows.push_back({neutralised(one.name), one.job ? qualified_name(one.schema, one.table) : "", state_word(one),
                    percent_of(one), one.job ? human_count(one.rows_done) : "",
                    has_pace ? human_rate(pace->second.rows_per_second) : "",
                    one.job && !one.has_ended() ? std::to_string(one.workers) : "",
                    one.job && !one.has_ended() ? std::to_string(one.processes) : "", age_of(one),
                    one.quarantined > 0 ? human_count(one.quarantined) : ""});
  }
  return table_lines(columns, rows, view);
}

}  // namespace

std::vector<std::string> page_lines(StatusPage const& page, StatusPace const& pace, ViewOptions const& view) {
  return PageView(page, pace, view).lines();
}

std::vector<std::string> overview_lines(std::vector<StatusOverview> const& overviews,
                                        std::map<std::string, StatusPace> const& paces, ViewOptions const& view) {
  if (overviews.empty()) return {"no migration ran in this database yet: `pgbackfill run FILE` starts one"};
  auto lines = overview_table(overviews, paces, view);
  for (auto const& one : overviews) {
    std::string note;
    if (one.is(JobStatus::kFailed)) note = "failed: " + neutralised(one.reason);
    if (one.is_idle()) note = "no process holds a range of it";
    if (!one.step_failure.empty()) note = "failed: " + neutralised(one.step_failure);
    if (one.is(JobStatus::kPaused) && !one.reason.empty()) note = "paused: " + neutralised(one.reason);
    if (!one.paused_until.empty()) note = "paused until " + until_text(one);
    if (!one.broken.empty()) note = "cannot be read: " + neutralised(one.broken);
    if (note.empty()) continue;
    note = fmt::format("{} {}; see {}", neutralised(one.name), note, command_for(one, "status"));
    for (auto& line : folded(note, view.columns)) lines.push_back(coloured(line, kDoubtful, view));
  }
  return lines;
}

Progress progress_of(StatusOverview const& one, StatusPace const& pace) {
  Progress progress;
  progress.migration = one.name;
  progress.table = one.schema + "." + one.table;
  progress.phase = one.is(JobStatus::kPaused) ? RunPhase::kPaused
                   : one.has_ended()          ? RunPhase::kEnded
                   : one.ranges_open == 0     ? RunPhase::kDeferred
                   : one.pass == 0            ? RunPhase::kBackfilling
                                              : RunPhase::kSweeping;
  progress.rows_done = one.rows_done;
  progress.rows_estimated = one.rows_estimated;
  progress.rows_changed = one.rows_changed;
  progress.ranges_open = one.ranges_open;
  progress.ranges_total = one.ranges_total;
  progress.deferred = one.deferred;
  progress.quarantined = one.quarantined;
  progress.workers = static_cast<int>(one.workers);
  progress.rows_per_second = pace.rows_per_second;
  if (one.is_idle()) progress.held_back = "no process holds a range";
  return progress;
}

}  // namespace pgbackfill::engine
