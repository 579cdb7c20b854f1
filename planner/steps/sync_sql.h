// The trigger of `sync:`, which keeps columns in step while old and new versions of an application write a table.
//
// One function, BEFORE INSERT OR UPDATE, last of its kind by name. It compares OLD and NEW instead of listening to
// column lists, because a full-row save names every column, and because other triggers change rows too. Values are
// compared bit by bit (*<>), which every type can, json as well. Old to new wins where one statement changes both
// sides. Batches of the same migration, which compute the columns themselves, are left out by the trigger's WHEN.
// A row that moves to another partition comes as an INSERT of both sides, and so does one that is loaded from a dump:
// if what one side gives is what the other one makes of it, both stay as they are.
//
// Pure text. Expressions go in as the server spells them with a search_path of pg_catalog alone. The function runs with
// that of the file's SQL, which what it calls may rely on, and not with that of whoever writes; so what is ours in it
// names its schema.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {

// An assignment of `set:` or `reverse:` as the server understands it.
struct SpelledAssignment {
  std::string column;
  std::string expression;            // SQL
  std::vector<std::string> reads;    // columns of the table
  std::string default_value;         // SQL of the column's type, where the default is a constant; else empty
  bool has_varying_default = false;  // it is none: now(), nextval(), a random value
  bool reads_row = false;  // the whole row: all columns but those that its side computes; then `reads` is empty
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

// BEFORE triggers fire in the order of their names. A name of the migration's trigger that lies behind all of the ones
// and before all of the others: sync_trigger_name(), if that does. Empty: there is none.
std::string sync_trigger_name_between(std::string_view migration, std::vector<std::string> const& behind,
                                      std::vector<std::string> const& before);
// Whether a trigger of that name is the migration's, wherever it stands in the order.
bool is_sync_trigger_name(std::string_view trigger, std::string_view migration);

// The lines of a spelling without their escapes.
std::vector<std::string> sync_spelling_lines(std::string_view text);

// Lines, backslashes and line breaks escaped: of each assignment, of `set` first, the expression, the alias, how many
// columns it reads (or * for the whole row), these, the default: nothing, SQL in parentheses, or kVaryingDefault.
// Nothing if that is not what the text holds.
inline constexpr char kVaryingDefault[] = "varies";
inline constexpr char kWholeRow[] = "*";
std::optional<SpelledSync> read_sync_spelling(InstallSync const& step, std::string_view text);

// Why no trigger can do it; empty: one can.
std::string sync_problem(SpelledSync const& sync);

// The function's body.
std::string sync_body(SpelledSync const& sync);

// The body of a function that is switched off: rows pass as they are.
std::string sync_body_off();

}  // namespace pgbackfill::planner
