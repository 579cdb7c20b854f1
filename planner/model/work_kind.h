// What each kind of work does to the rows of its table, and what it needs: one row of work_kind.cpp a kind.
//
// Pure; any thread.
#pragma once

#include <string_view>

#include "planner/model/migration.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::planner {

struct KindTraits {
  std::string_view privilege;    // on the table
  std::string_view row_lock;     // that the work takes of each row
  bool writes_table = false;     // by a statement of pgbackfill's own, which says which rows and columns
  bool may_update = false;       // rows of the table; of `sql:` nobody knows
  bool may_delete = false;       // rows of the table; of `sql:` nobody knows
  bool may_insert = false;       // rows of the table; of `sql:` nobody knows
  bool replaces_rows = false;    // old versions stay among the rows to come, until a vacuum
  bool takes_room = false;       // on disk
  bool where_is_undone = false;  // `where` says what is left to do, so that it can be counted
  std::string_view done;         // rows are ...
  std::string_view stays;        // of a rollback
  std::string_view growth;       // what becomes of the table's size; {}: its bytes
};

KindTraits const& traits_of(WorkKind kind);

// Whether the work may fire such a trigger, were it enabled.
bool may_fire(WorkKind kind, TriggerFacts const& trigger);

// "changed", "copied", "deleted", "moved"
std::string_view done_word(Backfill const& backfill);
// What a rollback does not take back.
std::string_view what_stays(Backfill const& backfill);

}  // namespace pgbackfill::planner
