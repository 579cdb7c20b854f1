#include "engine/view/chart_svg.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "engine/view/html.h"

namespace pgbackfill::engine {

namespace {

// The drawing's own units; the page stretches it.
constexpr double kWidth = 1000;
constexpr double kHeight = 100;
constexpr int kColours = 6;

class Scale {
 public:
  explicit Scale(TimeSpan span) : span_(span) {}

  double x(std::int64_t at_ms) const {
    auto const length = static_cast<double>(std::max<std::int64_t>(span_.to_ms - span_.from_ms, 1));
    return std::clamp(static_cast<double>(at_ms - span_.from_ms) / length, 0.0, 1.0) * kWidth;
  }

 private:
  TimeSpan span_;
};

double y(double value, double top) {
  double const share = top > 0 ? std::clamp(value / top, 0.0, 1.0) : 0.0;
  // The line itself has a width.
  return kHeight - 1 - share * (kHeight - 2);
}

std::string rectangle(Scale const& scale, ChartBand const& band) {
  double const begin = scale.x(band.from_ms);
  double const width = std::max(scale.x(band.to_ms) - begin, 1.0);
  return fmt::format(
      R"(<rect class="band {}" x="{:.1f}" y="0" width="{:.1f}" height="{:.0f}"><title>{}</title></rect>)", band.style,
      begin, width, kHeight, html_text(band.title));
}

// The path of one series: pieces, each of which begins anew where the one before does not meet it.
std::string path_of(ChartSeries const& series, Scale const& scale, double top, bool is_closed) {
  std::string path;
  std::string closing;  // of the piece that is drawn
  std::int64_t end_ms = 0;
  for (std::size_t at = 0; at < series.points.size(); ++at) {
    auto const& point = series.points[at];
    double const level = y(point.value, top);
    bool const goes_on = at > 0 && point.from_ms == end_ms;
    if (!goes_on) {
      if (is_closed && at > 0) path += closing;
      double const begin = scale.x(point.from_ms);
      closing = fmt::format("V{:.0f}H{:.1f}Z", kHeight, begin);
      path += fmt::format("M{:.1f} {:.1f}", begin, level);
    } else {
      path += fmt::format("V{:.1f}", level);
    }
    path += fmt::format("H{:.1f}", scale.x(point.to_ms));
    end_ms = point.to_ms;
  }
  if (is_closed) path += closing;
  return path;
}

std::string drawing(Chart const& chart, TimeSpan span, std::vector<ChartBand> const& bands,
                    std::vector<ChartMark> const& marks) {
  Scale const scale(span);
  std::string svg =
      fmt::format(R"(<svg viewBox="0 0 {:.0f} {:.0f}" preserveAspectRatio="none" role="img" aria-label="{}: {}">)",
                  kWidth, kHeight, html_text(chart.title), html_text(chart.summary));
  for (auto const& band : bands) svg += rectangle(scale, band);
  if (chart.limit && *chart.limit <= chart.top) {
    svg += fmt::format(R"(<path class="limit" d="M0 {0:.1f}L{1:.0f} {0:.1f}"/>)", y(*chart.limit, chart.top), kWidth);
  }
  int number = 0;
  for (auto const& series : chart.series) {
    int const colour = number++ % kColours;
    if (chart.is_area) {
      svg += fmt::format(R"(<path class="area c{}" d="{}"/>)", colour, path_of(series, scale, chart.top, true));
    }
    svg += fmt::format(R"(<path class="line c{}" d="{}"><title>{}</title></path>)", colour,
                       path_of(series, scale, chart.top, false), html_text(series.name));
  }
  for (auto const& mark : marks) {
    svg += fmt::format(R"(<path class="mark {}" d="M{:.1f} 0V{:.0f}"><title>{}</title></path>)", mark.style,
                       scale.x(mark.at_ms), kHeight, html_text(mark.title));
  }
  return svg + "</svg>";
}

std::string legend(Chart const& chart) {
  if (chart.series.size() < 2) return "";
  std::string html = R"(<p class="legend">)";
  int number = 0;
  for (auto const& series : chart.series) {
    html += fmt::format(R"(<span><i class="c{}"></i>{}</span> )", number++ % kColours, html_text(series.name));
  }
  return html + "</p>\n";
}

std::string labels_of(std::vector<ChartMark> const& marks, TimeSpan span) {
  Scale const scale(span);
  std::string html;
  for (auto const& mark : marks) {
    if (mark.label.empty()) continue;
    html += fmt::format(R"(<b class="{}" style="left:{:.2f}%" title="{}">{}</b>)", mark.style,
                        scale.x(mark.at_ms) / kWidth * 100, html_text(mark.title), html_text(mark.label));
  }
  return html.empty() ? "" : R"(<div class="marks" aria-hidden="true">)" + html + "</div>\n";
}

std::string moment_text(std::int64_t at_ms, bool has_seconds) {
  // Of a year that can be written.
  auto const at = fmt::gmtime(static_cast<std::time_t>(std::clamp<std::int64_t>(at_ms / 1000, 0, 253'402'300'799)));
  return has_seconds ? fmt::format("{:%m-%d %H:%M:%S}", at) : fmt::format("{:%m-%d %H:%M}", at);
}

}  // namespace

double most_of(std::vector<ChartSeries> const& all) {
  double most = 0;
  for (auto const& series : all) {
    for (auto const& point : series.points) most = std::max(most, point.value);
  }
  return most;
}

std::string chart_html(Chart const& chart, TimeSpan span, std::vector<ChartBand> const& bands,
                       std::vector<ChartMark> const& marks) {
  // Enough for a script to read the values off the drawing.
  std::string html = fmt::format(
      R"(<figure class="chart" data-from="{}" data-to="{}" data-top="{:.10g}" data-unit="{}">)"
      "\n<figcaption><strong>{}</strong> <span>{}</span></figcaption>\n",
      span.from_ms, span.to_ms, chart.top, html_text(chart.unit), html_text(chart.title), html_text(chart.summary));
  html += labels_of(marks, span);
  html += fmt::format("<div class=\"plot\">{}<span class=\"top\">{}</span>", drawing(chart, span, bands, marks),
                      html_text(chart.most));
  if (chart.limit && *chart.limit <= chart.top && !chart.limit_text.empty()) {
    html += fmt::format(R"(<span class="limit" style="top:{:.1f}%">{}</span>)",
                        y(*chart.limit, chart.top) / kHeight * 100, html_text(chart.limit_text));
  }
  return html + "</div>\n" + legend(chart) + "</figure>\n";
}

std::string lanes_html(std::string const& title, std::string const& summary, std::vector<Lane> const& lanes,
                       TimeSpan span) {
  Scale const scale(span);
  std::string html =
      fmt::format("<figure class=\"lanes\">\n<figcaption><strong>{}</strong> <span>{}</span></figcaption>\n",
                  html_text(title), html_text(summary));
  for (auto const& lane : lanes) {
    std::string svg =
        fmt::format(R"(<svg viewBox="0 0 {:.0f} 10" preserveAspectRatio="none" role="img" aria-label="{}: {}">)",
                    kWidth, html_text(lane.name), html_text(lane.note));
    for (auto const& share : lane.shares) {
      if (share.value <= 0) continue;
      double const begin = scale.x(share.from_ms);
      svg += fmt::format(R"(<rect x="{:.1f}" y="0" width="{:.1f}" height="10" fill-opacity="{:.2f}"/>)", begin,
                         std::max(scale.x(share.to_ms) - begin, 1.0), 0.25 + 0.75 * std::min(share.value, 1.0));
    }
    html += fmt::format("<div class=\"lane\"><span>{} <em>{}</em></span>{}</svg></div>\n", html_text(lane.name),
                        html_text(lane.note), svg);
  }
  return html + "</figure>\n";
}

std::string time_axis_html(TimeSpan span) {
  bool const has_seconds = span.to_ms - span.from_ms < 3'600'000;
  return fmt::format("<p class=\"axis\"><span>{}</span><span>{}</span><span>{} UTC</span></p>\n",
                     moment_text(span.from_ms, has_seconds),
                     moment_text(span.from_ms + (span.to_ms - span.from_ms) / 2, has_seconds),
                     moment_text(span.to_ms, has_seconds));
}

}  // namespace pgbackfill::engine
