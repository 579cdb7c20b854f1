#include "engine/web/form.h"

#include <cstddef>
#include <utility>

#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kMostFields = 50;

int digit_of(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  if (letter >= 'A' && letter <= 'F') return letter - 'A' + 10;
  return -1;
}

// What stands before the first of the separators; the text is what stands behind it.
std::string_view cut(std::string_view& text, std::string_view separators) {
  auto const end = text.find_first_of(separators);
  auto const part = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return part;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text, bool has_plus) {
  std::string decoded;
  for (std::size_t at = 0; at < text.size(); ++at) {
    char letter = text[at];
    if (letter == '%') {
      bool const has_room = at + 2 < text.size();
      int const high = has_room ? digit_of(text[at + 1]) : -1;
      int const low = has_room ? digit_of(text[at + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      letter = static_cast<char>(high * 16 + low);
      at += 2;
    } else if (letter == '+' && has_plus) {
      letter = ' ';
    }
    if (letter == '\0') return std::nullopt;
    decoded += letter;
  }
  if (valid_utf8(decoded) != decoded) return std::nullopt;
  return decoded;
}

Fields form_fields(std::string_view text) {
  Fields fields;
  while (!text.empty() && fields.size() < kMostFields) {
    auto value = cut(text, "&");
    auto const name = cut(value, "=");
    auto read_name = percent_decoded(name, true);
    auto read_value = percent_decoded(value, true);
    bool const is_field = read_name && read_value && !read_name->empty();
    if (is_field) fields.emplace(std::move(*read_name), std::move(*read_value));
  }
  return fields;
}

Fields cookies_of(std::string_view text) {
  Fields cookies;
  while (!text.empty() && cookies.size() < kMostFields) {
    // Two fields Cookie were joined by a comma.
    auto value = trimmed(cut(text, ";,"));
    auto const name = cut(value, "=");
    if (!name.empty()) cookies.emplace(std::string(name), std::string(value));
  }
  return cookies;
}

std::string_view field_of(Fields const& fields, std::string_view name) {
  auto const found = fields.find(name);
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

}  // namespace pgbackfill::engine
