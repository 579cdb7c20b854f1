// A backfill over columns that the expand steps of its own migration are still to add.
//
// Nothing of it can be run before, but its key, its ranges and its batch are known, and the server can be asked whether
// it takes the batch: on a temporary copy of the table with the columns, in a transaction that is rolled back. The copy
// is empty, or has the rows of the batch where they are to be measured.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>

#include "engine/pg/pg_connection.h"
#include "engine/run/job_setup.h"
#include "engine/view/plan_report.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

// The preflight as it will be with these columns; nothing where more than they is missing.
std::optional<Preflight> with_coming_columns(planner::Migration const& migration, Preflight preflight);

// Throws CommandError with the place in the file when the server refuses the batch whatever else the steps make. Says
// nothing of statements of the file's own (`sql:`), which name the table themselves, and of copies.
// `columns` are those that the table has now. Measures the batch where `with_sample` says so, and it can be.
asio::awaitable<std::optional<PlannedSample>> try_on_copy(PgConnection& connection, planner::Migration const& migration,
                                                          planner::WorkTarget target, planner::Interval interval,
                                                          std::vector<planner::ColumnFacts> columns, bool with_sample);

}  // namespace pgbackfill::engine
