// The readers of migration files and of pgbackfill.yaml, and lint over what they read: any text ends in a migration or
// in problems with places.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "planner/file/config_file.h"
#include "planner/file/migration_file.h"
#include "planner/lint/lint.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const text(reinterpret_cast<char const*>(data), size);
  auto const parsed = pgbackfill::planner::parse_migration(text, "fuzz.yaml");
  if (!parsed.migration && parsed.problems.empty()) std::abort();
  auto const config = pgbackfill::planner::parse_config(text, "fuzz.yaml");
  if (!config.config && config.problems.empty()) std::abort();
  pgbackfill::planner::lint::Linter linter({15, false});
  linter.lint_migration(text, "fuzz.yaml");
  return 0;
}
