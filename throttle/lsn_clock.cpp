#include "throttle/lsn_clock.h"

#include <algorithm>
#include <iterator>

namespace pgbackfill::throttle {
namespace {

// Half an hour in full at two marks a second; beyond, coarser and coarser.
constexpr std::size_t kMostMarks = 4'096;

}  // namespace

void LsnClock::see(TimePoint at, Lsn flushed) {
  if (!marks_.empty()) {
    if (flushed < marks_.back().lsn) marks_.clear();
  }
  if (!marks_.empty()) {
    if (at <= marks_.back().at) return;
    if (flushed == marks_.back().lsn) {
      marks_.back().at = at;
      return;
    }
  }
  marks_.push_back({at, flushed});
  if (marks_.size() > kMostMarks) thin_out();
}

LsnClock::Age LsnClock::age_of(Lsn replayed, TimePoint at) const {
  using std::chrono::nanoseconds;
  auto const after = std::upper_bound(marks_.begin(), marks_.end(), replayed,
                                      [](Lsn lsn, Mark const& mark) { return lsn < mark.lsn; });
  if (after == marks_.end()) return {};
  if (after == marks_.begin()) return {std::max(at - after->at, nanoseconds{0}), true};
  auto const before = std::prev(after);
  double const share = static_cast<double>(replayed - before->lsn) / static_cast<double>(after->lsn - before->lsn);
  nanoseconds const between = after->at - before->at;
  nanoseconds const into{static_cast<std::int64_t>(share * static_cast<double>(between.count()))};
  return {std::max(at - (before->at + into), nanoseconds{0}), false};
}

void LsnClock::thin_out() {
  std::deque<Mark> kept;
  std::size_t const old = marks_.size() / 2;
  for (std::size_t at = 0; at < marks_.size(); ++at) {
    if (at == 0 || at >= old || at % 2 == 0) kept.push_back(marks_[at]);
  }
  marks_ = std::move(kept);
}

}  // namespace pgbackfill::throttle
