// What schema statements of the user's own would do to their tables, asked of the server: the statement runs on an
// empty temporary copy, in a transaction that is rolled back. And whether the server can read them at all.
//
// The copy has the table's columns, indexes, checks and defaults, not its foreign keys, triggers and views. It takes
// ACCESS SHARE on the table for a moment. Runs on the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/steps/recorded_steps.h"
#include "planner/lint/effect_probe.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

struct MeasuredEffect {
  bool rewrites = false;  // the table's rows, under the statement's own lock
  bool scans = false;     // reads them all
  bool builds = false;    // an index
};

// Nothing where the server does not take it on a copy: that says nothing of the table itself.
asio::awaitable<Result<std::optional<MeasuredEffect>>> measure_effect(PgConnection& connection,
                                                                      planner::lint::EffectProbe probe);

// Syntax errors, by this server's own version, in `sql:` steps and their `down:`, but for those that are recorded as
// done with the text that they have. One round trip for all.
asio::awaitable<Result<std::vector<planner::Problem>>> check_step_syntax(PgConnection& connection,
                                                                         planner::Migration const& migration,
                                                                         RecordedSteps recorded);

}  // namespace pgbackfill::engine
