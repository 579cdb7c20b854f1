// The table that a step will find at its turn, after the steps of the file that run before it: as statements that make
// an empty copy of the table of today, and do to the copy what those steps will do to the table. What the server says
// of the copy it will say of the table then.
//
// Never guesses: after a step of which that is not known (SQL, a swap of tables, partitions) nothing is said. Pure
// functions, safe from any thread; see recipes.h on names and search_path.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "planner/model/table_name.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::planner {

// Of the copies, in pg_temp.
inline constexpr char kCopyAhead[] = "pgbackfill_ahead";
inline constexpr char kOtherCopyAhead[] = "pgbackfill_ahead_other";  // of the table that a foreign key refers to

struct TableAhead {
  bool is_known = true;
  bool is_alike = true;  // else no more is known than which columns there are
  std::string gone;      // which step takes the table away: "contract step 1 renames it to u". Empty: it is there
  std::string create;    // SQL of the file's own: makes `origin`, which is not there today. Empty: it is
  TableName origin;      // what the copy is a copy of
  std::vector<std::string> changes;          // to the copy, in their order: SQL of the file's own
  std::map<std::string, std::string> fates;  // of columns that are gone: "expand step 1 renames it to b"
};

// `table`: that of `step`, or one that it refers to.
TableAhead table_ahead(std::vector<PlacedStep> const& ahead, SchemaStep const& step, TableName const& table,
                       std::string const& copy);

// Makes the copy.
std::string copy_sql(TableName const& origin, std::string const& copy);
// Gives it what LIKE leaves out or names otherwise: the names of indexes, the replica identity, and a check in the
// place of each foreign key, of which a temporary table can have none. Ours. Fails where an index finds no counterpart.
std::string carry_names_sql(TableName const& origin, std::string const& copy);

// What a step does to the copy of its table; nothing: that is not known.
std::optional<std::vector<std::string>> changes_of(SchemaStep const& step, std::string const& copy);
// The same step, about the copies.
SchemaStep of_copies(SchemaStep const& step, std::string const& copy, std::string const& other);

// Whether there is anything to ask of a copy; which of the recipe's refusals the copy gives as the table would; and
// whether doing the step to the copy tells something.
struct CopyQuestions {
  bool asks_columns = false;
  bool asks_recipe = false;
  bool tries = false;
};
CopyQuestions questions_of(SchemaStep const& step);

// The columns that the step needs, of its table and of the one that it refers to.
struct NeededColumns {
  std::vector<std::string> own;
  std::vector<std::string> other;
};
NeededColumns needed_columns(SchemaStep const& step);

// Rows of one text: the columns of the copy.
std::string columns_of_copy_sql(std::string const& copy);

// Whether the earlier step may change what the catalog gives as a reason against the later one; whether it may take the
// reason away, but make nothing of what the catalog lacks; and whether it may change that the later one holds already.
bool may_change_refusal(SchemaStep const& earlier, SchemaStep const& later);
bool may_lift_refusal(SchemaStep const& earlier, SchemaStep const& later);
bool may_change_done(SchemaStep const& earlier, SchemaStep const& later);

}  // namespace pgbackfill::planner
