// Collects what a run would do, from reading alone: every statement is in a transaction that the server holds
// read-only, but for the sample batch, which is rolled back.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "engine/base/command_error.h"
#include "engine/process/command_context.h"
#include "engine/view/plan_report.h"

namespace pgbackfill::engine {

// Throws CommandError for what is wrong with the file, and when the server cannot answer.
asio::awaitable<PlanReport> read_plan(PgConnection& connection, LoadedMigration loaded, bool with_sample);

}  // namespace pgbackfill::engine
