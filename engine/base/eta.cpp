#include "engine/base/eta.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pgbackfill::engine {

namespace {

using Milliseconds = std::chrono::milliseconds;
using Seconds = std::chrono::duration<double>;

constexpr Milliseconds kSampleSpacing{1'000};
constexpr Milliseconds kRecentWindow{10'000};
constexpr Milliseconds kHistoryMin{2'000};
constexpr Milliseconds kHistoryMax{600'000};
constexpr Milliseconds kStretchMax{60'000};
constexpr Seconds kHalfLife{120};
// This close to its limit, a job is held back by it and by little else. Under a limit rows come a second's worth at a
// time, so that the recent rate is coarse.
constexpr double kCloseToLimit = 0.3;
constexpr Seconds kEtaMax{10.0 * 365 * 24 * 3600};

struct WeighedRate {
  double rows_per_second;
  double weight;
};

// `rates` are sorted.
double quantile(std::vector<WeighedRate> const& rates, double share) {
  double total = 0;
  for (auto const& rate : rates) total += rate.weight;
  double passed = 0;
  for (auto const& rate : rates) {
    passed += rate.weight;
    if (passed >= share * total) return rate.rows_per_second;
  }
  return rates.back().rows_per_second;
}

std::optional<Milliseconds> time_for(std::int64_t rows, double rows_per_second) {
  if (rows_per_second <= 0) return std::nullopt;
  Seconds const time{static_cast<double>(rows) / rows_per_second};
  if (time > kEtaMax) return std::nullopt;
  return std::chrono::ceil<Milliseconds>(time);
}

template <typename Sample>
double rate_between(Sample const& from, Sample const& to) {
  return static_cast<double>(to.rows_done - from.rows_done) / Seconds{to.elapsed - from.elapsed}.count();
}

// How fast each stretch of the given length went; the younger, the heavier.
template <typename Samples>
std::vector<WeighedRate> stretch_rates(Samples const& samples, Milliseconds stretch) {
  std::vector<WeighedRate> rates;
  auto begin = samples.begin();
  for (auto end = samples.begin(); end != samples.end(); ++end) {
    if (end->elapsed - samples.front().elapsed < stretch) continue;
    while (std::next(begin)->elapsed <= end->elapsed - stretch) ++begin;
    double const age = Seconds{samples.back().elapsed - end->elapsed} / kHalfLife;
    rates.push_back({rate_between(*begin, *end), std::exp2(-age)});
  }
  std::sort(rates.begin(), rates.end(),
            [](auto const& a, auto const& b) { return a.rows_per_second < b.rows_per_second; });
  return rates;
}

}  // namespace

std::optional<Eta> on_calendar(Eta const& eta, throttle::Schedule const& schedule, throttle::SystemTime now) {
  auto const waited = [&](Milliseconds work) -> std::optional<Milliseconds> {
    auto const end = schedule.after_open_time(now, work);
    if (!end) return std::nullopt;
    return std::chrono::ceil<Milliseconds>(*end - now);
  };
  auto const early = waited(eta.early);
  auto const likely = waited(eta.likely);
  if (!early || !likely) return std::nullopt;
  return Eta{*early, *likely, eta.late ? waited(*eta.late) : std::nullopt};
}

void RateHistory::add(Milliseconds elapsed, std::int64_t rows_done) {
  if (!samples_.empty() && (elapsed < samples_.back().elapsed || rows_done < samples_.back().rows_done)) clear();
  bool const is_close = samples_.size() > 1 && elapsed - samples_[samples_.size() - 2].elapsed < kSampleSpacing;
  if (is_close) samples_.pop_back();
  samples_.push_back({elapsed, rows_done});
  while (elapsed - samples_.front().elapsed > kHistoryMax) samples_.pop_front();
}

double RateHistory::recent_rate() const {
  if (samples_.size() < 2) return 0;
  auto const& last = samples_.back();
  auto first = std::prev(samples_.end(), 2);
  while (first != samples_.begin() && last.elapsed - first->elapsed < kRecentWindow) --first;
  if (last.elapsed <= first->elapsed) return 0;
  return rate_between(*first, last);
}

std::optional<Eta> RateHistory::eta(std::int64_t rows_left, std::optional<std::int64_t> limit) const {
  if (rows_left <= 0 || samples_.size() < 2) return std::nullopt;
  auto const span = samples_.back().elapsed - samples_.front().elapsed;
  auto const straight_on = time_for(rows_left, recent_rate());
  if (span < kHistoryMin || !straight_on) return std::nullopt;
  double const at_most = limit ? static_cast<double>(*limit) : 0;
  if (limit && std::abs(recent_rate() - at_most) <= kCloseToLimit * at_most) {
    auto const at_limit = time_for(rows_left, at_most);
    if (!at_limit) return std::nullopt;
    return Eta{*at_limit, *at_limit, std::max(*at_limit, *straight_on)};
  }

  // Short stretches vary more than long ones, so the spread is taken from stretches about as long as what is left.
  auto const stretch_max = std::max(std::min(kStretchMax, span / 2), kSampleSpacing);
  auto const rates = stretch_rates(samples_, std::clamp(*straight_on, kSampleSpacing, stretch_max));
  auto const likely = time_for(rows_left, quantile(rates, 0.5));
  auto const early = time_for(rows_left, quantile(rates, 0.9));
  if (!likely || !early) return std::nullopt;
  return Eta{*early, *likely, time_for(rows_left, quantile(rates, 0.1))};
}

}  // namespace pgbackfill::engine
