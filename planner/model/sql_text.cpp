#include "planner/model/sql_text.h"

#include <algorithm>
#include <array>

namespace pgbackfill::planner {

namespace {

std::string doubled(std::string_view text, char quote) {
  std::string result;
  result.reserve(text.size() + 2);
  for (char const character : text) {
    if (character == quote) result += quote;
    result += character;
  }
  return result;
}

}  // namespace

std::string quote_identifier(std::string_view name) {
  return '"' + doubled(name, '"') + '"';
}

std::string quote_qualified(std::string_view schema, std::string_view name) {
  if (schema.empty()) return quote_identifier(name);
  return quote_identifier(schema) + '.' + quote_identifier(name);
}

namespace {

// The first object of that name in the schemas, from a catalog whose columns begin with `prefix`.
std::string first_in_schemas(std::string const& catalog, std::string const& prefix, std::string const& type,
                             std::string_view name) {
  return "(SELECT c.oid::pg_catalog." + type +
         " FROM pg_catalog.unnest(pg_catalog.current_setting('pgbackfill.schemas')::pg_catalog.text[]) WITH ORDINALITY "
         "AS s (name, place) JOIN pg_catalog.pg_namespace n ON n.nspname = s.name JOIN pg_catalog." +
         catalog + " c ON c." + prefix + "namespace = n.oid WHERE c." + prefix + "name = " + quote_literal(name) +
         " ORDER BY s.place LIMIT 1)";
}

}  // namespace

std::string oid_of(std::string_view schema, std::string_view name) {
  if (!schema.empty()) return "pg_catalog.to_regclass(" + quote_literal(quote_qualified(schema, name)) + ")";
  return first_in_schemas("pg_class", "rel", "regclass", name);
}

std::string type_oid_of(std::string_view schema, std::string_view name) {
  if (!schema.empty()) return "pg_catalog.to_regtype(" + quote_literal(quote_qualified(schema, name)) + ")";
  return first_in_schemas("pg_type", "typ", "regtype", name);
}

std::string dollar_quoted(std::string_view code) {
  std::string tag = "$pgbackfill$";
  // Nor may the code's end and the beginning of the tag make one.
  for (int number = 1; (std::string{code} + tag).find(tag) != code.size(); ++number) {
    tag = "$pgbackfill_" + std::to_string(number) + "$";
  }
  return tag + std::string{code} + tag;
}

std::string quote_literal(std::string_view text) {
  std::string const quoted = doubled(text, '\'');
  if (text.find('\\') == std::string_view::npos) return '\'' + quoted + '\'';
  return "E'" + doubled(quoted, '\\') + '\'';
}

std::string text_array(std::vector<std::string> const& texts) {
  std::vector<std::string> literals;
  literals.reserve(texts.size());
  for (auto const& text : texts) literals.push_back(quote_literal(text));
  return "ARRAY[" + join(literals, ", ") + "]::pg_catalog.text[]";
}

std::string parenthesised(std::string_view user_sql) {
  return '(' + std::string(user_sql) + "\n)";
}

std::string qualified_type(std::string_view type) {
  // Words with a space in them are SQL's own too.
  static constexpr std::array<std::string_view, 9> kWords = {"bigint",   "bit",     "boolean", "character", "integer",
                                                             "interval", "numeric", "real",    "smallint"};
  std::string_view const name = type.substr(0, type.find_first_of("[("));
  bool const is_word = std::find(kWords.begin(), kWords.end(), name) != kWords.end();
  bool const is_plain = !name.starts_with('"') && name.find('.') == std::string_view::npos &&
                        type.find(' ') == std::string_view::npos && !is_word;
  // "char" with its quotes is a type, and no word.
  bool const is_char = name == "\"char\"";
  return (is_plain || is_char ? "pg_catalog." : "") + std::string(type);
}

std::string join(std::vector<std::string> const& parts, std::string_view separator) {
  std::string result;
  for (auto const& part : parts) {
    if (&part != &parts.front()) result += separator;
    result += part;
  }
  return result;
}

}  // namespace pgbackfill::planner
