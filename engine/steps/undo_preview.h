// What taking steps back would do, and what of it cannot be done any more: from reading alone.
//
// By the same recipes and claims as undo_steps() (step_runner.h), so that it promises no more than that does.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

struct UndoneStep {
  std::string place;                    // "expand step 2"
  std::string text;                     // the step in one line
  bool is_recorded = false;             // it is done; else it was cut short
  std::vector<std::string> statements;  // that would be run
  std::string stays;                    // why it would be left as it is; then there are no statements
  bool is_lost = false;                 // what it took away cannot come back
};

// Of steps that are done or begun, last first. Throws CommandError when the server cannot answer.
asio::awaitable<std::vector<UndoneStep>> preview_undo(PgConnection& connection, std::string migration,
                                                      std::vector<planner::PlacedStep> steps);

// Lines for people: "  expand step 2: ...", then each statement or why it stays.
std::string undo_text(std::vector<UndoneStep> const& steps);

// Of steps that are done: what cannot come back, and what could be taken back by hand.
std::string loss_text(std::vector<UndoneStep> const& steps);

}  // namespace pgbackfill::engine
