#include "engine/view/report_parts.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/status_view.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

std::string first_lines(std::string text, std::string const& table) {
  // The definition's first line repeats the table.
  if (auto const end = text.find('\n'); end != std::string::npos && !table.empty()) text.erase(0, end + 1);
  while (text.ends_with('\n') || text.ends_with(' ')) text.pop_back();
  return text;
}

std::string name_and_table(StatusOverview const& one) {
  return one.job ? one.schema + "." + one.table : "";
}

std::string difference_of(double estimated, double happened) {
  if (estimated <= 0) return "";
  double const share = happened / estimated - 1;
  if (std::abs(share) < 0.005) return "as estimated";
  if (share > 10) return fmt::format("{:.0f} times as much", happened / estimated);
  return fmt::format("{:+.0f} %", share * 100);
}

std::optional<std::int64_t> worst_lag_ms(JobReport const& report) {
  std::optional<std::int64_t> worst;
  for (auto const& sample : report.samples) {
    for (auto const& [replica, lag] : sample.lag_ms) worst = std::max(worst.value_or(0), lag);
  }
  return worst;
}

std::string setting_text(StatusOverview const& one, std::string_view name) {
  for (auto const& setting : one.settings) {
    if (setting.name == name) return setting.text;
  }
  return "";
}

template <class Words>
ComparedCost compared(char const* what, std::optional<std::int64_t> estimated, std::int64_t happened, Words words,
                      bool is_over, std::string const& note) {
  ComparedCost cost;
  cost.what = what;
  cost.is_estimate = estimated.has_value();
  cost.expected = estimated ? words(*estimated) : "no estimate";
  cost.happened = words(happened) + (is_over ? "" : " so far") + note;
  bool const is_comparable = is_over && estimated;
  if (is_comparable) cost.difference = difference_of(static_cast<double>(*estimated), static_cast<double>(happened));
  return cost;
}

ComparedCost cost_of_rows(StatusOverview const& one) {
  auto const estimated = static_cast<double>(one.rows_estimated);
  bool const is_over = one.is(JobStatus::kComplete);
  return {"rows", "about " + human_count(one.rows_estimated),
          human_count(one.rows_done) + " passed, " + human_count(one.rows_changed) + " changed",
          is_over ? difference_of(estimated, static_cast<double>(one.rows_done)) : "", true};
}

MarkKind kind_of_event(std::string const& kind) {
  static std::map<std::string, MarkKind> const kinds = {
      {"started", MarkKind::kStart},       {"stopped", MarkKind::kStop},        {"paused", MarkKind::kPause},
      {"resumed", MarkKind::kResume},      {"cancelled", MarkKind::kFailure},   {"failed", MarkKind::kFailure},
      {"step failed", MarkKind::kFailure}, {"hook failed", MarkKind::kFailure}, {"complete", MarkKind::kEnd},
      {"rolled back", MarkKind::kFailure}};
  auto const found = kinds.find(kind);
  return found == kinds.end() ? MarkKind::kChange : found->second;
}

std::string event_words(ReportedEvent const& event, std::string const& migration) {
  std::string text = event.kind;
  if (event.pid && (event.kind == "started" || event.kind == "stopped")) {
    text = fmt::format("a process {} (pid {})", event.kind, *event.pid);
  }
  std::string const detail = without_values(event.detail, migration);
  return detail.empty() ? text : text + ": " + detail;
}

constexpr std::int64_t kHeardForMs = 15'000;

// Processes that began and did not say that they ended.
class OpenRuns {
 public:
  explicit OpenRuns(JobReport const& report) : report_(report) {}

  std::vector<Mark> gone() {
    for (auto const& event : report_.events) {
      bool const has_place = event.pid.has_value();
      Process const process{event.host, event.pid.value_or(0)};
      if (has_place && event.kind == "stopped") open_.erase(process);
      if (!has_place || event.kind != "started") continue;
      // The only one before this one, and not beside it: it ended before this one began.
      bool const was_alone = open_.contains(process) || (open_.size() == 1 && !ran_side_by_side(event.at_ms));
      if (was_alone) {
        auto const before = open_.contains(process) ? open_.find(process) : open_.begin();
        close(before->first, before->second, event.at_ms);
        open_.erase(before);
      }
      open_[process] = event.at_ms;
    }
    for (auto const& [process, since] : open_) {
      if (!is_alive(process)) close(process, since, std::nullopt);
    }
    return std::move(marks_);
  }

 private:
  using Process = std::pair<std::string, std::int64_t>;

