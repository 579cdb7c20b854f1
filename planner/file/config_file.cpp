#include "planner/file/config_file.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <tuple>
#include <utility>

#include "planner/file/migration_schema.h"
#include "planner/file/sections.h"
#include "planner/file/throttle_settings.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/file/yaml_document.h"
#include "planner/model/hook.h"

namespace pgbackfill::planner {
namespace {

using file::Fields;
using file::FileReader;

std::string read_variable(FileReader& reader, Fields const& fields, SourcePosition& position) {
  auto const* field = fields.find("database_url_variable");
  if (field == nullptr) return "";
  position = reader.position_of(*field->value);
  auto name = file::read_text(reader, fields, "database_url_variable");
  auto const parts = parts_of("${" + name + "}");
  if (name.empty() || (parts && parts->size() == 1)) return name;
  // What is no name may be the connection string itself, with its password.
  reader.refuse(*field->value,
                "'database_url_variable' must be the name of a variable of the environment, not what is in it; " +
                    file::for_example(*field->rule));
  return "";
}

ConfigFile read_config(FileReader& reader, std::string_view file_name) {
  ConfigFile config;
  config.file = file_name;
  if (reader.root().kind != YamlKind::kMap) {
    reader.refuse(reader.root(),
                  "this file is a map of keys such as 'throttle:' and 'on:', not " + file::kind_name(reader.root()));
    return config;
  }
  auto const fields = reader.read_section(reader.root(), config_section(), reader.root());
  config.database_url_variable = read_variable(reader, fields, config.database_url_variable_position);
  config.folder = file::read_text(reader, fields, "folder");
  if (auto const* folder = fields.find("folder")) config.folder_position = reader.position_of(*folder->value);
  config.throttle = file::read_throttle(reader, fields);
  config.hooks = file::read_hooks(reader, fields, file::HooksOf::kEveryMigration);
  config.on = file::read_on(reader, fields);
  return config;
}

// Blank lines and comments; that is not wrong.
bool says_nothing(std::string_view text) {
  while (!text.empty()) {
    auto const line = text.substr(0, text.find('\n'));
    auto const first = line.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && line[first] != '#') return false;
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return true;
}

ConfigFile read_nothing(std::string_view file_name) {
  ConfigFile config;
  config.file = file_name;
  return config;
}

bool has_phase(Migration const& migration, Boundary boundary) {
  switch (boundary) {
    case Boundary::kBeforeExpand:
    case Boundary::kAfterExpand:
      return !migration.expand.empty();
    case Boundary::kBeforeBackfill:
    case Boundary::kAfterBackfill:
      return migration.backfill.has_value();
    case Boundary::kBeforeContract:
    case Boundary::kAfterContract:
      return !migration.contract.empty();
    default:
      return true;
  }
}

std::vector<Problem> lay_throttle_under(ThrottleOptions const& common, ThrottleOptions& own) {
  std::map<std::string, std::string> said;
  std::map<std::string, SourcePosition> where;
  auto const note = [&](ThrottleSetting const& setting) {
    said[setting.name] = setting.text;
    where[setting.name] = setting.position;
  };
  for (auto const& setting : own.settings) note(setting);
  for (auto const& setting : common.settings) {
    if (said.contains(setting.name)) continue;
    note(setting);
    own.settings.push_back(setting);
  }
  std::vector<Problem> problems;
  for (auto const& conflict : setting_conflicts(said)) {
    auto place = where.find(std::string(conflict.name));
    if (place == where.end()) place = where.find(std::string(conflict.other));
    problems.push_back({place->second, conflict.text});
  }
  return problems;
}

std::string place_text(SourcePosition const& position) {
  return ", from " + position.file + ":" + std::to_string(position.line);
}

}  // namespace

ParsedConfig parse_config(std::string_view text, std::string_view file_name) {
  if (says_nothing(text)) return {read_nothing(file_name), {}};
  auto const document = parse_yaml(text, file_name);
  if (document.problem) return {std::nullopt, {*document.problem}};
  FileReader reader{document, file_name, config_section()};
  auto config = read_config(reader, file_name);
  auto problems = std::move(reader.problems());
  std::stable_sort(problems.begin(), problems.end(), [](Problem const& left, Problem const& right) {
    return std::tie(left.position.line, left.position.column) < std::tie(right.position.line, right.position.column);
  });
  if (!problems.empty()) return {std::nullopt, std::move(problems)};
  return {std::move(config), {}};
}

std::vector<Problem> lay_under(ConfigFile const& config, Migration& migration) {
  auto const problems = lay_throttle_under(config.throttle, migration.throttle);
  auto const own = migration.hooks;
  for (auto const& hook : config.hooks) {
    bool const is_replaced =
        std::any_of(own.begin(), own.end(), [&](Hook const& other) { return other.boundary == hook.boundary; });
    if (!is_replaced && has_phase(migration, hook.boundary)) migration.hooks.push_back(hook);
  }
  for (auto const& rule : config.on) {
    bool const is_replaced = std::any_of(migration.on.begin(), migration.on.end(),
                                         [&](OccasionRule const& other) { return other.occasion == rule.occasion; });
    if (!is_replaced) migration.on.push_back(rule);
  }
  return problems;
}

std::vector<std::string> from_elsewhere(Migration const& migration) {
  std::vector<std::string> lines;
  for (auto const& setting : migration.throttle.settings) {
    if (setting.position.file == migration.file) continue;
    lines.push_back("throttle." + setting.name + ": " + setting.text + place_text(setting.position));
  }
  for (auto const& hook : migration.hooks) {
    if (hook.position.file != migration.file) lines.push_back(name_of(hook.boundary) + place_text(hook.position));
  }
  for (auto const& rule : migration.on) {
    if (rule.position.file == migration.file) continue;
    lines.push_back("on." + std::string(name_of(rule.occasion)) + place_text(rule.position));
  }
  return lines;
}

}  // namespace pgbackfill::planner
