// What of the catalog hangs on what a step takes away: what the server refuses the step for, what goes with it, and
// what
// reads it without the server's knowing. pg_depend is the oracle, so that every kind of object is in it.
//
// Pure text; see recipes.h on names and search_path.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

enum class Tie {
  kStops,  // the server refuses the step while it is there
  kGoes,   // is dropped along
  kReads,  // stays, and may fail or mean something else afterwards: functions and triggers
};

struct Dependent {
  Tie tie = Tie::kStops;
  std::string type;      // as the server calls it: "view", "table constraint"
  std::string identity;  // with its schema: "public.report", "t_check on public.t"
  std::string name;      // without
};

// Rows of tie ("stops", "goes", "reads"), type, identity, name. Empty text: the step takes nothing away.
std::string dependents_sql(SchemaStep const& step, StepFacts const& facts);

// The same for the rollback of all these steps, of which each object that they made goes.
std::string dependents_of_undo_sql(std::vector<std::pair<SchemaStep, StepFacts>> const& steps);

// Of a partition that is to be detached: rows of a text that says which rows forbid it, and the query that finds one.
std::string referring_rows_sql(StepFacts const& parent, TableName const& partition);

Dependent dependent_of(std::vector<std::optional<std::string>> const& row);

// "view public.report"
std::string to_string(Dependent const& dependent);

// Named at most of one step.
inline constexpr int kMostDependents = 100;

}  // namespace pgbackfill::planner
