// What recorded migrations still need of tables on which another one works: columns that a trigger of `sync:` reads,
// that a job reads and writes, that contract steps are about.
//
// By what the files say: columns of expressions are taken by their names, so that one too many may be seen, never one
// too few. Pure functions, safe from any thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "planner/model/migration.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::planner {

// Which parts of a migration are not over.
struct OpenParts {
  bool has_sync = false;             // its trigger is there
  bool has_job = false;              // its job has begun, and neither ended nor was cancelled
  std::vector<PlacedStep> contract;  // steps that are still to be done
  std::vector<std::string> indexes;  // by which the job pages
  std::vector<std::string> key;      // and their columns
};

struct Need {
  std::string migration;
  std::string part;  // "its sync trigger"
  TableName table;
  std::vector<std::string> columns;
  std::vector<std::string> indexes;
  std::vector<std::string> key;     // columns of an index that it goes by, in any order
  bool is_key_a_beginning = false;  // of the index, which may have more
  bool is_key_unique = false;       // no other index will do
  bool is_of_all = false;           // each column
};

std::vector<Need> needs_of(Migration const& migration, OpenParts const& open);

// Whether rows that the work takes out of its table may be in that one, and nowhere else. Of SQL: whether it deletes
// and mentions the name.
bool moves_rows_into(Backfill const& backfill, TableName const& table);

// Exactly one of column and index is not empty, or neither: the table itself.
struct Taking {
  SourcePosition position;
  std::string words;  // the step, as people know it
  TableName table;
  std::string column;
  std::string index;
  bool is_primary_key = false;                  // the index, whatever its name
  std::vector<std::string> index_columns = {};  // as the catalog has them; empty: there is no such index
  bool is_unique = false;                       // the index, for all rows
};

std::vector<Taking> takings_of(std::vector<PlacedStep> const& steps);
// What goes when steps are undone.
std::vector<Taking> takings_of_undo(std::vector<PlacedStep> const& steps);

// `is_same(one, other, exactly)`: whether two names mean one table; if not exactly, partitions are their table.
using SameTable = std::function<bool(TableName const&, TableName const&, bool)>;
// One text for each that is needed by another migration: what, whom for, and what to do.
std::vector<std::string> conflicts(std::vector<Taking> const& takings, std::vector<Need> const& needs,
                                   SameTable const& is_same);

// --- copies that a sync trigger keeps

// Rows of a table that a backfill changes. Of SQL: what its text assigns.
struct RowChanges {
  std::string migration;
  SourcePosition position;
  TableName table;
  std::vector<std::string> columns;  // empty: any
};
std::vector<RowChanges> row_changes_of(Migration const& migration);

// The table that `sync: {mirror: ...}` keeps like another one, and the columns that it fills.
struct KeptCopy {
  std::string migration;
  SourcePosition position;
  TableName table;
  std::vector<std::string> columns;
};
std::optional<KeptCopy> kept_copy_of(Migration const& migration);

// One text for each change of what a trigger keeps: it would be lost with the row's next change, or come into use with
// the swap, and no check counts it.
std::vector<std::string> copy_conflicts(std::vector<RowChanges> const& changes, std::vector<KeptCopy> const& copies,
                                        SameTable const& is_same);

// --- the order of triggers

struct SyncColumns {
  std::string migration;
  std::string trigger;  // as it is called now; empty: not there yet
  TableName table;
  std::vector<std::string> reads;  // by expressions
  std::vector<std::string> writes;
  bool reads_row = false;
};

SyncColumns sync_columns_of(Migration const& migration);

struct SyncPlace {
  std::string trigger;  // the name with which it fires behind those whose columns it reads, and before its own readers
  std::string problem;  // why there is no such name
};

// `others` are on the same table.
SyncPlace place_sync(SyncColumns const& sync, std::vector<SyncColumns> const& others);

}  // namespace pgbackfill::planner
