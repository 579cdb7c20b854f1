// Charts of a value over time as parts of an HTML page: geometry in SVG, words in HTML beside it, so that they are read
// at the width of a phone and of a wall.
//
// Pure. Colours are classes and custom properties of the page's style sheet (report_html.cpp). Texts are raw and are
// escaped here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::engine {

// The part of time that all charts of a page show.
struct TimeSpan {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
};

struct ChartPoint {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  double value = 0;
};

// A line of steps; between two points that do not meet there is none.
struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;
};

struct ChartBand {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  std::string title;
  std::string style;  // a class: "paused", "window", "gone"
};

struct ChartMark {
  std::int64_t at_ms = 0;
  std::string label;  // a number of the list below the charts
  std::string title;
  std::string style;  // a class
};

struct Chart {
  std::string title;
  std::string summary;  // for those who do not see it, and under it
  std::string most;     // the text of its upper end
  std::string unit;     // of its values, for a script that reads them off: charts.js knows the words
  double top = 1;       // the value of it
  std::optional<double> limit;
  std::string limit_text;
  std::vector<ChartSeries> series;
  bool is_area = false;
};
// The largest value of all points; 0 where none is above it.
double most_of(std::vector<ChartSeries> const& all);

std::string chart_html(Chart const& chart, TimeSpan span, std::vector<ChartBand> const& bands,
                       std::vector<ChartMark> const& marks);

// Lanes of causes, one below the other: how much of each moment each of them held the work back.
struct Lane {
  std::string name;
  std::string note;                // "12 min"
  std::vector<ChartPoint> shares;  // 0 to 1
};
std::string lanes_html(std::string const& title, std::string const& summary, std::vector<Lane> const& lanes,
                       TimeSpan span);

// The times under the charts: first, middle, last.
std::string time_axis_html(TimeSpan span);

}  // namespace pgbackfill::engine
