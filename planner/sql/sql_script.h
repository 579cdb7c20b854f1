// A text of SQL taken apart into statements, comments and psql commands, without understanding the statements.
//
// Needed beside the parser because one syntax error ends the parser's own view of a text, because comments carry
// orders to lint, and because the parser must never see a statement so deep that it runs out of stack. Knows strings,
// quoted names, dollar quotes, nested comments, bodies of BEGIN ATOMIC, and the data lines of COPY FROM stdin. Pure
// function, safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::planner::lint {

inline constexpr std::size_t kMaxScriptBytes = 32 * 1024 * 1024;
inline constexpr std::size_t kMaxStatementBytes = 1024 * 1024;
// An upper bound of how deep a statement can be nested: words since the last comma, summed over open brackets, plus
// joins and set operations. The parser is recursive; 20,000 terms in one sum end it by a stack overflow.
inline constexpr std::size_t kMaxNesting = 4000;

struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct ScriptStatement {
  TextSpan span;  // without the semicolon and what stands before the first word
  std::size_t nesting = 0;
};

struct SqlScript {
  std::vector<ScriptStatement> statements;
  std::vector<TextSpan> comments;
  std::vector<TextSpan> psql_commands;  // \i file, up to the end of the line
};

SqlScript split_script(std::string_view text);

// Line and column of an offset, counted from 1, the column in bytes.
struct TextPlace {
  int line = 1;
  int column = 1;
};

class LineIndex {
 public:
  explicit LineIndex(std::string_view text);
  TextPlace place_of(std::size_t offset) const;
  std::size_t offset_of(TextPlace place) const;

 private:
  std::vector<std::size_t> begins_;
};

}  // namespace pgbackfill::planner::lint