  bool is_alive(Process const& process) const {
    auto const is_it = [&](auto const& one) { return one.host == process.first && one.pid == process.second; };
    auto const& status = report_.status;
    bool const holds = std::any_of(status.holders.begin(), status.holders.end(), [&](RangeHolder const& holder) {
      return is_it(holder) && !holder.is_gone && holder.lease_ms >= 0;
    });
    return holds || std::any_of(status.waiting.begin(), status.waiting.end(), is_it) ||
           std::any_of(status.runners.begin(), status.runners.end(), is_it);
  }

  // By what the database knew a little later: a process that is gone counts for a while.
  bool ran_side_by_side(std::int64_t at_ms) const {
    auto const later = std::find_if(report_.samples.begin(), report_.samples.end(),
                                    [&](StoredSample const& one) { return one.at_ms >= at_ms + kHeardForMs; });
    return later != report_.samples.end() && later->processes > 1;
  }

  // When something was heard of the job last, before the next process or the first gap.
  std::int64_t last_seen(std::int64_t since, std::optional<std::int64_t> before) const {
    std::int64_t end = before.value_or(report_.read_at_ms);
    for (auto const& stretch : stretches_of(report_.samples)) {
      if (stretch.is_gone && stretch.from_ms >= since) end = std::min(end, stretch.from_ms);
    }
    std::int64_t seen = since;
    for (auto const& sample : report_.samples) {
      if (sample.at_ms >= since && sample.at_ms <= end) seen = sample.at_ms;
    }
    return seen;
  }

  // A second process beside it, which nobody can tell from one that followed it, was alive if it stopped later.
  void close(Process const& process, std::int64_t since, std::optional<std::int64_t> before) {
    bool const stopped_later =
        before && std::any_of(report_.events.begin(), report_.events.end(), [&](auto const& event) {
          return event.kind == "stopped" && event.at_ms >= *before && event.host == process.first &&
                 event.pid == process.second;
        });
    if (stopped_later) return;
    marks_.push_back(
        {last_seen(since, before), MarkKind::kGone,
         fmt::format("a process was gone without a word (pid {}): killed, or its host was lost", process.second),
         process.first});
  }

  JobReport const& report_;
  std::map<Process, std::int64_t> open_;  // since when
  std::vector<Mark> marks_;
};

std::size_t steps_left(std::vector<planner::SchemaStep> const& steps, std::int64_t done) {
  auto const count = static_cast<std::int64_t>(steps.size());
  return static_cast<std::size_t>(std::clamp<std::int64_t>(count - done, 0, count));
}

}  // namespace

