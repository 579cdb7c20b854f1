// Rows of a CSV file: comma, double quotes ("" for one of them), LF or CRLF.
//
// Pure, safe from any thread. Blank lines are no rows. Places count lines and bytes from 1.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

struct CsvField {
  std::string text;
  bool is_quoted = false;  // an empty field without quotes is NULL
  int line = 0;
  int column = 0;
};

using CsvRow = std::vector<CsvField>;

struct CsvFile {
  std::vector<CsvRow> rows;
  std::vector<Problem> problems;  // none, or why it is refused
};

inline constexpr std::size_t kMostCsvRows = 1'000'000;
inline constexpr std::size_t kMostCsvBytes = 64 * 1024 * 1024;
// Enough to see what is wrong with a file.
inline constexpr std::size_t kMostCsvProblems = 10;

CsvFile parse_csv(std::string_view text, std::string const& file);

}  // namespace pgbackfill::planner
