#include "engine/run/between_ranges.h"

#include <utility>

namespace pgbackfill::engine {

using planner::PassStep;
using planner::SplitStep;
using planner::Visit;
using planner::VisitStep;

asio::awaitable<Result<std::optional<planner::Lease>>> split_widest_range(Session& session, std::int64_t least_rows) {
  using namespace std::chrono_literals;
  auto candidate = co_await session.widest_range();
  if (!candidate) co_return candidate.error();
  if (!*candidate) co_return std::optional<planner::Lease>();
  planner::RangeSplit split(std::move(**candidate), least_rows);
  while (true) {
    auto const step = split.next();
    switch (step.kind) {
      case SplitStep::Kind::kLookAhead: {
        auto page = co_await session.look_ahead(split.range(), step.rows, 2'000ms);
        if (!page) co_return page.error();
        split.record_page(std::move(*page));
        break;
      }
      case SplitStep::Kind::kCut: {
        auto far = co_await session.cut_range(split.range(), step.middle);
        co_return far;
      }
      case SplitStep::Kind::kNothing:
        co_return std::optional<planner::Lease>();
    }
  }
}

namespace {

// One call, and what the machine is told of it.
asio::awaitable<void> obey(Session& session, int leaf, planner::DeferredVisit& visit) {
  VisitStep const step = visit.next();
  switch (step.kind) {
    case VisitStep::Kind::kVisit: {
      auto const visited = co_await session.visit(leaf, step.rows, step.key);
      visited ? visit.record(*visited) : visit.record(visited.error());
      co_return;
    }
    case VisitStep::Kind::kChoose: {
      auto const key = co_await session.next_deferred(leaf);
      key ? visit.record_choice(*key) : visit.record_state_failure(key.error());
      co_return;
    }
    case VisitStep::Kind::kMark: {
      auto const marked = co_await session.mark_visited(*step.key);
      marked ? visit.record_marked() : visit.record_state_failure(marked.error());
      co_return;
    }
    case VisitStep::Kind::kSetAside: {
      auto const moved = co_await session.set_aside(*step.key, step.failure);
      moved ? visit.record_set_aside() : visit.record_state_failure(moved.error());
      co_return;
    }
    case VisitStep::Kind::kDone:
    case VisitStep::Kind::kFailed:
      co_return;
  }
}

bool is_over(VisitStep const& step) {
  return step.kind == VisitStep::Kind::kDone || step.kind == VisitStep::Kind::kFailed;
}

}  // namespace

asio::awaitable<Result<Visit>> visit_deferred(Session& session, std::int64_t rows) {
  auto const leaves = co_await session.deferred_leaves();
  if (!leaves) co_return leaves.error();
  Visit total;
  for (auto const& [leaf, keys] : *leaves) {
    planner::DeferredVisit visit(rows);
    while (!is_over(visit.next())) co_await obey(session, leaf, visit);
    auto const& last = visit.next();
    if (last.kind == VisitStep::Kind::kFailed) co_return last.failure;
    total.rows_changed += last.visit.rows_changed;
    total.settled += last.visit.settled;
    total.left += keys - last.visit.settled;
  }
  co_return total;
}

asio::awaitable<Result<planner::PassEnd>> go_on_to_next_pass(Session& session) {
  auto const state = co_await session.pass_state();
  if (!state) co_return state.error();
  planner::PassChange change(*state);
  while (true) {
    PassStep const step = change.next();
    switch (step.kind) {
      case PassStep::Kind::kLookForLeaves: {
        auto const has_any = co_await session.has_new_leaves();
        if (!has_any) co_return has_any.error();
        change.record_new_leaves(*has_any);
        break;
      }
      case PassStep::Kind::kStart: {
        auto const is_ours = co_await session.start_pass_after(step.pass, step.scope);
        if (!is_ours) co_return is_ours.error();
        change.record_started(*is_ours);
        break;
      }
      case PassStep::Kind::kComplete: {
        auto const is_ours = co_await session.complete(step.pass);
        if (!is_ours) co_return is_ours.error();
        change.record_completed(*is_ours);
        break;
      }
      case PassStep::Kind::kEnd:
        co_return step.end;
      case PassStep::Kind::kGiveUp: {
        Failure failure;
        failure.message = step.reason;
        co_return failure;
      }
    }
  }
}

}  // namespace pgbackfill::engine
