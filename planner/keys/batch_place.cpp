#include "planner/keys/batch_place.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <vector>

namespace pgbackfill::planner {

namespace {

constexpr char kBatch[] = "{batch}";
// Stands for what holds no keyword: a string, a number, a quoted name.
constexpr char kOpaque[] = "'";

bool is_word_begin(char character) {
  auto const byte = static_cast<unsigned char>(character);
  return std::isalpha(byte) != 0 || character == '_' || byte >= 0x80;
}

bool is_word(char character) {
  return is_word_begin(character) || std::isdigit(static_cast<unsigned char>(character)) != 0 || character == '$';
}

// The text as words in lower case, single symbols, kBatch and kOpaque; comments are dropped.
class Tokens {
 public:
  explicit Tokens(std::string_view sql) : sql_(sql) {
    while (at_ < sql_.size()) read();
  }
  std::vector<std::string> take() { return std::move(tokens_); }

 private:
  bool starts(std::string_view text) const { return sql_.substr(at_).starts_with(text); }
  void skip_past(std::string_view end, std::size_t from) {
    auto const found = sql_.find(end, from);
    at_ = found == std::string_view::npos ? sql_.size() : found + end.size();
  }

  void read() {
    char const character = sql_[at_];
    if (std::isspace(static_cast<unsigned char>(character)) != 0) {
      ++at_;
    } else if (starts("--")) {
      skip_past("\n", at_);
    } else if (starts("/*")) {
      skip_comment();
    } else if (starts("{batch")) {
      skip_past("}", at_);
      tokens_.emplace_back(kBatch);
    } else if (character == '\'' || character == '"') {
      skip_quoted(character, false);
    } else if (character == '$' && skip_dollar_quoted()) {
      tokens_.emplace_back(kOpaque);
    } else if (is_word_begin(character)) {
      read_word();
    } else {
      tokens_.emplace_back(1, character);
      ++at_;
    }
  }

  // Comments in SQL nest.
  void skip_comment() {
    int depth = 0;
    do {
      if (starts("/*")) {
        ++depth;
        at_ += 2;
      } else if (starts("*/")) {
        --depth;
        at_ += 2;
      } else {
        ++at_;
      }
    } while (depth > 0 && at_ < sql_.size());
  }

  // A doubled quote is taken for two strings, which is as good here.
  void skip_quoted(char quote, bool has_escapes) {
    for (++at_; at_ < sql_.size() && sql_[at_] != quote; ++at_) {
      if (has_escapes && sql_[at_] == '\\') ++at_;
    }
    at_ = std::min(at_ + 1, sql_.size());
    tokens_.emplace_back(kOpaque);
  }

  bool skip_dollar_quoted() {
    std::size_t end = at_ + 1;
    while (end < sql_.size() && is_word(sql_[end]) && sql_[end] != '$') ++end;
    bool const is_parameter = end > at_ + 1 && !is_word_begin(sql_[at_ + 1]);
    if (end >= sql_.size() || sql_[end] != '$' || is_parameter) return false;
    skip_past(sql_.substr(at_, end + 1 - at_), end + 1);
    return true;
  }

  void read_word() {
    std::string word;
    for (; at_ < sql_.size() && is_word(sql_[at_]); ++at_) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(sql_[at_])));
    }
    if (word == "e" && at_ < sql_.size() && sql_[at_] == '\'') return skip_quoted('\'', true);
    tokens_.push_back(std::move(word));
  }

  std::string_view sql_;
  std::size_t at_ = 0;
  std::vector<std::string> tokens_;
};

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
  auto const tokens = Tokens(sql).take();
  auto const found = std::find(tokens.begin(), tokens.end(), kBatch);
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
