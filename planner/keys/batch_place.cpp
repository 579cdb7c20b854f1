#include "planner/keys/batch_place.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "planner/sql/batch_placeholder.h"

namespace pgbackfill::planner {

namespace {

// Where a condition begins or ends.
bool is_clause(std::string const& token) {
  static constexpr std::array kClauses = {"select", "from",      "where",     "on",     "using", "set",
                                          "having", "returning", "group",     "order",  "limit", "offset",
                                          "union",  "except",    "intersect", "window", "join",  ","};
  return std::find(kClauses.begin(), kClauses.end(), token) != kClauses.end();
}

bool opens(std::string const& token) {
  return token == "(" || token == "case";
}

bool closes(std::string const& token) {
  return token == ")" || token == "end";
}

// From one end of a condition outwards in one direction: whether an OR stands beside it, and the parenthesis that ends
// it.
struct Side {
  bool has_or = false;
  std::optional<std::size_t> parenthesis;
};

Side look(std::vector<std::string> const& tokens, std::size_t from, bool forward) {
  Side side;
  int depth = 0;
  // Of a subquery, the parenthesis is behind its other clauses.
  bool is_in_condition = true;
  std::size_t const steps = forward ? tokens.size() - 1 - from : from;
  for (std::size_t step = 1; step <= steps; ++step) {
    std::size_t const at = forward ? from + step : from - step;
    auto const& token = tokens[at];
    if (forward ? opens(token) : closes(token)) {
      ++depth;
    } else if ((forward ? closes(token) : opens(token)) && depth-- == 0) {
      side.parenthesis = at;
      return side;
    } else if (depth == 0) {
      is_in_condition = is_in_condition && !is_clause(token);
      side.has_or = side.has_or || (is_in_condition && token == "or");
    }
  }
  return side;
}

// NOT (...), NOT EXISTS (...), x NOT IN (...).
bool is_negated(std::vector<std::string> const& tokens, std::size_t begin) {
  if (begin == 0) return false;
  std::size_t before = begin - 1;
  bool const is_subquery = tokens[before] == "exists" || tokens[before] == "in";
  if (is_subquery && before > 0) --before;
  return tokens[before] == "not";
}

}  // namespace

std::optional<std::string> misplaced_batch(std::string_view sql) {
  auto const tokens = tokens_with_batch(sql);
  auto const found = std::find(tokens.begin(), tokens.end(), kBatchToken);
  if (found == tokens.end()) return "{batch} stands in a string, a quoted name or a comment, where it is no condition";
  auto begin = static_cast<std::size_t>(found - tokens.begin());
  std::size_t end = begin;
  while (true) {
    if (is_negated(tokens, begin)) {
      return "{batch} stands under NOT, so that a batch would change the rows of all others; write it as a condition "
             "of "
             "its own, joined to the others by AND";
    }
    auto const left = look(tokens, begin, false);
    auto const right = look(tokens, end, true);
    if (left.has_or || right.has_or) {
      return "{batch} stands beside OR, so that a batch would change rows of others too; put the alternatives into "
             "parentheses of their own, as in: (a OR b) AND {batch}";
    }
    if (!left.parenthesis || !right.parenthesis) return std::nullopt;
    begin = *left.parenthesis;
    end = *right.parenthesis;
  }
}

}  // namespace pgbackfill::planner
