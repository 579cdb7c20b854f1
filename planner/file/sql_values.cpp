#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/keys/batch_place.h"
#include "planner/sql/batch_placeholder.h"

namespace pgbackfill::planner::file {
namespace {

std::string_view trimmed_right(std::string_view text) {
  auto const last = text.find_last_not_of(" \t\r\n");
  return last == std::string_view::npos ? std::string_view{} : text.substr(0, last + 1);
}

enum class PlaceholderUse { kNone, kOnce, kSeveral, kMalformed };

PlaceholderUse placeholder_use(std::string_view sql) {
  auto const found = batch_placeholders(sql);
  for (auto const& [begin, length] : found) {
    auto rest = sql.substr(begin, length);
    rest.remove_prefix(std::string_view("{batch").size());
    bool const has_end = rest.ends_with('}');
    if (has_end) rest.remove_suffix(1);
    bool const is_right = rest.empty() || (rest.starts_with(':') && is_plain_identifier(rest.substr(1)));
    if (!has_end || !is_right) return PlaceholderUse::kMalformed;
  }
  if (found.empty()) return PlaceholderUse::kNone;
  return found.size() == 1 ? PlaceholderUse::kOnce : PlaceholderUse::kSeveral;
}

std::string read_sql(FileReader& reader, YamlNode const& value, YamlNode const& key, std::string_view example) {
  auto const hint = "; for example " + shortened(key.text) + ": \"" + std::string{example} + "\"";
  if (value.kind == YamlKind::kList || value.kind == YamlKind::kMap) {
    reader.refuse(value, quoted(key.text) + " must be SQL text, not " + kind_name(value) +
                             " (text that begins with a bracket or a brace needs quotes)" + hint);
    return {};
  }
  if (value.kind == YamlKind::kNull || is_blank(value.text)) {
    reader.refuse(value.text.empty() && value.kind == YamlKind::kNull ? key : value,
                  quoted(key.text) + " has no SQL (in {...} a comma ends a text that is not in quotes)" + hint);
    return {};
  }
  if (value.is_cut_by_hash) {
    reader.refuse(value, "what follows ' #' is read as a comment; put the SQL of " + quoted(key.text) +
                             " in quotes, or a space behind the # of a comment");
  }
  return with_values(reader, value, value.text);
}

}  // namespace

void refuse_semicolon(FileReader& reader, YamlNode const& value, std::string_view what) {
  if (trimmed_right(value.text).ends_with(';')) {
    reader.refuse(value, std::string{what} +
                             " ends with a semicolon; leave it out, because it becomes a part of a longer statement");
  }
}

std::string read_statement(FileReader& reader, Field const& field) {
  auto sql = read_sql(reader, *field.value, *field.key, field.rule->example);
  if (field.rule->kind != ValueKind::kBatchStatement || sql.empty()) return sql;
  refuse_semicolon(reader, *field.value, "the statement");
  switch (placeholder_use(sql)) {
    case PlaceholderUse::kOnce:
      if (auto const wrong = misplaced_batch(sql)) reader.refuse(*field.value, *wrong);
      break;
    case PlaceholderUse::kNone:
      if (sql.find("{batch") != std::string::npos) {
        reader.refuse(*field.value, misplaced_batch(sql).value_or(""));
        break;
      }
      reader.refuse(
          *field.value,
          "the statement needs {batch} or {batch:alias} where the condition for the rows of a batch belongs; " +
              for_example(*field.rule));
      break;
    case PlaceholderUse::kSeveral:
      reader.refuse(*field.value,
                    "the statement has {batch} more than once; it may stand for the rows of one batch only");
      break;
    case PlaceholderUse::kMalformed:
      reader.refuse(*field.value,
                    "'{batch' can only begin {batch} or {batch:alias}, with a plain identifier as the alias, for "
                    "example {batch:o}");
      break;
  }
  return sql;
}

std::string read_expression(FileReader& reader, Field const& field) {
  auto sql = read_sql(reader, *field.value, *field.key, field.rule->example);
  if (!sql.empty()) refuse_semicolon(reader, *field.value, "the expression");
  return sql;
}

std::vector<Assignment> read_assignments(FileReader& reader, Field const& field) {
  std::vector<Assignment> assignments;
  if (field.value->kind != YamlKind::kMap || field.value->children.empty()) {
    reader.refuse(FileReader::place_of(field),
                  quoted(field.rule->key) + " must be a map of columns and SQL expressions, not " +
                      (field.value->kind == YamlKind::kMap ? "an empty one" : kind_name(*field.value)) + "; " +
                      for_example(*field.rule));
    return assignments;
  }
  reader.refuse_duplicates(*field.value);
  for (std::size_t index = 0; index + 1 < field.value->children.size(); index += 2) {
    auto const& column = reader.node(field.value->children[index]);
    auto const& value = reader.node(field.value->children[index + 1]);
    bool const is_word = column.kind == YamlKind::kScalar || column.kind == YamlKind::kNull;
    if (!is_word || column.text.empty() || column.text.size() > kMaxIdentifierBytes) {
      reader.refuse(column, "a column must be a name of 1 to 63 bytes; " + for_example(*field.rule));
      continue;
    }
    auto sql =
        value.kind == YamlKind::kNull && !value.text.empty() ? "null" : read_sql(reader, value, column, "upper(name)");
    if (!sql.empty()) refuse_semicolon(reader, value, "the expression");
    assignments.push_back({reader.position_of(value), column.text, std::move(sql)});
  }
  return assignments;
}

}  // namespace pgbackfill::planner::file
