// What a `dedupe` and a `move_to` need of the tables: columns, an index, rights.
//
// Reads only. What is wrong goes into the preflight, by position in the file. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "engine/pg/pg_connection.h"
#include "engine/run/job_setup.h"

namespace pgbackfill::engine {

// Columns of the groups, with the operators of an index that begins with them. Pure: of what is read of the table.
void take_groups(planner::Backfill const& backfill, Preflight& preflight);

// That the role may lock the rows that stay, and that the order is the same whenever it is asked for.
asio::awaitable<Result<Done>> check_dedupe(PgConnection& connection, planner::Backfill backfill, Preflight& preflight);

// Which columns are moved, and that the target has them.
asio::awaitable<Result<Done>> check_move(PgConnection& connection, planner::Backfill backfill, Preflight& preflight);

}  // namespace pgbackfill::engine
