// What the next pass of a job goes over: rows that came meanwhile, and partitions that came or came back.
//
// Reads the table's ends; changes nothing. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"
#include "planner/keys/passes.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

// `stored` are the leaves that the job knows. The ends are read before the pass is made: what comes later is the next
// one's, or nobody's.
asio::awaitable<Result<state::NextPass>> plan_next_pass(PgConnection& connection, planner::Backfill backfill,
                                                        planner::WorkTraits traits, planner::TableFacts table,
                                                        std::vector<state::StoredLeaf> stored,
                                                        planner::PassScope scope);

}  // namespace pgbackfill::engine
