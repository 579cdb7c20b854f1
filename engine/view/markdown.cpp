#include "engine/view/markdown.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

bool is_word(std::string_view text, std::size_t at) {
  return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
}

std::size_t longest_run_of_backticks(std::string_view text) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (char const c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

}  // namespace

std::string markdown_text(std::string_view raw) {
  std::string const text = neutralised(raw);
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    char const c = text[at];
    // Within a word it is no markup, and names are full of it.
    bool const is_inner = c == '_' && at > 0 && is_word(text, at - 1) && is_word(text, at + 1);
    if (c == '\\') {
      result += "&#92;";  // a table splits its cells before it reads escapes
    } else if (c == '`') {
      result += "&#96;";
    } else if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else {
      bool const is_markup = std::string_view("|*_[]~#").find(c) != std::string_view::npos;
      if (is_markup && !is_inner) result += '\\';
      result += c;
    }
  }
  return result;
}

std::string markdown_code(std::string_view raw) {
  std::string const text = neutralised(raw);
  bool const is_plain = !text.empty() && text.find_first_of("`|\\") == std::string::npos;
  return is_plain ? "`" + text + "`" : markdown_text(text);
}

std::string markdown_fence(std::string_view language, std::string_view code) {
  std::string const fence(std::max<std::size_t>(3, longest_run_of_backticks(code) + 1), '`');
  std::string lines;
  for (std::size_t begin = 0; begin <= code.size();) {
    auto const end = std::min(code.find('\n', begin), code.size());
    lines += neutralised(code.substr(begin, end - begin)) + '\n';
    begin = end + 1;
  }
  return fence + std::string(language) + "\n" + lines + fence + "\n";
}

}  // namespace pgbackfill::engine
