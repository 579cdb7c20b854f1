#include "planner/file/wording.h"

#include "planner/model/short_line.h"

namespace pgbackfill::planner::file {
namespace {

constexpr std::size_t kMostQuotedBytes = 60;

}  // namespace

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

std::string shortened(std::string_view text) {
  return short_line(text, kMostQuotedBytes);
}

std::string quoted(std::string_view text) {
  return "'" + shortened(text) + "'";
}

std::string quoted_list(std::span<std::string_view const> words) {
  std::string list;
  for (auto const word : words) list += (list.empty() ? "" : ", ") + quoted(word);
  return list;
}

std::string as_written(Field const& field) {
  return quoted(std::string{field.rule->key} + ": " + field.value->text);
}

std::string example_of(KeyRule const& rule) {
  return std::string{rule.key} + ": " + std::string{rule.example};
}

std::string for_example(KeyRule const& rule) {
  return "for example " + example_of(rule);
}

std::string kind_name(YamlNode const& node) {
  switch (node.kind) {
    case YamlKind::kNull:
      return "nothing";
    case YamlKind::kScalar:
      return "a single value";
    case YamlKind::kList:
      return "a list";
    case YamlKind::kMap:
      return "a map";
  }
  return "";
}

std::string no_table_text(std::string_view word) {
  return "'" + std::string{word} +
         "' has no table; write 'table:' in it or at the top of the file, for example table: public.users";
}

}  // namespace pgbackfill::planner::file
