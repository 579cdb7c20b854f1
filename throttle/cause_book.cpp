#include "throttle/cause_book.h"

#include <algorithm>
#include <chrono>

namespace pgbackfill::throttle {
namespace {

constexpr std::chrono::seconds kStillTheSame{3};
constexpr std::size_t kMostSpans = 1'000;

}  // namespace

void CauseBook::begin(TimePoint now) {
  now_ = now;
  causes_.clear();
  if (spans_.size() > kMostSpans) forget_old();
}

void CauseBook::note(CauseKind kind, Grip grip, std::string const& subject, std::string text) {
  auto& span = spans_.try_emplace({kind, subject}, Span{now_, now_}).first->second;
  if (now_ - span.seen > kStillTheSame) span.since = now_;
  span.seen = now_;
  causes_.push_back({kind, grip, std::move(text), span.since});
}

std::vector<Cause> CauseBook::take() {
  std::stable_sort(causes_.begin(), causes_.end(), [](Cause const& a, Cause const& b) { return a.grip > b.grip; });
  return std::move(causes_);
}

bool CauseBook::has(Grip grip) const {
  return std::any_of(causes_.begin(), causes_.end(), [grip](Cause const& cause) { return cause.grip == grip; });
}

void CauseBook::forget_old() {
  std::erase_if(spans_, [this](auto const& entry) { return now_ - entry.second.seen > kStillTheSame; });
}

}  // namespace pgbackfill::throttle
