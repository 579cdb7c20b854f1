#include "planner/sql/batch_placeholder.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace pgbackfill::planner {

namespace {

// Stands for what holds no keyword: a string, a number, a quoted name.
constexpr char kOpaque[] = "'";
constexpr std::string_view kParam = "{param";
constexpr std::string_view kPrepared = "{prepare";
constexpr std::string_view kVariable = "${";

bool is_word_begin(char character) {
  auto const byte = static_cast<unsigned char>(character);
  return std::isalpha(byte) != 0 || character == '_' || byte >= 0x80;
}

bool is_word(char character) {
  return is_word_begin(character) || std::isdigit(static_cast<unsigned char>(character)) != 0 || character == '$';
}

class Tokens {
 public:
  explicit Tokens(std::string_view sql) : sql_(sql) {
    while (at_ < sql_.size()) read();
  }
  std::vector<std::string> take() { return std::move(tokens_); }
  std::vector<BatchPlaceholder> take_placeholders() { return std::move(placeholders_); }
  std::vector<ValuePlaceholder> take_values() { return std::move(values_); }

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
      std::size_t const begin = at_;
      skip_past("}", at_);
      placeholders_.push_back({begin, at_ - begin});
      tokens_.emplace_back(kBatchToken);
    } else if (auto const kind = value_here()) {
      take_value(*kind);
      tokens_.emplace_back(kOpaque);
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

  std::optional<ValueKindInSql> value_here() const {
    if (starts(kParam)) return ValueKindInSql::kParam;
    if (starts(kPrepared)) return ValueKindInSql::kPrepared;
    if (starts(kVariable)) return ValueKindInSql::kVariable;
    return std::nullopt;
  }

  void take_value(ValueKindInSql kind) {
    std::size_t const begin = at_;
    skip_past("}", at_);
    values_.push_back({begin, at_ - begin, kind, false});
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
      if (quote == '\'' && at_ < sql_.size()) note_quoted_value();
    }
    at_ = std::min(at_ + 1, sql_.size());
    tokens_.emplace_back(kOpaque);
  }

  // One that ends before the string does.
  void note_quoted_value() {
    auto const kind = value_here();
    if (!kind) return;
    auto const end = sql_.find_first_of("}'", at_);
    bool const has_end = end != std::string_view::npos && sql_[end] == '}';
    if (has_end) values_.push_back({at_, end + 1 - at_, *kind, true});
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
  std::vector<BatchPlaceholder> placeholders_;
  std::vector<ValuePlaceholder> values_;
};

}  // namespace

std::vector<BatchPlaceholder> batch_placeholders(std::string_view sql) {
  return Tokens(sql).take_placeholders();
}

std::vector<ValuePlaceholder> value_placeholders(std::string_view sql) {
  return Tokens(sql).take_values();
}

std::vector<std::string> tokens_with_batch(std::string_view sql) {
  return Tokens(sql).take();
}

std::string with_batch_as(std::string const& sql, std::string const& condition) {
  std::string text = sql;
  auto const found = batch_placeholders(sql);
  for (auto each = found.rbegin(); each != found.rend(); ++each) text.replace(each->begin, each->length, condition);
  return text;
}

}  // namespace pgbackfill::planner
