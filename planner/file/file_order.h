// The order of migrations in a folder: by file name, with the numbers in it as numbers.
//
// 9_a comes before 10_b, 010 is 10, and V2__a comes before V2.1__b and V2_1__b. Pure function, safe from any thread.
#pragma once

#include <string>

namespace pgbackfill::planner {

bool is_earlier_file(std::string const& left, std::string const& right);

}  // namespace pgbackfill::planner
