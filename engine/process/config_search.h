// Finds pgbackfill.yaml, what the migrations of a project have in common, and reads it.
//
// It names commands and receivers, and so it has to be a file that nobody else may write. Belongs to the engine's
// thread.
#pragma once

#include <optional>
#include <string>

#include "planner/file/config_file.h"

namespace pgbackfill::engine {

struct ConfigSearch {
  std::string named;   // by the command line or its variable; empty: it is looked for
  std::string beside;  // the migration or folder that the command is given
};

// Nothing when there is none. Throws CommandError with every problem of it.
std::optional<planner::ConfigFile> find_config(ConfigSearch const& search);

// Whether a file in a folder of migrations is none of them.
bool is_config_name(std::string const& file_name);

}  // namespace pgbackfill::engine
