// Looks for rows that come to a job after it is complete, again and again: a page a call, and then a rest.
//
// Knows when a look is due and how far it is; its pool calls it on one worker, and says when it may. Found rows are
// deferred, and the pool visits them as it does others. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/run/database.h"
#include "planner/keys/follow_walk.h"
#include "planner/model/migration.h"
#include "throttle/batch_sizer.h"

namespace pgbackfill::engine {

enum class Looked {
  kPage,       // there is more to look at
  kFound,      // what is deferred is to be visited, then record_visited()
  kNewLeaves,  // partitions came, and the job is to be gone on with
  kThrough,
  kContract,  // its contract has begun: there is nothing to follow any more
};

class Follower {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Follower(planner::Follow const& follow, std::chrono::milliseconds page_target);

  bool is_due(TimePoint now) const { return now >= next_at_; }
  TimePoint next_at() const { return next_at_; }

  // One page. `ended`: when those that follow were last told to end, as it was known when this one began. A page that
  // takes too long is halved; what else fails ends the look.
  asio::awaitable<Result<Looked>> look(Session& session, Database& database, std::string ended);
  void record_visited(bool are_some_left, TimePoint now);
  // Nothing is looked at for as long as the file says.
  void rest(TimePoint now);

 private:
  asio::awaitable<Result<Looked>> begin(Session& session, TimePoint now);
  asio::awaitable<std::optional<Failure>> obey(Session& session, Database& database, std::string ended);
  void end(TimePoint now);

  std::chrono::milliseconds every_;
  throttle::BatchSizer sizer_;
  std::optional<planner::FollowWalk> walk_;  // of the look that is under way
  TimePoint began_at_;
  TimePoint next_at_;
};

}  // namespace pgbackfill::engine
