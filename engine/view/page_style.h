// The style sheet of pages in HTML: those of a report, and those that are served.
//
// Light and dark as the reader's system is, on a phone and on a wall; prints. Asks nobody for anything.
#pragma once

#include <string_view>

namespace pgbackfill::engine {

std::string_view page_style();

}  // namespace pgbackfill::engine
