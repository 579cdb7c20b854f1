// backfill: prepare:, what is computed once before the batches.

#include <algorithm>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/sql_inputs.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"

namespace pgbackfill::planner::file {
namespace {

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
    reader.refuse(value, quoted(name.text) + " must be a map of 'as' and 'key', not " + kind_name(value) + "; " +
                             for_example(*section.rule));
    return std::nullopt;
  }
  auto const fields = reader.read_section(value, *section.rule->section, value);
  if (auto const* query = fields.find("as")) {
    prepared.query = read_statement(reader, *query);
    prepared.query_position = reader.position_of(*query->value);
    if (!prepared.query.empty()) refuse_semicolon(reader, *query->value, "the query");
  }
  if (auto const* key = fields.find("key")) {
    prepared.key = read_columns(reader, *key);
    prepared.key_position = reader.position_of(*key->value);
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
                  "'prepare' must be a map of names and queries; " + for_example(*field->rule));
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
