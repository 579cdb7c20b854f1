// Compares columns with their expressions all over a table, page by page, as planner/checks/agreement.h says what is
// next.
//
// Reads in short read-only transactions and changes no row. With a place to keep it, its cursor and counts are stored
// about once a second, so that whatever ends it, the next one goes on from there. A page whose connection was lost is
// read again when that is back. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/array.hpp>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/base/events.h"
#include "engine/pg/lasting_connection.h"
#include "engine/state/state_store.h"
#include "engine/verify/agreement.h"
#include "engine/verify/read_pace.h"
#include "planner/checks/agreement.h"
#include "planner/model/check.h"

namespace pgbackfill::engine {

struct ComparisonTerms {
  LastingConnection* rows = nullptr;   // where rows are read
  LastingConnection* state = nullptr;  // where it is kept how far it is; none: nowhere
  ReadPace* pace = nullptr;
  Owner owner;
  std::string migration;
  int position = 0;  // of the check in `verify:`
  std::function<bool()> is_stopping;
  std::function<void(Severity, std::string)> tell;
};

struct ComparisonFound {
  std::int64_t rows_compared = 0;
  std::int64_t rows_differing = 0;
  std::vector<planner::DifferingRow> differing;  // the first ones
  std::string begun_before;                      // when, if it went on with an earlier comparison
  std::string error;                             // what a repeat would not fix; nothing behind it was read
};

boost::json::array json_of(std::vector<planner::DifferingRow> const& rows);

// Throws CommandError where it ends before its end: as resumable if it was kept how far it is, and as passing if it was
// lost before its first page.
asio::awaitable<ComparisonFound> compare(ComparisonTerms terms, planner::Check check, AgreementPlan plan);

}  // namespace pgbackfill::engine
