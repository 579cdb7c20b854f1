// The order of migrations in a folder: by file name, with the numbers in it as numbers.
//
// 9_a comes before 10_b, and 010 is 10. Pure function, safe from any thread.
#pragma once

#include <string>

namespace pgbackfill::planner {

bool is_earlier_file(std::string const& left, std::string const& right);

}  // namespace pgbackfill::planner
