// What proves that a text came from this process, and texts that nobody can guess.
//
// Pure but for the random numbers; any thread.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::engine {

// 256 bits in hex.
std::string random_secret();

// HMAC-SHA256 in hex.
std::string signature_of(std::string_view secret, std::string_view text);

// In a time that does not depend on where they differ.
bool is_same_secret(std::string_view one, std::string_view other);

}  // namespace pgbackfill::engine
