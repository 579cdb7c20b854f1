#include "tests/support/pg_dump.h"

#include <sstream>
#include <stdexcept>

#include "tests/support/program.h"

namespace pgbackfill::tests {

bool has_pg_dump_for(int major_version) {
  auto const version = run_program({"pg_dump", "--version"}).out;
  auto const digits = version.find_first_of("0123456789");
  return digits != std::string::npos && std::stoi(version.substr(digits)) >= major_version;
}

std::string dump_of_schema(std::string const& dsn) {
  auto const dump = run_program({"pg_dump", "--schema-only", "--no-owner", "--schema=public", dsn});
  if (dump.exit_code != 0) throw std::runtime_error("pg_dump failed: " + dump.err);
  std::istringstream lines(dump.out);
  std::string text;
  std::string line;
  while (std::getline(lines, line)) {
    // Followed by a word that is random each time.
    if (line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ")) continue;
    text += line + '\n';
  }
  return text;
}

}  // namespace pgbackfill::tests
