#include "throttle/growth_guard.h"

#include <algorithm>

#include "throttle/cause_book.h"

namespace pgbackfill::throttle {

namespace {

Grip grip_of(double share) {
  if (share <= 0) return Grip::kStops;
  return share < 1 ? Grip::kSlows : Grip::kWarns;
}

}  // namespace

void judge_growth(GrowthHold const& hold, int wanted, Decision& decision, CauseBook& causes) {
  if (hold.text.empty()) return;
  if (hold.share < 1) decision.workers = std::min(decision.workers, std::max(hold.share, 0.0) * std::max(wanted, 1));
  causes.note(hold.is_held ? CauseKind::kXminHorizon : CauseKind::kBloat, grip_of(hold.share), "growth", hold.text);
}

}  // namespace pgbackfill::throttle
