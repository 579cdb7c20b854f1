// Questions about who is in the way of a schema step, and how far a concurrent build is.
//
// Pure SQL text. Each question about sessions gives rows of: pid (NULL: a prepared transaction), user, application,
// state, ms of its transaction, ms in that state, kind of backend, query, whether it is a vacuum that prevents
// wraparound, name of the prepared transaction. The server hides states and queries from roles that may not see them.
#pragma once

#include <string>
#include <vector>

#include "planner/recipe.h"

namespace pgbackfill::planner {

// Who holds a lock that one of these has to wait for; sessions of `own_pids` are left out.
std::string holders_sql(std::vector<TableLock> const& locks, std::vector<int> const& own_pids);

// Whom a session waits for now.
std::string blockers_sql(int pid);

// phase, blocks or tuples done, of how many, lockers done, of how many, pid of the current locker; no row when the
// session builds no index.
std::string build_progress_sql(int pid);

// Ends a session, unless it is one that keeps the server alive. One row: whether it was told to.
std::string terminate_sql(int pid);

}  // namespace pgbackfill::planner