std::string time_text(std::int64_t at_ms) {
  // Of a year that fmt can write.
  auto const seconds = std::clamp<std::int64_t>(at_ms / 1000, 0, 253'402'300'799);
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

std::string without_values(std::string_view text, std::string const& migration) {
  constexpr std::array<std::string_view, 2> kKeys{"at key ", "after key "};
  // Errors in the data of a row, of a function of the user's, and of his program: they may say what is in the row.
  constexpr std::array<std::string_view, 4> kStates{"(22", "(23", "(P0001)", "(BF008)"};
  auto const has = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
  bool const may_quote =
      std::any_of(kKeys.begin(), kKeys.end(), has) || std::any_of(kStates.begin(), kStates.end(), has);
  if (!may_quote) return std::string(text);
  return "an error that may quote a row, left out here; `pgbackfill log " + migration + "` has it";
}

std::vector<ReportFact> facts_of(JobReport const& report) {
  auto const& one = report.status.overview;
  std::vector<ReportFact> facts;
  auto const add = [&](char const* label, std::string text) {
    if (!text.empty()) facts.push_back({label, std::move(text)});
  };
  add("state", state_word(one));
  add("reason", without_values(one.reason, one.name));
  add("step failed", without_values(one.step_failure, one.name));
  add("table", name_and_table(one));
  add("does", first_lines(one.definition, name_and_table(one)));
  add("file", one.file);
  if (report.began_ms) add("began", time_text(*report.began_ms));
  if (report.completed_ms) add("completed", time_text(*report.completed_ms));
  if (one.job) {
    add("work",
        fmt::format("{}, {}, batches of {}", counted(one.batches, "batch", "batches"),
                    counted(one.workers, "worker", "workers"), human_duration(milliseconds(one.batch_target_ms))));
  }
  add("course", report.samples.empty() ? "" : course_text(summary_of(report.samples)));
  std::string throttle;
  for (auto const& setting : one.settings) {
    if (setting.origin == "default") continue;
    throttle += fmt::format("{}{} {} ({})", throttle.empty() ? "" : ", ", setting.name, setting.text, setting.origin);
  }
  add("throttle", throttle);
  add("growth", report.status.growth);
  return facts;
}

std::vector<ComparedCost> costs_compared(JobReport const& report) {
  std::vector<ComparedCost> all;
  auto const& one = report.status.overview;
  if (!one.job) return all;
  if (auto const& costs = report.status.costs) {
    std::optional<std::int64_t> time;
    if (costs->estimated_time) time = costs->estimated_time->count();
    auto const in_ms = [](std::int64_t ms) { return human_duration(milliseconds(ms)); };
    all.push_back(compared("time", time, costs->time.count(), in_ms, costs->is_over, ""));
    if (costs->wal_bytes) {
      all.push_back(compared("WAL", costs->estimated_wal_bytes, *costs->wal_bytes, &human_bytes, costs->is_over,
                             ", by the whole server"));
    }
    all.push_back(compared("heap", costs->estimated_bytes, costs->bytes, &human_bytes, costs->is_over,
                           ", from " + human_bytes(costs->bytes_at_start)));
  }
  all.push_back(cost_of_rows(one));
  if (auto const lag = worst_lag_ms(report)) {
    all.push_back({"lag", setting_text(one, "replica_lag") + " allowed",
                   human_duration(milliseconds(*lag)) + " at worst", "", false});
  }
  return all;
}

char const* name_of(MarkKind kind) {
  switch (kind) {
    case MarkKind::kStart:
      return "started";
    case MarkKind::kStop:
      return "stopped";
    case MarkKind::kGone:
      return "gone";
    case MarkKind::kPause:
      return "paused";
    case MarkKind::kResume:
      return "resumed";
    case MarkKind::kChange:
      return "changed";
    case MarkKind::kFailure:
      return "failed";
    case MarkKind::kEnd:
      return "complete";
  }
  return "changed";
}

std::vector<Mark> marks_of(JobReport const& report) {
  auto marks = OpenRuns(report).gone();
  for (auto const& event : report.events) {
    marks.push_back(
        {event.at_ms, kind_of_event(event.kind), event_words(event, report.status.overview.name), event.who});
  }
  std::stable_sort(marks.begin(), marks.end(), [](Mark const& a, Mark const& b) { return a.at_ms < b.at_ms; });
  return marks;
}

std::vector<Band> bands_of(JobReport const& report) {
  std::vector<Band> bands;
  for (auto const& stretch : stretches_of(report.samples)) {
    auto const& phase = report.samples[stretch.sample].phase;
    bool const rests = phase == "paused" || phase == "window";
    if (!stretch.is_gone && !rests) continue;
    std::string const cause = stretch.is_gone ? "no process" : phase;
    bool const goes_on = !bands.empty() && bands.back().to_ms == stretch.from_ms && bands.back().cause == cause;
    if (goes_on) {
      bands.back().to_ms = stretch.to_ms;
    } else {
      bands.push_back({stretch.from_ms, stretch.to_ms, cause});
    }
  }
  return bands;
}

std::vector<Standstill> standstills_of(JobReport const& report) {
  constexpr std::size_t kMostStandstills = 50;
  auto all = summary_of(report.samples).standstills;
  if (all.size() <= kMostStandstills) return all;
  std::stable_sort(all.begin(), all.end(),
                   [](Standstill const& a, Standstill const& b) { return a.to_ms - a.from_ms > b.to_ms - b.from_ms; });
  all.resize(kMostStandstills);
  std::sort(all.begin(), all.end(), [](Standstill const& a, Standstill const& b) { return a.from_ms < b.from_ms; });
  return all;
}

std::vector<std::string> left_of(JobReport const& report) {
  auto const& one = report.status.overview;
  std::vector<std::string> left;
  bool const is_open = one.job && !one.is(JobStatus::kComplete);
  if (is_open && one.rows_left() > 0) left.push_back("about " + human_count(one.rows_left()) + " rows");
  if (one.deferred > 0) left.push_back(counted(one.deferred, "row", "rows") + " that somebody held");
  if (one.quarantined > 0) left.push_back(counted(one.quarantined, "row", "rows") + " that are set aside");
  if (one.migration) {
    auto const expand = steps_left(one.migration->expand, one.expand_done);
    auto const contract = steps_left(one.migration->contract, one.contract_done);
    if (expand > 0) left.push_back(counted(static_cast<std::int64_t>(expand), "step", "steps") + " of expand");
    if (contract > 0) left.push_back(counted(static_cast<std::int64_t>(contract), "step", "steps") + " of contract");
  }
  if (report.gate && !report.gate->is_open) {
    for (auto const& reason : report.gate->reasons) left.push_back("the gate is closed: " + reason);
  }
  left.push_back("next: " + next_text(report.status));
  return left;
}

}  // namespace pgbackfill::engine
