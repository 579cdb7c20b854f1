#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/report_parts.h"
#include "engine/view/report_view.h"
#include "engine/view/sparkline.h"
#include "engine/view/status_view.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr int kLabelWidth = 15;
constexpr std::size_t kChartWidth = 60;
constexpr std::size_t kMostMarksListed = 40;

class ReportText {
 public:
  ReportText(JobReport const& report, ViewOptions const& view) : report_(report), view_(view) {}

  std::string text() {
    auto const& one = report_.status.overview;
    lines_.push_back(coloured(neutralised(one.name), kStrong, view_) + "  " + state_word(one));
    for (auto const& fact : facts_of(report_)) {
      if (fact.label != "state") add("  " + fact.label, fact.text);
    }
    costs();
    charts();
    standstills();
    marks();
    steps();
    people();
    add_list("  left", left_of(report_));
    add_list("  not read", report_.notes);
    return planner::join(lines_, "\n") + "\n";
  }

 private:
  void add(std::string const& label, std::string const& text) {
    for (auto& line : labelled(label, kLabelWidth, neutralised(text), view_)) lines_.push_back(std::move(line));
  }
  void add_list(std::string label, std::vector<std::string> const& texts) {
    for (auto const& text : texts) {
      add(label, text);
      label.clear();
    }
  }

  void costs() {
    std::string label = "  costs";
    for (auto const& cost : costs_compared(report_)) {
      std::string const difference = cost.difference.empty() ? "" : " (" + cost.difference + ")";
      std::string const expected = (cost.is_estimate ? "estimated " : "") + cost.expected;
      add(std::exchange(label, ""), fmt::format("{}: {}, {}{}", cost.what, cost.happened, expected, difference));
    }
  }

  void charts() {
    if (!view_.unicode) return;
    auto const width = static_cast<std::size_t>(std::max(view_.columns - kLabelWidth - 30, 0));
    auto const chart = course_chart(report_.samples, std::min(width, kChartWidth));
    if (!chart.rate.empty()) add("  rate", chart.rate + " at most " + human_rate(chart.most_rows_per_second));
    if (!chart.lag.empty()) add("  lag", chart.lag + " at most " + human_duration(chart.longest_lag));
  }

  void standstills() {
    std::vector<std::string> texts;
    for (auto const& one : standstills_of(report_)) {
      texts.push_back(fmt::format("{}, for {}: {}{}", time_text(one.from_ms),
                                  human_duration(milliseconds(one.to_ms - one.from_ms)), cause_label(one.cause),
                                  one.text.empty() ? "" : ", " + one.text));
    }
    add_list("  stood", texts);
    if (report_.replay) add_list("  throttle", replay_lines(*report_.replay));
  }

  void marks() {
    auto const all = marks_of(report_);
    std::vector<std::string> texts;
    std::size_t const first = all.size() > kMostMarksListed ? all.size() - kMostMarksListed : 0;
    if (first > 0 || !report_.has_all_events) texts.emplace_back("(the latest ones; `pgbackfill log` has all)");
    for (std::size_t at = first; at < all.size(); ++at) {
      texts.push_back(time_text(all[at].at_ms) + "  " + all[at].text);
    }
    add_list("  happened", texts);
  }

  void steps() {
    std::vector<std::string> texts;
    for (auto const& step : report_.steps) {
      std::string text = fmt::format("{} {}: {}; ", step.phase, step.number, step.text);
      text += step.done_at.empty() ? "not done" : "done " + human_time(step.done_at);
      if (step.took_ms) text += ", took " + human_duration(milliseconds(*step.took_ms));
      if (step.lock_wait_ms && *step.lock_wait_ms > 0) {
        text += fmt::format(", of it {} for its locks", human_duration(milliseconds(*step.lock_wait_ms)));
      }
      if (!step.waited_for.empty()) text += ", for " + step.waited_for;
      texts.push_back(std::move(text));
    }
    add_list("  steps", texts);
  }

  void people() {
    if (report_.gate) {
      add("  gate", fmt::format("measured {} at {}, by {}", report_.gate->is_open ? "open" : "closed",
                                human_time(report_.gate->measured_at), report_.gate->measured_by));
    }
    add_list("  checks", report_.checks);
    std::vector<std::string> approvals;
    for (auto const& approval : report_.approvals) approvals.push_back(approval_text(approval));
    add_list("  approved", approvals);
    std::vector<std::string> hooks;
    for (auto const& hook : report_.hooks) {
      hooks.push_back(fmt::format("{}: {} at {}{}", hook.boundary, hook.hook, human_time(hook.ran_at),
                                  hook.result.empty() ? "" : ": " + hook.result));
    }
    add_list("  hooks", hooks);
    std::vector<std::string> set_aside;
    for (auto const& one : report_.set_aside) {
      set_aside.push_back(
          fmt::format("{} of {}, SQLSTATE {}", counted(one.rows, "row", "rows"), one.table, one.sqlstate));
    }
    add_list("  set aside", set_aside);
  }

  JobReport const& report_;
  ViewOptions const& view_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string report_text(JobReport const& report, ViewOptions const& view) {
  return ReportText(report, view).text();
}

}  // namespace pgbackfill::engine
