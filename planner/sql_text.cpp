#include "planner/sql_text.h"

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
  return "ARRAY[" + join(literals, ", ") + "]::text[]";
}

std::string parenthesised(std::string_view user_sql) {
  return '(' + std::string(user_sql) + "\n)";
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
