// Every rule of lint: its name, its usual risk, what it finds, and the way that is safe.
//
// The table in docs/lint.md and the rules of a SARIF report are made from it. Constant data, safe from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "planner/lint/lint_terms.h"

namespace pgbackfill::planner::lint {

struct Rule {
  std::string_view id;
  Risk risk;  // as a rule; a finding may say more or less
  std::string_view finds;
  std::string_view instead;
};

std::span<Rule const> lint_rules();
Rule const* find_rule_of_lint(std::string_view id);

// The table of docs/lint.md.
std::string lint_rules_markdown();

}  // namespace pgbackfill::planner::lint
