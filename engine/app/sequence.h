// A folder of migrations as a sequence: its files by name, each a migration, one after the other.
//
// Every file is read before the first one is touched; two of one name, or SQL that no server reads, refuse them all. A
// migration that waits for `complete` ends a run with exit code 0: what follows it may rely on its contract, and
// somebody has to say when. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/app/options.h"
#include "engine/base/command_error.h"
#include "engine/process/command_context.h"

namespace pgbackfill::engine {

bool is_folder(std::string const& path);

// In their order. Throws CommandError with every problem of every file.
std::vector<LoadedMigration> load_sequence(CommandContext const& context, std::string const& folder);

enum class Stage {
  kPending,   // nothing of it ran
  kBegun,     // its run is not at its end
  kWaiting,   // its run is at its end, and `complete` is to come
  kCutShort,  // `complete` began and is not at its end
  kComplete,
};
std::string_view stage_word(Stage stage);

struct StageReading {
  Stage stage = Stage::kPending;
  std::string job_status;  // empty: no backfill has begun
};
// `has_state`: whether the database has a state at all.
asio::awaitable<StageReading> read_stage(PgConnection& connection, planner::Migration migration, bool has_state);

asio::awaitable<int> run_sequence(CommandContext& context, RunOptions options);
asio::awaitable<int> roll_back_sequence(CommandContext& context, FinishOptions options);
asio::awaitable<int> show_sequence(CommandContext& context, std::string folder);
asio::awaitable<int> plan_sequence(CommandContext& context, PlanOptions options);

}  // namespace pgbackfill::engine
