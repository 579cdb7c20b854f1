// Reads what other recorded migrations still need (planner/steps/other_migrations.h), and holds it against what one is
// about to take away.
//
// Only reads. A database without state has no others. Belongs to the engine's thread. Throws CommandError.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "planner/model/migration.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

// One text for each thing that a step takes away and another migration needs; empty: nobody is in the way.
asio::awaitable<std::vector<std::string>> others_that_need(PgConnection& connection, std::string migration,
                                                           std::vector<planner::PlacedStep> steps);
// The same of what goes when the steps are undone.
asio::awaitable<std::vector<std::string>> others_that_need_undone(PgConnection& connection, std::string migration,
                                                                  std::vector<planner::PlacedStep> steps);

// Where the backfill of one would change rows of a copy that the other one's sync trigger keeps. `is_over`: that of
// this migration changes nothing any more.
asio::awaitable<std::vector<std::string>> others_with_copies(PgConnection& connection, planner::Migration migration,
                                                             bool is_over);

// The place of the trigger of `sync:` among those of others: its name goes into the migration. Gives why there is none;
// empty: there is one.
asio::awaitable<std::string> place_sync_trigger(PgConnection& connection, planner::Migration& migration);

}  // namespace pgbackfill::engine
