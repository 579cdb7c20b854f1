// From the checked keys of a step in the file to the typed step.
//
// The file's reader (planner/migration_file.cpp) has checked each value by its rule; here they come together, with
// what no rule of a single key can say. Pure function, safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/schema_step.h"
#include "planner/source_position.h"
#include "planner/step_detail.h"
#include "planner/table_name.h"

namespace pgbackfill::planner {

struct StepValue {
  std::string_view key;
  SourcePosition position;
  std::string text;                // of anything but a table and columns
  std::vector<std::string> items;  // columns
  TableName table;
};

struct StepValues {
  std::string_view word;    // create_index
  SourcePosition position;  // of the word
  std::vector<StepValue> values;
  std::optional<TableName> default_table;
  std::string migration = {};
};

// `sync:` as two steps: the trigger, and its end.
Sync make_sync(InstallSync const& install, SourcePosition position);
Sync make_mirror(InstallMirror const& install, SourcePosition position);

// What is wrong is added to `problems`; the step is then of no use.
SchemaStep make_step(StepValues const& values, std::vector<Problem>& problems);

}  // namespace pgbackfill::planner
