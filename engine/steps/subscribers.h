// Subscribers of logical replication that would stop, because a publication sends them what they do not have: schema
// pgbackfill, a new column, a new table.
//
// Only reads. Belongs to the engine's thread. Throws CommandError.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "planner/model/schema_step.h"

namespace pgbackfill::engine {

// Slots of this database whose consumers read publications, in words.
asio::awaitable<std::vector<std::string>> read_subscribers(PgConnection& connection);

// "schema pgbackfill, published by everything (FOR ALL TABLES)": what the steps make, and the state where that is not
// there yet, as far as publications send it. Whether anybody subscribes is read_subscribers()'s to say.
asio::awaitable<std::vector<std::string>> read_published(PgConnection& connection,
                                                         std::vector<planner::SchemaStep> steps);

// Both in one text, with the remedy; empty: no subscriber, or nothing that it lacks.
asio::awaitable<std::string> subscribers_text(PgConnection& connection, std::vector<planner::SchemaStep> steps);

// Refuses unless it is agreed to, by the file or by --subscribers-ready, or there is nothing to agree to.
asio::awaitable<void> require_subscribers_ready(PgConnection& connection, std::vector<planner::SchemaStep> steps,
                                                bool is_agreed);

}  // namespace pgbackfill::engine
