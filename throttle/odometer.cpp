#include "throttle/odometer.h"

#include <algorithm>
#include <chrono>
#include <iterator>

namespace pgbackfill::throttle {
namespace {

constexpr std::chrono::seconds kRemembered{30};
constexpr std::size_t kMostMarks = 1'000;

double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void Odometer::add(double amount, TimePoint now) {
  double const sum = marks_.empty() ? 0 : marks_.back().sum + amount;
  if (!marks_.empty() && now <= marks_.back().at) {
    marks_.back().sum = sum;
    return;
  }
  marks_.push_back({now, sum});
  while (marks_.size() > kMostMarks || now - marks_.front().at > kRemembered) marks_.pop_front();
}

double Odometer::between(TimePoint from, TimePoint to) const {
  return to > from ? sum_at(to) - sum_at(from) : 0;
}

double Odometer::rate(double seconds) const {
  if (marks_.size() < 2) return 0;
  auto const span = std::chrono::duration_cast<TimePoint::duration>(std::chrono::duration<double>(seconds));
  TimePoint const to = marks_.back().at;
  TimePoint const from = std::max(to - span, marks_.front().at);
  return between(from, to) / seconds_between(from, to);
}

double Odometer::sum_at(TimePoint at) const {
  if (marks_.empty()) return 0;
  auto const after = std::upper_bound(marks_.begin(), marks_.end(), at,
                                      [](TimePoint time, Mark const& mark) { return time < mark.at; });
  if (after == marks_.begin()) return after->sum;
  auto const before = std::prev(after);
  if (after == marks_.end()) return before->sum;
  double const share = seconds_between(before->at, at) / seconds_between(before->at, after->at);
  return before->sum + share * (after->sum - before->sum);
}

}  // namespace pgbackfill::throttle
