// What the growth of the job's tables does to the pace: fewer workers, or none, until a vacuum has made room.
//
// The law and its reasons: docs/throttle.md#bloat. VacuumDebt advises for each table; here the advice that binds most
// becomes part of a decision. Pure.
#pragma once

#include <string>

#include "throttle/decision.h"

namespace pgbackfill::throttle {

class CauseBook;

struct GrowthHold {
  double share = 1;      // of the workers that may go on
  bool is_held = false;  // vacuums free nothing: somebody may still see the old rows
  std::string text;      // why; empty if there is nothing to say
};

// `wanted`: workers that would run if nothing held them.
void judge_growth(GrowthHold const& hold, int wanted, Decision& decision, CauseBook& causes);

}  // namespace pgbackfill::throttle
