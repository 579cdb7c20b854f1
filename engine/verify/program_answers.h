// Asks the program of a backfill again about rows that it has computed, and compares its answers with what stands
// there.
//
// Only reads: rows in short transactions, none open while the program computes. A row that has changed since it was
// read is neither compared nor counted. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/pg/lasting_connection.h"
#include "engine/verify/read_pace.h"
#include "planner/checks/agreement.h"
#include "planner/model/check.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

struct ProgramTerms {
  LastingConnection* rows = nullptr;
  ReadPace* pace = nullptr;
  std::string migration;
  std::function<bool()> is_stopping;
  EventSink* sink = nullptr;  // gets what the program says on its standard error
};

struct AnswersFound {
  std::int64_t rows_compared = 0;
  std::int64_t rows_differing = 0;
  std::vector<planner::DifferingRow> differing;  // the first ones
  std::int64_t rows_refused = 0;                 // by the program
  std::string refused;                           // the first one, in words
  std::string error;                             // nothing more was asked
  bool is_lost = false;                          // the connection, so that it can be asked again
  bool names_what_is_gone = false;
};

// Throws CommandError when it is interrupted.
asio::awaitable<AnswersFound> compare_answers(ProgramTerms terms, planner::Check check, planner::Backfill backfill);

}  // namespace pgbackfill::engine
