#include "planner/lint/tool_script.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace pgbackfill::planner::lint {
namespace {

enum class Way { kForward, kBack };

// What a comment begins with, in lower case and with single blanks.
struct Mark {
  std::string_view words;
  std::optional<Way> way;
  std::optional<bool> is_in_transaction;
  bool is_all = false;  // of the comment: these words could begin a sentence
};

constexpr std::array kMarks = {
    Mark{"+goose up", Way::kForward, true},
    Mark{"+goose down", Way::kBack, {}},
    Mark{"+goose no transaction", {}, false},
    Mark{"+migrate up notransaction", Way::kForward, false},
    Mark{"+migrate up", Way::kForward, true},
    Mark{"+migrate down", Way::kBack, {}},
    Mark{"migrate:up transaction:false", Way::kForward, false},
    Mark{"migrate:up", Way::kForward, true},
    Mark{"migrate:down", Way::kBack, {}},
    Mark{"up migration", Way::kForward, true, true},
    Mark{"down migration", Way::kBack, {}, true},
    Mark{"create above / drop below", Way::kBack, true},
    Mark{"//@undo", Way::kBack, {}},
    Mark{"@undo", Way::kBack, {}},
    Mark{"no-transaction", {}, false, true},
    Mark{"postgres-migrations disable-transaction", {}, false},
    Mark{"morph:nontransactional", {}, false},
    Mark{"atlas:txmode none", {}, false},
};

bool is_word_part(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & '\x80') != 0;
}

// "--  +goose   Up" as "+goose up"
std::string words_of(std::string_view comment) {
  std::string words;
  comment.remove_prefix(std::min(comment.find_first_not_of('-'), comment.size()));
  for (char const c : comment) {
    bool const is_blank = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!is_blank) words += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (is_blank && !words.empty() && words.back() != ' ') words += ' ';
  }
  while (words.ends_with(' ') || words.ends_with('-')) words.pop_back();
  return words;
}

Mark const* mark_of(std::string_view text, TextSpan comment) {
  bool const is_line = text.substr(comment.begin, 2) == "--";
  auto const line = text.substr(0, comment.begin).rfind('\n');
  std::size_t const first = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  auto const begin = line == std::string_view::npos ? first : line + 1;
  bool const begins_line = text.find_first_not_of(" \t", begin) == comment.begin;
  if (!is_line || !begins_line) return nullptr;
  auto const words = words_of(text.substr(comment.begin, comment.end - comment.begin));
  auto const found = std::find_if(kMarks.begin(), kMarks.end(), [&](Mark const& mark) {
    if (!words.starts_with(mark.words)) return false;
    return words.size() == mark.words.size() || (!mark.is_all && words[mark.words.size()] == ' ');
  });
  return found == kMarks.end() ? nullptr : &*found;
}

void append(SqlScript& whole, SqlScript part, std::size_t offset) {
  auto const moved = [&](TextSpan span) { return TextSpan{span.begin + offset, span.end + offset}; };
  for (auto& statement : part.statements) {
    statement.span = moved(statement.span);
    whole.statements.push_back(statement);
  }
  for (auto const span : part.comments) whole.comments.push_back(moved(span));
  for (auto const span : part.psql_commands) whole.psql_commands.push_back(moved(span));
}

std::size_t end_of_dollar_quote(std::string_view sql, std::size_t at) {
  auto end = at + 1;
  while (end < sql.size() && is_word_part(sql[end])) ++end;
  if (end >= sql.size() || sql[end] != '$') return at + 1;
  auto const tag = sql.substr(at, end + 1 - at);
  auto const close = sql.find(tag, end + 1);
  return close == std::string_view::npos ? sql.size() : close + tag.size();
}

// Behind a string, a quoted name, a comment or a cast that begins here, where psql fills in nothing; else one further.
std::size_t behind_token(std::string_view sql, std::size_t at) {
  auto const behind = [&](std::string_view close, std::size_t from) {
    auto const found = sql.find(close, from);
    return found == std::string_view::npos ? sql.size() : found + close.size();
  };
  char const c = sql[at];
  auto const pair = sql.substr(at, 2);
  if (c == '\'' || c == '"') return behind(sql.substr(at, 1), at + 1);
  if (pair == "--") return behind("\n", at);
  if (pair == "/*") return behind("*/", at + 2);
  if (c == '$') return end_of_dollar_quote(sql, at);
  return at + (pair == "::" || pair == ":=" ? 2 : 1);
}

}  // namespace

ToolScript split_tool_script(std::string_view text) {
  ToolScript result;
  auto whole = split_script(text);
  std::vector<TextSpan> forward;
  auto way = Way::kForward;
  bool has_forward = false;
  std::size_t begin = 0;
  for (auto const comment : whole.comments) {
    auto const* mark = mark_of(text, comment);
    if (mark == nullptr) continue;
    // Once no, it is no: goose says it beside the section.
    bool const is_heard = mark->is_in_transaction && result.is_in_transaction.value_or(true);
    if (is_heard) result.is_in_transaction = mark->is_in_transaction;
    if (!mark->way) continue;
    if (way == Way::kForward) forward.push_back({begin, comment.begin});
    way = *mark->way;
    has_forward |= way == Way::kForward;
    begin = comment.end;
  }
  if (way == Way::kForward) forward.push_back({begin, text.size()});
  // Each part by itself: what one leaves open does not reach into the next.
  for (auto const span : forward) {
    append(result.forward, split_script(text.substr(span.begin, span.end - span.begin)), span.begin);
  }
  // A file that is all way back was named to be looked at.
  if (!has_forward && result.forward.statements.empty()) result.forward = std::move(whole);
  return result;
}

std::string templates_as_names(std::string_view text) {
  std::string result(text);
  for (auto at = text.find_first_of("{$"); at != std::string_view::npos; at = text.find_first_of("{$", at + 1)) {
    auto const open = text.substr(at, 2);
    if (open != "{{" && open != "${") continue;
    std::string_view const close = open == "{{" ? "}}" : "}";
    auto const found = text.find(close, at + 2);
    if (found == std::string_view::npos || text.substr(at, found - at).find('\n') != std::string_view::npos) continue;
    auto const end = found + close.size();
    for (; at < end; ++at) {
      if (!is_word_part(text[at])) result[at] = '_';
    }
    --at;
  }
  return result;
}

std::vector<std::string> without_psql_variables(std::string_view sql) {
  std::string values(sql);
  std::string names(sql);
  bool has_any = false;
  for (std::size_t at = 0; at < sql.size();) {
    char const next = at + 1 < sql.size() ? sql[at + 1] : ' ';
    bool const is_quoted = next == '\'' || next == '"';
    if (sql[at] != ':' || (!is_quoted && !is_word_part(next))) {
      at = behind_token(sql, at);
      continue;
    }
    has_any = true;
    auto end = is_quoted ? behind_token(sql, at + 1) : at + 1;
    while (!is_quoted && end < sql.size() && is_word_part(sql[end])) ++end;
    values[at] = ' ';
    names[at] = is_quoted ? ' ' : '_';
    if (!is_quoted) values.replace(at, end - at, "$1" + std::string(end - at - 2, ' '));
    at = end;
  }
  if (!has_any) return {};
  return {std::move(values), std::move(names)};
}

}  // namespace pgbackfill::planner::lint
