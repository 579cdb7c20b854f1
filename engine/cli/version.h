// What the program is made of, for --version. Constant text; any thread.
#pragma once

#include <string>

namespace pgbackfill::engine {

// The first line is "pgbackfill X.Y.Z"; then commit, libpq and compiler, one a line, without a line feed at the end.
std::string version_text();

// That line alone, for files that say what wrote them.
std::string program_text();

}  // namespace pgbackfill::engine
