// A file that a command writes its result to. A reader never finds half of it.
//
// Throws CommandError with the path and the system's own words. Blocks for as long as the disk takes.
#pragma once

#include <string>

namespace pgbackfill::engine {

// Whether --output names none: it is empty or "-".
bool is_standard_output(std::string const& path);

void write_output(std::string const& path, std::string const& text);

}  // namespace pgbackfill::engine
