#include "planner/model/suggestion.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace pgbackfill::planner {
namespace {

// Longer than any known word by far; bounds the work that a hostile file can ask for.
constexpr std::size_t kMaxWordBytes = 64;

std::string lower(std::string_view text) {
  std::string lowered{text};
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lowered;
}

// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> before_last(to.size() + 1);
  std::vector<std::size_t> last(to.size() + 1);
  std::vector<std::size_t> current(to.size() + 1);
  for (std::size_t column = 0; column <= to.size(); ++column) last[column] = column;
  for (std::size_t row = 1; row <= from.size(); ++row) {
    current[0] = row;
    for (std::size_t column = 1; column <= to.size(); ++column) {
      std::size_t const replaced = last[column - 1] + (from[row - 1] == to[column - 1] ? 0 : 1);
      current[column] = std::min({replaced, last[column] + 1, current[column - 1] + 1});
      bool const is_swapped =
          row > 1 && column > 1 && from[row - 1] == to[column - 2] && from[row - 2] == to[column - 1];
      if (is_swapped) current[column] = std::min(current[column], before_last[column - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, current);
  }
  return last[to.size()];
}

// One slip in a short word, a third of a long one: more would be another word.
std::size_t tolerated_distance(std::string_view word) {
  return std::max<std::size_t>(1, word.size() / 3);
}

}  // namespace

std::string_view nearest_word(std::string_view word, std::span<std::string_view const> known) {
  if (word.empty() || word.size() > kMaxWordBytes) return {};
  auto const lowered = lower(word);
  std::string_view nearest;
  std::size_t nearest_distance = tolerated_distance(word) + 1;
  for (auto const candidate : known) {
    auto const distance = edit_distance(lowered, lower(candidate));
    // A distance of the whole word means that nothing of it was kept.
    if (distance < nearest_distance && distance < std::min(word.size(), candidate.size())) {
      nearest = candidate;
      nearest_distance = distance;
    }
  }
  return nearest;
}

std::string did_you_mean(std::string_view word, std::span<std::string_view const> known) {
  // The word itself, in a schema that was not given.
  auto const in_schema = std::find_if(known.begin(), known.end(), [&](std::string_view name) {
    return name.size() > word.size() + 1 && name.ends_with(word) && name[name.size() - word.size() - 1] == '.';
  });
  std::string_view const nearest = in_schema == known.end() ? nearest_word(word, known) : *in_schema;
  if (nearest.empty()) return {};
  return " (did you mean '" + std::string{nearest} + "'?)";
}

}  // namespace pgbackfill::planner
