// Places in a file, and what is wrong there.
//
// Pure values.
#pragma once

#include <string>

namespace pgbackfill::planner {

// Where something stands in a file; line and column count from 1, 0 means unknown.
struct SourcePosition {
  std::string file;
  int line = 0;
  int column = 0;
};

// One thing that is wrong with a file. `text` says what is wrong and, where possible, what to write instead.
struct Problem {
  SourcePosition position;
  std::string text;
};

// "file.yaml:12:5: text", the form that editors and people jump to.
std::string to_string(Problem const& problem);

}  // namespace pgbackfill::planner
