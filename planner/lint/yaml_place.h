// From a place in a text to the place in the YAML file that the text was written in.
//
// A text in a file may stand in quotes, over several lines, in a block; what it decodes to has other line ends, indents
// and escapes. Pure; belongs to one thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace pgbackfill::planner::lint {

// `begin` is where the value begins in the file (its quote, or the | of a block). The result has the offset in the file
// for each offset of the text, and one more for its end. What cannot be followed has the last place that could.
std::vector<std::size_t> places_in_yaml(std::string_view yaml, std::size_t begin, std::string_view text);

}  // namespace pgbackfill::planner::lint
