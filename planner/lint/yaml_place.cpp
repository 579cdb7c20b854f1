#include "planner/lint/yaml_place.h"

#include <algorithm>

namespace pgbackfill::planner::lint {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Behind an anchor or tag, an opening quote, or the header line of a block.
std::size_t begin_of_text(std::string_view yaml, std::size_t at, char& style) {
  while (at < yaml.size() && (yaml[at] == '&' || yaml[at] == '!')) {
    while (at < yaml.size() && !is_space(yaml[at])) ++at;
    while (at < yaml.size() && is_space(yaml[at])) ++at;
  }
  style = at < yaml.size() ? yaml[at] : ' ';
  if (style == '|' || style == '>') return std::min(yaml.find('\n', at), yaml.size());
  return style == '"' || style == '\'' ? at + 1 : at;
}

}  // namespace

std::vector<std::size_t> places_in_yaml(std::string_view yaml, std::size_t begin, std::string_view text) {
  std::vector<std::size_t> places;
  places.reserve(text.size() + 1);
  char style = ' ';
  std::size_t at = begin_of_text(yaml, std::min(begin, yaml.size()), style);
  std::size_t last = at;
  for (char const c : text) {
    if (!is_space(c)) {
      while (at < yaml.size() && is_space(yaml[at])) ++at;
      // \" and \\ and a line end that is escaped; two quotes for one.
      bool const is_escape = style == '"' && at < yaml.size() && yaml[at] == '\\';
      while (is_escape && at < yaml.size() && yaml[at] != c) ++at;
      if (style == '"' && c == '\\') ++at;
      if (style == '\'' && c == '\'') ++at;
      if (at < yaml.size() && yaml[at] == c) last = at++;
    } else if (style == '"' && at + 1 < yaml.size() && yaml[at] == '\\' &&
               (yaml[at + 1] == 'n' || yaml[at + 1] == 't' || yaml[at + 1] == 'r')) {
      last = at;
      at += 2;
    } else if (at < yaml.size() && is_space(yaml[at])) {
      last = at++;
    }
    places.push_back(last);
  }
  places.push_back(std::min(last + 1, yaml.size()));
  return places;
}

}  // namespace pgbackfill::planner::lint
