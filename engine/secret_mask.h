// Takes passwords out of what others print, before it is shown or kept.
//
// Secrets are what the environment calls so (names with PASSWORD, PASSWD, SECRET or TOKEN in them), and the passwords
// of URLs. Too short a secret is left: taking "1" out of every number would say more than it hides. Pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::engine {

inline constexpr std::size_t kShortestSecret = 4;

std::vector<std::string> secrets_in(std::map<std::string, std::string> const& environment);

// "postgresql://app:***@db/prod"
std::string masked(std::string text, std::vector<std::string> const& secrets);

}  // namespace pgbackfill::engine
