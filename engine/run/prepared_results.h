// Computes what `prepare:` names, once for all processes of a job, and finds out whether it is still there.
//
// Each result is made in one transaction together with what is recorded of it; whoever comes second waits for that, and
// uses it. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/work/prepared.h"

namespace pgbackfill::engine {

// The results that one job reads.
struct PreparedResults {
  std::string migration;
  std::vector<planner::Prepared> all;
  std::vector<std::string> filled;  // tables that have rows, and have to keep them
};

struct PreparedTold {
  std::string name;
  std::int64_t rows = 0;
  std::chrono::milliseconds took{0};
};

// "last_yank: 1,234 rows in 3.2 s".
std::string told_text(PreparedTold const& told);

// What is wrong with them, as the server sees it; reads only.
asio::awaitable<Result<std::vector<planner::Problem>>> check_prepared(PgConnection& connection,
                                                                      std::vector<planner::Prepared> prepared);

// Makes those that are not there for this pass of the job, or have lost their rows; `results.filled` is right
// afterwards. What it made.
asio::awaitable<Result<std::vector<PreparedTold>>> compute_prepared(PgConnection& connection, PreparedResults& results,
                                                                    int pass);

// Drops the tables; a lock that is not free leaves one there.
asio::awaitable<Result<Done>> drop_prepared(PgConnection& connection, std::string migration,
                                            std::vector<planner::Prepared> prepared);

}  // namespace pgbackfill::engine
