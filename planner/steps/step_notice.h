// What others notice of a migration beside locks and objects: sessions with prepared statements, triggers that a change
// by `sync:` does not fire, standbys that replay a lock.
//
// Pure text and questions to the catalog, for `plan` to tell.
#pragma once

#include <string>
#include <vector>

#include "planner/model/migration.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

// Whether prepared statements that take all columns of a table fail once after it. Of SQL by its words.
bool outdates_plans(SchemaStep const& step);
// `places` are steps as people know them: "expand step 1".
std::string outdated_plans_text(std::vector<std::string> const& places);

// Rows of one text each: triggers of the table that are fired by column, by one that `sync:` writes.
std::string column_triggers_sql(SchemaStep const& install);

// Rows of one text: standbys that stream from this server, "walreceiver (10.0.0.5)". Names are not to be seen by all.
std::string standbys_sql();
std::string replayed_locks_text(std::vector<std::string> const& standbys, std::vector<std::string> const& places);

}  // namespace pgbackfill::planner
