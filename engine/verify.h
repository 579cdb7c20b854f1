// Runs the checks of `verify:`: each in a read-only transaction of its own, bounded by a statement_timeout.
//
// An error, a lost connection or an answer that cannot be read is a check that does not hold, never one that does. Rows
// that a policy hides from the role are an error too.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/array.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "engine/pg_connection.h"
#include "planner/migration.h"

namespace pgbackfill::engine {

struct CheckResult {
  std::string check;     // in one line
  std::string position;  // file:line:column
  bool holds = false;
  std::string text;  // what was found
  std::chrono::milliseconds took{0};
};

// What the server says against the checks; it plans them and runs none. `names_may_come`: a check that names what is not
// there yet is left for later.
asio::awaitable<Result<std::vector<planner::Problem>>> check_checks(PgConnection& connection,
                                                                    std::vector<planner::Check> checks,
                                                                    bool names_may_come);

asio::awaitable<std::vector<CheckResult>> run_checks(PgConnection& connection, planner::Migration migration);

boost::json::array json_of(std::vector<CheckResult> const& results);

}  // namespace pgbackfill::engine
