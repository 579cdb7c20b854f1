#include "engine/view/report_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

#include "engine/base/text.h"
#include "engine/view/chart_svg.h"
#include "engine/view/console.h"
#include "planner/model/duration.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kFewestStretches = 2;
constexpr std::size_t kMostMarks = 60;
// Numbers closer than this cannot be read.
constexpr double kLeastDistance = 0.045;
constexpr std::size_t kMostLanes = 12;

enum class Unit { kRowsPerSecond, kBytesPerSecond, kBytes, kDuration, kTimes, kNumber };

using ValueOf = std::function<std::optional<double>(StoredSample const&)>;

std::string setting_of(JobReport const& report, std::string_view name) {
  for (auto const& setting : report.status.overview.settings) {
    if (setting.name == name) return setting.text;
  }
  return "";
}

std::string in_ms(double value) {
  return human_duration(milliseconds(static_cast<std::int64_t>(value)));
}

std::string as_bytes(double value) {
  return human_bytes(static_cast<std::int64_t>(value));
}

std::string say(Unit unit, double value) {
  switch (unit) {
    case Unit::kRowsPerSecond:
      return human_rate(value);
    case Unit::kBytesPerSecond:
      return as_bytes(value) + "/s";
    case Unit::kBytes:
      return as_bytes(value);
    case Unit::kDuration:
      return in_ms(value);
    case Unit::kTimes:
      return fmt::format("{:.2f} times", value);
    case Unit::kNumber:
      break;
  }
  return human_count(static_cast<std::int64_t>(value));
}

// As charts.js knows it.
char const* name_of(Unit unit) {
  switch (unit) {
    case Unit::kRowsPerSecond:
      return "rows/s";
    case Unit::kBytesPerSecond:
      return "bytes/s";
    case Unit::kBytes:
      return "bytes";
    case Unit::kDuration:
      return "ms";
    case Unit::kTimes:
      return "times";
    case Unit::kNumber:
      break;
  }
  return "";
}

class Charts {
 public:
  Charts(JobReport const& report, std::vector<Mark> const& marks)
      : report_(report), stretches_(stretches_of(report.samples)) {
    if (stretches_.size() < kFewestStretches) return;
    span_ = {stretches_.front().from_ms, stretches_.back().to_ms};
    for (auto const& band : bands_of(report)) {
      std::string const style = band.cause == "no process" ? "gone" : band.cause;
      bands_.push_back(
          {band.from_ms, band.to_ms,
           fmt::format("{}, {}", cause_label(band.cause), in_ms(static_cast<double>(band.to_ms - band.from_ms))),
           style});
    }
    take(marks);
  }

  std::string html() {
    if (stretches_.size() < kFewestStretches) return "";
    rate();
    held();
    lag();
    latency();
    add(
        "WAL of this job", [](StoredSample const& one) { return one.wal_per_second; }, Unit::kBytesPerSecond,
        std::nullopt, "");
    batches();
    add(
        "waiters for its locks", [](StoredSample const& one) { return static_cast<double>(one.waiters); },
        Unit::kNumber, std::nullopt, "");
    size();
    return html_ + time_axis_html(span_) + legend();
  }

 private:
  void take(std::vector<Mark> const& marks) {
    auto const length = static_cast<double>(span_.to_ms - span_.from_ms);
    double free_from = -1;
    for (std::size_t number = 0; number < marks.size() && marks_.size() < kMostMarks; ++number) {
      auto const& mark = marks[number];
      bool const is_shown = mark.kind != MarkKind::kChange && mark.at_ms >= span_.from_ms && mark.at_ms <= span_.to_ms;
      if (!is_shown) continue;
      double const place = static_cast<double>(mark.at_ms - span_.from_ms) / std::max(length, 1.0);
      bool const has_room = place >= free_from;
      if (has_room) free_from = place + kLeastDistance;
      marks_.push_back({mark.at_ms, has_room ? std::to_string(number + 1) : "", mark.text, name_of(mark.kind)});
    }
  }

  // Of the moments in which something was there; nothing where there is no value, or never more than nothing.
  ChartSeries series_of(std::string name, ValueOf const& value_of) const {
    ChartSeries series{std::move(name), {}};
    for (auto const& stretch : stretches_) {
      auto const value = stretch.is_gone ? std::nullopt : value_of(report_.samples[stretch.sample]);
      if (value) series.points.push_back({stretch.from_ms, stretch.to_ms, *value});
    }
    return series;
  }

  static double mean_of(ChartSeries const& series) {
    double sum = 0;
    double time = 0;
    for (auto const& point : series.points) {
      auto const length = static_cast<double>(point.to_ms - point.from_ms);
      sum += point.value * length;
      time += length;
    }
    return time > 0 ? sum / time : 0;
  }

  void draw(std::string title, std::vector<ChartSeries> series, Unit unit, std::optional<double> limit,
            std::string const& limit_text, bool is_first = false) {
    double const most = most_of(series);
    if (most <= 0) return;
    Chart chart;
    chart.title = std::move(title);
    chart.top = most;
    // A limit that is far away says nothing of the line.
    if (limit && *limit > most && *limit < 4 * most) chart.top = *limit;
    chart.summary = series.size() == 1
                        ? fmt::format("{} in the mean, {} at most", say(unit, mean_of(series.front())), say(unit, most))
                        : say(unit, most) + " at most";
    chart.most = say(unit, chart.top);
    chart.unit = name_of(unit);
    chart.limit = limit;
    chart.limit_text = limit_text;
    chart.is_area = series.size() == 1;
    chart.series = std::move(series);
    auto marks = marks_;
    for (auto& mark : marks) mark.label = is_first ? mark.label : "";
    html_ += chart_html(chart, span_, bands_, marks);
  }

