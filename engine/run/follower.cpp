#include "engine/run/follower.h"

#include <algorithm>
#include <utility>

#include "throttle/follow_rest.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::FollowStep;

// Keys of a page: short statements, as in batches.
constexpr std::int64_t kFewestKeys = 50;
constexpr std::int64_t kMostKeys = 50'000;
constexpr std::int64_t kKeysAtFirst = 2'000;
constexpr std::chrono::milliseconds kPageTimeout{5'000};

throttle::BatchSizerOptions sizer_options(std::chrono::milliseconds target) {
  throttle::BatchSizerOptions options;
  options.target = target;
  options.limits.min_rows = kFewestKeys;
  options.limits.max_rows = kMostKeys;
  options.first_rows = kKeysAtFirst;
  return options;
}

}  // namespace

Follower::Follower(planner::Follow const& follow, std::chrono::milliseconds page_target)
    : every_(follow.every), sizer_(sizer_options(page_target)) {}

void Follower::rest(TimePoint now) {
  walk_.reset();
  next_at_ = now + every_;
}

void Follower::end(TimePoint now) {
  walk_.reset();
  next_at_ = now + std::chrono::ceil<std::chrono::milliseconds>(throttle::rest_after_look(now - began_at_, every_));
}

// Rows that stay where they are, because somebody holds them, are not asked about again and again.
void Follower::record_visited(bool are_some_left, TimePoint now) {
  if (are_some_left || !walk_) return rest(now);
  walk_->record_visited();
}

asio::awaitable<Result<Looked>> Follower::begin(Session& session, TimePoint now) {
  auto const is_over = co_await session.has_contract_begun();
  if (!is_over) co_return is_over.error();
  if (*is_over) co_return Looked::kContract;
  auto const has_any = co_await session.has_new_leaves();
  if (!has_any) co_return has_any.error();
  if (*has_any) co_return Looked::kNewLeaves;
  walk_.emplace(session.leaves_to_follow());
  began_at_ = now;
  co_return Looked::kPage;
}

// What the machine says next: a page is found, or looked at.
asio::awaitable<std::optional<Failure>> Follower::obey(Session& session, Database& database, std::string ended) {
  auto const step = walk_->next(sizer_.rows());
  std::optional<Failure> failure;
  auto const began = database.now();
  if (step.kind == FollowStep::Kind::kFindPage) {
    planner::Lease from;
    from.leaf = step.leaf;
    from.cursor = step.interval.lo;
    auto page = co_await session.look_ahead(std::move(from), step.rows, kPageTimeout);
    if (page) {
      walk_->record_page(std::move(*page));
    } else {
      failure = page.error();
    }
  } else {
    auto const deferred = co_await session.defer_undone(step.leaf, step.interval, kPageTimeout, std::move(ended));
    if (deferred) {
      walk_->record_deferred(*deferred);
      if (step.interval.hi) sizer_.record({step.rows, database.now() - began});
    } else {
      failure = deferred.error();
    }
  }
  bool const is_too_many = failure && failure->trouble == planner::Trouble::kStatementTimeout;
  if (!is_too_many) co_return failure;
  sizer_.record_timeout(step.rows);
  if (walk_->record_too_many()) co_return std::nullopt;
  co_return failure;
}

asio::awaitable<Result<Looked>> Follower::look(Session& session, Database& database, std::string ended) {
  if (!walk_) {
    auto const begun = co_await begin(session, database.now());
    co_return begun;
  }
  auto const step = walk_->next(sizer_.rows());
  if (step.kind == FollowStep::Kind::kVisit) co_return Looked::kFound;
  if (step.kind == FollowStep::Kind::kThrough) {
    end(database.now());
    co_return Looked::kThrough;
  }
  auto failure = co_await obey(session, database, std::move(ended));
  if (!failure) co_return Looked::kPage;
  rest(database.now());
  co_return std::move(*failure);
}

}  // namespace pgbackfill::engine
