#include "engine/app/paces.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::engine {

namespace {

// Less says nothing.
constexpr std::chrono::milliseconds kShortestLook{100};

// Of all processes together; none while nobody works.
std::optional<std::int64_t> limit_of(StatusOverview const& one) {
  if (!one.max_rows_per_second || !one.is_worked_on()) return std::nullopt;
  return *one.max_rows_per_second * one.processes;
}

}  // namespace

void Paces::add(StatusOverview const& one, std::chrono::steady_clock::time_point now) {
  auto [known, is_new] = series_.try_emplace(one.name);
  auto& series = known->second;
  if (is_new) series.began = now;
  if (is_new || one.rows_passed < series.first_rows) series.first_rows = one.rows_passed;
  auto const elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(now - series.began);
  series.history.add(elapsed, one.rows_passed);
  auto& pace = paces_[one.name];
  pace.rows_per_second = series.history.recent_rate();
  pace.eta = series.history.eta(one.rows_left(), limit_of(one));
  if (!is_series && elapsed >= kShortestLook) guess(one, series, pace, elapsed);
  if (pace.eta) pace.eta = on_calendar(*pace.eta, one.schedule, std::chrono::system_clock::now());
}

StatusPace Paces::of(std::string const& name) const {
  auto const found = paces_.find(name);
  return found == paces_.end() ? StatusPace() : found->second;
}

// A single look is too short for a history: what it saw is all that is known.
void Paces::guess(StatusOverview const& one, Series const& series, StatusPace& pace,
                  std::chrono::milliseconds elapsed) {
  double const seconds = std::chrono::duration<double>(elapsed).count();
  pace.rows_per_second = static_cast<double>(one.rows_passed - series.first_rows) / seconds;
  // Under a limit rows come in jumps: none of them in a moment says little, and many no more.
  double rate = pace.rows_per_second;
  auto const limit = limit_of(one);
  if (limit) rate = rate > 0 ? std::min(rate, static_cast<double>(*limit)) : static_cast<double>(*limit);
  if (rate <= 0 || one.rows_left() == 0) return;
  double const left_ms = static_cast<double>(one.rows_left()) / rate * 1000;
  std::chrono::milliseconds const left(std::llround(std::min(left_ms, 1e12)));
  pace.eta = Eta{left, left, std::nullopt};
}

}  // namespace pgbackfill::engine
