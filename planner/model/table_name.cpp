#include "planner/model/table_name.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace pgbackfill::planner {
namespace {

// PostgreSQL's scanner counts every byte above ASCII as a letter.
bool begins_identifier(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool continues_identifier(char c) {
  return begins_identifier(c) || (c >= '0' && c <= '9') || c == '$';
}

std::string folded(std::string_view text) {
  std::string result{text};
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// Takes one quoted part from the front; nothing if its closing quote is missing.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string part;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] != '"') {
      part += text[at];
    } else if (at + 1 < text.size() && text[at + 1] == '"') {
      part += '"';
      ++at;
    } else {
      text.remove_prefix(at + 1);
      return part;
    }
  }
  return std::nullopt;
}

ParsedTableName refused(std::string problem) {
  return {{}, std::move(problem)};
}

}  // namespace

std::string shown(TableName const& table) {
  return table.schema.empty() ? table.name : table.schema + "." + table.name;
}

bool is_plain_identifier(std::string_view text) {
  return !text.empty() && text.size() <= kMaxIdentifierBytes && begins_identifier(text.front()) &&
         std::all_of(text.begin(), text.end(), continues_identifier);
}

ParsedTableName parse_table_name(std::string_view text) {
  std::vector<std::string> parts;
  while (true) {
    if (text.starts_with('"')) {
      auto part = take_quoted(text);
      if (!part) return refused("a closing double quote is missing");
      parts.push_back(std::move(*part));
    } else {
      auto const end =
          static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), continues_identifier) - text.begin());
      if (end > 0 && !begins_identifier(text.front()))
        return refused("a part that begins like a number needs double quotes");
      parts.push_back(folded(text.substr(0, end)));
      text.remove_prefix(end);
    }
    if (parts.back().size() > kMaxIdentifierBytes) return refused("a name has at most 63 bytes in PostgreSQL");
    if (!text.empty() && text.front() != '.') return refused("a name with unusual characters needs double quotes");
    if (parts.back().empty()) return refused("a part of the name is empty");
    if (text.empty()) break;
    text.remove_prefix(1);
    if (parts.size() == 2) return refused("a name has at most two parts, schema and table");
  }
  if (parts.size() == 1) return {{"", std::move(parts[0])}, ""};
  return {{std::move(parts[0]), std::move(parts[1])}, ""};
}

}  // namespace pgbackfill::planner
