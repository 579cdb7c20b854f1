#include "engine/state/state_params.h"

#include "planner/model/sql_text.h"

namespace pgbackfill::engine::state {

std::string names_with_params(std::string const& name) {
  return "SELECT name FROM pgbackfill.migrations WHERE name = " + planner::quote_literal(name) +
         " OR starts_with(name, " + planner::quote_literal(name + "[") + ") ORDER BY last_run_at DESC LIMIT 20";
}

}  // namespace pgbackfill::engine::state
