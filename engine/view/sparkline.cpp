#include "engine/view/sparkline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "engine/view/course.h"

namespace pgbackfill::engine {

namespace {

constexpr std::array<char const*, 8> kLevels{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::size_t kFewestStretches = 3;

// Parts of a span of time, each with what was put into it.
class Parts {
 public:
  Parts(std::int64_t from_ms, std::int64_t to_ms, std::size_t count)
      : from_ms_(from_ms), part_ms_(static_cast<double>(to_ms - from_ms) / static_cast<double>(count)), all_(count) {}

  struct Part {
    double rows = 0;
    double ms = 0;
    std::optional<double> lag_ms;
  };

  // A stretch may lie in several of them.
  void add(Stretch const& stretch, std::optional<double> lag_ms) {
    auto const first = part_of(stretch.from_ms);
    auto const last = part_of(stretch.to_ms - 1);
    for (std::size_t number = first; number <= last; ++number) {
      double const begin = static_cast<double>(from_ms_) + part_ms_ * static_cast<double>(number);
      double const inside = std::min(begin + part_ms_, static_cast<double>(stretch.to_ms)) -
                            std::max(begin, static_cast<double>(stretch.from_ms));
      auto& part = all_[number];
      part.ms += std::max(inside, 0.0);
      part.rows += stretch.rows_per_second() * std::max(inside, 0.0) / 1000;
      if (lag_ms) part.lag_ms = std::max(part.lag_ms.value_or(0), *lag_ms);
    }
  }
  std::vector<Part> const& all() const { return all_; }

 private:
  std::size_t part_of(std::int64_t at_ms) const {
    double const number = std::floor(static_cast<double>(at_ms - from_ms_) / part_ms_);
    return static_cast<std::size_t>(std::clamp(number, 0.0, static_cast<double>(all_.size() - 1)));
  }

  std::int64_t from_ms_;
  double part_ms_;
  std::vector<Part> all_;
};

double largest(std::vector<std::optional<double>> const& values) {
  double most = 0;
  for (auto const& value : values) most = std::max(most, value.value_or(0));
  return most;
}

}  // namespace

std::string sparkline(std::vector<std::optional<double>> const& values) {
  double const most = largest(values);
  std::string text;
  for (auto const& value : values) {
    if (!value) {
      text += "·";  // a space would be folded away
      continue;
    }
    double const share = most > 0 ? std::clamp(*value / most, 0.0, 1.0) : 0;
    text += kLevels.at(static_cast<std::size_t>(std::lround(share * (kLevels.size() - 1))));
  }
  return text;
}

CourseChart course_chart(std::vector<StoredSample> const& samples, std::size_t width) {
  CourseChart chart;
  auto const stretches = stretches_of(samples);
  if (stretches.size() < kFewestStretches || width == 0) return chart;
  Parts parts(stretches.front().from_ms, stretches.back().to_ms, width);
  for (auto const& stretch : stretches) {
    if (stretch.is_gone) continue;
    auto const& lags = samples[stretch.sample].lag_ms;
    std::optional<double> worst;
    for (auto const& [replica, lag] : lags) worst = std::max(worst.value_or(0), static_cast<double>(lag));
    parts.add(stretch, worst);
  }
  std::vector<std::optional<double>> rates;
  std::vector<std::optional<double>> lags;
  for (auto const& part : parts.all()) {
    rates.push_back(part.ms > 0 ? std::optional(part.rows * 1000 / part.ms) : std::nullopt);
    lags.push_back(part.lag_ms);
  }
  chart.rate = sparkline(rates);
  chart.most_rows_per_second = largest(rates);
  bool const has_lag = std::any_of(lags.begin(), lags.end(), [](auto const& lag) { return lag.has_value(); });
  if (has_lag) chart.lag = sparkline(lags);
  chart.longest_lag = std::chrono::milliseconds(std::llround(largest(lags)));
  return chart;
}

}  // namespace pgbackfill::engine
