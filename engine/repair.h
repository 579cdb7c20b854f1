// Mends the rows that a check `agrees` found to differ: a job of its own over the same table, by the batches of the
// engine, with everything that a backfill has.
//
// The job's `where` is the difference itself, so that it changes the rows that differ and no other. It is kept under a
// name of its own while it is under way, and goes when it has ended. Throws CommandError where it ends before its end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>

#include "engine/command_context.h"
#include "engine/interrupts.h"
#include "engine/pg_connection.h"
#include "planner/migration.h"

namespace pgbackfill::engine {

// Rows that were changed. `position`: of the check in `verify:`.
asio::awaitable<std::int64_t> repair(CommandContext& context, std::shared_ptr<PgConnection> connection,
                                     planner::Migration migration, std::size_t position, Interrupts& interrupts,
                                     EventSink& sink);

}  // namespace pgbackfill::engine
