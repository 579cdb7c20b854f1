// Which names a step of `expand:` or `contract:` depends on, and which it may make or take away: what tells whether the
// catalog, asked before an earlier step has run, can say what a later one will meet.
//
// Pure functions, safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "planner/model/schema_step.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {

struct StepNames {
  std::vector<TableName> tables;
  std::vector<std::string> names;  // of columns, constraints, indexes, enum values
  bool is_whole = false;           // what it needs, or does, is not confined to those names
  bool has_sql = false;            // expressions, types or conditions of the file, which may name anything
};

StepNames names_of(SchemaStep const& step);

// Whether what the catalog says of the later step may be another thing once the earlier one has run.
bool may_matter(SchemaStep const& earlier, SchemaStep const& later);

// Whether the earlier step may take away an object of that name. Of SQL: whether it mentions the name, or is a call or
// a
// DO block, of which nothing is known.
bool may_take_away(SchemaStep const& earlier, std::string const& name);

// Whether it may take away anything at all. Of SQL: whether it changes or drops what is there, or nothing is known of
// it.
bool may_take_away(SchemaStep const& earlier);

// Of two steps that are done and are taken back, last first: whether the way back of the later one gives what the
// earlier one is about its name, its table's name, or another object under it.
bool may_rename_on_its_way_back(SchemaStep const& later, SchemaStep const& earlier);

// Whether that way back may change what the server says to the one of the earlier step.
bool may_matter_on_its_way_back(SchemaStep const& later, SchemaStep const& earlier);

}  // namespace pgbackfill::planner
