// Small charts of one line of text: ▁▂▃▅▇.
//
// Pure functions, for terminals that show Unicode.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/sample.h"

namespace pgbackfill::engine {

// A letter a value, from nothing to the largest of them; a dot where there is none.
std::string sparkline(std::vector<std::optional<double>> const& values);

// Of equal parts of the time from the first moment to the last; empty where there is nothing to show.
struct CourseChart {
  std::string rate;
  double most_rows_per_second = 0;
  std::string lag;  // of the replica that was the farthest behind
  std::chrono::milliseconds longest_lag{0};
};
CourseChart course_chart(std::vector<StoredSample> const& samples, std::size_t width);

}  // namespace pgbackfill::engine
