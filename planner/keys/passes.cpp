#include "planner/keys/passes.h"

namespace pgbackfill::planner {

PassDecision after_ranges(PassState const& state) {
  if (state.open_ranges > 0) return PassDecision::kWaitForRanges;
  if (state.pass == 0) return PassDecision::kNextPass;
  if (state.by_block && (state.rows_changed > 0 || state.rows_left > 0)) {
    return state.pass < kMostBlockPasses ? PassDecision::kNextPass : PassDecision::kGiveUp;
  }
  return state.deferred > 0 ? PassDecision::kVisitDeferred : PassDecision::kComplete;
}

}  // namespace pgbackfill::planner
