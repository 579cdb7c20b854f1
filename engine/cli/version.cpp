#include "engine/cli/version.h"

#include <fmt/format.h>

#include "engine/pg/pg_connection.h"

namespace pgbackfill::engine {

namespace {

#ifdef __clang__
constexpr char kCompiler[] = "Clang " __clang_version__;
#else
constexpr char kCompiler[] = "GCC " __VERSION__;
#endif

}  // namespace

std::string program_text() {
  return fmt::format("pgbackfill {}", PGBACKFILL_VERSION);
}

std::string version_text() {
  int const libpq = libpq_version();
  return fmt::format("{}\ncommit {}\nlibpq {}.{}\ncompiler {}", program_text(), PGBACKFILL_COMMIT, libpq / 10'000,
                     libpq % 10'000, kCompiler);
}

}  // namespace pgbackfill::engine
