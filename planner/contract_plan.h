// What somebody agrees to before `complete` takes something away: the contract steps as text, and which of them cannot
// be taken back.
//
// The text is made of the file alone: it is the same on every server and however many of the steps are done already, so
// that an approval lasts through a `complete` that was cut short. Pure functions, safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "planner/step_order.h"

namespace pgbackfill::planner {

// Why somebody has to agree to the step: it destroys something, breaks clients that use what it renames or detaches, or
// is SQL without a way back. Empty: nobody has to.
std::string destructive_reason(SchemaStep const& step);

// One step a line, in their order, without line breaks inside; the same steps always give the same text.
std::string contract_plan(std::vector<PlacedStep> const& steps);

// What was approved and is not so any more ("- contract: ..."), and what has come in ("+ contract: ...").
std::vector<std::string> plan_changes(std::string const& approved, std::string const& now);

}  // namespace pgbackfill::planner
