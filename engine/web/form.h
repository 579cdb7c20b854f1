// What a browser sends: the fields of a form or of a query, and cookies.
//
// Pure. What cannot be read is left out; nothing of it is trusted.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace pgbackfill::engine {

using Fields = std::map<std::string, std::string, std::less<>>;

// application/x-www-form-urlencoded. Of a name that comes twice the first one counts.
Fields form_fields(std::string_view text);
// Of the field Cookie, as it was sent.
Fields cookies_of(std::string_view text);
// Absent where it is none, or holds a zero byte or what is not UTF-8.
std::optional<std::string> percent_decoded(std::string_view text, bool has_plus = false);
std::string_view field_of(Fields const& fields, std::string_view name);

}  // namespace pgbackfill::engine
