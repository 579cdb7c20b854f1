#include "planner/file/values.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <utility>
#include <variant>

#include "planner/file/throttle_settings.h"
#include "planner/file/wording.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::planner::file {
namespace {

constexpr std::size_t kMaxNameBytes = 63;

bool is_migration_name(std::string_view name) {
  auto const is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  // A name that begins with '-' would be an option on the command line.
  return !name.empty() && name.size() <= kMaxNameBytes && is_word(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_word(c) || c == '-' || c == '.'; });
}

}  // namespace

bool is_scalar(FileReader& reader, Field const& field) {
  if (field.value->kind == YamlKind::kScalar && !is_blank(field.value->text)) return true;
  auto const found = field.value->kind == YamlKind::kScalar ? "nothing" : kind_name(*field.value);
  reader.refuse(FileReader::place_of(field),
                quoted(field.rule->key) + " must be a single value, not " + found + "; " + for_example(*field.rule));
  return false;
}

std::string read_name(FileReader& reader, Field const& field, std::string_view of_what) {
  if (!is_scalar(reader, field)) return {};
  if (is_migration_name(field.value->text)) return field.value->text;
  reader.refuse(*field.value, quoted(field.value->text) + " cannot be the name of " + std::string{of_what} +
                                  "; use 1 to 63 letters, digits, '_', '-' and '.', beginning "
                                  "with a letter, a digit or '_'");
  return {};
}

std::optional<TableName> read_table(FileReader& reader, Field const& field) {
  if (field.value->kind == YamlKind::kMap) {
    auto const fields = reader.read_map(field);
    TableName table;
    if (auto const* schema = fields->find("schema")) table.schema = read_identifier(reader, *schema);
    if (auto const* name = fields->find("name")) table.name = read_identifier(reader, *name);
    return table;
  }
  if (!is_scalar(reader, field)) return std::nullopt;
  auto parsed = parse_table_name(field.value->text);
  if (parsed.problem.empty()) return std::move(parsed.table);
  reader.refuse(*field.value, as_written(field) + ": " + parsed.problem + R"(; write it as in SQL, for example )" +
                                  std::string{field.rule->key} + R"(: '"My.Schema"."odd name"')");
  return std::nullopt;
}

TableName read_table_or(FileReader& reader, Fields const& fields, Field const& section,
                        std::optional<TableName> const& of_top) {
  if (auto const* table = fields.find("table")) return read_table(reader, *table).value_or(TableName{});
  if (of_top) return *of_top;
  if (!fields.is_given_or_meant("table")) reader.refuse(*section.key, no_table_text(section.rule->key));
  return {};
}

std::string read_identifier(FileReader& reader, Field const& field) {
  if (!is_scalar(reader, field)) return {};
  if (field.value->text.size() <= kMaxIdentifierBytes) return field.value->text;
  reader.refuse(*field.value, quoted(field.value->text) + " is too long; a name has at most 63 bytes in PostgreSQL");
  return {};
}

std::vector<std::string> read_columns(FileReader& reader, Field const& field) {
  std::vector<std::string> columns;
  if (!reader.is_filled_list(field, "columns")) return columns;
  for (auto const index : field.value->children) {
    auto const& item = reader.node(index);
    bool const is_name =
        item.kind == YamlKind::kScalar && !item.text.empty() && item.text.size() <= kMaxIdentifierBytes;
    if (is_name) {
      columns.push_back(item.text);
    } else {
      reader.refuse(item, std::string(field.rule->key == "skip_foreign_keys" ? "a foreign key" : "a column") +
                              " must be a name of 1 to 63 bytes; " + for_example(*field.rule));
    }
  }
  return columns;
}

std::string read_flag(FileReader& reader, Field const& field) {
  if (!is_scalar(reader, field)) return {};
  if (field.value->text == "true" || field.value->text == "false") return field.value->text;
  reader.refuse(*field.value, as_written(field) + " must be true or false");
  return {};
}

std::optional<std::int64_t> read_count(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr || !is_scalar(reader, *field)) return std::nullopt;
  assert(field->rule->kind == ValueKind::kCount);
  auto const& rule = *field->rule;
  auto const parsed = parse_bounded_count(field->value->text, rule.min, rule.max, example_of(rule));
  if (parsed.value) return std::get<std::int64_t>(*parsed.value);
  reader.refuse(*field->value, as_written(*field) + " " + parsed.problem);
  return std::nullopt;
}

std::optional<double> read_number(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr || !is_scalar(reader, *field)) return std::nullopt;
  auto const& text = field->value->text;
  double number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(number)) {
    reader.refuse(*field->value, as_written(*field) + " is not a number; " + for_example(*field->rule));
    return std::nullopt;
  }
  if (number < static_cast<double>(field->rule->min) || number > static_cast<double>(field->rule->max)) {
    reader.refuse(*field->value, as_written(*field) + " is out of bounds, which are " +
                                     std::to_string(field->rule->min) + " and " + std::to_string(field->rule->max));
    return std::nullopt;
  }
  return number;
}

std::string read_text(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  return field == nullptr || !is_scalar(reader, *field) ? std::string{} : field->value->text;
}

bool is_url(std::string_view text) {
  auto const scheme_end = text.find("://");
  bool const has_scheme = text.starts_with("http://") || text.starts_with("https://");
  bool const has_host = has_scheme && text.size() > scheme_end + 3 && text[scheme_end + 3] != '/';
  return has_host && std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
}

std::string read_url(FileReader& reader, Field const& field) {
  if (!is_scalar(reader, field)) return {};
  if (is_url(field.value->text)) return field.value->text;
  reader.refuse(*field.value,
                as_written(field) + " is not a URL that begins with http:// or https://; " + for_example(*field.rule));
  return {};
}

std::optional<std::chrono::milliseconds> read_duration(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr || !is_scalar(reader, *field)) return std::nullopt;
  assert(field->rule->kind == ValueKind::kDuration);
  auto const& rule = *field->rule;
  auto const parsed = parse_bounded_duration(field->value->text, rule.min, rule.max, example_of(rule));
  if (parsed.value) return std::chrono::milliseconds{std::get<std::int64_t>(*parsed.value)};
  reader.refuse(*field->value, as_written(*field) + " " + parsed.problem);
  return std::nullopt;
}

std::string_view read_word(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  return field == nullptr || !is_scalar(reader, *field) ? std::string_view{} : word_of(reader, *field);
}

std::string_view word_of(FileReader& reader, Field const& field) {
  assert(!field.rule->words.empty());
  auto const& words = field.rule->words;
  auto const found = std::find(words.begin(), words.end(), std::string_view{field.value->text});
  if (found != words.end()) return *found;
  auto const hint = did_you_mean(field.value->text, words);
  auto const other = field.rule->section == nullptr ? std::string{} : " or a map, " + for_example(*field.rule);
  reader.refuse(*field.value, as_written(field) + " is not one of " + quoted_list(words) + other + hint);
  return {};
}

}  // namespace pgbackfill::planner::file
