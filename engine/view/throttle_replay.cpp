#include "engine/view/throttle_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>
#include <functional>
#include <set>
#include <utility>

#include "engine/base/text.h"
#include "engine/view/chart_svg.h"
#include "engine/view/console.h"
#include "engine/view/course.h"
#include "engine/view/html.h"
#include "engine/view/json_values.h"

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kFewestStretches = 2;

using ValueOf = std::function<std::optional<double>(ReplayedStretch const&)>;
using Words = std::function<std::string(double)>;

// Weighted by the time of each.
double mean_of(ReplayedStretch const& first, double a, ReplayedStretch const& second, double b) {
  double const time = first.seconds() + second.seconds();
  return time > 0 ? (a * first.seconds() + b * second.seconds()) / time : (a + b) / 2;
}

std::optional<double> mean_of(ReplayedStretch const& first, std::optional<double> a, ReplayedStretch const& second,
                              std::optional<double> b) {
  if (!a || !b) return a ? a : b;
  return mean_of(first, *a, second, *b);
}

TimeSpan span_of(ThrottleReplay const& replay) {
  return {replay.stretches.front().from_ms, replay.stretches.back().to_ms};
}

// Longest first.
std::vector<std::pair<double, std::string>> causes_of(ThrottleReplay const& replay) {
  std::map<std::string, double> times;
  for (auto const& stretch : replay.stretches) {
    for (auto const& [cause, held] : stretch.held_ms) times[cause] += held;
  }
  std::vector<std::pair<double, std::string>> causes;
  for (auto const& [cause, time] : times) causes.emplace_back(time, cause);
  std::sort(causes.rbegin(), causes.rend());
  return causes;
}

std::string in_time(double ms) {
  return human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(ms)));
}

std::string in_bytes(double value) {
  return human_bytes(static_cast<std::int64_t>(value));
}

ChartSeries series_of(ThrottleReplay const& replay, std::string name, ValueOf const& value_of) {
  ChartSeries series{std::move(name), {}};
  for (auto const& stretch : replay.stretches) {
    if (auto const value = value_of(stretch)) series.points.push_back({stretch.from_ms, stretch.to_ms, *value});
  }
  return series;
}

std::string chart_of(ThrottleReplay const& replay, std::string title, std::vector<ChartSeries> series,
                     Words const& words) {
  double const most = most_of(series);
  if (most <= 0) return "";
  Chart chart;
  chart.title = std::move(title);
  chart.top = most;
  chart.most = words(most);
  chart.summary = chart.most + " at most";
  chart.is_area = series.size() == 1;
  chart.series = std::move(series);
  return chart_html(chart, span_of(replay), {}, {});
}

std::string backlog_chart(ThrottleReplay const& replay) {
  std::set<std::string> names;
  for (auto const& stretch : replay.stretches) {
    for (auto const& [name, bytes] : stretch.backlog) names.insert(name);
  }
  std::vector<ChartSeries> all;
  for (auto const& name : names) {
    all.push_back(series_of(replay, name, [&](ReplayedStretch const& one) -> std::optional<double> {
      auto const found = one.backlog.find(name);
      return found == one.backlog.end() ? std::nullopt : std::optional(found->second);
    }));
  }
  std::string title = all.size() == 1 ? "seen: WAL that " + *names.begin() + " has not replayed"
                                      : "seen: WAL that replicas have not replayed";
  return chart_of(replay, std::move(title), std::move(all), in_bytes);
}

std::string seen_html(ThrottleReplay const& replay) {
  std::string html = backlog_chart(replay);
  html += chart_of(replay, "seen: a commit of the canary",
                   {series_of(replay, "commit", [](ReplayedStretch const& one) { return one.commit_ms; })},
                   [](double value) { return fmt::format("{:.1f} ms", value); });
  html += chart_of(replay, "seen: active sessions of others",
                   {series_of(replay, "sessions", [](ReplayedStretch const& one) { return one.others_active; })},
                   [](double value) { return fmt::format("{:.1f}", value); });
  html += chart_of(
      replay, "seen: waiters for its locks",
      {series_of(replay, "waiters", [](ReplayedStretch const& one) { return static_cast<double>(one.waiters); })},
      [](double value) { return fmt::format("{:.0f}", value); });
  return html;
}

std::optional<double> wal_written(ReplayedStretch const& one) {
  return one.seconds() > 0 ? std::optional(one.wal_bytes / one.seconds()) : std::nullopt;
}

