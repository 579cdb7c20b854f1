// A step of `expand:` or `contract:` as the file says it: what shall be so, not how to get there.
//
// Pure values. The kinds of steps are many; who only carries steps along does not see them.
#pragma once

#include <memory>
#include <string>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

struct StepDetail;  // planner/model/step_detail.h

struct SchemaStep {
  SourcePosition position;
  std::shared_ptr<StepDetail const> detail;
  // The step in one line, always the same for the same step: what the record of done steps holds and people see.
  std::string text;
};

// The trigger that keeps columns in step, from before the backfill until contract.
struct Sync {
  SourcePosition position;
  SchemaStep install;
  SchemaStep remove;
};

}  // namespace pgbackfill::planner
