// Whether a stored job is still of the table that is there under its name, and pages it in the same order.
//
// A table that was restored, swapped by hand, or found by another search_path has the name and is another one. A key
// may have got another type or another order. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/run/job_setup.h"
#include "engine/state/state_store.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::engine {

struct Binding {
  // Why the job must not go on, a paragraph; empty: it may.
  std::string refusal;
  std::vector<std::string> told;  // a sentence each, for the operator
};

// Refuses another table unless `accepts_other_table`; changes nothing. Before what is different in detail is told.
asio::awaitable<Result<Binding>> look_at_identity(PgConnection& connection, StoredJob job, planner::TableFacts table,
                                                  bool accepts_other_table, Owner owner);

// The same, and of the keys; what may be gone on with is stored as it is now.
asio::awaitable<Result<Binding>> bind_job(PgConnection& connection, StoredJob job, planner::TableFacts table,
                                          bool accepts_other_table, Owner owner);

}  // namespace pgbackfill::engine
