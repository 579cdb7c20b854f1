// Syntax that came after the parser's version: told by its words, so that a finding can name the version.
//
// Pure function, safe from any thread.
#pragma once

#include <optional>
#include <string_view>

namespace pgbackfill::planner::lint {

struct NewerSyntax {
  std::string_view form;
  int major = 0;
};

// The statement is one that the parser refused; what is found is a guess, and none does not mean that there is none.
std::optional<NewerSyntax> newer_syntax_in(std::string_view sql);

}  // namespace pgbackfill::planner::lint
