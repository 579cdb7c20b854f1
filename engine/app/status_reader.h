// Reads how far migrations are. Changes nothing.
//
// Throws CommandError when the server cannot answer or knows no such migration.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"
#include "engine/view/status_report.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

// Of all migrations of the database.
asio::awaitable<std::vector<StatusOverview>> read_overviews(PgConnection& connection);
// Of one of them, all that is stored.
asio::awaitable<StatusPage> read_page(PgConnection& connection, std::string name, Owner const& owner);

// Of the throttle: what the file says, and over it what was set live.
throttle::Limits limits_now(StatusOverview const& one);

// The error that says so, with the name that may have been meant.
asio::awaitable<CommandError> unknown_name(PgConnection& connection, std::string name);

// What the page says beside that, as far as this role may see it; where it may not, it stays empty.
asio::awaitable<void> find_growth(PgConnection& connection, StatusPage& page);
asio::awaitable<void> find_last_hour(PgConnection& connection, StatusPage& page);
asio::awaitable<void> find_lock_holders(PgConnection& connection, StatusPage& page);
asio::awaitable<void> find_row_holders(CommandContext& context, PgConnection& connection, StatusPage& page);

}  // namespace pgbackfill::engine
