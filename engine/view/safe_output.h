// The last thing that a text passes on its way out of the program: whatever is in it, it says nothing to a terminal,
// and gives no password away.
//
// Names, messages of the server, files and arguments may hold anything. Where a text is made they are put on one line
// by neutralised(); what was forgotten there is caught here. Pure.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "engine/base/text.h"

namespace pgbackfill::engine {

// Line breaks and tabs stay, other controls become visible escapes. `has_paint`: our own colours stay as well.
std::string for_people(std::string_view text, bool has_paint = false);

// JSON escapes controls by itself.
void take_passwords_out(boost::json::value& document);

}  // namespace pgbackfill::engine
