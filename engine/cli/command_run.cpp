// run, complete, rollback: of one migration or of a folder of them.

#include <fmt/format.h>

#include <filesystem>

#include "engine/app/dry_run.h"
#include "engine/app/one_migration.h"
#include "engine/app/sequence.h"
#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "planner/file/migration_file.h"

namespace pgbackfill::engine {

std::string file_or_folder(CommandContext const& context, std::string const& given, std::string const& command) {
  if (!given.empty()) return given;
  auto const* const config = context.config();
  if (config == nullptr || config->folder.empty()) {
    throw CommandError{
        kExitUsage, fmt::format("FILE is required: pgbackfill {0} FILE; `pgbackfill {0} --help` says more", command)};
  }
  auto const folder = (std::filesystem::path(config->file).parent_path() / config->folder).lexically_normal().string();
  if (is_folder(folder)) return folder;
  throw CommandError{kExitUsage, planner::to_string({config->folder_position, "there is no folder " + folder})};
}

int run_command(CommandContext& context, RunOptions const& given) {
  auto options = given;
  options.file = file_or_folder(context, given.file, "run");
  bool const is_slice = options.is_dry_run || options.limit;
  if (is_slice && is_folder(options.file)) {
    throw CommandError{kExitUsage, options.file + " is a folder; --dry-run and --limit are of one file"};
  }
  if (options.is_dry_run) return context.run(dry_run(context, options));
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
