// Text into HTML.
//
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::engine {

// For text and for attributes in quotes. Passwords are masked; controls and bytes that are not UTF-8 become visible
// escapes; line breaks stay where `keeps_lines`.
std::string html_text(std::string_view given, bool keeps_lines = false);

// A sentence of ours: what stands between backticks is code.
std::string sentence_html(std::string_view sentence);

}  // namespace pgbackfill::engine
