// Reads a migration file: YAML text in, a checked migration or a list of everything that is wrong with it out.
//
// Checks all that can be checked without a server. Never reads a file, never talks to a database, never gives a
// migration that has a problem. Pure function, safe from any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/migration.h"
#include "planner/model/params.h"
#include "planner/work/prepared.h"

namespace pgbackfill::planner {

// Enough to repair a file in one go; a file with more is not a migration file.
inline constexpr std::size_t kMaxProblems = 50;

struct ParsedMigration {
  std::optional<Migration> migration;        // set if there is no problem
  std::vector<EnvironmentName> environment;  // what its SQL reads of it
  std::vector<Prepared> prepared;            // what its backfill reads, see planner/work/prepared.h
  std::vector<Problem> problems;             // in the order of their positions
};

// `file_name` is used in positions only. What the file is given becomes a part of its SQL and of its name.
ParsedMigration parse_migration(std::string_view text, std::string_view file_name, GivenParams const& given = {});

// One problem a line, as people see them.
std::string to_lines(std::vector<Problem> const& problems);

}  // namespace pgbackfill::planner
