#include "engine/base/command_error.h"

#include "engine/base/text.h"

namespace pgbackfill::engine {

CommandError error_of(Failure const& failure, std::string const& doing) {
  CommandError error;
  error.text =
      doing + ": " + neutralised(failure.message) + (failure.sqlstate.empty() ? "" : " (" + failure.sqlstate + ")");
  error.is_passing =
      failure.trouble == planner::Trouble::kConnection || failure.trouble == planner::Trouble::kResources;
  error.is_locked = failure.trouble == planner::Trouble::kLockTimeout;
  error.sqlstate = failure.sqlstate;
  if (error.is_locked) error.exit_code = kExitResumable;
  return error;
}

void throw_failure(Failure const& failure, std::string const& doing) {
  throw error_of(failure, doing);
}

}  // namespace pgbackfill::engine
