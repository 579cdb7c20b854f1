// throttle:

#include <map>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/throttle_settings.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"

namespace pgbackfill::planner::file {
namespace {

// As one text with commas, the form of live settings.
std::optional<std::string> read_list_of_names(FileReader& reader, Field const& field) {
  std::string names;
  for (auto const index : field.value->children) {
    auto const& item = reader.node(index);
    bool const is_name = item.kind == YamlKind::kScalar && !is_blank(item.text);
    if (!is_name || item.text.find(',') != std::string::npos) {
      reader.refuse(item, "a name of " + quoted(field.rule->key) + " must be a text without a comma; " +
                              for_example(*field.rule));
      return std::nullopt;
    }
    names += (names.empty() ? "" : ", ") + item.text;
  }
  return names;
}

std::optional<std::string> read_setting(FileReader& reader, Field const& field, SettingRule const& rule) {
  bool const is_list = rule.kind == SettingKind::kNames && field.value->kind == YamlKind::kList;
  std::string text = field.value->text;
  if (is_list) {
    auto const names = read_list_of_names(reader, field);
    if (!names) return std::nullopt;
    text = *names;
  } else if (!is_scalar(reader, field)) {
    return std::nullopt;
  }
  auto const parsed = parse_setting(rule, text);
  if (parsed.value) return text;
  reader.refuse(*field.value, quoted(std::string{rule.name} + ": " + text) + " " + parsed.problem);
  return std::nullopt;
}

}  // namespace

ThrottleOptions read_throttle(FileReader& reader, Fields const& fields) {
  ThrottleOptions throttle;
  auto const* section = fields.find("throttle");
  if (section == nullptr) return throttle;
  throttle.position = reader.position_of(*section->key);
  auto const settings = reader.read_map(*section);
  if (!settings) return throttle;
  for (auto const& rule : throttle_settings()) {
    auto const* setting = settings->find(rule.name);
    if (setting == nullptr) continue;
    auto text = read_setting(reader, *setting, rule);
    if (!text) continue;
    throttle.settings.push_back({reader.position_of(*setting->value), std::string{rule.name}, std::move(*text)});
  }
  std::map<std::string, std::string> said;
  for (auto const& setting : throttle.settings) said[setting.name] = setting.text;
  for (auto const& conflict : setting_conflicts(said)) {
    auto const* place = settings->find(conflict.name);
    if (place == nullptr) place = settings->find(conflict.other);
    reader.refuse(*place->value, conflict.text);
  }
  return throttle;
}

}  // namespace pgbackfill::planner::file