std::string decided_html(ThrottleReplay const& replay) {
  auto const words_of_workers = [](double value) { return fmt::format("{:.2g} workers", value); };
  std::string html =
      chart_of(replay, "decided: workers that may run, and those that ran",
               {series_of(replay, "may run", [](ReplayedStretch const& one) { return one.workers_allowed; }),
                series_of(replay, "ran", [](ReplayedStretch const& one) { return one.workers_busy; })},
               words_of_workers);
  html += chart_of(replay, "decided: WAL that batches may write, and what they wrote",
                   {series_of(replay, "may write", [](ReplayedStretch const& one) { return one.wal_allowed; }),
                    series_of(replay, "wrote", wal_written)},
                   [](double value) { return in_bytes(value) + "/s"; });
  std::vector<Lane> lanes;
  for (auto const& [time, cause] : causes_of(replay)) {
    Lane lane{cause_label(cause), in_time(time), {}};
    for (auto const& stretch : replay.stretches) {
      auto const found = stretch.held_ms.find(cause);
      auto const length = static_cast<double>(stretch.to_ms - stretch.from_ms);
      if (found == stretch.held_ms.end() || length <= 0) continue;
      lane.shares.push_back({stretch.from_ms, stretch.to_ms, std::min(found->second / length, 1.0)});
    }
    lanes.push_back(std::move(lane));
  }
  if (!lanes.empty()) html += lanes_html("decided: what holds it back", "causes overlap", lanes, span_of(replay));
  return html;
}

}  // namespace

ReplayedStretch joined(ReplayedStretch const& first, ReplayedStretch const& second) {
  ReplayedStretch both = first;
  both.from_ms = std::min(first.from_ms, second.from_ms);
  both.to_ms = std::max(first.to_ms, second.to_ms);
  both.decisions += second.decisions;
  for (auto const& [name, bytes] : second.backlog) both.backlog[name] = std::max(both.backlog[name], bytes);
  both.commit_ms = mean_of(first, first.commit_ms, second, second.commit_ms);
  both.others_active = mean_of(first, first.others_active, second, second.others_active);
  both.waiters = std::max(first.waiters, second.waiters);
  both.rows += second.rows;
  both.wal_bytes += second.wal_bytes;
  both.workers_busy = mean_of(first, first.workers_busy, second, second.workers_busy);
  both.workers_allowed = mean_of(first, first.workers_allowed, second, second.workers_allowed);
  both.wal_allowed = mean_of(first, first.wal_allowed, second, second.wal_allowed);
  for (auto const& [cause, held] : second.held_ms) both.held_ms[cause] += held;
  return both;
}

std::vector<std::string> replay_lines(ThrottleReplay const& replay) {
  if (replay.stretches.empty()) return {};
  auto const span = span_of(replay);
  auto const length = static_cast<double>(span.to_ms - span.from_ms);
  std::vector<std::string> lines = {fmt::format("{} decisions over {}, replayed from {} with the limits that hold now",
                                                human_count(replay.decisions), in_time(length),
                                                neutralised(replay.file))};
  for (auto const& [time, cause] : causes_of(replay)) {
    lines.push_back(fmt::format("held back by {} for {} ({:.0f} %)", neutralised(cause_label(cause)), in_time(time),
                                length > 0 ? 100 * time / length : 0));
  }
  return lines;
}

std::string replay_html(ThrottleReplay const& replay) {
  if (replay.stretches.size() < kFewestStretches) return "";
  std::string html = "<p>" + html_text(replay_lines(replay).front()) + "</p>\n";
  return html + seen_html(replay) + decided_html(replay) + time_axis_html(span_of(replay));
}

boost::json::object json_of(ThrottleReplay const& replay) {
  boost::json::array stretches;
  auto const amounts = [](std::map<std::string, double> const& all) {
    boost::json::object object;
    for (auto const& [name, amount] : all) object[valid_utf8(name)] = amount;
    return object;
  };
  for (auto const& one : replay.stretches) {
    stretches.push_back({{"from_ms", one.from_ms},
                         {"to_ms", one.to_ms},
                         {"decisions", one.decisions},
                         {"backlog_bytes", amounts(one.backlog)},
                         {"commit_ms", or_null(one.commit_ms)},
                         {"others_active", or_null(one.others_active)},
                         {"waiters", one.waiters},
                         {"rows", one.rows},
                         {"wal_bytes", one.wal_bytes},
                         {"workers_busy", one.workers_busy},
                         {"workers_allowed", one.workers_allowed},
                         {"wal_allowed_per_second", or_null(one.wal_allowed)},
                         {"held_ms", amounts(one.held_ms)}});
  }
  return {{"file", valid_utf8(replay.file)}, {"decisions", replay.decisions}, {"stretches", std::move(stretches)}};
}

}  // namespace pgbackfill::engine
