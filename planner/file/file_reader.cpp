#include "planner/file/file_reader.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

#include "planner/file/migration_file.h"
#include "planner/file/wording.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::planner::file {
namespace {

std::vector<std::string_view> known_keys(Section const& section) {
  std::vector<std::string_view> keys;
  for (auto const& rule : section.keys) keys.push_back(rule.key);
  return keys;
}

// The name of the first section below `section` that knows the key; empty if none does.
std::string_view home_of(std::string_view key, Section const& section) {
  for (auto const& rule : section.keys) {
    if (rule.section == nullptr) continue;
    if (find_rule(*rule.section, key) != nullptr) return rule.section->name;
    if (auto const name = home_of(key, *rule.section); !name.empty()) return name;
  }
  return {};
}

}  // namespace

KeyRule const* find_rule(Section const& section, std::string_view key) {
  auto const found =
      std::find_if(section.keys.begin(), section.keys.end(), [&](KeyRule const& rule) { return rule.key == key; });
  return found == section.keys.end() ? nullptr : &*found;
}

void FileReader::refuse(YamlNode const& place, std::string text) {
  refuse({position_of(place), std::move(text)});
}

void FileReader::refuse(Problem problem) {
  if (problems_.size() < kMaxProblems) problems_.push_back(std::move(problem));
}

YamlNode const& FileReader::place_of(Field const& field) {
  return field.value->kind == YamlKind::kNull && field.value->text.empty() ? *field.key : *field.value;
}

Fields FileReader::read_section(YamlNode const& map, Section const& section, YamlNode const& position) {
  assert(map.kind == YamlKind::kMap);
  refuse_duplicates(map);
  Fields fields;
  for (std::size_t index = 0; index + 1 < map.children.size(); index += 2) {
    read_key(node(map.children[index]), node(map.children[index + 1]), section, fields);
  }
  check_relations(fields, section, position);
  check_alternatives(fields, section, position);
  return fields;
}

std::optional<Fields> FileReader::read_map(Field const& field) {
  assert(field.rule->section != nullptr);
  if (field.value->kind == YamlKind::kMap) return read_section(*field.value, *field.rule->section, *field.key);
  refuse(place_of(field), "'" + std::string{field.rule->key} + "' must be a map, not " + kind_name(*field.value) +
                              "; " + for_example(*field.rule));
  return std::nullopt;
}

bool FileReader::is_list(Field const& field, std::string_view of_what) {
  if (field.value->kind == YamlKind::kList) return true;
  refuse(place_of(field), quoted(field.rule->key) + " must be a list of " + std::string{of_what} + ", not " +
                              kind_name(*field.value) + "; " + for_example(*field.rule));
  return false;
}

bool FileReader::is_filled_list(Field const& field, std::string_view of_what) {
  if (!is_list(field, of_what)) return false;
  if (!field.value->children.empty()) return true;
  refuse(*field.value, quoted(field.rule->key) + " must be a list of " + std::string{of_what} + ", not an empty one; " +
                           for_example(*field.rule));
  return false;
}

void FileReader::read_key(YamlNode const& key, YamlNode const& value, Section const& section, Fields& fields) {
  auto const* rule = find_rule(section, key.text);
  if (rule == nullptr) return refuse_unknown_key(key, section, fields);
  Field const field{rule, &key, &value};
  if (rule->kind == ValueKind::kUnsupported) refuse_unsupported(field, section, fields);
  // Of a key that is there twice, which is a problem already, the first is looked at.
  if (fields.find(rule->key) == nullptr) fields.add(field);
}

void FileReader::refuse_unknown_key(YamlNode const& key, Section const& section, Fields& fields) {
  if (key.kind == YamlKind::kList || key.kind == YamlKind::kMap) {
    return refuse(key, "a key must be a word, not " + kind_name(key) + " (text in braces or brackets needs quotes)");
  }
  auto const keys = known_keys(section);
  fields.add_meant(nearest_word(key.text, keys));
  auto hint = did_you_mean(key.text, keys);
  if (hint.empty() && find_rule(top_, key.text) != nullptr) hint = " (it belongs at the top of the file)";
  if (hint.empty() && find_rule(migration_section(), key.text) != nullptr) {
    hint = " (it belongs in the file of a migration)";
  }
  if (auto const home = home_of(key.text, top_); hint.empty() && !home.empty()) {
    hint = " (it belongs under '" + std::string{home} + "')";
  }
  refuse(key, "unknown key " + quoted(key.text) + hint);
}

void FileReader::refuse_unsupported(Field const& field, Section const& section, Fields& fields) {
  auto const key = "`" + std::string{field.rule->key} + ":`";
  if (find_rule(section, "sql") != nullptr) {
    fields.add_meant("sql");
    return refuse(*field.key,
                  key + " is not supported by this version; write for example sql: " + std::string{field.rule->doc});
  }
  refuse(*field.key, key + " is not supported by this version; " + std::string{field.rule->doc});
}

void FileReader::check_relations(Fields const& fields, Section const& section, YamlNode const& position) {
  auto const title = section.name.empty() ? std::string{} : " in '" + std::string{section.name} + "'";
  for (auto const& rule : section.keys) {
    if (rule.is_required && !fields.is_given_or_meant(rule.key)) {
      refuse(position, "'" + std::string{rule.key} + "' is missing" + title + "; " + for_example(rule));
    }
    auto const* field = fields.find(rule.key);
    if (field == nullptr) continue;
    if (!rule.needs.empty() && !fields.is_given_or_meant(rule.needs)) {
      refuse(*field->key, "'" + std::string{rule.key} + "' needs '" + std::string{rule.needs} + "' beside it; " +
                              for_example(*find_rule(section, rule.needs)));
    }
    if (!rule.excludes.empty() && fields.find(rule.excludes) != nullptr) {
      refuse(*field->key, "'" + std::string{rule.key} + "' cannot stand beside '" + std::string{rule.excludes} + "'; " +
                              std::string{rule.excludes_hint});
    }
  }
}

void FileReader::check_alternatives(Fields const& fields, Section const& section, YamlNode const& position) {
  if (section.one_of.empty()) return;
  auto const rule_text =
      "exactly one of " + quoted_list(section.one_of) + " must be in '" + std::string{section.name} + "'";
  Field const* first = nullptr;
  bool is_one_meant = false;
  for (auto const key : section.one_of) {
    is_one_meant = is_one_meant || fields.is_given_or_meant(key);
    auto const* field = fields.find(key);
    bool const is_joined = key == section.joins && fields.find(section.joined) != nullptr;
    if (field == nullptr || is_joined) continue;
    if (first != nullptr) {
      refuse(*field->key, quoted(key) + " cannot stand beside " + quoted(first->rule->key) + ": " + rule_text);
    } else {
      first = field;
    }
  }
  // 'columns' without 'copy_to' has been reported as that.
  if (!is_one_meant && fields.find("columns") == nullptr) refuse(position, rule_text);
}

void FileReader::refuse_duplicates(YamlNode const& map) {
  std::map<std::string_view, int> first_lines;
  for (std::size_t index = 0; index < map.children.size(); index += 2) {
    auto const& key = node(map.children[index]);
    if (key.kind == YamlKind::kList || key.kind == YamlKind::kMap) continue;
    auto const [first, is_new] = first_lines.emplace(key.text, key.line);
    if (!is_new) {
      refuse(key, "duplicate key " + quoted(key.text) + ", first given in line " + std::to_string(first->second));
    }
  }
}

}  // namespace pgbackfill::planner::file
