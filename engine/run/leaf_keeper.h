// Partitions that come and go under a job: what is gone is settled, what was renamed goes on under its new name.
//
// New ones are a matter of the next pass (engine/run/next_pass.h). Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::engine {

struct LeavesSeen {
  bool has_changed = false;
  std::vector<std::string> told;  // a sentence each, for the operator
};

// `table` is the one that the job works on, as it was read. A failure when it is not there any more under its name.
asio::awaitable<Result<LeavesSeen>> settle_leaves(PgConnection& connection, std::int64_t job, planner::TableFacts table,
                                                  Owner owner);

}  // namespace pgbackfill::engine