  void add(std::string title, ValueOf const& value_of, Unit unit, std::optional<double> limit,
           std::string const& limit_text) {
    std::vector<ChartSeries> series;
    series.push_back(series_of(title, value_of));
    draw(std::move(title), std::move(series), unit, limit, limit_text);
  }

  void rate() {
    ChartSeries series{"rows per second", {}};
    for (auto const& stretch : stretches_) {
      if (!stretch.is_gone) series.points.push_back({stretch.from_ms, stretch.to_ms, stretch.rows_per_second()});
    }
    auto const limit = report_.status.overview.max_rows_per_second;
    std::optional<double> allowed;
    if (limit) allowed = static_cast<double>(*limit);
    draw("rows per second", {std::move(series)}, Unit::kRowsPerSecond, allowed, "max_rows_per_second", true);
  }

  void held() {
    std::map<std::string, Lane> lanes;
    std::map<std::string, std::int64_t> times;
    for (auto const& stretch : stretches_) {
      if (stretch.is_gone || stretch.length_ms() <= 0) continue;
      for (auto const& [cause, time] : report_.samples[stretch.sample].held_ms) {
        double const share = static_cast<double>(time) / static_cast<double>(stretch.length_ms());
        lanes[cause].shares.push_back({stretch.from_ms, stretch.to_ms, std::min(share, 1.0)});
        times[cause] += std::min(time, stretch.length_ms());
      }
    }
    for (auto const& band : bands_) {
      std::string const cause = band.style == "gone" ? "no process" : band.style;
      lanes[cause].shares.push_back({band.from_ms, band.to_ms, 1});
      times[cause] += band.to_ms - band.from_ms;
    }
    std::vector<std::pair<std::int64_t, std::string>> longest;
    for (auto const& [cause, time] : times) longest.emplace_back(time, cause);
    std::sort(longest.rbegin(), longest.rend());
    if (longest.size() > kMostLanes) longest.resize(kMostLanes);
    if (longest.empty()) return;
    std::vector<Lane> shown;
    for (auto const& [time, cause] : longest) {
      auto lane = std::move(lanes[cause]);
      lane.name = cause_label(cause);
      lane.note = in_ms(static_cast<double>(time));
      shown.push_back(std::move(lane));
    }
    html_ += lanes_html("what held it back", "causes overlap", shown, span_);
  }

  void lag() {
    std::vector<std::string> replicas;
    for (auto const& sample : report_.samples) {
      for (auto const& [replica, lag] : sample.lag_ms) {
        bool const is_new = std::find(replicas.begin(), replicas.end(), replica) == replicas.end();
        if (is_new) replicas.push_back(replica);
      }
    }
    std::sort(replicas.begin(), replicas.end());
    std::vector<ChartSeries> all;
    for (auto const& replica : replicas) {
      all.push_back(series_of(replica, [&](StoredSample const& one) -> std::optional<double> {
        auto const found = one.lag_ms.find(replica);
        if (found == one.lag_ms.end()) return std::nullopt;
        return static_cast<double>(found->second);
      }));
    }
    auto const allowed = planner::parse_duration(setting_of(report_, "replica_lag"));
    std::optional<double> limit;
    if (allowed) limit = static_cast<double>(allowed->count());
    std::string title = all.size() == 1 ? "lag of " + replicas.front() : "lag of replicas";
    draw(std::move(title), std::move(all), Unit::kDuration, limit, "replica_lag");
  }

  void latency() {
    auto const text = setting_of(report_, "latency_ratio");
    double const allowed = std::strtod(text.c_str(), nullptr);
    add(
        "latency of a commit, to one without the job", [](StoredSample const& one) { return one.latency_ratio; },
        Unit::kTimes, allowed > 0 ? std::optional(allowed) : std::nullopt, "latency_ratio");
  }

  void batches() {
    auto const target = report_.status.overview.batch_target_ms;
    add(
        "duration of a batch",
        [](StoredSample const& one) -> std::optional<double> {
          if (!one.batch_duration) return std::nullopt;
          return static_cast<double>(one.batch_duration->count());
        },
        Unit::kDuration, target > 0 ? std::optional(static_cast<double>(target)) : std::nullopt, "batch.target");
    add(
        "rows of a batch",
        [](StoredSample const& one) -> std::optional<double> {
          if (!one.batch_rows) return std::nullopt;
          return static_cast<double>(*one.batch_rows);
        },
        Unit::kNumber, std::nullopt, "");
  }

  void size() {
    add(
        "size of the table, with indexes",
        [](StoredSample const& one) -> std::optional<double> {
          if (!one.table_bytes) return std::nullopt;
          return static_cast<double>(*one.table_bytes);
        },
        Unit::kBytes, std::nullopt, "");
  }

  std::string legend() const {
    std::map<std::string, std::string> styles;
    for (auto const& band : bands_) styles[band.style] = cause_label(band.style == "gone" ? "no process" : band.style);
    std::string html;
    for (auto const& [style, label] : styles) {
      html += fmt::format(R"(<span><i class="band {}"></i>{}</span> )", style, label);
    }
    if (!marks_.empty()) html += "<span>numbers are of the list below</span>";
    return html.empty() ? "" : "<p class=\"legend\">" + html + "</p>\n";
  }

  JobReport const& report_;
  std::vector<Stretch> stretches_;
  TimeSpan span_;
  std::vector<ChartBand> bands_;
  std::vector<ChartMark> marks_;
  std::string html_;
};

}  // namespace

std::string report_charts(JobReport const& report, std::vector<Mark> const& marks) {
  return Charts(report, marks).html();
}

}  // namespace pgbackfill::engine
