// What somebody agrees to before `complete` takes something away: the contract steps as text, and which of them cannot
// be taken back.
//
// The lines of the steps are made of the file alone: they are the same on every server and however many of the steps
// are
// done already, so that an approval lasts through a `complete` that was cut short. Pure functions, safe from any
// thread.
#pragma once

#include <string>
#include <vector>

#include "planner/steps/step_order.h"

namespace pgbackfill::planner {

// Why somebody has to agree to the step: it destroys something, breaks clients that use what it renames or detaches, or
// is SQL without a way back. Empty: nobody has to.
std::string destructive_reason(SchemaStep const& step);

// One step a line, in their order, without line breaks inside; the same steps always give the same text. After them
// what goes with them, one a line, as the catalog has it: "contract step 1 drops index public.t_x along".
std::string contract_plan(std::vector<PlacedStep> const& steps, std::vector<std::string> const& companions = {});

// One of those lines: the object, with its number, that a step takes away or renames. Another one of the same name is
// not what somebody agreed to.
std::string taken_line(PlacedStep const& placed, std::string const& object);

// Whether who agreed to the one has agreed to the other: the steps are the same, each is about the object that it was
// about, and nothing has come to what goes with them. What is not there any more went with a step that is done, or was
// taken away by somebody. Who agreed before an object was there has agreed to whatever is made.
bool covers(std::string const& approved, std::string const& now);

// Whether the steps of both are the same, whatever they are about.
bool has_same_steps(std::string const& approved, std::string const& now);

// What was approved and is not so any more ("- contract: ..."), and what has come in ("+ contract: ...").
std::vector<std::string> plan_changes(std::string const& approved, std::string const& now);

}  // namespace pgbackfill::planner
