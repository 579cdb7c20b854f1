#include "engine/cli/usage_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/base/text.h"
#include "engine/cli/option_variables.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::engine {

namespace {

std::string did_you_mean(std::string const& word, std::vector<std::string> const& names) {
  std::vector<std::string_view> const known(names.begin(), names.end());
  return planner::did_you_mean(word, known);
}

bool looks_like_an_option(std::string const& word) {
  return word.size() > 1 && word.front() == '-' && word != "--" &&
         std::isdigit(static_cast<unsigned char>(word[1])) == 0;
}

CLI::App const* chosen_of(CLI::App const& app) {
  auto const chosen = app.get_subcommands();
  return chosen.empty() ? nullptr : chosen.front();
}

std::string name_of(CLI::App const& app, CLI::App const* chosen) {
  return chosen == nullptr ? app.get_name() : app.get_name() + " " + chosen->get_name();
}

// The options that may stand where the word was.
std::vector<CLI::Option const*> options_of(CLI::App const& app, CLI::App const* chosen) {
  std::vector<CLI::Option const*> options = app.get_options([](CLI::Option const*) { return true; });
  if (chosen != nullptr) {
    auto const own = chosen->get_options([](CLI::Option const*) { return true; });
    options.insert(options.begin(), own.begin(), own.end());
  }
  return options;
}

// The value may be a password that was given to an option of another name.
std::string unknown_option(CLI::App const& app, CLI::App const* chosen, std::string const& word) {
  auto const name = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (auto const* option : options_of(app, chosen)) {
    for (auto const& known : option->get_lnames()) names.push_back("--" + known);
  }
  auto const where = name_of(app, chosen);
  return fmt::format("{} has no option '{}'{}; `{} --help` lists them", where, neutralised(name),
                     did_you_mean(name, names), where);
}

std::string one_too_many(CLI::App const& app, CLI::App const* chosen, std::string const& word) {
  auto const where = name_of(app, chosen);
  std::string takes;
  for (auto const* option : chosen->get_options([](CLI::Option const* each) { return each->get_positional(); })) {
    takes += (takes.empty() ? " " : " and ") + option->get_name(true, false);
  }
  return fmt::format("'{}' is one argument too many: {} takes{} and options; `{} --help` says more", neutralised(word),
                     where, takes.empty() ? " nothing" : takes, where);
}

// CLI11 gives the option by the name in its text alone.
CLI::Option const* option_in(std::vector<CLI::Option const*> const& options, std::string const& text) {
  std::string word;
  for (char const letter : text + " ") {
    if (std::string_view(" :=,").find(letter) == std::string_view::npos) {
      word += letter;
      continue;
    }
    for (auto const* option : options) {
      if (!word.empty() && option->get_name(false, false) == word) return option;
    }
    word.clear();
  }
  return nullptr;
}

// What it says of an option, without the name; empty: it has no words of its own for it.
std::string about_option(CLI::ParseError const& error, CLI::Option const& option) {
  std::string const text = error.what();
  auto const name = option.get_name();
  if (error.get_name() == "ValidationError" && text.starts_with(name + ": ")) {
    return ": " + neutralised(text.substr(name.size() + 2));
  }
  if (error.get_name() == "ArgumentMismatch") {
    return option.count() > 1
               ? " is given more than once"
               : " needs a value" + (option.get_type_name().empty() ? "" : ": " + option.get_type_name());
  }
  if (error.get_name() == "ConversionError") {
    auto const values = option.results();
    std::string const value = values.empty() ? "" : values.front();
    bool const is_flag = option.get_expected_min() == 0;
    return fmt::format(": '{}' is {}", neutralised(value), is_flag ? "neither true nor false" : "not a whole number");
  }
  return "";
}

}  // namespace

std::string unknown_command(CLI::App const& app, std::string const& word) {
  std::vector<std::string> names;
  for (auto const* command : app.get_subcommands([](CLI::App const*) { return true; })) {
    names.push_back(command->get_name());
  }
  return fmt::format("there is no command '{}'{}; `pgbackfill --help` lists them", neutralised(word),
                     did_you_mean(word, names));
}

std::string usage_error(CLI::App const& app, CLI::ParseError const& error, std::vector<std::string> const& words) {
  auto const* const chosen = chosen_of(app);
  auto extra = app.remaining(true);
  std::erase(extra, "--");
  auto const odd = std::find_if(extra.begin(), extra.end(), looks_like_an_option);
  if (odd != extra.end()) return unknown_option(app, chosen, *odd);
  if (chosen == nullptr && !extra.empty()) return unknown_command(app, extra.front());
  auto const where = name_of(app, chosen);
  auto const* const option = option_in(options_of(app, chosen), error.what());
  if (option != nullptr) {
    auto const variable = variable_in_use(*option, words);
    auto const about = about_option(error, *option);
    if (!about.empty()) return (variable.empty() ? option->get_name() : variable) + about;
    if (error.get_name() == "RequiredError") {
      return fmt::format("{0} is required: {1} {0}; `{1} --help` says more", option->get_name(), where);
    }
  }
  if (chosen == nullptr) return "a command is missing; `pgbackfill --help` lists them";
  if (!extra.empty()) return one_too_many(app, chosen, extra.front());
  return fmt::format("{}; `{} --help` says more", neutralised(error.what()), where);
}

std::string none_of(std::string const& word, std::vector<std::string> const& known) {
  return fmt::format("'{}' is none of {}{}", word, fmt::join(known, ", "), did_you_mean(word, known));
}

CLI::Validator whole_number(std::int64_t min, std::int64_t max) {
  auto const check = [min, max](std::string& text) -> std::string {
    std::int64_t number = 0;
    char const* const end = text.data() + text.size();
    auto const read = std::from_chars(text.data(), end, number);
    bool const is_right = read.ec == std::errc() && read.ptr == end && number >= min && number <= max;
    return is_right ? "" : fmt::format("'{}' is not a whole number from {} to {}", text, min, max);
  };
  return CLI::Validator(check, "");
}

CLI::Validator word_of(std::vector<std::string> const& words) {
  auto const check = [words](std::string& text) -> std::string {
    bool const is_known = std::find(words.begin(), words.end(), text) != words.end();
    return is_known ? "" : none_of(text, words);
  };
  return CLI::Validator(check, "");
}

}  // namespace pgbackfill::engine
