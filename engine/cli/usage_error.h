// What is wrong with a command line or a variable of an option, in the program's own words: what, where, and what would
// be right. CLI11 finds most of it.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::engine {

// What CLI11 has found, or an unknown option that it had no time to tell.
std::string usage_error(CLI::App const& app, CLI::ParseError const& error, std::vector<std::string> const& words);

// "there is no command 'stauts' (did you mean 'status'?)..."
std::string unknown_command(CLI::App const& app, std::string const& word);

CLI::Validator whole_number(std::int64_t min, std::int64_t max);

// "'xml' is none of text, json", or with "(did you mean ...)".
std::string none_of(std::string const& word, std::vector<std::string> const& known);

// One word of several, in upper or lower case; turned into its number, as CLI11 wants an enumeration.
template <class Value>
CLI::Validator word_of(std::map<std::string, Value> const& words) {
  auto const read = [words](std::string& text) -> std::string {
    auto const found = words.find(CLI::detail::to_lower(text));
    if (found != words.end()) {
      text = std::to_string(static_cast<int>(found->second));
      return "";
    }
    std::vector<std::string> known;
    for (auto const& [word, value] : words) known.push_back(word);
    return none_of(text, known);
  };
  return CLI::Validator(read, "");
}
CLI::Validator word_of(std::vector<std::string> const& words);

}  // namespace pgbackfill::engine
