// The trigger of `sync:`, which keeps columns in step while old and new versions of an application write a table.
//
// One function, BEFORE INSERT OR UPDATE, last of its kind by name. It compares OLD and NEW instead of listening to
// column lists, because a full-row save names every column, and because other triggers change rows too. Values are
// compared bit by bit (*<>), which every type can, json as well. Old to new wins where one statement changes both
// sides. pgbackfill's own batches, which compute the columns themselves, are left out by the trigger's WHEN.
//
// Pure text. Expressions go in as the server spells them with an empty search_path, since the function runs with that
// of whoever writes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/step_detail.h"

namespace pgbackfill::planner {

// An assignment of `set:` or `reverse:` as the server understands it.
struct SpelledAssignment {
  std::string column;
  std::string expression;          // SQL
  std::vector<std::string> reads;  // columns of the table
  std::string default_value;       // SQL of the column's type, where the default is a constant; else empty
};

struct SpelledSync {
  std::vector<SpelledAssignment> set;
  std::vector<SpelledAssignment> reverse;
  std::string alias = {};  // SQL: the name by which the expressions call the table
};

// A name of ours, cut to what a name may have, and still another one for another migration.
std::string sync_object_name(std::string_view prefix, std::string_view migration);
std::string sync_trigger_name(std::string_view migration);
std::string sync_function_name(std::string_view migration);

// The lines of a spelling without their escapes.
std::vector<std::string> sync_spelling_lines(std::string_view text);

// Lines, backslashes and line breaks escaped: of each assignment, of `set` first, the expression, the alias, how many
// columns it reads, these, the default. Nothing if that is not what the text holds.
std::optional<SpelledSync> read_sync_spelling(InstallSync const& step, std::string_view text);

// Why no trigger can do it; empty: one can.
std::string sync_problem(SpelledSync const& sync);

// The function's body.
std::string sync_body(SpelledSync const& sync);

// The body of a function that is switched off: rows pass as they are.
std::string sync_body_off();

}  // namespace pgbackfill::planner
