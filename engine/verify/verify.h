// Runs the checks of `verify:`: each in a read-only transaction of its own, bounded by a statement_timeout.
//
// An error or an answer that cannot be read is a check that does not hold, never one that does. Rows that a policy
// hides from the role are an error too. A check whose connection was lost is asked again when that is back; if it does
// not come back, it does not hold.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/array.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/base/events.h"
#include "engine/pg/lasting_connection.h"
#include "engine/process/command_context.h"
#include "planner/checks/agreement.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

struct CheckResult {
  std::string check;     // in one line
  std::string position;  // file:line:column
  bool holds = false;
  std::string text;  // what was found
  std::chrono::milliseconds took{0};
  bool names_what_is_gone = false;  // a column, table or function that is not there
  // Of `agrees` alone; the first rows that differ.
  std::optional<std::int64_t> rows_compared;
  std::vector<planner::DifferingRow> differing;
};

struct CheckTerms {
  CommandContext& context;
  LastingConnection& rows;   // where they are asked
  LastingConnection* state;  // where it is kept how far comparisons of tables are; null: nowhere
  std::function<bool()> is_stopping;
  EventSink& sink;
};

// What the server says against the checks; it plans them and runs none. `names_may_come`: a check that names what is
// not there yet is left for later.
asio::awaitable<Result<std::vector<planner::Problem>>> check_checks(PgConnection& connection,
                                                                    std::vector<planner::Check> checks,
                                                                    bool names_may_come);

// One check that is one statement, asked once.
asio::awaitable<Result<planner::CheckVerdict>> ask_check(PgConnection& connection, planner::Check check);

// Throws CommandError where a comparison of a table ends before its end; checks that are one statement end as failures.
asio::awaitable<std::vector<CheckResult>> run_checks(CheckTerms terms, planner::Migration migration);

boost::json::array json_of(std::vector<CheckResult> const& results);

}  // namespace pgbackfill::engine
