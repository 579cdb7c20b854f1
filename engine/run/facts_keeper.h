// Keeps what the tables of a migration were made of when it ran first, and what its own steps changed since.
//
// What differs from that was done by somebody else: drift. Around steps: begin(), the steps, settle(). A process that
// ends in between leaves a mark, and the next one takes every difference for that of the steps, because it cannot tell
// any more. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"
#include "planner/checks/drift.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

struct Drift {
  std::vector<planner::Difference> all;
  std::vector<std::string> critical;  // with the reason, one line each
  std::vector<std::string> harmless;
  // Steps were cut short, or are under way in another process: differences may be theirs, so none is critical.
  bool is_unsettled = false;
};

// Reads only. Nothing when nothing was recorded yet, or when the database has no state.
asio::awaitable<Result<Drift>> read_drift(PgConnection& connection, planner::Migration migration);

// Whether the table of `copy_to` is the one that rows were copied to, and whether its files were written anew since:
// then rows may be missing. Neither where nothing was recorded.
struct CopyLook {
  bool is_other = false;
  bool is_written_anew = false;
};
asio::awaitable<Result<CopyLook>> look_at_copy(PgConnection& connection, planner::Migration migration);

// The operator says that it is all right so: records it, with an event.
asio::awaitable<Result<Done>> accept_drift(PgConnection& connection, planner::Migration migration, Drift drift,
                                           Owner owner);

// Before steps: records the facts if there are none, and that steps are under way. What comes back is for
// settle_facts(); nothing when there is nothing to settle.
using FactsBefore = std::optional<std::vector<planner::SchemaFact>>;
asio::awaitable<Result<FactsBefore>> begin_steps(PgConnection& connection, planner::Migration migration,
                                                 bool has_open_steps);
// After them: what changed since `before` was their doing.
asio::awaitable<Result<Done>> settle_facts(PgConnection& connection, planner::Migration migration,
                                           std::vector<planner::SchemaFact> before);

// Around a rollback: the same mark, and nothing is known any more when all is undone.
asio::awaitable<Result<Done>> begin_undo(PgConnection& connection, std::string migration);
asio::awaitable<Result<Done>> forget_facts(PgConnection& connection, std::string migration);

}  // namespace pgbackfill::engine
