#include "engine/rehearse/forecast.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

// Of the estimate, to either side, and more for each tenfold of the rows.
constexpr double kKnownError = 0.2;
constexpr double kErrorPerTenfold = 0.1;
// Of hardware that nothing is known of.
constexpr double kUnknownFactor = 3;
// Until then workers, caches and the throttle are at their beginnings.
constexpr double kUnderWay = 0.5;

RehearsedLimit judged(std::string name, double limit, double expected, double high, std::string (*text)(double)) {
  RehearsedLimit judged;
  judged.name = std::move(name);
  judged.limit = text(limit);
  judged.value = text(expected);
  if (high > limit) judged.verdict = LimitVerdict::kDoubtful;
  if (expected > limit) judged.verdict = LimitVerdict::kBroken;
  return judged;
}

std::string duration_text(double number) {
  return human_duration(std::chrono::milliseconds(std::llround(number)));
}

std::string share_text(double share) {
  return fmt::format("{:.0f} %", share * 100);
}

}  // namespace

Forecast forecast_ms(double here_ms, double fixed_ms, Scaling const& scaling) {
  double const growing = std::max(here_ms - fixed_ms, 0.0) * scaling.rows * scaling.hardware.value_or(1);
  double const expected = fixed_ms + growing;
  double const error = kKnownError + kErrorPerTenfold * std::abs(std::log10(std::max(scaling.rows, 1e-9)));
  double const factor = (1 + error) * (scaling.hardware ? 1 : kUnknownFactor);
  return {expected / factor, expected, expected * factor};
}

std::optional<double> hardware_ratio(std::optional<BatchCost> const& there, std::optional<BatchCost> const& here) {
  bool const is_known = there && here && there->rows > 0 && here->rows > 0 && there->milliseconds > 0 &&
                        here->milliseconds > 0 && there->is_of_copy == here->is_of_copy;
  if (!is_known) return std::nullopt;
  double const cost_there = there->milliseconds / static_cast<double>(there->rows);
  double const cost_here = here->milliseconds / static_cast<double>(here->rows);
  return cost_there / cost_here;
}

Pace pace_of(std::vector<PacePoint> const& points) {
  Pace pace;
  if (points.empty() || points.back().at_ms <= 0) return pace;
  auto const& last = points.back();
  pace.start_ms = last.at_ms;
  if (last.rows <= 0) return pace;
  pace.rows_per_second = last.rows / last.at_ms * 1'000;
  auto const middle = std::find_if(points.begin(), points.end(),
                                   [&](PacePoint const& point) { return point.rows >= last.rows * kUnderWay; });
  bool const is_long_enough = middle != points.end() && last.at_ms - middle->at_ms > 0 && last.rows > middle->rows;
  if (is_long_enough) pace.rows_per_second = (last.rows - middle->rows) / (last.at_ms - middle->at_ms) * 1'000;
  pace.start_ms = std::max(last.at_ms - last.rows / pace.rows_per_second * 1'000, 0.0);
  return pace;
}

std::vector<RehearsedLimit> judge_limits(planner::RehearsalLimits const& limits, RehearsalReport const& report) {
  std::vector<RehearsedLimit> all;
  if (limits.max_time) {
    all.push_back(judged("max_time", static_cast<double>(limits.max_time->count()), report.total_ms.expected,
                         report.total_ms.high, duration_text));
  }
  auto const lag = static_cast<double>(report.lag_ms);
  if (limits.max_lag) {
    all.push_back(judged("max_lag", static_cast<double>(limits.max_lag->count()), lag, lag, duration_text));
  }
  auto const wait = static_cast<double>(report.lock_wait_ms);
  if (limits.max_lock_wait) {
    all.push_back(
        judged("max_lock_wait", static_cast<double>(limits.max_lock_wait->count()), wait, wait, duration_text));
  }
  if (limits.max_growth) {
    all.push_back(judged("max_growth", *limits.max_growth, report.growth, report.growth, share_text));
  }
  return all;
}

}  // namespace pgbackfill::engine
