// Reads pgbackfill.yaml, what all migrations of a project have in common: YAML text in, values or a list of everything
// that is wrong out; and lays it under a migration, whose own words win.
//
// Pure functions, safe from any thread. Who may write the file is for the engine to look at: it names commands.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/migration.h"

namespace pgbackfill::planner {

struct ConfigFile {
  std::string file;
  std::string database_url_variable;  // the name of the variable that has the connection string; empty: the usual ones
  SourcePosition database_url_variable_position;
  std::string folder;  // of the migrations, as seen from the file
  SourcePosition folder_position;
  ThrottleOptions throttle;
  std::vector<Hook> hooks;
  std::vector<OccasionRule> on;
};

struct ParsedConfig {
  std::optional<ConfigFile> config;  // set if there is no problem
  std::vector<Problem> problems;     // in the order of their positions
};

ParsedConfig parse_config(std::string_view text, std::string_view file_name);

// Settings one by one, hooks a boundary at a time, and deliveries an occasion at a time. What is wrong then is that two
// settings of the throttle do not go together.
std::vector<Problem> lay_under(ConfigFile const& config, Migration& migration);

// What of the migration is not in its own file, a line each: "throttle.replica_lag: 2s, from pgbackfill.yaml:3".
std::vector<std::string> from_elsewhere(Migration const& migration);

}  // namespace pgbackfill::planner
