#include "engine/view/html.h"

#include <algorithm>
#include <cstddef>

#include "engine/base/secret_mask.h"
#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

void append_escaped(std::string& result, std::string_view raw) {
  for (char const c : neutralised(raw)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
}

}  // namespace

std::string html_text(std::string_view given, bool keeps_lines) {
  // Before it has markup in it.
  std::string const masked = without_passwords(std::string(given));
  std::string_view const raw = masked;
  std::string result;
  if (!keeps_lines) {
    append_escaped(result, raw);
    return result;
  }
  for (std::size_t begin = 0; begin <= raw.size();) {
    auto const end = std::min(raw.find('\n', begin), raw.size());
    append_escaped(result, raw.substr(begin, end - begin));
    if (end < raw.size()) result += '\n';
    begin = end + 1;
  }
  return result;
}

std::string sentence_html(std::string_view sentence) {
  std::string result;
  bool is_code = false;
  std::string const text = html_text(sentence);
  for (std::size_t begin = 0; begin <= text.size();) {
    auto const tick = std::min(text.find('`', begin), text.size());
    result += text.substr(begin, tick - begin);
    begin = tick + 1;
    if (tick == text.size()) break;
    bool const is_alone = !is_code && text.find('`', begin) == std::string::npos;
    result += is_alone ? "`" : is_code ? "</code>" : "<code>";
    if (!is_alone) is_code = !is_code;
  }
  return result;
}

}  // namespace pgbackfill::engine
