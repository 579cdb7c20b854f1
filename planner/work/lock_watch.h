// Questions about who is in the way of a schema step, and how far a concurrent build is.
//
// Pure SQL text. Each question about sessions gives rows of: pid (NULL: a prepared transaction), user, application,
// state, ms of its transaction, ms in that state, kind of backend, query, whether it is a vacuum that prevents
// wraparound, name of the prepared transaction. The server hides states and queries from roles that may not see them.
#pragma once

#include <string>
#include <vector>

#include "planner/model/lock_mode.h"

namespace pgbackfill::planner {

// The number of the prepared transaction that has lock `lock`, an alias of pg_locks, as a scalar subquery. It keeps the
// virtual number of the session that prepared it; its own number is what it has locked.
std::string prepared_transaction_of(std::string const& lock);

// Who holds a lock that one of these has to wait for; sessions of `own_pids` are left out.
std::string holders_sql(std::vector<TableLock> const& locks, std::vector<int> const& own_pids);

// Whom a session waits for now.
std::string blockers_sql(int pid);

// phase, blocks or tuples done, of how many, lockers done, of how many, pid of the current locker; no row when the
// session builds no index.
std::string build_progress_sql(int pid);

// Ends a session, unless it is one that keeps the server alive. One row: whether it was told to.
std::string terminate_sql(int pid);

// Who holds or waits for locks on these relations (quoted) and their partitions, waiting ones first; not the session
// that asks. Rows of: pid (0: a prepared transaction), application, user, kind of backend, state, modes, whether they
// are granted, the relation, ms that it waits or that its transaction is open, query, pids that it waits for
// (integer[]; NULL: it does not wait), whether it is a vacuum that prevents wraparound, when the session began.
std::string table_sessions_sql(std::vector<std::string> const& relations);
inline constexpr int kMostTableSessions = 200;

// Cancels what a session does, or ends it, if it is still the same session. No row: it is gone.
std::string release_session_sql(int pid, std::string const& began, bool is_ended);

}  // namespace pgbackfill::planner
