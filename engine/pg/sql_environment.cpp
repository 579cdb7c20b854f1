#include "engine/pg/sql_environment.h"

#include <fmt/format.h>

#include <cstdlib>

#include "engine/base/secret_mask.h"
#include "planner/model/params.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

SqlEnvironment environment_of(std::vector<Statement> const& statements) {
  SqlEnvironment environment;
  for (auto const& statement : statements) {
    if (!statement.is_users) continue;
    for (auto const& name : planner::variables_in_sql(statement.sql)) {
      char const* const value = std::getenv(name.c_str());
      if (value != nullptr) environment[planner::setting_of_variable(name)] = value;
    }
  }
  return environment;
}

std::string environment_sql(SqlEnvironment const& environment) {
  std::vector<std::string> calls;
  for (auto const& [name, value] : environment) {
    calls.push_back(
        fmt::format("pg_catalog.set_config({}, ${}, true)", planner::quote_literal(name), calls.size() + 1));
  }
  return "SELECT " + planner::join(calls, ", ");
}

std::string unlogged_parameters_sql() {
  return "SELECT pg_catalog.set_config('log_parameter_max_length', '0', true)";
}

std::string without_values(std::string text, SqlEnvironment const& environment) {
  static constexpr std::string_view kMask = "***";
  for (auto const& [name, value] : environment) {
    if (value.size() < kShortestSecret) continue;
    for (auto at = text.find(value); at != std::string::npos; at = text.find(value, at + kMask.size())) {
      text.replace(at, value.size(), kMask);
    }
  }
  return text;
}

}  // namespace pgbackfill::engine
