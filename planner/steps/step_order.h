// The steps of a migration in the order in which they run, each with its place in the record of steps.
//
// The end of sync stands in no list of the file: it comes before the first step of contract that takes away or renames
// what the trigger may need, and after all that only tighten. A `swap_column` of the same table switches it off in its
// own transaction, so that no row comes in between, and so does a
// `swap` of tables with its mirror. Pure functions, safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/model/migration.h"

namespace pgbackfill::planner {

struct PlacedStep {
  SchemaStep step;
  std::string phase;
  int position = 0;  // within its phase
};

inline constexpr char kSyncPhase[] = "sync";
inline constexpr int kSyncInstall = 0;
inline constexpr int kSyncRemove = 1;

std::vector<PlacedStep> expand_steps(Migration const& migration);
std::vector<PlacedStep> sync_steps(Migration const& migration);
std::vector<PlacedStep> contract_steps(Migration const& migration);

// Why a `swap_column` cannot take over from `sync:` at its place; nothing: it can, or there is none.
std::optional<Problem> swap_problem(Migration const& migration);

bool is_table_swap(SchemaStep const& step);

// Whether a table or column that is not there can come from the expand steps. Of SQL nothing is known.
bool may_make_table(Migration const& migration, TableName const& table);
bool may_make_column(Migration const& migration, TableName const& table, std::string const& column);

// Whether expand has a step of SQL, which may make anything; a step that may give the table a key to page by; one that
// changes which values a type or a column takes.
bool has_sql_in_expand(Migration const& migration);
bool may_make_key(Migration const& migration, TableName const& table);
bool may_change_types(Migration const& migration);

// Whether rows that come while the backfill runs get its columns from the trigger.
bool sync_guards_backfill(Migration const& migration);

}  // namespace pgbackfill::planner
