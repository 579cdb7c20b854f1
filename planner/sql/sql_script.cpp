#include "planner/sql/sql_script.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace pgbackfill::planner::lint {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

bool is_word_begin(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & '\x80') != 0;
}

bool is_word_part(char c) {
  return is_word_begin(c) || std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '$';
}

std::string upper(std::string_view word) {
  std::string result(word);
  for (char& c : result) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return result;
}

// Grows on a left-deep branch of the tree, commas or not.
bool is_chaining(std::string_view word) {
  static constexpr std::array<std::string_view, 4> kWords{"JOIN", "UNION", "INTERSECT", "EXCEPT"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

// How deep the tree of a statement can be at most.
class NestingBound {
 public:
  void word() { grow(levels_.back().words, 1); }
  void chain() { grow(levels_.back().chained, 1); }
  void comma() {
    total_ -= levels_.back().words;
    levels_.back().words = 0;
  }
  void open() {
    word();
    levels_.push_back({});
  }
  void close() {
    if (levels_.size() == 1) return;
    total_ -= levels_.back().words + levels_.back().chained;
    levels_.pop_back();
  }
  bool is_in_brackets() const { return levels_.size() > 1; }
  std::size_t most() const { return most_; }

 private:
  struct Level {
    std::size_t words = 0;
    std::size_t chained = 0;
  };
  void grow(std::size_t& count, std::size_t by) {
    count += by;
    total_ += by;
    most_ = std::max(most_, total_);
  }

  std::vector<Level> levels_{1};
  std::size_t total_ = 0;
  std::size_t most_ = 0;
};

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  SqlScript split() {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    while (at_ < text_.size()) step();
    end_statement(text_.size());
    return std::move(script_);
  }

 private:
  void step() {
    std::string_view const rest = text_.substr(at_);
    char const c = rest.front();
    if (is_space(c)) {
      ++at_;
    } else if (rest.starts_with("--")) {
      comment(std::min(text_.find('\n', at_), text_.size()));
    } else if (rest.starts_with("/*")) {
      comment(end_of_block_comment());
    } else if (c == '\\') {
      psql_command();
    } else if (c == ';' && !bound_.is_in_brackets() && atomic_depth_ == 0) {
      end_statement(at_);
      ++at_;
      if (is_copy_from_stdin_) skip_copy_data();
    } else {
      token(c);
    }
  }

  void token(char c) {
    begin_statement();
    if (c == '\'') return quoted('\'', is_escape_string_at(at_));
    if (c == '"') return quoted('"', false);
    if (c == '$' && dollar_quote()) return;
    if (is_word_begin(c)) return word();
    if (c == '(' || c == '[') {
      bound_.open();
    } else if (c == ')' || c == ']') {
      bound_.close();
    } else if (c == ',') {
      bound_.comma();
    } else {
      bound_.word();
    }
    ++at_;
  }

  void word() {
    std::size_t end = at_;
    while (end < text_.size() && is_word_part(text_[end])) ++end;
    auto const word = upper(text_.substr(at_, end - at_));
    at_ = end;
    if (is_chaining(word)) bound_.chain();
    bound_.word();
    note_atomic_body(word);
    note_copy(word);
    last_word_ = word;
  }

  // CREATE FUNCTION ... BEGIN ATOMIC stmt; stmt; END
  void note_atomic_body(std::string_view word) {
    if (word == "ATOMIC" && last_word_ == "BEGIN") {
      atomic_depth_ = 1;
    } else if (atomic_depth_ > 0 && word == "CASE") {
      ++atomic_depth_;
    } else if (atomic_depth_ > 0 && word == "END") {
      --atomic_depth_;
    }
  }

  void note_copy(std::string_view word) {
    if (words_++ == 0) is_copy_ = word == "COPY";
    if (is_copy_ && last_word_ == "FROM" && word == "STDIN") is_copy_from_stdin_ = true;
  }

  bool is_escape_string_at(std::size_t quote) const {
    bool const is_e = quote > 0 && (text_[quote - 1] == 'e' || text_[quote - 1] == 'E');
    return is_e && (quote == 1 || !is_word_part(text_[quote - 2]));
  }

  void quoted(char quote, bool has_escapes) {
    bound_.word();
    std::size_t end = at_ + 1;
    while (end < text_.size()) {
      if (has_escapes && text_[end] == '\\') {
        end += 2;
      } else if (text_[end] != quote) {
        ++end;
      } else if (end + 1 < text_.size() && text_[end + 1] == quote) {
        end += 2;
      } else {
        break;
      }
    }
    at_ = std::min(end + 1, text_.size());
  }

  bool dollar_quote() {
    std::size_t end = at_ + 1;
    while (end < text_.size() && is_word_part(text_[end]) && text_[end] != '$') ++end;
    bool const is_tag = end < text_.size() && text_[end] == '$' &&
                        (end == at_ + 1 || std::isdigit(static_cast<unsigned char>(text_[at_ + 1])) == 0);
    if (!is_tag) return false;
    auto const tag = text_.substr(at_, end + 1 - at_);
    auto const close = text_.find(tag, end + 1);
    at_ = close == std::string_view::npos ? text_.size() : close + tag.size();
    bound_.word();
    return true;
  }

  std::size_t end_of_block_comment() const {
    std::size_t end = at_ + 2;
    for (int depth = 1; depth > 0;) {
      auto const next = text_.find_first_of("/*", end);
      if (next == std::string_view::npos) return text_.size();
      auto const pair = text_.substr(next, 2);
      depth += pair == "/*" ? 1 : pair == "*/" ? -1 : 0;
      end = next + (pair == "/*" || pair == "*/" ? 2 : 1);
    }
    return end;
  }

  void comment(std::size_t end) {
    script_.comments.push_back({at_, end});
    at_ = end;
  }

  void psql_command() {
    // psql sends what it has at \g, \gx, \gexec and the like; other commands may stand in the middle of a statement.
    bool const is_sending = text_.substr(at_, 2) == "\\g" || text_.substr(at_, 2) == "\\;";
    auto const end = std::min(text_.find('\n', at_), text_.size());
    if (is_sending) end_statement(at_);
    script_.psql_commands.push_back({at_, end});
    at_ = end;
  }

  void skip_copy_data() {
    is_copy_from_stdin_ = false;
    auto const end = text_.find("\n\\.", at_);
    at_ = end == std::string_view::npos ? text_.size() : std::min(text_.find('\n', end + 1), text_.size());
  }

  void begin_statement() {
    if (is_in_statement_) return;
    is_in_statement_ = true;
    begin_ = at_;
    words_ = 0;
    last_word_.clear();
    is_copy_from_stdin_ = false;
  }

  void end_statement(std::size_t end) {
    if (!is_in_statement_) return;
    while (end > begin_ && is_space(text_[end - 1])) --end;
    script_.statements.push_back({{begin_, end}, bound_.most()});
    bound_ = {};
    atomic_depth_ = 0;
    is_in_statement_ = false;
  }

  std::string_view text_;
  SqlScript script_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;
  bool is_in_statement_ = false;
  NestingBound bound_;
  int atomic_depth_ = 0;
  std::string last_word_;
  int words_ = 0;
  bool is_copy_ = false;
  bool is_copy_from_stdin_ = false;
};

}  // namespace

SqlScript split_script(std::string_view text) {
  return Splitter(text).split();
}

LineIndex::LineIndex(std::string_view text) : begins_{0} {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\n') begins_.push_back(at + 1);
  }
}

TextPlace LineIndex::place_of(std::size_t offset) const {
  auto const next = std::upper_bound(begins_.begin(), begins_.end(), offset);
  auto const line = next - begins_.begin();
  return {static_cast<int>(line), static_cast<int>(offset - *(next - 1)) + 1};
}

std::size_t LineIndex::offset_of(TextPlace place) const {
  auto const line = static_cast<std::size_t>(std::max(place.line, 1)) - 1;
  return begins_[std::min(line, begins_.size() - 1)] + static_cast<std::size_t>(std::max(place.column, 1)) - 1;
}

}  // namespace pgbackfill::planner::lint
