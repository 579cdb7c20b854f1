// One migration's run and rollback, for whoever does several one after the other (sequence.h).
//
// As the commands do it: summary on standard output, progress on standard error, an exit code. Belong to the engine's
// thread; one at a time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "engine/app/options.h"
#include "engine/process/command_context.h"
#include "engine/steps/undo_preview.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::engine {

asio::awaitable<int> run_one(CommandContext& context, RunOptions options);
asio::awaitable<int> complete_one(CommandContext& context, FinishOptions options);
asio::awaitable<int> roll_back_one(CommandContext& context, FinishOptions options);

// What a rollback would do. Empty steps: nothing ran. `refusal` says why it would do nothing.
struct RollbackPreview {
  std::string refusal;
  std::vector<UndoneStep> steps;
  std::string job_status;                       // empty: there is no job
  std::vector<std::string> stops;               // what the server would refuse it for; nothing is begun then
  std::vector<std::string> companions;          // of others, which goes with what the steps made
  std::vector<planner::RowQuestion> questions;  // whose answers may be more of `stops`
  std::string what_stays;                       // of the rows that the backfill has written or deleted
};
asio::awaitable<RollbackPreview> preview_rollback(PgConnection& connection, planner::Migration migration);
// Asks the rows. Reads whole tables, as the steps that are undone would.
asio::awaitable<void> ask_rows(PgConnection& connection, RollbackPreview& preview);
std::string rollback_text(std::string const& name, RollbackPreview const& preview);

}  // namespace pgbackfill::engine
