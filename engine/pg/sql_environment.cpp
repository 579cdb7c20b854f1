#include "engine/pg/sql_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>

#include "engine/base/secret_mask.h"
#include "planner/model/params.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

struct KeptValues {
  std::mutex mutex;
  std::map<std::string, std::string> all;
};

KeptValues& kept_values() {
  static KeptValues kept;
  return kept;
}

std::optional<std::string> kept_value(std::string const& variable) {
  auto& kept = kept_values();
  std::lock_guard const lock(kept.mutex);
  auto const found = kept.all.find(variable);
  return found == kept.all.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

void keep_value(std::string const& variable, std::string value) {
  auto& kept = kept_values();
  std::lock_guard const lock(kept.mutex);
  kept.all[variable] = std::move(value);
}

bool reads_kept_value(std::string const& sql) {
  auto const names = planner::variables_in_sql(sql);
  return std::any_of(names.begin(), names.end(), [](std::string const& name) { return kept_value(name).has_value(); });
}

SqlEnvironment environment_of(std::vector<Statement> const& statements) {
  SqlEnvironment environment;
  for (auto const& statement : statements) {
    for (auto const& name : planner::variables_in_sql(statement.sql)) {
      auto const setting = planner::setting_of_variable(name);
      if (environment.contains(setting)) continue;
      if (auto kept = kept_value(name)) environment[setting] = std::move(*kept);
      char const* const value = statement.is_users ? std::getenv(name.c_str()) : nullptr;
      if (value != nullptr) environment.emplace(setting, value);
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
