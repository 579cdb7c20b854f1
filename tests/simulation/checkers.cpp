#include "tests/simulation/checkers.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace pgbackfill::tests {

namespace {

std::string text_of(Edge const& edge) {
  return edge ? std::to_string(*edge) : "-";
}

}  // namespace

void Checkers::fail(std::string text) {
  if (violation_) return;
  if (world_.is_traced()) world_.trace("VIOLATION: " + text);
  violation_ = std::move(text);
}

void Checkers::before_claim(SimState const& state, std::int64_t range, std::string const& owner) {
  auto const& claimed = state.ranges.at(range);
  bool const is_held = claimed.owner && claimed.owner != owner && claimed.expires >= world_.now();
  if (is_held) fail(fmt::format("{} claims range {} while the lease of {} is good", owner, range, *claimed.owner));
  if (claimed.is_done || claimed.pass != state.pass) fail(fmt::format("{} claims range {}, closed", owner, range));
}

void Checkers::before_batch(SimState const& state, planner::BatchRequest const& request, std::string const& owner) {
  auto const found = state.ranges.find(request.lease.range_id);
  if (found == state.ranges.end()) return fail(fmt::format("a batch of range {} that is not there", found->first));
  auto const& range = found->second;
  std::int64_t const id = found->first;
  if (range.owner != owner || range.epoch != request.lease.epoch) {
    fail(fmt::format("{} commits in range {} at epoch {}, which {} holds at epoch {}", owner, id, request.lease.epoch,
                     range.owner.value_or("nobody"), range.epoch));
  }
  if (range.is_done || range.pass != state.pass) fail(fmt::format("a batch commits in range {} that is closed", id));
  Edge const lo = edge_of(request.interval.lo);
  Edge const hi = edge_of(request.interval.hi);
  if (lo != range.cursor) {
    fail(fmt::format("a batch of range {} begins at {}, the cursor is at {}", id, text_of(lo), text_of(range.cursor)));
  }
  bool const is_inside = request.ends_range ? hi == range.hi : hi && (!range.hi || *hi <= *range.hi);
  if (!is_inside) {
    fail(fmt::format("a batch of range {} reaches to {}, the range to {}", id, text_of(hi), text_of(range.hi)));
  }
  if (!request.ends_range && lo && hi && *hi <= *lo) fail(fmt::format("the cursor of range {} does not advance", id));
}

void Checkers::after_commit(SimState const& state, std::optional<std::int64_t> range) {
  if (range && state.ranges.contains(*range)) check_range(state, state.ranges.at(*range));
  if (state.ranges.size() != ranges_seen_) check_partition(state);
  if (static_cast<std::int64_t>(state.quarantine.size()) > options_.quarantine_budget) {
    fail("more rows in quarantine than the budget allows");
  }
}

void Checkers::after_recovery(SimState const& state) {
  check_partition(state);
  for (auto const& [id, range] : state.ranges) check_range(state, range);
}

void Checkers::quarantined(SimState const& state, Key key) {
  auto const row = state.rows.find(key);
  if (row != state.rows.end() && !row->second.was_poison) fail(fmt::format("row {} is sound, yet in quarantine", key));
}

void Checkers::before_completion(SimState const& state) {
  for (auto const& [id, range] : state.ranges) {
    if (!range.is_done) fail(fmt::format("complete while range {} is open", id));
  }
  if (!state.deferred.empty()) fail("complete while rows are deferred");
  if (state.pass == 0) fail("complete before the rows were looked for that came meanwhile");
  check_partition(state);
  for (auto const& [key, row] : state.rows) {
    check_row(state, key, row);
    if (must_be_changed(state, key, row) && !is_settled(state, key, row)) {
      fail(fmt::format("complete, but row {} is not changed", key));
    }
  }
}

// Rows of the last pass count as soon as the cursor is past them; those that came later are nobody's.
void Checkers::check_range(SimState const& state, Range const& range) {
  if (!range.cursor || (range.lo && *range.cursor <= *range.lo)) return;
  auto at = range.lo ? state.rows.upper_bound(*range.lo) : state.rows.begin();
  for (; at != state.rows.end() && at->first <= *range.cursor; ++at) {
    auto const& [key, row] = *at;
    check_row(state, key, row);
    bool const was_there = range.pass == 0 ? row.is_original : row.pass_when_placed < range.pass;
    if (!was_there || (row.has_moved && !options_.has_where)) continue;
    if (!is_settled(state, key, row) && !state.is_deferred(key)) {
      fail(fmt::format("row {} is behind the cursor {} and not changed", key, *range.cursor));
    }
  }
}

void Checkers::check_row(SimState const& /*state*/, Key key, Row const& row) {
  if (row.is_stale) fail(fmt::format("row {} got a value that was computed from what it was before", key));
  // Without `where` a row that changes its key may be met twice: nothing tells done from undone.
  if (row.has_moved && !options_.has_where) return;
  if (row.changed > 1) fail(fmt::format("row {} was changed {} times", key, row.changed));
}

bool Checkers::is_settled(SimState const& state, Key key, Row const& row) const {
  return row.changed >= 1 || (row.was_poison && state.quarantine.contains(key));
}

bool Checkers::must_be_changed(SimState const& state, Key key, Row const& row) const {
  bool const is_in_reach = state.upper && key <= *state.upper;
  if (options_.has_where) return row.pass_when_placed == 0 && is_in_reach;
  if (row.has_moved) return false;
  bool const came_before_pass_1 =
      row.pass_when_placed == 0 && is_in_reach && state.upper_from && key > *state.upper_from;
  return row.is_original || came_before_pass_1;
}

void Checkers::check_partition(SimState const& state) {
  ranges_seen_ = state.ranges.size();
  for (int pass = 0; pass <= state.pass; ++pass) {
    std::vector<Range> ranges;
    for (auto const& [id, range] : state.ranges) {
      if (range.pass == pass) ranges.push_back(range);
    }
    std::sort(ranges.begin(), ranges.end(), [](Range const& left, Range const& right) { return left.lo < right.lo; });
    for (std::size_t next = 1; next < ranges.size(); ++next) {
      auto const& before = ranges[next - 1];
      if (before.hi == ranges[next].lo) continue;
      fail(fmt::format("pass {}: one range ends at {}, the next begins at {}", pass, text_of(before.hi),
                       text_of(ranges[next].lo)));
    }
    if (ranges.empty()) continue;
    if (pass == state.pass && ranges.back().hi != state.upper)
      fail("the last range does not reach the end of the pass");
    bool const is_from_the_start = pass == 0 || options_.has_where;
    if (is_from_the_start && ranges.front().lo) fail("the first range does not begin at the start");
  }
}

}  // namespace pgbackfill::tests
