// Fixes the rows that a check `agrees` found to differ: a job of its own over the same table, by the batches of the
// engine, with everything that a backfill has.
//
// The job's `where` is the difference itself, so that it changes the rows that differ and no other. It is kept under a
// name of its own while it is under way, and goes when it has ended. Throws CommandError where it ends before its end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"
#include "engine/process/interrupts.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

struct RepairOptions {
  std::chrono::milliseconds reconnect_patience{300'000};  // with a server that is away
};

// Rows that were changed. `position`: of the check in `verify:`.
asio::awaitable<std::int64_t> repair(CommandContext& context, std::shared_ptr<PgConnection> connection,
                                     LoadedMigration const& loaded, std::size_t position, RepairOptions options,
                                     EventSink& sink);

}  // namespace pgbackfill::engine
