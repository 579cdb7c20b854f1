// A SQL file as the tool runs it that it was written for: without the way back that many keep in the same file, in the
// transaction that they put around it, and with placeholders that are filled in only then.
//
// Read from comments: goose, sql-migrate, dbmate, node-pg-migrate, tern and MyBatis for the way back; these, sqlx,
// postgres-migrations, morph and Atlas for the transaction. Tools that keep the way back in files of their own need
// nothing of it. Pure functions, safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/sql/sql_script.h"

namespace pgbackfill::planner::lint {

struct ToolScript {
  SqlScript forward;                      // with places in the whole text
  std::optional<bool> is_in_transaction;  // none: nothing says
};

ToolScript split_tool_script(std::string_view text);

// `{{ .Schema }}` and `${schema}` become names of the same length, so that places stay what they are.
std::string templates_as_names(std::string_view text);

// A statement in which psql would fill in variables (:name, :'name', :"name"): each one as a value and, where only that
// is SQL, as a name. Of the same length. None if it has no variables.
std::vector<std::string> without_psql_variables(std::string_view sql);

}  // namespace pgbackfill::planner::lint
