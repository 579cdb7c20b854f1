// The gate: whether a migration is measured to be complete. Reads only; never believes a status alone.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/base/events.h"
#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"
#include "engine/steps/sync_guard.h"
#include "engine/verify/verify.h"
#include "planner/model/migration.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

struct GateReading {
  SyncGuard sync = SyncGuard::kNone;
  std::string open_expand;  // a step of expand that is not done; empty: all are
  bool has_backfill = false;
  bool job_exists = false;
  std::string status;
  std::int64_t open_ranges = 0;
  std::int64_t deferred = 0;
  std::int64_t quarantined = 0;
  // Changed rows still satisfied `where`: it does not tell done from undone, and only the job's own record does.
  bool where_tells_nothing = false;
  // Rows that satisfy `where` now and would get another value, counted range by range; unknown (-1) without a `where`.
  std::int64_t remaining = -1;
  // With `on_conflict: count`: rows whose key is not in the copy.
  std::int64_t uncopied = 0;
  // Of `copy_to`: another table has its name; rows that were copied, and are lost since its files were written anew.
  bool is_other_copy = false;
  std::int64_t lost_from_copy = 0;
  // Partitions that no trigger saw: attached with rows that the work lacks, or gone with rows that the copy still has.
  std::vector<std::string> came;
  std::vector<std::string> went;
  // Tables that inherit from the one that was worked, which were left alone, and whether a row of theirs satisfies
  // `where`.
  std::vector<std::string> children;
  bool is_left_in_children = false;
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

// Of a copy that counts collisions: rows that are not in it.
asio::awaitable<std::int64_t> count_uncopied(PgConnection& connection, std::vector<planner::WorkTarget> targets);

// Keeps what was measured from `began` on for pgbackfill.require_gate(); says so where it cannot, and goes on.
asio::awaitable<void> keep_reading(PgConnection& connection, std::string name, GateReading gate,
                                   std::chrono::steady_clock::time_point began, EventSink& sink);

std::string gate_text(std::string const& name, GateReading const& gate);

}  // namespace pgbackfill::engine
