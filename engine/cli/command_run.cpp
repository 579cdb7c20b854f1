// run, complete, rollback: of one migration or of a folder of them.

#include "engine/app/one_migration.h"
#include "engine/app/sequence.h"
#include "engine/base/command_error.h"
#include "engine/cli/commands.h"

namespace pgbackfill::engine {

int run_command(CommandContext& context, RunOptions const& options) {
  if (is_folder(options.file)) return context.run(run_sequence(context, options));
  return context.run(run_one(context, options));
}

int complete_command(CommandContext& context, FinishOptions const& options) {
  return context.run(complete_one(context, options));
}

int rollback_command(CommandContext& context, FinishOptions const& options) {
  if (is_folder(options.file_or_name)) return context.run(roll_back_sequence(context, options));
  if (!options.to.empty()) throw CommandError{kExitUsage, "--to goes with a folder of migrations"};
  return context.run(roll_back_one(context, options));
}

}  // namespace pgbackfill::engine
