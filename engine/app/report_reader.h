// Reads all that is kept of a migration, for its report. Changes nothing.
//
// Throws CommandError when the server cannot answer or knows no such migration. What an older layout does not have, or
// this role may not read, is missing from the report, which says so.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"
#include "engine/view/job_report.h"

namespace pgbackfill::engine {

asio::awaitable<JobReport> read_report(PgConnection& connection, std::string name, Owner const& owner);

}  // namespace pgbackfill::engine
