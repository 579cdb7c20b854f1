// Text as a part of a URL. Pure.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::engine {

// "%2F" and so on for all but letters and digits of ASCII and what is in `plain`.
std::string percent_encoded(std::string_view text, std::string_view plain);

}  // namespace pgbackfill::engine
