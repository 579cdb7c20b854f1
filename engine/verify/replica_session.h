// A session on a standby that may answer for its primary: of the same system and database, and not behind what the
// primary had written when it was asked for.
//
// Only reads. `tell` hears what is waited for. Throws CommandError.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"

namespace pgbackfill::engine {

asio::awaitable<std::shared_ptr<PgConnection>> open_replica_session(CommandContext& context, PgConnection& primary,
                                                                    std::string conninfo,
                                                                    std::function<bool()> is_stopping,
                                                                    std::function<void(std::string)> tell);

}  // namespace pgbackfill::engine
