// What a Linter keeps from file to file.
//
// Pure values.
#pragma once

#include "planner/lint/lint.h"
#include "planner/lint/schema_facts.h"

namespace pgbackfill::planner::lint {

struct Linter::State {
  LintOptions options;
  SchemaFacts facts;
};

}  // namespace pgbackfill::planner::lint
