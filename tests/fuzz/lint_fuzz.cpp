// Lint over SQL scripts: it ends for any text, and every finding has a place within it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "planner/lint/lint.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const text(reinterpret_cast<char const*>(data), size);
  pgbackfill::planner::lint::Linter linter({15, false});
  auto const linted = linter.lint_sql(text, "fuzz.sql");
  auto const lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (auto const& finding : linted.findings) {
    if (finding.position.line < 1 || finding.position.line > lines) std::abort();
  }
  return 0;
}
