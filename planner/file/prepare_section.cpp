// backfill: prepare:, what is computed once before the batches.

#include <algorithm>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/sql_inputs.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::planner::file {
namespace {

std::vector<ListedColumn> read_types(FileReader& reader, Field const& field) {
  std::vector<ListedColumn> columns;
  if (field.value->kind != YamlKind::kMap || field.value->children.empty()) {
    reader.refuse(FileReader::place_of(field),
                  "'columns' must be a map of columns and types, not " +
                      (field.value->kind == YamlKind::kMap ? std::string("an empty one") : kind_name(*field.value)) +
                      "; " + for_example(*field.rule));
    return columns;
  }
  reader.refuse_duplicates(*field.value);
  for (std::size_t index = 0; index + 1 < field.value->children.size(); index += 2) {
    auto const& name = reader.node(field.value->children[index]);
    auto const& type = reader.node(field.value->children[index + 1]);
    if (name.kind != YamlKind::kScalar || name.text.empty() || name.text.size() > kMaxIdentifierBytes) {
      reader.refuse(name, "a column must be a name of 1 to 63 bytes; " + for_example(*field.rule));
      continue;
    }
    auto const found = read_param_type(reader, type, "a column");
    if (found) columns.push_back({name.text, *found});
  }
  return columns;
}

// What it stands for until the file is read, which is not done here.
void read_from(FileReader& reader, Field const& section, Prepared& prepared) {
  auto const fields = reader.read_map(section);
  if (!fields) return;
  prepared.from.emplace();
  prepared.from->position = reader.position_of(*section.key);
  if (auto const* csv = fields->find("csv")) {
    prepared.from->csv = read_text(reader, *fields, "csv");
    prepared.from->position = reader.position_of(*csv->value);
  }
  if (auto const* columns = fields->find("columns")) prepared.from->columns = read_types(reader, *columns);
  prepared.query = listed_rows_sql(prepared.from->columns, kUnreadFile, false);
  prepared.query_position = prepared.from->position;
}

void check_key(FileReader& reader, Field const& key, Prepared const& prepared) {
  if (!prepared.from || prepared.from->columns.empty()) return;
  std::vector<std::string_view> names;
  for (auto const& column : prepared.from->columns) names.push_back(column.name);
  for (std::size_t index = 0; index < prepared.key.size(); ++index) {
    auto const& name = prepared.key[index];
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    reader.refuse(*key.value, quoted(name) + " is not one of 'columns'" + did_you_mean(name, names));
  }
}

std::optional<Prepared> read_entry(FileReader& reader, Field const& section, YamlNode const& name,
                                   YamlNode const& value) {
  Prepared prepared;
  prepared.position = reader.position_of(name);
  prepared.name = name.text;
  if (!is_param_name(name.text) || name.text.size() > kMaxPreparedName) {
    reader.refuse(name, "a result of 'prepare' has a name of lower-case letters, digits and '_', up to " +
                            std::to_string(kMaxPreparedName) + ", that begins with no digit; not " + quoted(name.text));
    return std::nullopt;
  }
  if (value.kind != YamlKind::kMap) {
    reader.refuse(value, quoted(name.text) + " must be a map of 'as' or 'from', and 'key', not " + kind_name(value) +
                             "; " + for_example(*section.rule));
    return std::nullopt;
  }
  auto const fields = reader.read_section(value, *section.rule->section, value);
  if (auto const* query = fields.find("as")) {
    prepared.query = read_statement(reader, *query);
    prepared.query_position = reader.position_of(*query->value);
    if (!prepared.query.empty()) refuse_semicolon(reader, *query->value, "the query");
  }
  if (auto const* from = fields.find("from")) read_from(reader, *from, prepared);
  if (auto const* key = fields.find("key")) {
    prepared.key = read_columns(reader, *key);
    prepared.key_position = reader.position_of(*key->value);
    check_key(reader, *key, prepared);
  }
  return prepared;
}

}  // namespace

std::vector<Prepared> read_prepare(FileReader& reader, Fields const& fields) {
  std::vector<Prepared> results;
  auto const* field = fields.find("prepare");
  if (field == nullptr) return results;
  if (field->value->kind != YamlKind::kMap || field->value->children.empty()) {
    reader.refuse(FileReader::place_of(*field),
                  "'prepare' must be a map of names and results; " + for_example(*field->rule));
    return results;
  }
  reader.refuse_duplicates(*field->value);
  for (std::size_t index = 0; index + 1 < field->value->children.size(); index += 2) {
    auto const& name = reader.node(field->value->children[index]);
    auto entry = read_entry(reader, *field, name, reader.node(field->value->children[index + 1]));
    if (entry) results.push_back(std::move(*entry));
  }
  if (results.size() > kMaxPrepared) {
    reader.refuse(*field->key, "there are more than " + std::to_string(kMaxPrepared) + " results in 'prepare'");
  }
  return results;
}

}  // namespace pgbackfill::planner::file
