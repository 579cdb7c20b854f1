// What a role can plant in a database that it owns, in every place that name resolution could reach: functions,
// aggregates, operators, domains and views with the names that pg_catalog has, some with the same arguments, some with
// arguments that fit better.
//
// Each does what the real one does, and says "planted: NAME" in the server's log when anybody but its owner calls it:
// that stays when the transaction is read-only or rolled back. Blocks for some seconds; belongs to one thread.
#pragma once

#include <string>
#include <vector>

#include "tests/support/pg_client.h"

namespace pgbackfill::tests {

// In this schema, which has to be there, by the role of the client. Gives how many things there are then.
int plant_names(PgClient& client, std::string const& schema);

// What was called according to a server's log, each once, with the statement that did it.
std::vector<std::string> planted_calls(std::string const& log);

}  // namespace pgbackfill::tests
