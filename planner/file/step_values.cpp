#include "planner/file/step_values.h"

#include <algorithm>

#include "planner/file/values.h"
#include "planner/file/wording.h"

namespace pgbackfill::planner::file {

StepValue const* StepValues::find(std::string_view key) const {
  auto const found =
      std::find_if(values.begin(), values.end(), [&](StepValue const& value) { return value.key == key; });
  return found == values.end() ? nullptr : &*found;
}

std::string StepValues::text(std::string_view key) const {
  auto const* value = find(key);
  return value == nullptr ? std::string{} : value->text;
}

std::vector<std::string> StepValues::items(std::string_view key) const {
  auto const* value = find(key);
  return value == nullptr ? std::vector<std::string>{} : value->items;
}

TableName StepValues::table(std::string_view key) const {
  auto const* value = find(key);
  return value == nullptr ? TableName{} : value->table;
}

TableName StepValues::own_table(std::vector<Problem>& problems) const {
  if (auto const* value = find("table")) return value->table;
  if (default_table) return *default_table;
  problems.push_back({position, no_table_text(word)});
  return {};
}

void StepValues::require_pairs(std::vector<Problem>& problems) const {
  auto const columns = items("columns").size();
  auto const to = items("to").size();
  if (to == 0 || columns == 0 || to == columns) return;
  problems.push_back({find("to")->position, "'to' has " + std::to_string(to) + " columns and 'columns' " +
                                                std::to_string(columns) + "; each refers to one"});
}

void read_step_values(FileReader& reader, Field const& field, StepValues& step) {
  auto const& section = *field.rule->section;
  bool const is_short = !field.rule->shorthand.empty() && field.value->kind == YamlKind::kScalar;
  if (is_short) {
    Field const meant{find_rule(section, field.rule->shorthand), field.key, field.value};
    step.values.push_back(read_step_value(reader, meant));
    return;
  }
  auto const fields = reader.read_map(field);
  // What is misspelt is one problem, not a missing table on top.
  bool const is_table_unreadable = !fields || (fields->is_given_or_meant("table") && fields->find("table") == nullptr);
  if (is_table_unreadable) step.default_table = TableName{};
  if (!fields) return;
  for (auto const& rule : section.keys) {
    if (auto const* value = fields->find(rule.key)) step.values.push_back(read_step_value(reader, *value));
  }
}

StepValue read_step_value(FileReader& reader, Field const& field) {
  StepValue value{field.rule->key, reader.position_of(*field.value), {}, {}, {}};
  switch (field.rule->kind) {
    case ValueKind::kTable:
      value.table = read_table(reader, field).value_or(TableName{});
      break;
    case ValueKind::kColumns:
      value.items = read_columns(reader, field);
      break;
    case ValueKind::kFlag:
      value.text = read_flag(reader, field);
      break;
    case ValueKind::kWord:
      if (is_scalar(reader, field)) value.text = word_of(reader, field);
      break;
    case ValueKind::kIdentifier:
      value.text = read_identifier(reader, field);
      break;
    case ValueKind::kStatement:
      value.text = read_statement(reader, field);
      break;
    default:
      value.text = read_expression(reader, field);
  }
  return value;
}

}  // namespace pgbackfill::planner::file
