// The SQL inside of code: DO blocks, bodies of functions, and texts that EXECUTE puts together.
//
// Pure functions, safe from any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner::lint {

struct InnerStatement {
  std::string sql;
  std::size_t offset = 0;  // in the body
  bool is_dynamic = false;
  bool is_closed = true;  // dynamic: false where the text cannot be told beforehand
};

struct InnerCode {
  std::string language;
  std::string body;
  std::size_t body_offset = 0;  // in the statement's text
  std::vector<InnerStatement> statements;
  std::string error;  // the code cannot be read
  bool ends_transactions = false;
};

// Of a DoStmt or a CreateFunctionStmt with its text; none if it has no body of its own (C, BEGIN ATOMIC).
std::optional<InnerCode> inner_code(SyntaxNode statement, std::string const& text);

}  // namespace pgbackfill::planner::lint
