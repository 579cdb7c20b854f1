// What a worker does where no range is free: cut somebody else's in two, visit deferred keys, go on to the next pass.
//
// Each is a loop that obeys a machine of planner/keys, over a session's single transactions; so the simulation plays
// the same. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>

#include "engine/run/database.h"

namespace pgbackfill::engine {

// The far part of the widest range that somebody works on; nothing when none is worth splitting.
asio::awaitable<Result<std::optional<planner::Lease>>> split_widest_range(Session& session, std::int64_t least_rows);

// The keys of every leaf, at most `rows` of each.
asio::awaitable<Result<planner::Visit>> visit_deferred(Session& session, std::int64_t rows);

asio::awaitable<Result<planner::PassEnd>> go_on_to_next_pass(Session& session);

}  // namespace pgbackfill::engine
