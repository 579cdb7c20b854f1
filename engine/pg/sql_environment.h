// What ${NAME} in the file's SQL stands for: a variable of this process's environment, as a setting of the transaction.
//
// The values are secrets. They go to the server as parameters of a statement, never in the text of one, so that no view
// of its sessions, no plan and no log of slow statements has them; and they are taken out of what the server says.
// Pure, but for the environment and for values that were kept.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/pg/session_settings.h"

namespace pgbackfill::engine {

// Name of the setting, and value.
using SqlEnvironment = std::map<std::string, std::string>;

// A value that is none of the environment: what a file lists (planner/work/listed_rows.h). Any statement may read it,
// for it is no secret. It is kept for as long as the process lives. From any thread.
void keep_value(std::string const& variable, std::string value);
bool reads_kept_value(std::string const& sql);

// What statements of the file read. A variable that is not set is not in it, and the statement fails on the server.
SqlEnvironment environment_of(std::vector<Statement> const& statements);

// SELECT set_config(...) for each, whose parameters are the values in their order.
std::string environment_sql(SqlEnvironment const& environment);
// Before it, for a role that may: a server that logs all statements logs their parameters too, but for this.
std::string unlogged_parameters_sql();

// "***" in place of each value that is long enough to be one.
std::string without_values(std::string text, SqlEnvironment const& environment);

}  // namespace pgbackfill::engine
