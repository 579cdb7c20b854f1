// `run --dry-run`: the backfill tried on some rows, for real, in a transaction that is rolled back.
//
// What the server would say of the rows it says, and the rows are shown before and behind. It makes no state, runs no
// step and no hook, and says what it did not try. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "engine/app/options.h"
#include "engine/process/command_context.h"

namespace pgbackfill::engine {

// The exit code: 0 tried; 1 the work fails on these rows; 3 it needs what steps of the file make first.
asio::awaitable<int> dry_run(CommandContext& context, RunOptions options);

}  // namespace pgbackfill::engine
