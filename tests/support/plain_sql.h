// SQL as people would write it, for tests that compare texts.
#pragma once

#include <string>
#include <vector>

namespace pgbackfill::tests {

// Operators without their schema: a OPERATOR(pg_catalog.<) b gives a < b.
std::string plain(std::string const& sql);
std::vector<std::string> plain(std::vector<std::string> texts);

}  // namespace pgbackfill::tests
