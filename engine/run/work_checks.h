// What is refused of a backfill before anything is touched: rights, keys that would change, copies onto themselves,
// rules of the table that the work would go around. Part of check_backfill(), see engine/run/job_setup.h.
//
// Reads only. Problems and what was found go into the preflight.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "engine/pg/pg_connection.h"
#include "engine/run/job_setup.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

// From the table's facts alone: triggers that matter to keys, and whether its partitions are worked by themselves.
void look_at_triggers(planner::Backfill const& backfill, Preflight& preflight);

// A role that has rights on the parent alone, or row level security of it, leads through the parent.
asio::awaitable<Result<Done>> check_rights(PgConnection& connection, planner::Backfill backfill, Preflight& preflight);

asio::awaitable<Result<Done>> check_copy(PgConnection& connection, planner::Backfill backfill, Preflight& preflight);

// With `triggers: skip` the server keeps no foreign key: each one that matters has to be named in the file.
asio::awaitable<Result<Done>> check_foreign_keys(PgConnection& connection, planner::Backfill backfill,
                                                 Preflight& preflight);

// Of `compute`: the types of what is read and written, and that what must not change does not change by itself.
asio::awaitable<Result<Done>> check_compute(PgConnection& connection, planner::Backfill backfill, Preflight& preflight);

// Of texts that the server has accepted: what the work reads, changes, and may do to keys.
asio::awaitable<Result<Done>> look_at_work(PgConnection& connection, planner::Backfill backfill, Preflight& preflight);

}  // namespace pgbackfill::engine
