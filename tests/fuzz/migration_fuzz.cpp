// The reader of migration files, and lint over what it reads: any text ends in a migration or in problems with places.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "planner/file/migration_file.h"
#include "planner/lint/lint.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const text(reinterpret_cast<char const*>(data), size);
  auto const parsed = pgbackfill::planner::parse_migration(text, "fuzz.yaml");
  if (!parsed.migration && parsed.problems.empty()) std::abort();
  pgbackfill::planner::lint::Linter linter({15, false});
  linter.lint_migration(text, "fuzz.yaml");
  return 0;
}
