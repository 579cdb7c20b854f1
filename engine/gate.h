// The gate: whether a migration is measured to be complete. Reads only; never believes a status alone.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/command_context.h"
#include "engine/events.h"
#include "engine/pg_connection.h"
#include "engine/sync_guard.h"
#include "engine/verify.h"
#include "planner/migration.h"
#include "planner/work_sql.h"

namespace pgbackfill::engine {

struct GateReading {
  SyncGuard sync = SyncGuard::kNone;
  bool has_backfill = false;
  bool job_exists = false;
  std::string status;
  std::int64_t open_ranges = 0;
  std::int64_t deferred = 0;
  std::int64_t quarantined = 0;
  // Changed rows still satisfied `where`: it does not tell done from undone, and only the job's own record does.
  bool where_tells_nothing = false;
  // Rows that satisfy `where` now, counted range by range; unknown (-1) without a `where`.
  std::int64_t remaining = -1;
  // Sessions that `writers_gone:` names, in words.
  std::vector<std::string> writers;
  // Of `verify:`; asked only when nothing else closes the gate, for they may take long.
  std::vector<CheckResult> checks;

  std::vector<std::string> reasons() const;  // why it is closed
  bool is_open() const { return reasons().empty(); }
};

// Throws CommandError when the server cannot answer.
// Checks that go over a table are throttled as `verify` is; `is_stopping` ends them, by a CommandError as well.
asio::awaitable<GateReading> measure_gate(CommandContext& context, PgConnection& connection,
                                          planner::Migration const& migration, std::function<bool()> is_stopping,
                                          EventSink& sink);

// Rows that satisfy the `where` of the target, piece by piece: no snapshot lasts and no statement is long.
asio::awaitable<std::int64_t> count_remaining(PgConnection& connection, planner::WorkTarget const& target);

std::string gate_text(std::string const& name, GateReading const& gate);

}  // namespace pgbackfill::engine
