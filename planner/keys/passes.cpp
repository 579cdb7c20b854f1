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

PassScope scope_of_next_pass(PassState const& state) {
  return state.sweeps && state.rows_again == 0 ? PassScope::kWholeTable : PassScope::kNewRows;
}

PassChange::PassChange(PassState const& state) {
  step_.pass = state.pass;
  if (state.is_complete) {
    end(PassEnd::kComplete);
  } else {
    begin(state);
  }
}

void PassChange::begin(PassState const& state) {
  switch (after_ranges(state)) {
    case PassDecision::kWaitForRanges:
      return end(PassEnd::kOpenRanges);
    case PassDecision::kVisitDeferred:
      return end(PassEnd::kDeferred);
    case PassDecision::kNextPass:
      step_.kind = PassStep::Kind::kStart;
      step_.scope = scope_of_next_pass(state);
      return;
    case PassDecision::kComplete:
      step_.kind = PassStep::Kind::kLookForLeaves;
      return;
    case PassDecision::kGiveUp:
      step_.kind = PassStep::Kind::kGiveUp;
      step_.reason = "after " + std::to_string(state.pass + 1) +
                     " passes by block there are still rows that satisfy `where`: others keep changing them; give the "
                     "table a primary key, or close it to writers";
  }
}

void PassChange::record_new_leaves(bool has_any) {
  step_.kind = has_any ? PassStep::Kind::kStart : PassStep::Kind::kComplete;
  step_.scope = PassScope::kNewLeaves;
}

void PassChange::record_started(bool is_ours) {
  end(is_ours ? PassEnd::kNextPass : PassEnd::kOpenRanges);
}

void PassChange::record_completed(bool is_ours) {
  end(is_ours ? PassEnd::kComplete : PassEnd::kOpenRanges);
}

void PassChange::end(PassEnd end) {
  step_.kind = PassStep::Kind::kEnd;
  step_.end = end;
}

LeafPart part_of_leaf(PassScope scope, LeafOfPass const& leaf) {
  if (scope == PassScope::kNewLeaves && leaf.is_known && !leaf.is_back) return LeafPart::kNothing;
  bool const is_whole = scope == PassScope::kWholeTable || !leaf.end || leaf.by_block;
  return is_whole ? LeafPart::kWhole : LeafPart::kNewKeys;
}

std::vector<PlannedRange> ranges_of_leaf(LeafPart part, LeafOfPass const& leaf, std::vector<KeyValue> const& bounds,
                                         Bound const& upper, std::int64_t rows_estimated) {
  if (part == LeafPart::kNothing || !upper) return {};
  if (part == LeafPart::kNewKeys) {
    if (upper == leaf.end) return {};
    return {{{leaf.end, upper}, 0}};
  }
  if (leaf.by_block) return cut_by_blocks(std::stoll(upper->front()) + 1, rows_estimated);
  return cut_by_bounds(bounds, upper, rows_estimated);
}

}  // namespace pgbackfill::planner
