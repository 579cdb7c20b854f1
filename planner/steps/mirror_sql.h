// The trigger that carries what is written to a table on to its copy, while batches still copy the rest.
//
// It does not replay what was written. For each key that a row had or has, it makes the copy what the row is now, read
// again from the table: absent, or as `columns:` say. So the order of triggers within a statement does not matter, and
// neither does a trigger that writes the row once more. docs/sync.md has the argument why this and the batches, which
// lock the rows that they read, leave the copy equal to the table.
//
// Pure text. Expressions go in as the server spells them with an empty search_path.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {

struct SpelledMirror {
  TableName to;                          // with its schema
  std::vector<std::string> expressions;  // in the order of InstallMirror::columns
  std::vector<std::string> key;          // columns of the table, in the order of InstallMirror::key
  std::string where;                     // SQL, empty: all rows
  std::string alias;                     // SQL: the name by which the expressions call the table
};

// On TRUNCATE, which fires no row triggers.
std::string mirror_truncate_trigger_name(std::string_view migration);

// Lines, escaped as those of a sync: schema and name of the copy; then of each column, and last of `where`, the
// expression, the alias, and the one column that it reads, or nothing where it reads none or several.
std::optional<SpelledMirror> read_mirror_spelling(InstallMirror const& step, std::string_view text);

// The body of a PL/pgSQL function. `table` is the name of the table, with its schema.
std::string mirror_body(InstallMirror const& step, TableName const& table, SpelledMirror const& mirror);

}  // namespace pgbackfill::planner
