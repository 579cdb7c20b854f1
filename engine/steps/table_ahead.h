// Asks the server what it will answer to a step once the steps ahead of it have run: they are played on an empty copy
// of the table, of which everything is asked as it would be of the table itself.
//
// In one transaction that is rolled back. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/steps/recipe.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

// Why the step will be refused at its turn; empty: it will not, or nothing is known. `facts` are those of today. Fails
// only where the connection does.
asio::awaitable<Result<std::string>> ask_table_ahead(PgConnection& connection,
                                                     std::vector<planner::PlacedStep> const& ahead,
                                                     planner::SchemaStep const& step, planner::StepFacts const& facts);

// A message about the empty copies, as one about what they stand for. `table` is that of the step.
std::string without_probes(std::string text, planner::SchemaStep const& step, planner::TableName const& table);

}  // namespace pgbackfill::engine
