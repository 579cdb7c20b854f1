// Texts of others in a Markdown comment: shown as they are, whatever is in them.
//
// For GitHub's and GitLab's dialect. Control characters become visible escapes, line breaks a space. Pure.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::engine {

// For running text and for cells of a table: nothing in it is markup, and it stays one cell on one line.
std::string markdown_text(std::string_view text);

// For running text and for cells: as code. What cannot stand in code there is shown as markdown_text() does.
std::string markdown_code(std::string_view text);

// A block of code, line breaks kept; its fence is longer than any row of backticks inside.
std::string markdown_fence(std::string_view language, std::string_view code);

}  // namespace pgbackfill::engine
