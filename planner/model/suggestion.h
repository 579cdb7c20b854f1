// "Did you mean ...": the known word that is nearest to a misspelt one.
//
// Never answers with a word that is far off: a wrong hint is worse than none. Pure functions, safe from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

// The nearest of `known`, the first of several equally near; empty when nothing is near. Case does not count.
std::string_view nearest_word(std::string_view word, std::span<std::string_view const> known);

// " (did you mean 'workers'?)" to end a message with; empty when nothing is near.
std::string did_you_mean(std::string_view word, std::span<std::string_view const> known);

}  // namespace pgbackfill::planner
