// What tells two texts apart where a name has no room for them. Pure, safe from any thread.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::planner {

// FNV-1a of the bytes, 64 bits as 16 hexadecimal digits. Names of objects in databases are made of it: it never
// changes.
std::string fingerprint(std::string_view text);

}  // namespace pgbackfill::planner
