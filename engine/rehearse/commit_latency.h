// What a commit costs on a server, as the throttle's canary measures it: one that changes nothing, and waits for its
// WAL.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "engine/base/result.h"
#include "engine/pg/pg_connection.h"

namespace pgbackfill::engine {

// In milliseconds, of some commits.
asio::awaitable<Result<double>> median_commit(PgConnection& connection);

}  // namespace pgbackfill::engine
