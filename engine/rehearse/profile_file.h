// The text of a profile's file, and back: JSON with a version of its own (docs/rehearse.md).
//
// Reading is strict: a file that was edited, is newer, or lacks something is refused with what is wrong. Pure.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "engine/rehearse/profile.h"

namespace pgbackfill::engine {

inline constexpr int kProfileVersion = 1;

std::string profile_text(Profile const& profile);

// The string is what is wrong with it.
std::variant<Profile, std::string> read_profile_text(std::string_view text);

}  // namespace pgbackfill::engine
